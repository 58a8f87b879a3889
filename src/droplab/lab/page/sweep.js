// The view "Sweep": many rates at once, and the curve that they make.

import { getRecipes } from "./api.js";
import { fill, h, field, heading, load, many, segment, setText } from "./dom.js";
import { launchBar, lengthFields } from "./launch.js";
import { rateText } from "./arms.js";

const MOST_RATES = 60;

/** Return the rates from:to:step, in thousandths so that 0.1 + 0.2 is 0.3; null if they are none. */
export function ratesOf({ from, to, step }) {
  const [low, high, by] = [from, to, step].map((value) => Math.round(value * 1000));
  if (![low, high, by].every(Number.isFinite) || by < 1 || low < 0 || high > 1000 || high < low) return null;
  if ((high - low) / by > MOST_RATES) return null;
  const rates = [];
  for (let rate = low; rate <= high; rate += by) rates.push(rate / 1000);
  return rates;
}

const drafts = new Map();
const range = { from: 0, to: 0.8, step: 0.1 };

function draftOf(recipe, limits) {
  if (!drafts.has(recipe.name)) {
    drafts.set(recipe.name, {
      seeds: Math.min(recipe.seeds, limits.seeds),
      epochs: Math.min(recipe.epochs, limits.epochs),
      sites: new Set(recipe.sites.filter((site) => !site.input).map((site) => site.path)),
      independent: false,
    });
  }
  return drafts.get(recipe.name);
}

export function mount(root, { query }) {
  const body = h("div");
  root.append(heading("Which rate?",
    "Train every rate at once and watch the curve take shape, epoch by epoch. All networks share their seeds: what a rate of 0.3 drops, 0.5 drops too."), body);
  load(body, getRecipes, ({ recipes, limits }) => {
    const details = h("div");
    const first = recipes.find((item) => item.name === query.get("recipe")) ?? recipes.find((item) => item.name === "digits") ?? recipes[0];
    const select = h("select", null, recipes.map((recipe) => h("option", { value: recipe.name }, `${recipe.name}: ${recipe.title}`)));
    select.value = first.name;
    select.addEventListener("change", () => {
      const recipe = recipes.find((item) => item.name === select.value);
      history.replaceState(null, "", `/sweep?recipe=${encodeURIComponent(recipe.name)}`);
      fill(details, design(recipe, limits));
    });
    fill(details, design(first, limits));
    return [field("Recipe", select), details];
  });
}

function design(recipe, limits) {
  const draft = draftOf(recipe, limits);
  const chips = h("p", { class: "chips" });
  const positive = () => (ratesOf(range) ?? []).filter((rate) => rate > 0);
  const count = () => {
    const rates = positive().length;
    return draft.independent ? (rates + 1) ** draft.sites.size : rates + 1;
  };
  const bar = launchBar(draft, limits, () => ({
    arms: count(),
    problem: problemOf(recipe, draft, positive(), count(), limits),
    order: { kind: "sweep", recipe: recipe.name, rates: ratesOf(range), sites: recipe.sites.map((site) => site.path).filter((path) => draft.sites.has(path)), independent: draft.independent },
  }));
  const update = () => {
    const rates = ratesOf(range);
    fill(chips, (rates ?? []).slice(0, 24).map((rate) => h("span", { class: "chip" }, rate === 0 ? "none" : rateText(rate))), rates && rates.length > 24 && h("span", { class: "soft" }, `and ${rates.length - 24} more`));
    bar.update();
  };
  const number = (key) => {
    const input = h("input", { type: "number", min: 0, max: 1, step: key === "step" ? 0.01 : 0.05, value: range[key], inputmode: "decimal" });
    input.addEventListener("input", () => { range[key] = input.value === "" ? NaN : Number(input.value); update(); });
    return input;
  };
  const explain = h("p", { class: "soft small" });
  const describe = () => setText(explain, draft.independent
    ? "Every combination of rates over the chosen sites is an arm."
    : "Every chosen site of an arm has the same rate.");
  const boxes = h("fieldset", { class: "checks" }, h("legend", null, "Sites"), recipe.sites.map((site) => h("label", null,
    h("input", { type: "checkbox", checked: draft.sites.has(site.path), onchange: (event) => { draft.sites[event.target.checked ? "add" : "delete"](site.path); update(); } }),
    h("b", null, site.path), h("span", { class: "soft" }, site.input ? `the input, ${site.width}` : many(site.width, "unit")))));
  describe();
  const form = h("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); bar.start(); } },
    h("section", { "aria-labelledby": "h-rates" }, h("h2", { id: "h-rates" }, "Rates"),
      h("div", { class: "row fields narrow" }, field("From", number("from")), field("To", number("to")), field("Step", number("step"))), chips),
    h("section", { "aria-labelledby": "h-sites" }, h("h2", { id: "h-sites" }, "Where"), boxes,
      segment("Rates over sites", [["one", "One rate for all"], ["each", "Every combination"]], draft.independent ? "each" : "one", (key) => { draft.independent = key === "each"; describe(); update(); }), explain),
    h("section", { "aria-labelledby": "h-length" }, h("h2", { id: "h-length" }, "How long"), lengthFields(draft, limits, update)),
    bar.element);
  update();
  return form;
}

function problemOf(recipe, draft, rates, count, limits) {
  if (ratesOf(range) === null) return "Rates go from 0 to 1, the first below the last, with a step above 0.";
  if (rates.length === 0) return "Choose at least one rate above 0.";
  if (draft.sites.size === 0) return "Choose at least one site.";
  if (count > limits.arms) return `That makes ${many(count, "arm")}; the lab trains at most ${limits.arms} at once. Take a larger step or fewer sites.`;
  return null;
}
