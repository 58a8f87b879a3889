"""The best arm as a change of source: the user's own file, or a plain one of the same network."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from droplab.recipe import Recipe
from droplab.results import RunResult
from droplab.verdict import Verdict, as_placed

FILE = "net.py"


@dataclass(frozen=True)
class Patch:
    """What to change in a source file, and what to know of it.

    Args:
        diff: The unified diff; empty if there is none.
        note: Whose file it changes, or why there is no diff.
    """

    diff: str
    note: str


def patch(result: RunResult, verdict: Verdict) -> Patch:
    """Return the change of source that makes the chosen arm; both parts empty where none is."""
    arm = verdict.chosen
    if arm is None:
        return Patch("", "")
    said = f"This puts the dropout of '{arm}' there. "
    if not verdict.arm(arm).helps:
        said += f"'{arm}' is not shown to help. "
    if verdict.best is not None and verdict.best.arm == verdict.baseline:
        said = (
            f"'{verdict.baseline}' is the best arm, so nothing has to be changed. "
            f"'{arm}', the best arm with dropout, would be this. "
        )
    if "patch" in result.notes:
        how = "Apply it with git apply or patch; the model then runs without droplab."
        return Patch(result.notes["patch"], said + how)
    if "patch refused" in result.notes:
        return Patch("", f"It cannot be written by itself: {result.notes['patch refused']}")
    recipe = as_placed(result.recipe, result.notes)
    own = solution(recipe, arm) if arm in {a.name for a in recipe.arms} else None
    if own is None:
        return Patch("", "")
    return Patch(own, said + "The network is droplab's own, written here as a plain file.")


def solution(recipe: Recipe, arm: str) -> str | None:
    """Return the diff that writes an arm's dropout into a plain file of a built-in network.

    Returns:
        The diff, or None if the recipe has a network of the user's, the arm drops nothing, or its
        rates change with the step.

    Example:
        >>> from droplab.recipe import load
        >>> added = [line for line in solution(load("digits"), "0.5").splitlines() if "+  " in line]
        >>> added[0].strip("+ ")
        'self.fc2_dropout = nn.Dropout(p=0.5)'
    """
    if recipe.arm(arm).schedule is not None:
        return None
    rates = {site: p for site, p in recipe.arm(arm).rates.items() if p > 0}
    widths = recipe.model.widths
    sites = {f"fc{i}" for i in range(1, len(widths))}
    if not rates or not set(rates) <= sites or recipe.arm(arm).kind not in (None, "element"):
        return None
    before, after = (source(widths, chosen) for chosen in ({}, rates))
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"a/{FILE}",
        f"b/{FILE}",
    )
    return "".join(lines)


def source(widths: tuple[int, ...], rates: Mapping[str, float]) -> str:
    """Return a file with a network of these widths, with dropout before some of its layers.

    Example:
        >>> print(source((4, 3, 2), {"fc2": 0.5}))
        import torch.nn.functional as F
        from torch import nn
        <BLANKLINE>
        <BLANKLINE>
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1 = nn.Linear(4, 3)
                self.fc2 = nn.Linear(3, 2)
                self.fc2_dropout = nn.Dropout(p=0.5)
        <BLANKLINE>
            def forward(self, x):
                x = x.flatten(1)
                x = F.relu(self.fc1(x))
                return self.fc2(self.fc2_dropout(x))
        <BLANKLINE>
    """
    made: list[str] = []
    called: list[str] = []
    last = len(widths) - 1
    for number, (wide, narrow) in enumerate(pairwise(widths), start=1):
        name, x = f"fc{number}", "x"
        made.append(f"self.{name} = nn.Linear({wide}, {narrow})")
        if name in rates:
            made.append(f"self.{name}_dropout = nn.Dropout(p={rates[name]!r})")
            x = f"self.{name}_dropout(x)"
        call = f"self.{name}({x})"
        called.append(f"return {call}" if number == last else f"x = F.relu({call})")
    lines = [
        "import torch.nn.functional as F",
        "from torch import nn",
        "",
        "",
        "class Net(nn.Module):",
        "    def __init__(self):",
        *(f"        {line}" for line in ("super().__init__()", *made)),
        "",
        "    def forward(self, x):",
        *(f"        {line}" for line in ("x = x.flatten(1)", *called)),
        "",
    ]
    return "\n".join(lines)
