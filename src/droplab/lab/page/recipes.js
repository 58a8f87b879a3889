// Choosing a recipe, and what there is to know about one.

import { announce, h, many, newId, prose } from "./dom.js";
import { METRICS } from "./metrics.js";

/** Cards, one a recipe, as radio buttons. */
export function recipeCards(recipes, chosen, onchange) {
  const name = newId("recipe");
  return h("fieldset", { class: "cards" }, h("legend", null, "Recipe"),
    h("div", { class: "card-grid" }, recipes.map((recipe) => h("label", { class: "card" },
      h("input", { type: "radio", name, value: recipe.name, checked: recipe.name === chosen, onchange: () => onchange(recipe.name) }),
      h("span", { class: "card-body" },
        h("b", null, recipe.name),
        h("span", null, recipe.title),
        h("small", null, h("span", null, recipe.network), h("span", null, many(recipe.epochs, "epoch"))))))));
}

/** The story, the target and the hints. */
export function story(recipe) {
  return h("div", { class: "story" },
    h("div", { class: "prose" }, recipe.story.map((paragraph) => h("p", null, prose(paragraph)))),
    recipe.target && h("p", { class: "say" }, h("b", null, "Target: "), recipe.target),
    hints(recipe.hints));
}

/** Hints, one at a time. */
export function hints(texts, fetchOne) {
  const count = typeof texts === "number" ? texts : texts.length;
  if (!count) return null;
  let shown = 0;
  const list = h("ol", { class: "hints" });
  const button = h("button", { type: "button", class: "button" });
  const label = () => {
    button.textContent = shown === 0 ? "Show a hint" : "Show another hint";
    button.append(h("span", { class: "soft" }, ` ${count - shown} left`));
    button.hidden = shown >= count;
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const text = fetchOne ? await fetchOne(shown + 1) : texts[shown];
      shown += 1;
      list.append(h("li", null, prose(text)));
      announce(`Hint ${shown}: ${text}`);
    } catch (error) {
      announce(error.message);
      button.after(h("span", { class: "bad" }, ` ${error.message}`));
    }
    button.disabled = false;
    label();
    if (button.hidden) {
      list.lastChild.tabIndex = -1;
      list.lastChild.focus();
    }
  });
  label();
  return h("div", { class: "hint-box" }, list, button);
}

/** What is the same in every arm. */
export function facts(recipe) {
  const rows = [
    ["Data", recipe.data],
    ["Network", recipe.network],
    ["Optimizer", recipe.optimizer],
    ["Batch size", String(recipe.batch_size)],
    ["Decides", METRICS[recipe.primary]?.label ?? recipe.primary],
  ];
  return h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}
