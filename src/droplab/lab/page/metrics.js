// What each metric is called and how its numbers are written, as droplab.verdict has them.

import { get } from "./api.js";

/** By name. label: its name in a sentence; unit: "%", "points" or none; higher: whether more of it is better. */
export const METRICS = await get("/api/metrics");

/** Take what the metrics of a run are called from its snapshot. */
export function learn(data) {
  for (const { name, ...metric } of data.metrics) METRICS[name] = metric;
}

/** What can be looked at in a run: each validation metric with its training twins, if it has any. */
export function familiesOf(data) {
  const names = data.metrics.map((metric) => metric.name);
  const there = (name) => (names.includes(name) ? name : undefined);
  return names.filter((name) => name.startsWith("val_") || name === "gap").map((val) => {
    const key = val.replace(/^val_/, "");
    const text = bare(val);
    return { key, text: text[0].toUpperCase() + text.slice(1), val, train: there(`train_${key}`), running: there(`train_${key}_running`) };
  });
}

/** What the gap is the difference of. */
export function gapText(families) {
  const score = families.filter((family) => family.val !== "gap")[1]?.val;
  if (!score) return "";
  return METRICS[score].higher ? `training less validation ${bare(score)}` : `validation less training ${bare(score)}`;
}

const bare = (name) => METRICS[name].label.replace(/^validation /, "");

function places(value, least = 0.01) {
  const size = Math.abs(value);
  if (size >= 100) return 0;
  if (size >= 10) return 1;
  if (size >= 1) return 2;
  return size >= least || size === 0 ? 3 : 4;
}

function fixed(value, digits, plus) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "−" : plus ? "+" : "") + text;
}

/** Write a value. */
export function valueText(name, value) {
  if (value === null || value === undefined) return "–";
  const metric = METRICS[name];
  if (!metric.unit) return fixed(value, places(value), false);
  return `${fixed(100 * value, 1, false)} ${metric.unit}`;
}

/** Write a standard deviation, without its unit. */
export function spreadText(name, value) {
  if (value === null || value === undefined) return "";
  return METRICS[name].unit ? (100 * value).toFixed(2) : value.toFixed(places(value));
}

/** Write a difference with its sign. */
export function differenceText(name, value) {
  if (value === null || value === undefined) return "";
  return METRICS[name].unit
    ? `${fixed(100 * value, 2, true)} points`
    : fixed(value, places(value, 0.0005), true);
}

/** Capital first letter, for titles. */
export function title(name) {
  const { label } = METRICS[name];
  return label[0].toUpperCase() + label.slice(1);
}
