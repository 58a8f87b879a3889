// The view "Runs": what is queued, what trains, and what lies on the disk.

import { get } from "./api.js";
import { comparison } from "./compare.js";
import { announce, empty, failure, fill, h, heading, loading, many } from "./dom.js";
import { ended } from "./live.js";
import { badge, headlineParts } from "./run.js";

const EVERY = 3000;

export function mount(root, { query }) {
  const body = h("div");
  const compared = h("div");
  const chosen = new Set((query.get("compare") ?? "").split(",").filter(Boolean));
  let timer = 0;
  let closed = false;
  let shown = "";
  let destroy = null;
  root.append(heading("Runs", "Everything in the lab's folder: what trains now, what waits, and what has been trained, here or on the command line."), compared, body);
  fill(body, loading());
  refresh();

  async function refresh() {
    clearTimeout(timer);
    try {
      const { runs, unreadable = [] } = await get("/api/runs");
      if (closed) return;
      const text = JSON.stringify([runs, unreadable]);
      if (text !== shown) { shown = text; keepFocus(body, () => fill(body, list(runs), broken(unreadable))); }
      if (!document.hidden && runs.some((run) => !ended(run.state))) timer = setTimeout(refresh, EVERY);
      if (!destroy && chosen.size > 0) compare(runs);
    } catch (error) {
      if (!closed) { shown = ""; fill(body, failure(error, refresh)); }
    }
  }

  function compare(runs) {
    destroy?.();
    destroy = null;
    const wanted = runs.filter((run) => chosen.has(run.id));
    history.replaceState(null, "", chosen.size ? `/runs?compare=${[...chosen].map(encodeURIComponent).join(",")}` : "/runs");
    if (wanted.length === 0) return void fill(compared);
    const panel = comparison(wanted);
    destroy = panel.destroy;
    fill(compared, panel.element);
    return undefined;
  }

  function list(runs) {
    if (runs.length === 0) {
      return empty("No runs yet", "What you train here, or with droplab run --out into the same folder, is listed on this page and stays on your disk.",
        h("a", { class: "button primary", href: "/experiment" }, "A first experiment"), h("a", { class: "button", href: "/sweep" }, "A sweep"));
    }
    return h("ul", { class: "runs" }, runs.map((run) => h("li", { class: "run panel", "data-id": run.id },
      h("div", { class: "run-main" },
        h("p", { class: "row run-head" }, h("a", { href: `/runs/${encodeURIComponent(run.id)}` }, run.headline ? `${run.recipe}: ${lowered(headlineParts(run.headline)[0])}` : run.title ?? run.recipe), badge(run.state)),
        run.headline && h("p", { class: "small" }, headlineParts(run.headline)[1]),
        h("p", { class: "soft small" }, `${run.kind === "sweep" ? "sweep" : "experiment"} · ${many(run.arms, "arm")} · ${many(run.seeds, "seed")} · ${many(run.epochs, "epoch")} · ${when(run.created)}`),
        run.message && run.state === "failed" && h("p", { class: "bad small" }, run.message),
        !ended(run.state) && h("progress", { max: 1, value: run.steps ? run.steps_done / run.steps : 0, "aria-label": `Progress of ${run.id}` })),
      h("div", { class: "run-side" },
        h("label", { class: "check" }, h("input", { type: "checkbox", checked: chosen.has(run.id), "aria-label": `Compare ${run.id}`, onchange: (event) => pick(runs, run, event.target.checked) }), "Compare"),
        run.state === "done" && h("a", { href: `/runs/${encodeURIComponent(run.id)}/report` }, "Report"),
        run.state === "done" && h("a", { href: `/runs/${encodeURIComponent(run.id)}/report?download=1`, download: `${run.id}.html` }, "Download")))));
  }

  function pick(runs, run, wanted) {
    chosen[wanted ? "add" : "delete"](run.id);
    compare(runs);
    announce(`${many(chosen.size, "run")} to compare.`);
  }

  const onVisibility = () => { if (!document.hidden) refresh(); };
  document.addEventListener("visibilitychange", onVisibility);
  return () => {
    closed = true;
    clearTimeout(timer);
    destroy?.();
    document.removeEventListener("visibilitychange", onVisibility);
  };
}

/** Folders that look like runs and cannot be read. */
function broken(unreadable) {
  if (unreadable.length === 0) return null;
  return h("details", { class: "say" }, h("summary", null, `${many(unreadable.length, "folder")} could not be read`),
    h("ul", null, unreadable.map((item) => h("li", null, h("b", null, item.id), `: ${item.message}`))));
}

/** Draw anew without taking the focus away from where it was. */
function keepFocus(element, draw) {
  const active = element.contains(document.activeElement) ? document.activeElement : null;
  const id = active?.closest("[data-id]")?.dataset.id;
  const kind = active?.tagName;
  draw();
  if (id) [...element.querySelectorAll("[data-id]")].find((item) => item.dataset.id === id)?.querySelector(kind.toLowerCase())?.focus({ preventScroll: true });
}

/** "No verdict yet" within a sentence; what begins with a quotation mark stays. */
const lowered = (text) => text[0].toLowerCase() + text.slice(1);

/** "today, 14:03", or the date. */
function when(created) {
  const date = new Date(typeof created === "number" ? created * 1000 : created);
  if (Number.isNaN(date.getTime())) return "";
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (date.toDateString() === new Date().toDateString()) return `today, ${time}`;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })}, ${time}`;
}

