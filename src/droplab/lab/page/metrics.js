// What each metric is called and how its numbers are written, as droplab.verdict has them.

import { get } from "./api.js";

/** By name. label: its name in a sentence; unit: "%", "points" or none; higher: whether more of it is better. */
export const METRICS = await get("/api/metrics");

/** What can be looked at: the validation metric and, where there is one, its training twins. */
export const FAMILIES = [
  { key: "loss", text: "Loss", val: "val_loss", train: "train_loss", running: "train_loss_running" },
  { key: "accuracy", text: "Accuracy", val: "val_accuracy", train: "train_accuracy", running: "train_accuracy_running" },
  { key: "ece", text: "Calibration", val: "val_ece" },
  { key: "gap", text: "Gap", val: "gap" },
];

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
