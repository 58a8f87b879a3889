// The view "Experiment": a recipe, its arms, and how long to train.

import { getRecipes } from "./api.js";
import { armsEditor, changes, hasExisting, problemOf } from "./arms.js";
import { fill, h, heading, load } from "./dom.js";
import { launchBar, lengthFields } from "./launch.js";
import { facts, recipeCards, story } from "./recipes.js";

const drafts = new Map();

function draftOf(recipe, limits) {
  if (!drafts.has(recipe.name)) {
    drafts.set(recipe.name, {
      arms: recipe.arms.filter(changes).map((arm) => ({ name: arm.name, rates: { ...arm.rates }, existing: arm.existing, named: hasExisting(arm) })),
      seeds: Math.min(recipe.seeds, limits.seeds),
      epochs: Math.min(recipe.epochs, limits.epochs),
    });
  }
  return drafts.get(recipe.name);
}

export function mount(root, { query }) {
  const body = h("div");
  root.append(heading("Does dropout help here?",
    "Choose a recipe, say where dropout goes and how much of it, and look. Nothing else differs between the arms: same initial weights, same order of batches, same everything."), body);
  load(body, getRecipes, ({ recipes, limits }) => {
    const details = h("div");
    const choose = (name) => {
      const recipe = recipes.find((item) => item.name === name) ?? recipes[0];
      history.replaceState(null, "", `/experiment?recipe=${encodeURIComponent(recipe.name)}`);
      fill(details, design(recipe, limits));
    };
    const first = recipes.find((item) => item.name === query.get("recipe")) ?? recipes.find((item) => item.name === "digits") ?? recipes[0];
    fill(details, design(first, limits));
    return [recipeCards(recipes, first.name, choose), details];
  });
}

function design(recipe, limits) {
  const draft = draftOf(recipe, limits);
  const bar = launchBar(draft, limits, () => ({
    arms: draft.arms.length + 1,
    problem: problemOf(draft.arms),
    order: { kind: "experiment", recipe: recipe.name, arms: draft.arms.map((arm) => ({ name: arm.name.trim(), rates: arm.rates, existing: arm.existing })) },
  }));
  const form = h("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); bar.start(); } },
    h("section", { "aria-labelledby": "h-arms" }, h("h2", { id: "h-arms" }, "Arms"),
      h("p", { class: "soft" }, "A site is what goes into a layer. A rate of 0.3 drops three in ten of the values there, anew in every mini-batch."),
      armsEditor(recipe, draft.arms, limits, () => bar.update())),
    h("section", { "aria-labelledby": "h-length" }, h("h2", { id: "h-length" }, "How long"), lengthFields(draft, limits, () => bar.update())),
    bar.element);
  return [
    h("section", { class: "two", "aria-labelledby": "h-story" },
      h("div", null, h("h2", { id: "h-story" }, "The story"), story(recipe)),
      h("aside", { class: "panel", "aria-label": "The same in every arm" }, h("h3", null, "The same in every arm"), facts(recipe))),
    form,
  ];
}
