// The charts of a run, with the choice of a metric, the epoch that is looked at, and the table.

import { armTable } from "./armtable.js";
import { chart, settledRange } from "./chart.js";
import { fill, h, segment, setText } from "./dom.js";
import { lastEpoch } from "./live.js";
import { METRICS, familiesOf, gapText, learn, title, valueText } from "./metrics.js";
import { rateCurve } from "./ratecurve.js";

/** Charts and table of a run; `show(data)` after each change, at most once a frame. */
export function curvesPanel(kind) {
  let data = null;
  let families = [];
  let family = null;
  let running = false;
  let chosen = null; // the epoch that the reader chose; null: the last one
  let hovered = null;
  let frame = 0;

  const focus = (index) => {
    for (const item of all) item.highlight(index);
    table.highlight(index);
  };
  const tick = (value) => tickText(family, value);
  const options = { label: "epoch", xs: "epochs", tick, onfocus: (index) => focus(index), onmove: (index) => { hovered = index === null ? null : index + 1; later(); } };
  const training = chart({ ...options, title: "Training" });
  const validation = chart({ ...options, title: "Validation" });
  const rates = kind === "sweep" ? rateCurve() : null;
  const all = [training, validation];
  const table = armTable((index) => focus(index));

  const choice = h("div");
  const box = h("input", { type: "checkbox", onchange: (event) => { running = event.target.checked; later(); } });
  const dropoutOn = h("label", { class: "check" }, box, "Training with dropout on (running mean)");
  const range = h("input", { type: "range", min: 1, max: 1, step: 1, id: "epoch", value: 1 });
  const shown = h("output", { for: "epoch" });
  const latest = h("button", { type: "button", class: "button small-button", onclick: () => { chosen = null; later(); } }, "Latest");
  range.addEventListener("input", () => { chosen = Number(range.value) >= lastEpoch(data) ? null : Number(range.value); later(); });
  const epochs = h("div", { class: "slider epoch" }, h("label", { for: "epoch" }, "Look at epoch"), range, shown, latest);
  const panels = h("div", { class: "panels" }, training.figure, validation.figure);
  const element = h("div", null,
    h("div", { class: "row toolbar" }, choice, dropoutOn),
    rates?.element, panels, epochs, table.element);

  /** The choice of a metric, once it is known which the run has. */
  function choose() {
    learn(data);
    families = familiesOf(data);
    family = families.find((item) => item.key === family?.key) ?? families[0];
    fill(choice, segment("Metric", families.map((item) => [item.key, item.text]), family.key, (key) => {
      family = families.find((item) => item.key === key);
      later();
    }, true));
  }

  function later() { frame ||= requestAnimationFrame(draw); }

  function draw() {
    frame = 0;
    if (!data) return;
    const last = lastEpoch(data);
    const epoch = Math.min(hovered ?? chosen ?? last, last);
    const train = family.train && (running ? family.running : family.train);
    const val = family.val;
    drawCurves(train, val);
    for (const item of all) item.point(hovered === null && chosen === null ? null : epoch - 1);
    training.figure.hidden = !train;
    panels.classList.toggle("one", !train);
    dropoutOn.hidden = !train;
    range.max = Math.max(1, last);
    range.disabled = last < 2;
    epochs.hidden = data.epochs < 2;  // with one epoch there is none to choose
    if (document.activeElement !== range || chosen === null) range.value = chosen ?? last;
    setText(shown, last ? `${chosen ?? last} of ${data.epochs}` : "none yet");
    range.setAttribute("aria-valuetext", `epoch ${chosen ?? last}`);
    latest.hidden = chosen === null;
    table.show(data, train ? [train, val] : [val], epoch);
    rates?.show(data, val, Math.min(chosen ?? last, last), (value) => valueText(val, value), tick);
  }

  function evalMode() {
    return data.train_scored ? `eval mode, on ${data.train_scored} training examples; last epoch: all` : "eval mode";
  }

  function drawCurves(train, val) {
    const x = Array.from({ length: data.epochs }, (_, index) => index + 1);
    const lines = (name) => data.arms.map((arm, place) => ({
      name: arm, place,
      mean: padded(data.curves[arm][name], data.epochs),
      sd: padded(data.bands[arm]?.[name] ?? [], data.epochs),
    }));
    const ofVal = lines(val);
    const ofTrain = train ? lines(train) : [];
    const span = settledRange([ofVal.map((line) => line.mean), ofTrain.map((line) => line.mean)]);
    const xrange = [1, axisEnd(lastEpoch(data), data.epochs)];
    const none = lastEpoch(data) === 0 ? "begins with the first epoch" : "";
    validation.rename(title(val), none || (val === "gap" ? gapText(families) : ""));
    validation.show({ x, lines: ofVal, range: span, xrange });
    if (train) {
      training.rename(title(train), none || (train === family.running ? "dropout on" : evalMode()));
      training.show({ x, lines: ofTrain, range: span, xrange });
    }
  }

  return {
    element,
    show(next) {
      const known = data;
      data = next;
      if (JSON.stringify(known?.metrics) !== JSON.stringify(next.metrics)) choose();
      later();
    },
    destroy() {
      cancelAnimationFrame(frame);
      for (const item of all) item.destroy();
      rates?.destroy();
    },
  };
}

/** The last epoch on the axis: of a long run a part, as long as the curves would be a sliver of it. */
function axisEnd(last, epochs) {
  return [100, 200, 500].find((end) => end < epochs && end > last) ?? Math.max(2, epochs);
}

function padded(curve, length) {
  return curve.length >= length ? curve : [...curve, ...Array(length - curve.length).fill(null)];
}

/** A number on the axis: per cent without places where that is enough. */
export function tickText(family, value) {
  if (!METRICS[family.val].unit) return String(Number(value.toPrecision(6)));
  return `${Number((100 * value).toPrecision(6))}${family.key === "gap" ? "" : " %"}`;
}
