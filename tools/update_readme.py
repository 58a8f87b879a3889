"""Fill the README's measured figures from stored results; `python tools/update_readme.py`.

The demo's table comes from docs/results/demo.json, which is the `--json` document of its run
without the rows of single epochs; `python tools/update_readme.py RUN` takes it, and the picture,
from a finished run first. The speed table comes from the newest rows in benchmarks/results.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "docs" / "results" / "demo.json"
SPEED = ROOT / "benchmarks" / "results"
COLUMNS = {
    "train_accuracy_running": "train, running",
    "train_accuracy": "train",
    "val_accuracy": "validation",
    "gap": "gap",
    "val_loss": "validation loss",
    "val_ece": "calibration error",
}
PAIRED = {
    "val_loss": "validation loss, paired difference",
    "val_loss stopped early": "the same, stopped early",
}


def take(run: Path) -> None:
    """Store what the README shows of a finished run."""
    from droplab.report import figure_png
    from droplab.results import load
    from droplab.verdict import judge

    result = load(run)
    verdict = judge(result)
    document = {
        "recipe": result.recipe.name,
        "digest": result.recipe.digest,
        "cpu": result.environment["cpu"],
        "cores": result.environment["cores"],
        "torch": result.environment["packages"]["torch"],
        "created": result.created,
        "verdict": verdict.to_dict(),
    }
    DEMO.parent.mkdir(exist_ok=True)
    DEMO.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    figure_png(result, verdict, ROOT / "docs" / "images" / "demo.png")


def demo_text(document: dict[str, Any]) -> str:
    """Return headline, table and test result of the demo in Markdown."""
    verdict = document["verdict"]
    lines = [
        f"> {verdict['headline']}",
        "",
        f"| arm | {' | '.join(COLUMNS.values())} | {' | '.join(PAIRED.values())} |",
        f"|---|{'---:|' * (len(COLUMNS) + len(PAIRED))}",
    ]
    for arm in verdict["arms"]:
        cells = [_cell(name, arm["metrics"][name]) for name in COLUMNS]
        cells += [_difference(arm, name) for name in PAIRED]
        lines.append(f"| {arm['name']} | {' | '.join(cells)} |")
    seeds = len(verdict["arms"][0]["seeds"])
    lines += [
        "",
        f"After epoch {verdict['epoch']}, mean ± standard deviation over {seeds} seeds; the "
        "difference with its 95 % interval, simultaneous over the arms and both questions. "
        + " ".join(part["sentence"] for part in (verdict["target"], verdict["test"]) if part)
        + f" ({document['cpu']}, {document['cores']} cores, torch {document['torch']}, "
        f"{verdict['cost']['sentence'].rstrip('.')})",
    ]
    return "\n".join(lines)


def _cell(name: str, summary: dict[str, Any]) -> str:
    if name.endswith("loss"):
        return f"{summary['mean']:.3f} ± {summary['sd']:.3f}"
    return f"{100 * summary['mean']:.1f} ± {100 * summary['sd']:.1f} %"


def _difference(arm: dict[str, Any], name: str) -> str:
    found = arm["differences"].get(name)
    if not found:
        return ""
    if found["low"] is None:
        return f"{found['mean']:+.3f}"
    return f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


MASKS = (
    "torch's own dropout was no faster on two threads than on one on any processor measured here; "
    "a build of torch that draws by MKL on several threads would lower the ratios of the masks"
)


RECENT = 3
"""Runs of which the README shows how far their ratios lie apart."""


def speed_text() -> str:
    """Return the newest row of every benchmark case in Markdown."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    lines = "".join(path.read_text(encoding="utf-8") for path in SPEED.glob("*.jsonl")).splitlines()
    for row in sorted(map(json.loads, lines), key=lambda row: row["date"]):
        if row.get("readme"):
            found.setdefault((row["benchmark"], row["case"], row["rival"]), []).append(row)
    device = sorted({rows[-1]["device"] for rows in found.values()})
    several = len(device) > 1
    lines = [
        f"| what | rival | rival | droplab | ratio | last {RECENT} runs |" + " on |" * several,
        "|---|---|---:|---:|---:|---:|" + "---|" * several,
    ]
    for (_, case, rival), rows in sorted(found.items()):
        row, recent = rows[-1], [row["ratio"] for row in rows[-RECENT:]]
        lines.append(
            f"| {case} | {rival} | {row['theirs']:.3g} {row['unit']} | "
            f"{row['ours']:.3g} {row['unit']} | {row['ratio']:.1f} | "
            + (f"{min(recent):.1f} to {max(recent):.1f} |" if len(recent) > 1 else "|")
            + f" {row['device']} |" * several
        )
    lines += [
        "",
        f"Measured on {', '.join(device)}; each ratio within one run, interleaved; of the last "
        f"{RECENT} runs the lowest and the highest, since these machines were shared with others. "
        f"{MASKS}.",
    ]
    return "\n".join(lines) if found else ""


def filled(text: str) -> str:
    """Return a README with its generated parts written anew."""
    parts = {"speed": speed_text()}
    if DEMO.exists():
        parts["demo"] = demo_text(json.loads(DEMO.read_text(encoding="utf-8")))
    for name, content in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        text = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, b=begin, c=content, e=end: f"{b}\n{c}\n{e}" if c else f"{b}\n{e}",
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    if len(sys.argv) > 1:
        take(Path(sys.argv[1]))
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
