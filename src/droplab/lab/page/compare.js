// Two or more runs beside each other: what differs, the validation curves of all their arms in one
// chart, and what each arm came to. The words and numbers are those of `droplab compare`.

import { get } from "./api.js";
import { chart, settledRange } from "./chart.js";
import { fill, failure, h, loading, many, segment } from "./dom.js";
import { tickText } from "./curves.js";
import { familiesOf, learn, title } from "./metrics.js";
import { colourOf } from "./palette.js";

const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
const PATTERNS = ["full line", "dashed", "dotted", "dash and dot"];

/** The panel for some runs, given as they are listed. */
export function comparison(runs) {
  let family = null;
  let all = null;
  const body = h("div");
  const plot = chart({ title: "Validation", label: "epoch", xs: "epochs", height: 340, crosshair: true, tick: (value) => tickText(family, value), onfocus: (index) => highlight(index) });
  const choice = h("div");
  let rows = [];
  const element = h("section", { class: "panel compare", "aria-labelledby": "h-compare" }, h("h2", { id: "h-compare" }, "Side by side"), body);

  const fetchAll = async () => {
    fill(body, loading());
    try {
      const ids = runs.map((run) => encodeURIComponent(run.id));
      let found;
      [found, ...all] = await Promise.all([get(`/api/compare?runs=${ids.join(",")}`), ...ids.map((id) => get(`/api/runs/${id}`))]);
      choose();
      fill(body, runs.length === 1 && h("p", { class: "soft" }, "Choose another run below to see both."),
        found.sentences.map((sentence) => h("p", { class: "say" }, sentence)), differing(found),
        family && [choice, plot.figure], everyArm(found), pooled(found));
      if (family) draw();
    } catch (error) {
      fill(body, failure(error, fetchAll));
    }
  };
  fetchAll();

  /** The choice among the metrics that all of the runs have. */
  function choose() {
    all.forEach(learn);
    const families = familiesOf(all[0]).filter(({ val }) => all.every((data) => data.metrics.some((metric) => metric.name === val)));
    [family = null] = families;
    if (family) fill(choice, segment("Metric", families.map((item) => [item.key, item.text]), family.key, (key) => { family = families.find((item) => item.key === key); draw(); }, true));
  }

  function draw() {
    const name = family.val;
    const arms = all.flatMap((data, run) => data.arms.map((arm, place) => ({ data, run, arm, place })));
    const length = Math.max(...all.map((data) => data.epochs), 2);
    const x = Array.from({ length }, (_, index) => index + 1);
    const lines = arms.map(({ data, run, arm, place }) => ({
      name: arm, place, dash: DASHES[run % DASHES.length],
      mean: padded(data.curves[arm][name], length), sd: padded(data.bands[arm][name], length),
    }));
    plot.rename(title(name), `${many(all.length, "run")}`);
    plot.show({ x, lines, xrange: [1, length], range: settledRange([lines.map((line) => line.mean)]) });
  }

  /** Every arm of every run, in the order of the lines. */
  function everyArm(found) {
    let line = -1;
    rows = all.flatMap((data, run) => data.arms.map((arm, place) => {
      line += 1;
      const index = line;
      const row = found.arms.find((each) => each.letter === found.runs[run].letter && each.arm === arm);
      return h("tr", { onmouseenter: () => plot.highlight(index), onmouseleave: () => plot.highlight(null) },
        h("th", { scope: "row" }, h("span", { class: `key k${colourOf(place)}`, "aria-hidden": "true" }), arm, h("small", null, row?.rates)),
        h("td", { class: "words" }, h("a", { href: `/runs/${encodeURIComponent(runs[run].id)}` }, `${found.runs[run].letter} ${runs[run].id}`), h("small", null, PATTERNS[run % PATTERNS.length])),
        h("td", null, row?.word ?? "–"), h("td", null, row?.difference || "–"),
        found.metrics.map((_, at) => cell(row?.cells[at])));
    }));
    return region("Table of the compared arms", "After the last epoch of each run, mean over its seeds ± standard deviation; each verdict is that of its run",
      ["arm", "run", "verdict", "difference", ...found.metrics], rows);
  }
  function highlight(index) {
    rows.forEach((row, place) => row.classList.toggle("chosen", place === index));
  }
  return { element, destroy: plot.destroy };
}

/** What differs between the runs, a value a row. */
function differing({ runs, differing }) {
  if (differing.length === 0) return null;
  return region("Table of what differs", "What differs", ["what", ...runs.map((run) => `${run.letter} ${run.name}`)],
    differing.map((row) => h("tr", null, h("th", { scope: "row" }, row.what), row.values.map((value) => h("td", { class: "words" }, value || "–")))));
}

/** The arms over the seeds of all runs, where these differ in seeds alone. */
function pooled({ pooled, metrics }) {
  if (pooled.length === 0) return null;
  return region("Table of all seeds", "Over the seeds of all", ["arm", "seeds", "verdict", "difference", ...metrics],
    pooled.map((row) => h("tr", null, h("th", { scope: "row" }, row.arm), h("td", null, row.seeds), h("td", null, row.word || "–"), h("td", null, row.difference || "–"), row.cells.map(cell))));
}

/** A mean with its spread below it. */
const cell = (text) => {
  const [mean, spread] = (text || "–").split(" ± ");
  return h("td", null, mean, spread && h("small", null, `± ${spread}`));
};

const region = (label, caption, heads, rows) =>
  h("div", { class: "scroll tall", role: "region", "aria-label": label, tabindex: "0" },
    h("table", null, h("caption", null, h("span", null, caption)), h("thead", null, h("tr", null, heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", null, rows)));

const padded = (curve, length) => [...curve, ...Array(Math.max(0, length - curve.length)).fill(null)];
