"""The model that somebody's loop places, without training it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from droplab.errors import RunError
from droplab.recipe import Recipe
from droplab.studies._ended import reason
from droplab.studies._loop_trial import Trial

M = TypeVar("M", bound=nn.Module)


class _Found(BaseException):
    """Ends a loop where it has placed its model."""

    def __init__(self, model: nn.Module, example: Any) -> None:
        self.model, self.example = model, example


class _UpToPlace(Trial):
    """A trial that ends with its first model."""

    def place(self, model: M, example: Any = None) -> M:
        raise _Found(model, example)


def first_placed(recipe: Recipe, train: Callable[[Trial], Any]) -> tuple[nn.Module, Any]:
    """Return the model that a loop places first, and its example, and run it no further.

    Raises:
        RunError: If the loop ends, or fails, before it places one.
    """
    trial = _UpToPlace(recipe, recipe.baseline.name, recipe.seeds[0], lambda _: None)
    trial.open()
    why = "it ended without trial.place"
    try:
        train(trial)
    except _Found as found:
        return found.model, found.example
    except Exception as error:
        why = reason(error)
    finally:
        trial.close()
    raise RunError(f"the loop places no model: {why}")
