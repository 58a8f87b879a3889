// The pictures of "See it": the network with its units on and off, and a histogram.

import { newId } from "./dom.js";

const DRAWN = 14; // units of a layer that have a circle; all of them have a square
const TALL = 290;

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function picture(width, height, title, words, parts) {
  const id = newId("see");
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": `${id}t ${id}d` },
    svg("title", { id: `${id}t` }, title), svg("desc", { id: `${id}d` }, words), ...parts);
}

const label = (text, x, y, name = "see-text") => svg("text", { x, y, class: name, "text-anchor": "middle" }, text);
const path = (d, name) => svg("path", { d, class: name });

// Four units a digit, the first in the highest bit; no mask keeps all.
const kept = (mask, unit) => !mask || (parseInt(mask[unit >> 2], 16) >> (3 - (unit & 3))) & 1;

const disc = (r) => ({ x, y }) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;

function column(layer, x) {
  const count = Math.min(DRAWN, layer.width);
  return Array.from({ length: count }, (_, i) => ({
    x, y: Math.round(44 + TALL / 2 + (i - (count - 1) / 2) * (TALL / DRAWN)),
    on: kept(layer.mask, Math.floor((i * layer.width) / count)),
  }));
}

function edges(from, to) {
  let d = "";
  for (const a of from) for (const b of to) if (a.on && b.on) d += `M${a.x} ${a.y}L${b.x} ${b.y}`;
  return d;
}

function table(layer, side) {
  let across = Math.ceil(Math.sqrt(layer.width));
  while (layer.width % across && across < 32) across++;
  const cell = Math.min(9, side / across);
  return { across, cell, tall: Math.ceil(layer.width / across) * cell };
}

function squares(layer, x, top, { across, cell }) {
  const size = (cell * 0.84).toFixed(2), d = ["", ""];
  for (let unit = 0; unit < layer.width; unit++) {
    const left = x + ((unit % across) - across / 2) * cell, down = top + Math.floor(unit / across) * cell;
    d[kept(layer.mask, unit) ? 1 : 0] += `M${left.toFixed(1)} ${down.toFixed(1)}h${size}v${size}h-${size}z`;
  }
  return [path(d[0], "see-off"), path(d[1], "see-on")];
}

export function network(layers, wide, words) {
  const width = Math.max(280, wide), space = width / layers.length, side = Math.min(126, space - 10);
  const at = layers.map((_, i) => Math.round((i + 0.5) * space)), top = TALL + 92;
  const columns = layers.map((layer, i) => column(layer, at[i])), parts = [];
  const tables = layers.map((layer) => table(layer, side));
  for (let i = 0; i + 1 < columns.length; i++) {
    const lines = path(edges(columns[i], columns[i + 1]), "see-edge");
    lines.setAttribute("stroke-width", Math.min(0.6 * layers[i].times, 3).toFixed(2));
    parts.push(lines);
  }
  columns.forEach((units, i) => {
    const { width: all, gone } = layers[i];
    parts.push(
      path(units.filter((unit) => !unit.on).map(disc(6)).join(""), "see-hole"),
      path(units.filter((unit) => unit.on).map(disc(7)).join(""), "see-unit"),
      label(i === 0 ? "input" : i + 1 < columns.length ? `hidden ${i}` : "output", at[i], 14, "see-name"),
      label(units.length < all ? `${units.length} of ${all}` : `${all} units`, at[i], 30),
      label(gone ? `${gone} dropped` : "all on", at[i], top - 12),
      ...squares(layers[i], at[i], top, tables[i]));
  });
  return picture(width, top + Math.max(...tables.map((each) => each.tall)),
    "The network: units that stay are filled, dropped ones hollow; below, all as squares", words, parts);
}

export function histogram(found, wide, words) {
  const width = Math.max(280, wide), bottom = 182, top = 12, span = found.high - found.low;
  const places = Math.max(0, 1 - Math.floor(Math.log10(span)));
  const x = (value) => 8 + ((value - found.low) / span) * (width - 16);
  const most = Math.max(...found.counts), each = (width - 16) / found.counts.length;
  const bars = found.counts.map((count, i) => `M${(9 + i * each).toFixed(1)} ${bottom}v${((count / most) * (top - bottom)).toFixed(1)}h${(each - 2).toFixed(1)}V${bottom}z`);
  const line = (name) => path(`M${x(found[name]).toFixed(1)} ${top - 6}V${bottom}`, `see-line see-${name}`);
  return picture(width, 210, "Outputs over masks, against the output in eval mode", words, [
    path(bars.join(""), "see-bars"), path(`M8 ${bottom}H${width - 8}`, "see-axis"),
    ...[0.05, 0.275, 0.5, 0.725, 0.95].map((share) => label((found.low + share * span).toFixed(places).replace("-", "−"), 8 + share * (width - 16), bottom + 18)),
    ...(found.unscaled === null ? [] : [line("unscaled")]), line("eval"), line("mean")]);
}
