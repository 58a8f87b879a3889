// A verdict and the change it stands for, as the server words them.

import { copyButton, h } from "./dom.js";
import { colourOf } from "./palette.js";

/** Everything about the verdict but its headline, which is the page's title. */
export function verdictPanel(verdict) {
  return [
    verdict.table?.length > 0 && h("section", { "aria-labelledby": "h-table" },
      h("h2", { id: "h-table" }, "Verdict"), table(verdict), verdict.best && h("p", null, verdict.best)),
    said("Does the baseline overfit?", verdict.diagnosis),
    said("Target", verdict.target),
    said("On the test split", verdict.test),
    verdict.caveats?.length > 0 && h("section", { "aria-labelledby": "h-limits" },
      h("h2", { id: "h-limits" }, "What limits the claim"), h("ul", null, verdict.caveats.map((text) => h("li", null, text))),
      verdict.cost && h("p", { class: "soft small" }, verdict.cost)),
  ];
}

function said(title, text) {
  if (!text) return null;
  return h("section", null, h("h2", null, title), h("p", { class: "say" }, text));
}

function table(verdict) {
  const cellsOf = (row) => verdict.columns.map(({ metric }) => row.cells.find((cell) => cell.metric === metric));
  return h("div", { class: "scroll", role: "region", "aria-label": "Table of the verdict", tabindex: "0" },
    h("table", null,
      h("caption", null, h("span", null, `After the last epoch: mean over the ${verdict.unit}s, and the difference to the baseline, paired by ${verdict.unit}, with its interval ${verdict.at_once}`)),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "arm"), verdict.columns.map(({ label }) => h("th", { scope: "col" }, label)), h("th", { scope: "col" }, "verdict"))),
      h("tbody", null, verdict.table.map((row, index) => h("tr", null,
        h("th", { scope: "row" }, h("span", { class: `key k${colourOf(index)}`, "aria-hidden": "true" }), row.arm, h("small", null, row.rates)),
        cellsOf(row).map((cell) => h("td", null, cell.mean ?? "–",
          cell.difference && h("small", { class: cell.better === true ? "good" : cell.better === false ? "bad" : null }, cell.difference),
          cell.low && cell.high && h("small", null, `${cell.low} to ${cell.high}`))),
        h("td", null, row.words.map(({ text, tone }) => h("span", { class: `badge ${tone}` }, text))))))));
}

const helps = (verdict) => verdict?.table.some((row) => row.arm === verdict.chosen && row.helps);

/** The solution: the best arm as plain lines in the model's own source. */
export function patchPanel(patch, verdict) {
  const tone = (line) => (/^\+(?!\+\+ )/.test(line) ? "add" : /^-(?!-- )/.test(line) ? "del" : null);
  return h("section", { "aria-labelledby": "h-patch" },
    h("h2", { id: "h-patch" }, helps(verdict) ? "The solution, in your own source" : "The change, in your own source"),
    h("p", null, verdict?.chosen ? `The arm '${verdict.chosen}' as plain ` : "The chosen arm as plain ", h("code", null, "nn.Dropout"), " lines. Apply it with ", h("code", null, "git apply"), "; droplab is not needed to run the model."),
    h("div", { class: "code-box" }, copyButton(patch),
      h("pre", { tabindex: "0" }, h("code", null, patch.replace(/\n$/, "").split("\n").map((line) => [h("span", { class: tone(line) }, line), "\n"])))));
}
