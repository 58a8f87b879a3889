// How long to train, and the bar with the button that starts it.

import { go } from "./app.js";
import { post } from "./api.js";
import { field, h, many, setText } from "./dom.js";

const FEWEST_SEEDS = 6;

/** Seeds and epochs; `draft` is changed in place. */
export function lengthFields(draft, limits, onchange) {
  const number = (key, most) => {
    const input = h("input", { type: "number", min: 1, max: most, step: 1, value: draft[key], inputmode: "numeric", required: true });
    input.addEventListener("input", () => { draft[key] = input.value === "" ? NaN : Number(input.value); remark(); onchange(); });
    return input;
  };
  const seedsNote = h("small", { class: "soft" });
  const remark = () => setText(seedsNote, draft.seeds >= FEWEST_SEEDS
    ? "Each is trained with the same initial weights and order of batches in every arm."
    : `Enough for a look. A verdict at 5 % needs at least ${FEWEST_SEEDS}.`);
  remark();
  return h("div", { class: "row fields" },
    field("Seeds", number("seeds", limits.seeds), seedsNote),
    field("Epochs", number("epochs", limits.epochs), h("small", { class: "soft" }, "The verdict is taken after the last one.")));
}

function lengthProblem(draft, limits) {
  for (const [key, noun] of [["seeds", "seeds"], ["epochs", "epochs"]]) {
    const value = draft[key];
    if (!Number.isInteger(value) || value < 1 || value > limits[key]) return `Choose 1 to ${limits[key]} ${noun}.`;
  }
  return null;
}

/** The bar at the lower edge: what would be trained, and Run. `ask()` gives {arms, problem, order}. */
export function launchBar(draft, limits, ask) {
  const summary = h("p", { class: "launch-what" });
  const problem = h("p", { class: "launch-problem", role: "status" });
  const button = h("button", { type: "submit", class: "button primary" }, "Run");
  const update = () => {
    const { arms, problem: wrong } = ask();
    const why = wrong ?? lengthProblem(draft, limits);
    button.disabled = Boolean(why);
    setText(problem, why ?? "");
    setText(summary, why ? "" : `${many(arms, "arm")} × ${many(draft.seeds, "seed")} × ${many(draft.epochs, "epoch")} = ${many(arms * draft.seeds, "network")} to train`);
  };
  const start = async () => {
    if (button.disabled) return;
    button.disabled = true;
    button.textContent = "Starting…";
    try {
      const { id } = await post("/api/runs", { ...ask().order, seeds: draft.seeds, epochs: draft.epochs });
      go(`/runs/${id}`);
    } catch (error) {
      setText(problem, error.message);
      button.disabled = false;
      button.textContent = "Run";
    }
  };
  const element = h("div", { class: "launch" }, h("div", { class: "launch-text" }, summary, problem), button);
  return { element, update, start };
}
