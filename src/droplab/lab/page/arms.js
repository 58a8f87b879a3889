// The arms of an experiment: one baseline without dropout, and rates at sites for each other.

import { announce, fill, h, newId, slider } from "./dom.js";
import { colourOf } from "./palette.js";

const MOST_RATE = 0.95;
const STEP = 0.05;

/** Return a rate as people write it: 0.3, not 0.30000000000000004. */
export const rateText = (rate) => String(Math.round(rate * 1000) / 1000);

/** Whether an arm sets rates of dropout that the model has already. */
export const hasExisting = (arm) => Object.keys(arm.existing).length > 0;

/** Whether an arm is another model than the baseline. */
export const changes = (arm) => hasExisting(arm) || Object.values(arm.rates).some((rate) => rate > 0);

/** A name for rates that nobody has named: "0.3", or "0.2-0.3-0.3". */
export function nameOf(rates, sites) {
  const values = sites.map((site) => rates[site.path] ?? 0);
  const used = values.filter((rate) => rate > 0);
  if (used.length === 0) return "0";
  const hidden = sites.filter((site) => !site.input);
  const common = used[0];
  if (hidden.every((site) => rates[site.path] === common) && used.length === hidden.length) return rateText(common);
  return values.map(rateText).join("-");
}

/** The editor; `arms` is changed in place, and `onchange` is called after each change. */
export function armsEditor(recipe, arms, limits, onchange) {
  const list = h("div", { class: "arms" });
  const add = h("button", { type: "button", class: "button" }, "Add an arm");
  const draw = () => {
    fill(list, baseline(), arms.map((arm, index) => row(arm, index)));
    add.disabled = arms.length + 1 >= limits.arms;
    onchange();
  };

  const row = (arm, index) => {
    const id = newId("arm");
    const name = h("input", { id, type: "text", value: arm.name, maxlength: "40", autocomplete: "off", spellcheck: "false" });
    name.addEventListener("input", () => { arm.name = name.value; arm.named = name.value.trim() !== ""; onchange(); });
    name.addEventListener("change", () => { if (!arm.named) rename(); });
    const rename = () => { arm.name = fresh(nameOf(arm.rates, recipe.sites), arms, arm); name.value = arm.name; onchange(); };
    const sliders = recipe.sites.map((site) => slider(siteLabel(site), {
      min: 0, max: MOST_RATE, step: STEP, value: arm.rates[site.path] ?? 0,
      text: (rate) => (rate === 0 ? "none" : rate.toFixed(2)),
      said: (rate) => (rate === 0 ? "no dropout" : `drops ${Math.round(rate * 100)} %`),
      onchange: (rate) => {
        arm.rates[site.path] = Number(rateText(rate));
        if (rate === 0) delete arm.rates[site.path];
        if (!arm.named) rename();
        onchange();
      },
    }));
    const remove = h("button", {
      type: "button", class: "icon-button", "aria-label": `Remove arm ${arm.name}`,
      onclick: () => {
        arms.splice(index, 1);
        draw();
        announce(`Arm ${arm.name} removed.`);
        (list.querySelectorAll("input[type=text]")[Math.min(index, arms.length - 1)] ?? add).focus();
      },
    }, "×");
    return h("fieldset", { class: "arm" },
      h("legend", { class: "sr" }, `Arm ${index + 2}`),
      h("div", { class: "arm-name" }, h("span", { class: `key k${colourOf(index + 1)}`, "aria-hidden": "true" }),
        h("label", { class: "sr", for: id }, "Name of the arm"), name),
      h("div", { class: "arm-sites" }, sliders.map((item) => item.element), hasExisting(arm) ? h("p", { class: "soft" }, `Its own dropout: ${existingText(arm.existing)}`) : null), remove);
  };

  add.addEventListener("click", () => {
    const last = arms.at(-1);
    const rates = last ? { ...last.rates } : Object.fromEntries(recipe.sites.filter((site) => site.planned).map((site) => [site.path, 0.2]));
    for (const site of Object.keys(rates)) rates[site] = Math.min(MOST_RATE, Number(rateText(rates[site] + (last ? 0.1 : 0))));
    const arm = { name: "", rates, existing: {}, named: false };
    arms.push(arm);
    arm.name = fresh(nameOf(rates, recipe.sites), arms, arm);
    draw();
    list.lastChild.querySelector("input[type=range]").focus();
    announce(`Arm ${arm.name} added.`);
  });
  draw();
  return h("div", null, list, h("p", null, add));
}

function baseline() {
  return h("div", { class: "arm fixed" },
    h("div", { class: "arm-name" }, h("span", { class: "key k0", "aria-hidden": "true" }), h("b", null, "none")),
    h("p", { class: "soft" }, "The baseline: no dropout added. Every other arm is compared with it, seed by seed."));
}

function siteLabel(site) {
  return [h("b", null, site.path === "*" ? "every site" : site.path), site.width === null ? null : h("span", { class: "soft" }, site.input ? ` the input, ${site.width}` : ` ${site.width} units`)];
}

const existingText = (rates) => Object.entries(rates).map(([name, rate]) => `${name} ${rateText(rate)}`).join(", ");

function fresh(name, arms, own) {
  const taken = new Set(["none", ...arms.filter((arm) => arm !== own).map((arm) => arm.name)]);
  if (!taken.has(name)) return name;
  let number = 2;
  while (taken.has(`${name} (${number})`)) number += 1;
  return `${name} (${number})`;
}

/** Say what is wrong with the arms, or null. */
export function problemOf(arms) {
  if (arms.length === 0) return "Add an arm with dropout: without one there is nothing to compare.";
  const names = new Set(["none"]);
  for (const arm of arms) {
    const name = arm.name.trim();
    if (!name) return "Every arm needs a name.";
    if (names.has(name)) return `Two arms are called “${name}”; give one of them another name.`;
    names.add(name);
    if (!changes(arm)) return `Arm “${name}” has no dropout anywhere; move one of its sliders.`;
  }
  return null;
}
