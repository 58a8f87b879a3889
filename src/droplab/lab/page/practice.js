// The view "Practice": a question, an answer, and then every option run.

import { go, setTitle } from "./app.js";
import { get } from "./api.js";
import { announce, empty, fill, h, heading, load } from "./dom.js";
import { exerciseView } from "./exercise.js";

const LEVELS = { 1: "First steps", 2: "In practice", 3: "In depth" };
let topic = "";
/** What was answered rightly since the page was opened. */
const solved = new Set();

export function mount(root, { query }) {
  const number = Number(query.get("exercise"));
  const body = h("div");
  if (number) {
    root.append(body);
    load(body, () => get("/api/practice"), ({ exercises }) => one(exercises, number));
    return;
  }
  root.append(heading("Practice", "Short questions about dropout. Whatever you answer, every option is then run, and you see what happens."), body);
  load(body, () => get("/api/practice"), ({ exercises }) => list(exercises));
}

const isDone = (exercise) => exercise.done || solved.has(exercise.number);
const address = (exercise) => `/practice?exercise=${exercise.number}`;

function list(exercises) {
  if (exercises.length === 0) return empty("No exercises", "This installation of droplab has none.");
  const topics = [...new Set(exercises.map((exercise) => exercise.topic))].sort();
  const done = exercises.filter(isDone).length;
  const shelves = h("div");
  const draw = () => {
    const chosen = exercises.filter((exercise) => !topic || exercise.topic === topic);
    fill(shelves, Object.entries(LEVELS).map(([level, name]) => {
      const here = chosen.filter((exercise) => exercise.level === Number(level));
      return here.length > 0 && h("section", { "aria-labelledby": `level-${level}` }, h("h2", { id: `level-${level}` }, name),
        h("ul", { class: "exercises" }, here.map((exercise) => h("li", null, h("a", { href: address(exercise) },
          h("span", { class: `tick ${isDone(exercise) ? "done" : ""}`, "aria-hidden": "true" }, isDone(exercise) ? "✓" : ""),
          h("span", null, h("b", null, exercise.title), h("small", null, `${exercise.number} · ${exercise.topic}`)),
          isDone(exercise) && h("span", { class: "sr" }, ", solved"))))));
    }));
  };
  const select = h("select", { id: "topic" }, h("option", { value: "" }, "all topics"), topics.map((name) => h("option", { value: name }, name)));
  select.value = topics.includes(topic) ? topic : "";
  select.addEventListener("change", () => { topic = select.value; draw(); announce(`${shelves.querySelectorAll("li").length} exercises.`); });
  const next = exercises.find((exercise) => !isDone(exercise));
  draw();
  return [
    h("div", { class: "panel practice-top" },
      h("div", { class: "practice-progress" }, h("label", { for: "solved" }, `${done} of ${exercises.length} solved`), h("progress", { id: "solved", max: exercises.length, value: done })),
      next && h("a", { class: "button primary", href: address(next) }, done === 0 ? "Begin" : "Go on"),
      h("div", { class: "field inline" }, h("label", { for: "topic" }, "Topic"), select)),
    shelves,
  ];
}

function one(exercises, number) {
  const place = exercises.findIndex((exercise) => exercise.number === number);
  const exercise = exercises[place];
  if (!exercise) {
    return h("div", null, h("h1", { tabindex: "-1" }, "No such exercise"), h("p", null, h("a", { href: "/practice" }, "All exercises")));
  }
  setTitle(`${exercise.number}. ${exercise.title}`);
  const after = exercises[place + 1];
  const onsolved = () => solved.add(exercise.number);
  const steps = h("nav", { class: "steps", "aria-label": "Exercises" },
    h("a", { href: "/practice" }, "All exercises"),
    h("span", { class: "soft" }, `${place + 1} of ${exercises.length}`));
  const view = exerciseView(exercise, { onsolved, next: after && (() => go(address(after))) });
  const all = [steps, heading(exercise.title, null, [h("b", null, LEVELS[exercise.level] ?? `Level ${exercise.level}`), ` · ${exercise.topic}`]), view];
  requestAnimationFrame(() => { if (document.activeElement === document.body || document.activeElement?.id === "main") document.querySelector("h1")?.focus({ preventScroll: true }); });
  return all;
}
