// One exercise: question, code, options, hints, and what happened when the options were run.

import { get, post } from "./api.js";
import { announce, failure, fill, h, loading, newId, prose } from "./dom.js";
import { hints } from "./recipes.js";

export function exerciseView(exercise, { onsolved, next }) {
  const name = newId("option");
  const type = exercise.several ? "checkbox" : "radio";
  const results = h("div", { class: "results" });
  const button = h("button", { type: "submit", class: "button primary" }, "Run all options");
  const ask = h("p", { class: "soft", role: "status" });
  const boxes = Object.entries(exercise.options).map(([letter, text]) => {
    const input = h("input", { type, name, value: letter });
    const outcome = h("span", { class: "outcome" });
    const label = h("label", { class: "option" }, input,
      h("span", { class: "letter" }, letter),
      h("span", { class: "option-text" }, exercise.kind === "code" ? h("pre", null, h("code", null, text)) : prose(text), outcome));
    return { letter, input, outcome, label };
  });
  const chosen = () => boxes.filter((box) => box.input.checked).map((box) => box.letter);
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); answer(); } },
    h("fieldset", { class: "options" }, h("legend", null, exercise.several ? "Choose all that hold" : "Choose one"), boxes.map((box) => box.label)),
    h("div", { class: "row" }, button, ask));

  async function answer() {
    const letters = chosen();
    if (letters.length === 0) {
      ask.textContent = exercise.several ? "Choose at least one option first." : "Choose an option first.";
      boxes[0].input.focus();
      return;
    }
    ask.textContent = "";
    button.disabled = true;
    fill(results, loading("Running every option"));
    try {
      const result = await post(`/api/practice/${exercise.number}`, { answer: letters.join("") });
      if (result.correct) onsolved();
      show(result);
    } catch (error) {
      fill(results, failure(error, answer));
    }
    button.disabled = false;
    button.textContent = "Run again";
  }

  function show(result) {
    for (const box of boxes) {
      const outcome = result.options.find((option) => option.letter === box.letter);
      const holds = outcome?.holds;
      box.label.classList.toggle("right", holds === true);
      box.label.classList.toggle("wrong", holds === false && box.input.checked);
      fill(box.outcome, outcome && h("span", { class: holds === true ? "good" : holds === false ? "bad" : "soft" }, holds === true ? "✓ holds. " : holds === false ? "✗ does not hold. " : "undecided. "),
        prose(outcome?.happened), outcome?.printed && h("pre", { tabindex: "0" }, h("code", null, outcome.printed.trimEnd())));
    }
    const title = h("h2", { tabindex: "-1" }, titleOf(result));
    fill(results, h("section", { class: `say ${result.correct === true ? "yes" : result.correct === false ? "no" : ""}` }, title,
      result.undecided && h("p", null, result.undecided),
      result.explanation.split("\n\n").map((text) => h("p", null, prose(text)))),
    result.mistakes.length > 0 && h("section", null, h("h3", null, "Where people go wrong"), h("ul", null, result.mistakes.map((text) => h("li", null, prose(text))))),
    result.printed && h("section", null, h("h3", null, "What the code printed"), h("pre", { tabindex: "0" }, h("code", null, result.printed.trimEnd()))),
    h("p", { class: "soft small" }, `Run with torch ${result.torch} in ${result.seconds.toFixed(1)} s.`),
    next && h("p", null, h("button", { type: "button", class: "button primary", onclick: next }, "Next exercise")));
    announce(titleOf(result));
    title.focus({ preventScroll: true });
    title.scrollIntoView({ block: "nearest" });
  }

  return h("div", { class: "exercise" },
    h("div", { class: "prose question" }, exercise.question.split("\n\n").map((text) => h("p", null, prose(text)))),
    exercise.code && h("pre", { tabindex: "0", "aria-label": "Code" }, h("code", null, exercise.code)),
    form,
    hints(exercise.hints, async (place) => (await get(`/api/practice/${exercise.number}/hints/${place}`)).hint),
    results);
}

function titleOf(result) {
  const right = result.right.join(" and ");
  if (result.correct === true) return `Right: ${right}`;
  if (result.correct === false) return `Not ${result.answer.join(" and ")}: the run says ${right}`;
  return "The run could not tell";
}
