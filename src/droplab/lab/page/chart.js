// Curves over epochs or rates, drawn by uPlot at most once per animation frame.

import { h } from "./dom.js";
import { dashOf, colourOf, onTheme, theme } from "./palette.js";

const MOST_BANDS = 5;
const MOST_LABELS = 8;
const LABEL_GAP = 14;
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

/**
 * A chart with one line a series.
 *
 * options: title, note, label (of the x axis), describe (text alternative), tick(value) -> text of
 * the y axis, xs "epochs" | "rates", height, crosshair (follows the pointer), onfocus(index | null),
 * onmove(x index | null).
 * `show({x, lines, range})` draws; a line is {name, place, mean, sd?, dash?, dots?}.
 */
export function chart(options) {
  const stage = h("div", { class: "plot", role: "img", "aria-label": options.describe ?? options.title });
  const title = h("span", { class: "plot-title" }, options.title);
  const note = h("span", { class: "plot-note" }, options.note ?? "");
  const figure = h("figure", { class: "chart" }, h("figcaption", null, title, note), stage);
  const state = { plot: null, now: null, focus: null, frame: 0, width: 0, at: null };
  const mark = h("div", { class: "plot-mark", hidden: true });

  const draw = () => {
    state.frame = 0;
    const width = Math.floor(stage.clientWidth);
    if (!state.now || width < 40) return;
    const { x, lines } = state.now;
    const data = [x, ...lines.map((line) => line.mean)];
    const key = lines.map((line) => `${line.name}/${line.place}/${line.dash ?? ""}`).join("|");
    if (!state.plot || state.key !== key) {
      state.plot?.destroy();
      state.key = key;
      state.plot = new uPlot(settings(options, state, width), data, stage);
      state.plot.over.append(mark);
      refocus();
    } else {
      if (state.width !== width) state.plot.setSize({ width, height: heightOf(options, width) });
      state.plot.setData(data);
    }
    state.width = width;
    place();
  };
  const place = () => {
    mark.hidden = state.at === null || !state.plot;
    if (!mark.hidden) mark.style.transform = `translateX(${Math.round(state.plot.valToPos(state.now.x[state.at], "x"))}px)`;
  };
  const schedule = () => { state.frame ||= requestAnimationFrame(draw); };
  const refocus = () => {
    if (!state.plot) return;
    state.plot.setSeries(state.focus === null ? null : state.focus + 1, { focus: true }, false);
  };
  const watcher = new ResizeObserver(() => { if (Math.floor(stage.clientWidth) !== state.width) schedule(); });
  watcher.observe(stage);
  const unwatch = onTheme(() => state.plot?.redraw(false, true));

  return {
    figure,
    show(now) { state.now = now; schedule(); },
    rename(text, remark = "") { title.textContent = text; note.textContent = remark; stage.setAttribute("aria-label", `${text}. The values are in the table below.`); },
    /** Mark the place along the x axis that is looked at; null for none. */
    point(index) { if (index !== state.at) { state.at = index; place(); } },
    highlight(index) { if (index !== state.focus) { state.focus = index; refocus(); } },
    destroy() {
      watcher.disconnect();
      unwatch();
      cancelAnimationFrame(state.frame);
      state.plot?.destroy();
    },
  };
}

const heightOf = (options, width) => options.height ?? Math.round(Math.max(220, Math.min(320, width * 0.56)));

function settings(options, state, width) {
  const { lines } = state.now;
  const labels = lines.length <= MOST_LABELS && width > 380 && !options.unlabelled;
  const room = labels ? Math.min(120, 22 + 7.2 * Math.max(...lines.map((line) => line.name.length))) : 14;
  const axis = { stroke: () => theme().soft, font: `12px ${FONT}`, ticks: { show: false }, grid: { stroke: () => theme().grid, width: 1 } };
  return {
    width,
    height: heightOf(options, width),
    padding: [8, room, 0, 0],
    legend: { show: false },
    focus: { alpha: lines.length > 12 ? 0.12 : 0.25 },
    cursor: {
      x: Boolean(options.crosshair),
      y: false,
      drag: { x: false, y: false },
      points: { show: false },
      focus: { prox: 18 },
    },
    scales: { x: { time: false, range: (plot, low, high) => xRange(options, state, low, high) }, y: { range: (plot, low, high) => yRange(state, low, high) } },
    axes: [
      { ...axis, grid: { show: false }, values: (plot, values) => values.map((value) => (value === null ? "" : String(+value.toFixed(2)))), size: 24, label: options.label, labelSize: 18, labelFont: `12px ${FONT}`, labelGap: 0, gap: 6, space: 44, incrs: options.xs === "rates" ? [0.05, 0.1, 0.2, 0.25, 0.5] : [1, 2, 5, 10, 20, 25, 50, 100, 200, 500] },
      { ...axis, size: 52, gap: 6, space: 36, values: (plot, values) => (state.now.range === null ? values.map(() => "") : values.map(options.tick)) },
    ],
    series: [{}, ...lines.map((line) => ({
      label: line.name,
      stroke: () => theme().colours[colourOf(line.place)],
      width: lines.length > 12 ? 1.4 : 2,
      dash: line.dash ?? dashOf(line.place),
      points: { show: (plot, index) => line.dots || countOf(plot.data[index]) < 2, size: 6, fill: () => theme().colours[colourOf(line.place)] },
      spanGaps: line.spans ?? false,
    }))],
    hooks: {
      drawAxes: [(plot) => bands(plot, state)],
      draw: labels ? [(plot) => names(plot, state)] : [],
      setSeries: [(plot, index) => focused(options, state, index)],
      setCursor: [(plot) => options.onmove?.(plot.cursor.left >= 0 ? plot.cursor.idx : null)],
    },
  };
}

const countOf = (values) => values.reduce((sum, value) => sum + (value === null || value === undefined ? 0 : 1), 0);

function focused(options, state, index) {
  const found = index === null ? null : index - 1;
  if (found === state.focus) return;
  state.focus = found;
  options.onfocus?.(found);
}

function xRange(options, state, low, high) {
  if (state.now.xrange) return state.now.xrange;
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function yRange(state, low, high) {
  const [from, to] = state.now.range ?? [low ?? 0, high ?? 1];
  const pad = (to - from) * 0.06 || Math.abs(to) * 0.1 || 0.1;
  return [from >= 0 ? Math.max(0, from - pad) : from - pad, to + pad];
}

/** The spread over seeds behind each line, where there are few lines, or behind the one looked at. */
function bands(plot, state) {
  const { x, lines } = state.now;
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  lines.forEach((line, index) => {
    if (!line.sd || (state.focus === null ? lines.length > MOST_BANDS : state.focus !== index)) return;
    const kept = x.map((_, i) => i).filter((i) => line.mean[i] != null && line.sd[i] != null);
    if (kept.length < 2) return;
    const at = (i, sign) => [plot.valToPos(x[i], "x", true), plot.valToPos(line.mean[i] + sign * line.sd[i], "y", true)];
    ctx.beginPath();
    for (const i of kept) ctx.lineTo(...at(i, 1));
    for (const i of kept.reverse()) ctx.lineTo(...at(i, -1));
    ctx.closePath();
    ctx.globalAlpha = 0.14;
    ctx.fillStyle = theme().colours[colourOf(line.place)];
    ctx.fill();
  });
  ctx.restore();
}

/** The name of each line at its end, moved apart where they would touch. */
function names(plot, state) {
  const { x, lines } = state.now;
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const ends = [];
  lines.forEach((line, index) => {
    let last = line.mean.length - 1;
    while (last >= 0 && (line.mean[last] === null || line.mean[last] === undefined)) last -= 1;
    if (last < 0) return;
    const y = plot.valToPos(line.mean[last], "y", true);
    const within = Math.max(bbox.top, Math.min(bbox.top + bbox.height, y));
    ends.push({ line, index, x: plot.valToPos(x[last], "x", true), y: within });
  });
  ends.sort((one, other) => one.y - other.y);
  const gap = LABEL_GAP * ratio;
  for (let i = 1; i < ends.length; i += 1) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + gap);
  const over = ends.length ? ends.at(-1).y - (bbox.top + bbox.height) : 0;
  if (over > 0) {
    ends.at(-1).y -= over;
    for (let i = ends.length - 2; i >= 0; i -= 1) ends[i].y = Math.min(ends[i].y, ends[i + 1].y - gap);
  }
  ctx.save();
  ctx.font = `600 ${12 * ratio}px ${FONT}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  for (const end of ends) {
    ctx.globalAlpha = state.focus === null || state.focus === end.index ? 1 : 0.3;
    ctx.fillStyle = theme().colours[colourOf(end.line.place)];
    const text = end.line.name.length > 14 ? `${end.line.name.slice(0, 13)}…` : end.line.name;
    ctx.fillText(text, end.x + 7 * ratio, end.y);
  }
  ctx.restore();
}

/**
 * The range that shows what matters: where the first epochs are far off the rest, it follows the
 * rest. `groups` are lists of curves; nulls are passed over.
 */
export function settledRange(groups, { settling = 0.15, cut = 2.2 } = {}) {
  let [low, high, lateLow, lateHigh] = [Infinity, -Infinity, Infinity, -Infinity];
  let reached = 0;
  for (const curves of groups) for (const curve of curves) for (let i = curve.length; i > reached; i -= 1) {
    if (curve[i - 1] !== null && curve[i - 1] !== undefined) { reached = i; break; }
  }
  const from = Math.floor(settling * reached);
  for (const curves of groups) for (const curve of curves) for (let i = 0; i < reached; i += 1) {
    const value = curve[i];
    if (value === null || value === undefined) continue;
    if (value < low) low = value;
    if (value > high) high = value;
    if (i >= from) {
      if (value < lateLow) lateLow = value;
      if (value > lateHigh) lateHigh = value;
    }
  }
  if (low > high) return null;
  const settled = reached >= 8 && high - low > cut * (lateHigh - lateLow) && lateHigh > lateLow;
  return settled ? [lateLow, lateHigh] : [low, high];
}
