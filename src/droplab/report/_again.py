"""The command that makes a run again."""

from __future__ import annotations

from droplab.recipe import builtin_names
from droplab.results import ELSEWHERE, RunResult

PLAN = "plan.json"
"""The file in a run's folder that holds its execution plan."""

_FROM_FILE = "droplab run recipe.toml"
_RECIPE = "the recipe below, which lies as recipe.toml in the run's folder"


def command_of(result: RunResult) -> tuple[str, str]:
    """Return the command that makes a run again in the same way, and what has to be said with it.

    It is the one that made the run, as the command line stored it. Where none is stored, it is one
    that runs the recipe in the run's folder. If the plan of the run lies there, too, the command
    follows it: on a machine of the same kind, the run then comes out to the same bits.
    """
    stored = result.notes.get("command", "")
    if ELSEWHERE in result.notes:
        return stored or "droplab.load_rows(...)", "the same verdict from the same rows"
    if stored == "droplab.sweep(...)":
        return (
            stored,
            f"from Python, with the model, data and optimizer of the caller and {_RECIPE}",
        )
    if result.recipe.loop is not None:
        place = result.recipe.loop.train
        return stored, f"with the training loop {place}, in the version that it had then"
    line, note = stored or _FROM_FILE, ""
    if not stored:
        note = f"with {_RECIPE}"
    elif result.recipe.name.removesuffix("-sweep") not in builtin_names():
        note = f"with the recipe as it was then; {_FROM_FILE} takes {_RECIPE}"
    if stored and "budget" in result.notes:
        line += f" --seeds {','.join(map(str, result.recipe.seeds))},"
    if not (result.path / PLAN).is_file():
        return line, note
    said = (
        f"{PLAN} lies in the run's folder and says how its steps are executed: with it, a machine "
        "of the same kind and the same versions give the same bits"
    )
    return f"{line} --plan {PLAN}", f"{note}; {said}" if note else said
