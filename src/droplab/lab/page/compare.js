// Two or more runs beside each other: the validation curves of all their arms in one chart.

import { get } from "./api.js";
import { chart, settledRange } from "./chart.js";
import { fill, failure, h, loading, many, segment } from "./dom.js";
import { lastEpoch } from "./live.js";
import { tickText } from "./curves.js";
import { METRICS, familiesOf, learn, spreadText, title, valueText } from "./metrics.js";
import { colourOf } from "./palette.js";

const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
const PATTERNS = ["full line", "dashed", "dotted", "dash and dot"];

/** The panel for some runs, given as they are listed. */
export function comparison(runs) {
  let family = null;
  let all = null;
  const body = h("div");
  const plot = chart({ title: "Validation", label: "epoch", xs: "epochs", height: 340, crosshair: true, tick: (value) => tickText(family, value), onfocus: (index) => highlight(index) });
  const table = h("tbody");
  const head = h("th", { scope: "col" });
  const caption = h("span", null, "After the last epoch of each run, mean over its seeds ± standard deviation");
  const choice = h("div");
  const element = h("section", { class: "panel compare", "aria-labelledby": "h-compare" }, h("h2", { id: "h-compare" }, "Side by side"), body);
  const scroll = h("div", { class: "scroll tall", role: "region", "aria-label": "Table of the compared arms", tabindex: "0" },
    h("table", null, h("caption", null, caption), h("thead", null, h("tr", null, h("th", { scope: "col" }, "arm"), h("th", { scope: "col" }, "run"), head)), table));

  const fetchAll = async () => {
    fill(body, loading());
    try {
      all = await Promise.all(runs.map((run) => get(`/api/runs/${encodeURIComponent(run.id)}`)));
      choose();
      fill(body, runs.length === 1 && h("p", { class: "soft" }, "Choose another run below to see both."), new Set(runs.map((run) => run.recipe)).size > 1 && h("p", { class: "say" }, "These runs follow different recipes. What differs between them is more than dropout."), choice, plot.figure, scroll);
      draw();
    } catch (error) {
      fill(body, failure(error, fetchAll));
    }
  };
  fetchAll();

  /** The choice among the metrics that all of the runs have. */
  function choose() {
    all.forEach(learn);
    const families = familiesOf(all[0]).filter(({ val }) => all.every((data) => data.metrics.some((metric) => metric.name === val)));
    [family] = families;
    fill(choice, segment("Metric", families.map((item) => [item.key, item.text]), family.key, (key) => { family = families.find((item) => item.key === key); draw(); }, true));
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
    head.textContent = METRICS[name].label;
    fill(table, arms.map(({ data, run, arm, place }, index) => {
      const last = lastEpoch(data);
      const value = data.curves[arm][name][last - 1];
      const sd = data.bands[arm][name][last - 1];
      return h("tr", { onmouseenter: () => plot.highlight(index), onmouseleave: () => plot.highlight(null) },
        h("th", { scope: "row" }, h("span", { class: `key k${colourOf(place)}`, "aria-hidden": "true" }), arm),
        h("td", { class: "words" }, h("a", { href: `/runs/${encodeURIComponent(runs[run].id)}` }, runs[run].id), h("small", null, PATTERNS[run % PATTERNS.length])),
        h("td", null, valueText(name, value), h("small", null, sd == null ? "" : `± ${spreadText(name, sd)}`)));
    }));
  }
  function highlight(index) {
    [...table.children].forEach((row, place) => row.classList.toggle("chosen", place === index));
  }
  return { element, destroy: plot.destroy };
}

const padded = (curve, length) => [...curve, ...Array(Math.max(0, length - curve.length)).fill(null)];
