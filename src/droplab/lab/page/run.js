// The view of one run: how far it is, its curves as they grow, and what came out.

import { go, setTitle } from "./app.js";
import { post } from "./api.js";
import { curvesPanel } from "./curves.js";
import { announce, fill, h, loading, many, setText } from "./dom.js";
import { ended, follow, lastEpoch } from "./live.js";
import { patchPanel, verdictPanel } from "./verdict.js";

/** What the states are called, with the tone of their badge. */
export const STATES = {
  queued: ["waiting", ""], running: ["training", "live"], stopping: ["stopping", ""],
  stopped: ["stopped", ""], done: ["done", "yes"], failed: ["failed", "no"],
};

export function badge(state) {
  const [text, tone] = STATES[state] ?? [state, ""];
  return h("span", { class: `badge ${tone}` }, text);
}

/** "about 40 s", "about 3 min". */
export function timeText(seconds) {
  if (seconds < 10) return "a few seconds";
  if (seconds < 90) return `about ${Math.round(seconds / 5) * 5} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${(seconds / 3600).toFixed(1)} h`;
}

export function mount(root, { match }) {
  const id = match[1];
  let panel = null;
  let state = null;
  let verdictShown = null;
  let message = null;

  const eyebrow = h("p", { class: "eyebrow" });
  const title = h("h1", { tabindex: "-1" }, "Opening the run");
  const lead = h("p", { class: "lead" });
  const also = h("p", { class: "lead also" });
  const bar = progressBar(id, {
    fail: (error) => { message = error.message; draw(); },
    resumed: () => live.restart(),
  });
  const note = h("div", { class: "notes" });
  const charts = h("section", { "aria-label": "Curves" });
  const after = h("div");
  const wait = loading("Opening the run");
  root.append(h("header", { class: "head" }, eyebrow, title, lead, also), wait, bar.element, note, charts, after);
  const live = follow(id, changed);

  function changed(what, why) {
    if (what === "missing") return apart("No such run", `There is no run called ${id} among the lab's runs. It may have been moved or deleted.`);
    if (what === "refused") return apart("This run cannot be shown", why);
    if (what === "lost") {
      bar.lost(true);
      if (!live.data) fill(note, h("p", { class: "say no", role: "alert" }, "The lab does not answer. Trying again…"));
      return undefined;
    }
    bar.lost(false);
    if (what !== "points") message = null;
    if (what === "points") return void panel?.show(live.data);
    if (what === "progress") return void bar.show(live);
    return draw();
  }

  function draw() {
    const { data } = live;
    const { run } = data;
    wait.remove();
    if (!panel) {
      panel = curvesPanel(run.kind);
      fill(charts, panel.element);
    }
    fill(eyebrow, h("b", null, run.recipe), ` · ${run.title} `, h("span", { class: "nowrap" }, badge(run.state)));
    headline(run, data.verdict);
    charts.hidden = run.state === "queued" && lastEpoch(data) === 0;
    bar.show(live);
    panel.show(data);
    drawNotes(data);
    const verdict = ended(run.state) ? data.verdict : null;
    const patch = verdict && data.patch;
    const there = JSON.stringify([verdict, patch, lastEpoch(data) > 0, data.plan]);
    if (there !== verdictShown) {
      verdictShown = there;
      fill(after, verdict && verdictPanel(verdict), patch && patchPanel(patch, verdict), foot(data));
    }
    if (state !== null && state !== run.state) announce(run.state === "done" && verdict ? `Done. ${verdict.headline}` : `The run is ${STATES[run.state]?.[0] ?? run.state}.`);
    state = run.state;
  }

  function headline(run, verdict) {
    const [first, rest] = verdict && run.state === "done" ? headlineParts(verdict.headline) : [];
    const titles = { queued: "Waiting for its turn", running: "Training", stopping: "Stopping", stopped: "Stopped", failed: "This run failed", done: "Done" };
    setText(title, first ?? titles[run.state] ?? run.state);
    setText(lead, first ? unbroken(rest) : run.state === "failed" ? run.message : design(run));
    setText(also, first ? unbroken(verdict.also ?? "") : verdict && ended(run.state) ? `So far: ${verdict.headline}` : "");
    setTitle(first ?? `${titles[run.state] ?? run.state}: ${run.recipe}`);
  }

  function drawNotes(data) {
    const bad = data.members.filter((member) => member.message && member.state !== "done");
    fill(note,
      message && h("p", { class: "say no", role: "alert" }, message),
      data.run.state === "failed" && data.verdict && h("p", { class: "say no" }, data.run.message),
      bad.length > 0 && h("ul", { class: "say no" }, bad.slice(0, 5).map((member) => h("li", null, `${member.arm}, seed ${member.seed}: ${member.message}`)), bad.length > 5 && h("li", null, `and ${bad.length - 5} more`)));
  }

  function foot(data) {
    const report = `/runs/${encodeURIComponent(id)}/report`;
    return h("section", { "aria-labelledby": "h-more" }, h("h2", { id: "h-more" }, "This run"),
      lastEpoch(data) > 0 && h("p", { class: "row no-print" },
        h("a", { class: "button", href: report }, "Open the report"),
        h("a", { class: "button", href: `${report}?download=1`, download: `${id}.html` }, "Download the report"),
        h("a", { class: "button", href: `/runs?compare=${encodeURIComponent(id)}` }, "Compare with another run")),
      data.run.state === "done" && passesForm(id, data),
      h("dl", { class: "facts" }, h("dt", null, "Folder"), h("dd", null, h("code", null, id)), h("dt", null, "Training"), h("dd", null, data.plan ?? design(data.run))));
  }

  /** There is nothing to show of the run: say why, and where to go from here. */
  function apart(what, why) {
    setTitle(what);
    panel?.destroy();
    panel = null;
    fill(root, h("header", { class: "head" }, h("h1", { tabindex: "-1" }, what), h("p", { class: "lead", role: "alert" }, why)),
      h("p", { class: "row" }, h("a", { class: "button", href: "/runs" }, "All runs"), h("button", { class: "button primary", type: "button", onclick: () => go("/experiment") }, "A new experiment")));
    live.close();
    return undefined;
  }

  return () => { live.close(); panel?.destroy(); };
}

/** Predict by many passes with the models of an arm that drops something, and open the page of it. */
function passesForm(id, data) {
  const arms = data.arms.filter((arm) => Object.values(data.rates[arm]).some((rate) => rate > 0));
  if (!arms.length) return null;
  const arm = h("select", { id: "passes-arm" }, arms.map((name) => h("option", { value: name }, name)));
  if (arms.includes(data.verdict?.chosen)) arm.value = data.verdict.chosen;
  const button = h("button", { type: "submit", class: "button" }, "Predict with many passes");
  const said = h("p", { class: "say no", role: "alert", hidden: true });
  const form = h("form", { class: "row no-print" }, h("div", { class: "field inline" }, h("label", { for: "passes-arm" }, "Arm"), arm), button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    said.hidden = true;
    button.textContent = "Predicting, some seconds a seed…";
    try {
      window.location.assign((await post(`/api/runs/${encodeURIComponent(id)}/uncertainty`, { arm: arm.value })).page);
    } catch (error) {
      said.hidden = false;
      setText(said, error.message);
    }
    button.disabled = false;
    button.textContent = "Predict with many passes";
  });
  return h("div", null, form, said);
}

const design = (run) => `${many(run.arms, "arm")}, ${many(run.seeds, "seed")}, ${many(run.epochs, "epoch")}.`;

/** Keep a number and its unit on one line. */
const unbroken = (text) => text.replace(/(\d) (%|points)/g, "$1\u00a0$2");

/** The verdict in a few words, and the rest of its sentence, as the report has it. */
export function headlineParts(headline) {
  const at = headline.indexOf(": ");
  if (at < 0) return [headline, ""];
  const rest = headline.slice(at + 2);
  return [headline.slice(0, at), rest[0].toUpperCase() + rest.slice(1)];
}

function progressBar(id, { fail, resumed }) {
  const meter = h("progress", { max: 1, value: 0, "aria-label": "Progress of the run" });
  const words = h("span");
  const left = h("span", { class: "soft" });
  const how = h("span", { class: "soft" });
  const button = h("button", { type: "button", class: "button" });
  const element = h("div", { class: "progress panel", hidden: true }, h("div", { class: "progress-text" }, words, left, how), meter, button);
  let action = null;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await post(`/api/runs/${encodeURIComponent(id)}/${action}`);
      if (action === "resume") resumed();
    } catch (error) {
      fail(error);
      button.disabled = false;
    }
  });
  const trouble = h("span", { class: "bad" });
  left.after(trouble);

  return {
    element,
    lost(is) { setText(trouble, is ? "Connection lost; trying again…" : ""); },
    show(live) {
      const { run } = live.data;
      const share = run.steps ? run.steps_done / run.steps : 0;
      const epoch = lastEpoch(live.data);
      element.hidden = run.state === "done";
      meter.max = 1;
      meter.value = share;
      const text = {
        queued: "Another run is training; this one begins when it is through.",
        running: epoch ? `Epoch ${epoch} of ${run.epochs}` : live.progress?.what || "Getting ready",
        stopping: "Finishing the step that is under way",
        stopped: `Stopped at ${Math.floor(100 * share)} %. Every finished epoch is kept; resuming goes on to the same bits.`,
        failed: `Came as far as ${Math.floor(100 * share)} %. Every finished epoch is kept; it can be resumed.`,
      }[run.state] ?? "";
      setText(words, text);
      const seconds = live.progress?.seconds_left;
      setText(left, run.state !== "running" ? "" : seconds == null ? `${Math.floor(100 * share)} %` : `${Math.floor(100 * share)} %, ${timeText(seconds)} left`);
      setText(how, run.state === "running" && epoch ? live.progress?.what ?? "" : "");
      const next = run.state === "running" || run.state === "queued" || run.state === "stopping" ? "stop" : "resume";
      if (next !== action || run.state !== element.dataset.state) {
        action = next;
        button.textContent = run.state === "queued" ? "Cancel" : next === "stop" ? "Stop" : "Resume";
        button.className = next === "resume" ? "button primary" : "button";
        button.disabled = run.state === "stopping";
        element.dataset.state = run.state;
      }
      if (ended(run.state)) setText(trouble, "");
    },
  };
}
