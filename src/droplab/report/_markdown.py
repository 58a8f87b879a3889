"""The report as GitHub Markdown, for an issue or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from droplab.report import _again as again
from droplab.report import _context as context
from droplab.report import _facts as facts
from droplab.report._figures import Source
from droplab.report._solution import patch
from droplab.results import ELSEWHERE, RunResult
from droplab.verdict import Verdict

_SPECIAL = re.compile(r"([\\`*_{}\[\]|#~$])")


def render_markdown(result: RunResult, verdict: Verdict) -> str:
    """Return the verdict, the tables and the caveats of a run as GitHub Markdown.

    Names and sentences are escaped, so that nothing from a recipe is read as Markdown or HTML.

    Args:
        result: The run.
        verdict: Its verdict, as `droplab.verdict.judge` gives it.
    """
    source = Source.of(result, verdict)
    short, long = context.split_headline(verdict.headline)
    title = f": {escaped(result.recipe.title)}" if result.recipe.title else ""
    parts = [f"## {escaped(short)}", f"**{escaped(result.recipe.name)}**{title}"]
    parts += [escaped(long), escaped(verdict.also)]
    parts += _differences(source)
    parts += [escaped(found.sentence) for found in (verdict.diagnosis, verdict.best) if found]
    parts += _means(source)
    parts += _target(source)
    parts += _test(source)
    parts += ["### What limits the claim", _list(escaped(each) for each in verdict.caveats)]
    parts += ["### What changed between arms: the plan", *_plan(source)]
    parts += ["### What did not", _list(map(_fact, facts.unchanged(result)))]
    parts += ["### Environment", _list(_pair(*each) for each in facts.machine(result, verdict))]
    command, note = again.command_of(result)
    parts += ["### How to reproduce it", _fenced(command, "sh"), escaped(note)]
    change = patch(result, verdict)
    if change.diff or change.note:
        parts += ["### The best arm as a change of source", escaped(change.note)]
    if change.diff:
        parts.append(_fenced(change.diff, "diff"))
    if note and ELSEWHERE not in result.notes:
        parts += ["### Recipe", _fenced(facts.recipe_text(result.recipe), "toml")]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    r"""Return text that Markdown shows as it is, on one line.

    Example:
        >>> print(escaped("a_b | <b>*c*"))
        a\_b \| &lt;b&gt;\*c\*
    """
    plain = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _differences(source: Source) -> list[str]:
    found = context.differences(source)
    if not found["rows"]:
        return []
    heads = ["arm", *found["heads"], f"p ({found['primary']})", "verdict"]
    rows = [
        [
            _name(row),
            *(_two(cell["mean"], cell["interval"]) for cell in row["cells"]),
            row["p"],
            "; ".join(word["text"] for word in row["words"]),
        ]
        for row in found["rows"]
    ]
    return ["### Paired differences", escaped(found["caption"]) + ".", _table(heads, rows)]


def _means(source: Source) -> list[str]:
    found = context.means(source)
    rows = [[_name(row), row["rates"], *map(_spread, row["cells"])] for row in found["rows"]]
    heads = ["arm", "rates", *found["heads"]]
    return ["### Before and after", escaped(found["caption"]) + ".", _table(heads, rows)]


def _target(source: Source) -> list[str]:
    found = context.target(source)
    if found is None:
        return []
    rows = [
        [
            _name(row),
            *(_two(c["reached"], "met" if c["met"] else "missed") for c in row["cells"]),
            "met" if row["met"] else "missed",
        ]
        for row in found["rows"]
    ]
    return [
        "### Target",
        escaped(found["sentence"]),
        _table(["arm", *found["heads"], "target"], rows),
    ]


def _test(source: Source) -> list[str]:
    found = context.test_split(source)
    if found is None:
        return []
    rows = [
        [_name(row), *(_two(c["mean"], c["sd"]) for c in row["cells"])] for row in found["rows"]
    ]
    return [
        "### On the test split",
        escaped(found["sentence"]),
        _table(["arm", *found["heads"]], rows),
    ]


def _plan(source: Source) -> list[str]:
    found = context.plan(source)
    rows = [[row["name"], *row["cells"]] for row in found["rows"]]
    return [escaped(found["caption"]) + ".", _table(["arm", *found["heads"]], rows)]


def _name(row: dict[str, Any]) -> str:
    return f"{row['name']} (chosen)" if row.get("chosen") else str(row["name"])


def _spread(cell: dict[str, str]) -> str:
    return f"{cell['mean']} ± {cell['sd']}" if cell["sd"] else cell["mean"]


def _two(first: str, second: str) -> str:
    if second.startswith("±"):
        return f"{first} {second}"
    return f"{first} ({second})" if second else first


def _fact(fact: facts.Fact) -> str:
    digest = f" `{fact.digest}`" if fact.digest and "`" not in fact.digest else ""
    return _pair(fact.name, fact.value) + digest


def _pair(name: str, value: str) -> str:
    return f"{escaped(name)}: {escaped(value)}".strip()


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(
        f"| {' | '.join(cell if i == 1 else escaped(cell) for cell in line)} |"
        for i, line in enumerate(lines)
    )


def _fenced(text: str, language: str) -> str:
    """Return a block of code, fenced with more backticks than any run of them within."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    end = "" if text.endswith("\n") else "\n"
    return f"{fence}{language}\n{text}{end}{fence}"
