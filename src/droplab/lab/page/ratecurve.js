// The curve of a sweep: the metric over the rate, after the epoch that is looked at.

import { chart } from "./chart.js";
import { fill, h, setText } from "./dom.js";
import { METRICS, title } from "./metrics.js";
import { rateText } from "./arms.js";

/** Group the arms of a sweep into lines over the first site's rate; null if they have no rates. */
export function groupsOf(data) {
  const sites = [...new Set(data.arms.flatMap((arm) => Object.keys(data.rates[arm] ?? {})))];
  const common = data.arms.every((arm) => new Set(sites.map((site) => data.rates[arm]?.[site] ?? 0)).size <= 1);
  const [first, ...rest] = sites;
  const groups = new Map();
  for (const arm of data.arms) {
    const rates = data.rates[arm] ?? {};
    const name = common ? "" : rest.map((site) => `${site} ${rateText(rates[site] ?? 0)}`).join(" · ");
    if (!groups.has(name)) groups.set(name, new Map());
    groups.get(name).set(rates[first] ?? 0, arm);
  }
  return { groups, label: common ? `rate at ${sites.join(" and ")}` : `rate at ${first}` };
}

/** The chart and a sentence that says where it is lowest or highest. */
export function rateCurve() {
  let label = "";
  let plot = null;
  const place = h("div");
  const words = h("p", { class: "curve-words" });
  const element = h("section", { class: "rate-curve panel", "aria-label": "Rate curve" }, place, words);

  const make = (text, tick) => {
    plot?.destroy();
    label = text;
    plot = chart({ title: "", label: text, tick, xs: "rates", height: 300 });
    fill(place, plot.figure);
  };
  return {
    element,
    show(data, name, epoch, write, tick) {
      const { groups, label: text } = groupsOf(data);
      if (text !== label) make(text, tick);
      const x = [...new Set([...groups.values()].flatMap((group) => [...group.keys()]))].sort((one, other) => one - other);
      const value = (kind, arm) => (arm === undefined ? null : data[kind][arm]?.[name]?.[epoch - 1] ?? null);
      const lines = [...groups].map(([group, arms], index) => ({
        name: group, place: index + (groups.size === 1 ? 1 : 0), dots: groups.size <= 12,
        mean: x.map((rate) => value("curves", arms.get(rate))),
        sd: x.map((rate) => value("bands", arms.get(rate))),
        spans: true,
      }));
      plot.rename(`${title(name)} over the rate`, !epoch ? "" : data.once ? "at the end" : `after epoch ${epoch}`);
      plot.show({ x, lines, xrange: [Math.max(0, x[0]), x.at(-1)], range: rangeOf(lines) });
      setText(words, sentence(data, name, epoch, write));
    },
    destroy() { plot?.destroy(); },
  };
}

function rangeOf(lines) {
  const values = lines.flatMap((line) => line.mean.flatMap((mean, index) => (mean === null ? [] : [mean - (line.sd[index] ?? 0), mean + (line.sd[index] ?? 0)])));
  return values.length ? [Math.min(...values), Math.max(...values)] : null;
}

function sentence(data, name, epoch, write) {
  const found = data.arms.map((arm) => [arm, data.curves[arm][name]?.[epoch - 1]]).filter(([, value]) => value !== null && value !== undefined);
  if (found.length === 0) return "The curve appears with the first epoch.";
  const sign = METRICS[name].higher ? -1 : 1;
  const [best, value] = found.reduce((one, other) => (sign * other[1] < sign * one[1] ? other : one));
  const where = best === data.arms[0] ? "without dropout added" : `at ${best}`;
  return `${data.once ? "At the end" : `After epoch ${epoch}`}, ${METRICS[name].label} is ${METRICS[name].higher ? "highest" : "lowest"} ${where}: ${write(value)}.`;
}
