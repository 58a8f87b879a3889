// The view "Doctor": pasted source, read and never run, and what is wrong with its dropout.

import { post } from "./api.js";
import { announce, failure, fill, h, heading, loading, newId, prose } from "./dom.js";

const MOST = 200_000;
const SEVERITY = { error: ["error", "no"], warning: ["warning", "warn"], note: ["note", ""] };
const EXAMPLE = `import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 256)
        self.fc2 = nn.Linear(256, 10)
        self.dropout = nn.Dropout(50)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.5)
        x = self.fc2(x)
        return F.softmax(self.dropout(x), dim=1)
`;

let kept = "";

export function mount(root) {
  const id = newId("source");
  const area = h("textarea", { id, rows: 16, spellcheck: "false", autocomplete: "off", autocapitalize: "off", wrap: "off", "aria-describedby": `${id}-note`, placeholder: "class Net(nn.Module):\n    …" });
  area.value = kept;
  const button = h("button", { type: "submit", class: "button primary" }, "Examine");
  const sample = h("button", { type: "button", class: "button" }, "Try an example");
  const results = h("div", { "aria-live": "off" });
  const form = h("form", { class: "doctor" },
    h("label", { for: id }, "Python source: a model, or a training loop"), area,
    h("div", { class: "row spread" }, h("div", { class: "row" }, button, sample), h("small", { id: `${id}-note`, class: "soft" }, "Ctrl + Enter examines too")));

  const examine = async () => {
    const text = area.value;
    if (!text.trim()) {
      fill(results, h("p", { class: "say" }, "Paste some source first, or try the example."));
      announce("There is nothing to examine yet.");
      area.focus();
      return;
    }
    if (text.length > MOST) {
      fill(results, failure(new Error("This is more than 200 000 characters. Paste the model and the loop alone, or use `droplab check` on the file.")));
      return;
    }
    button.disabled = true;
    fill(results, loading("Reading"));
    try {
      const found = await post("/api/doctor", { text });
      fill(results, draw(found, area));
      announce(found.checked);
    } catch (error) {
      fill(results, failure(error, examine));
    }
    button.disabled = false;
  };
  area.addEventListener("input", () => { kept = area.value; });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); examine(); }
  });
  sample.addEventListener("click", () => { area.value = EXAMPLE; kept = EXAMPLE; examine(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); examine(); });
  root.append(heading("Is dropout used right?", "Paste a model or a training loop. It is read and never run, and what you paste stays on this machine."), form, results);
}

function draw({ findings, checked }, area) {
  if (findings.length === 0) {
    return h("section", { "aria-label": "Findings" }, h("p", { class: "say yes" }, h("b", null, "Nothing found. "), checked));
  }
  return h("section", { "aria-labelledby": "h-findings" }, h("h2", { id: "h-findings" }, findings.length === 1 ? "One finding" : `${findings.length} findings`),
    h("p", { class: "soft small" }, checked),
    h("ol", { class: "findings" }, findings.map((finding, index) => item(finding, area, findings.findIndex((other) => other.severity === finding.severity) === index))));
}

function item(finding, area, first) {
  const [text, tone] = SEVERITY[finding.severity] ?? [finding.severity, ""];
  const place = finding.line
    ? h("button", { type: "button", class: "link", onclick: () => select(area, finding.line, finding.column) }, `line ${finding.line}`)
    : null;
  return h("li", { class: "finding panel" },
    h("p", { class: "row finding-head" }, h("span", { class: `badge ${tone}` }, text), h("b", null, finding.title), h("span", { class: "soft small" }, finding.code), place),
    finding.source && h("pre", { tabindex: "0" }, h("code", null, finding.source.trim())),
    h("p", null, prose(finding.message)),
    h("p", { class: "fix" }, h("b", null, "Instead: "), prose(finding.fix)),
    first && h("p", { class: "soft small" }, `${text[0].toUpperCase()}${text.slice(1)} means: ${finding.why[0].toLowerCase()}${finding.why.slice(1)}`));
}

/** Select a line of the source and bring it into view. */
function select(area, line, column) {
  const lines = area.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  area.focus();
  area.setSelectionRange(start + Math.max(0, column - 1), start + (lines[line - 1]?.length ?? 0));
  const height = area.scrollHeight / Math.max(lines.length, 1);
  area.scrollTop = Math.max(0, (line - 4) * height);
}
