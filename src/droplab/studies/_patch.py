"""The chosen arm as a change of the user's own source file, kept with the run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType

from torch import nn

from droplab import models, placement
from droplab.errors import DroplabError
from droplab.importing import is_installed
from droplab.results import RunStore
from droplab.studies._arms import drops_branches
from droplab.studies._experiment import Experiment
from droplab.verdict import choose


def note_patch(experiment: Experiment, store: RunStore) -> None:
    """Keep, as the note "patch", the diff that writes the chosen arm into the model's source.

    Droplab's own networks have no source of the user's to change. Where the source cannot be
    patched, the note "patch refused" says why.
    """
    recipe = experiment.recipe
    name = choose(store.rows(), recipe, store.members())
    if name is None or recipe.model.path in models.BUILTIN:
        return
    arm = recipe.arm(name)
    if arm.existing or arm.schedule is not None or drops_branches(arm):
        why = "drops residual branches, for which torch has no layer; see droplab.nn.DropPath"
        if arm.existing:
            why = "changes rates that the model has; set them where it is built"
        elif arm.schedule is not None:
            why = "changes its rates as it trains, which plain layers do not"
        store.set_note("patch refused", f"'{name}' {why}.")
        return
    rates = {site: p for site, p in experiment.rates[name].items() if p > 0}
    try:
        diff = placement.source_patch(_in_source(experiment), rates, kind=arm.kind)
    except DroplabError as error:
        store.set_note("patch refused", str(error))
    else:
        store.set_note("patch", diff)


def _in_source(experiment: Experiment) -> nn.Module | Callable[..., nn.Module]:
    """Return the model, or the user's function that makes it of an installed class."""
    model, maker = experiment.build(), getattr(experiment.build, "maker", None)
    home = sys.modules[type(placement.inner(model)).__module__]
    installed = is_installed(getattr(home, "__file__", None) or "")
    return maker if installed and isinstance(maker, FunctionType) else model
