// The table of arms: legend of the charts, and their values as text.

import { fill, h, setText } from "./dom.js";
import { METRICS, differenceText, spreadText, title, valueText } from "./metrics.js";
import { colourOf } from "./palette.js";
import { rateText } from "./arms.js";

/** "fc2 0.3 · fc3 0.3", or "no dropout added": the model may have its own. */
export function ratesText(rates) {
  const parts = Object.entries(rates ?? {}).filter(([, rate]) => rate > 0).map(([site, rate]) => `${site} ${rateText(rate)}`);
  return parts.length ? parts.join(" · ") : "no dropout added";
}

/** A table with one row an arm. `onfocus(index | null)` is called as arms are looked at. */
export function armTable(onfocus) {
  const caption = h("span");
  const head = h("thead");
  const body = h("tbody");
  const table = h("table", { class: "arms-table" }, h("caption", null, caption), head, body);
  const element = h("div", { class: "scroll tall", role: "region", "aria-label": "Table of arms", tabindex: "0" }, table);
  let rows = [];
  let key = "";
  let pinned = null;
  const look = (index) => onfocus(index ?? pinned);

  const build = (data, columns) => {
    fill(head, h("tr", null, h("th", { scope: "col" }, "arm"), columns.map((column) => h("th", { scope: "col" }, column.text)), h("th", { scope: "col" }, "seeds")));
    rows = data.arms.map((arm, index) => {
      const cells = columns.map(() => ({ value: h("span"), small: h("small") }));
      const seeds = h("td");
      const button = h("button", { type: "button", class: "arm-button", "aria-pressed": "false", onclick: () => pin(index), onfocus: () => look(index), onblur: () => look(null) },
        h("span", { class: `key k${colourOf(index)}`, "aria-hidden": "true" }), arm);
      const row = h("tr", { onmouseenter: () => look(index), onmouseleave: () => look(null) },
        h("th", { scope: "row" }, button, h("small", null, ratesText(data.rates[arm]))),
        cells.map((cell) => h("td", null, cell.value, cell.small)), seeds);
      return { row, cells, seeds, button };
    });
    fill(body, rows.map((item) => item.row));
    pinned = null;
  };
  const pin = (index) => {
    pinned = pinned === index ? null : index;
    rows.forEach((item, place) => item.button.setAttribute("aria-pressed", String(place === pinned)));
    look(null);
  };

  return {
    element,
    /** Show the values after an epoch, from 1. */
    show(data, names, epoch) {
      const columns = columnsOf(names);
      const now = `${data.arms.join("|")}/${names.join("|")}`;
      if (now !== key) { key = now; build(data, columns); }
      setText(caption, epoch ? `${data.once ? "At the end" : `After epoch ${epoch} of ${data.epochs}`}, mean over the seeds ± standard deviation` : "Nothing measured yet");
      data.arms.forEach((arm, index) => {
        columns.forEach((column, place) => {
          const { value, small } = rows[index].cells[place];
          const [text, remark] = column.write(data, arm, epoch);
          setText(value, text);
          setText(small, remark);
        });
        setText(rows[index].seeds, `${data.counts[arm][epoch - 1] ?? 0} of ${data.seeds.length}`);
      });
    },
    /** Mark the row of the arm whose curve is looked at. */
    highlight(index) {
      rows.forEach((item, place) => item.row.classList.toggle("chosen", place === index));
    },
  };
}

const at = (data, kind, arm, name, epoch) => data[kind][arm]?.[name]?.[epoch - 1];

function columnsOf(names) {
  const columns = names.map((name) => ({
    text: METRICS[name].label,
    write: (data, arm, epoch) => {
      const value = at(data, "curves", arm, name, epoch);
      const sd = at(data, "bands", arm, name, epoch);
      return [valueText(name, value), value == null || sd == null ? "" : `± ${spreadText(name, sd)}`];
    },
  }));
  const deciding = names.at(-1);
  columns.push({
    text: `against the baseline`,
    write: (data, arm, epoch) => {
      const [base] = data.arms;
      const value = at(data, "curves", arm, deciding, epoch);
      const other = at(data, "curves", base, deciding, epoch);
      if (arm === base || value == null || other == null) return ["–", ""];
      const paired = data.counts[arm][epoch - 1] === data.counts[base][epoch - 1];
      return [differenceText(deciding, value - other), paired ? "" : "over other seeds"];
    },
  });
  return columns;
}

/** A title for a chart of this metric. */
export const chartTitle = (name) => title(name);
