"""Metrics beside those that a task always has: functions of all outputs and targets of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.errors import ArgumentError, DroplabError, quote
from droplab.importing import import_object
from droplab.numeric import real
from droplab.recipe import MetricSpec
from droplab.train.tasks._binary import auroc
from droplab.train.tasks._losses import per_example
from droplab.train.tasks._multilabel import macro_f1
from droplab.train.tasks._task import Terms
from droplab.train.tasks._tokens import IGNORED

MetricFunction = Callable[[Tensor, Tensor], Any]
"""Called as function(outputs, targets), it returns one number."""


class Further(NamedTuple):
    """A metric and the function that measures it.

    Args:
        name: Its name in a score.
        function: Takes outputs (N, ...) and targets (N, ...) of a whole split, on the CPU.
        path: What messages call the function; "" for droplab's own.
        terms: Returns what the metric is the mean of, where it is a mean over examples.
    """

    name: str
    function: MetricFunction
    path: str = ""
    terms: Callable[[Tensor, Tensor], Terms] | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the metric.

        Raises:
            ArgumentError: If a function of one's own fails or returns no number.
        """
        try:
            found = self.function(outputs, targets)
        except Exception as error:
            if isinstance(error, DroplabError) or not self.path:
                raise
            raise ArgumentError(
                f"also_measure.{self.name}: {self.path} fails with {type(error).__name__}: "
                f"{error}; it was called with outputs of shape {tuple(outputs.shape)} and targets "
                f"of shape {tuple(targets.shape)}"
            ) from error
        number = real(found)
        if number is None:
            shape: Any = getattr(found, "shape", None)
            got = quote(found) if shape is None else f"shape {tuple(shape)}"
            raise ArgumentError(
                f"also_measure.{self.name}: expected one number for a whole split from "
                f"{self.path}, got {got}"
            )
        return float(number)


def further(
    specs: Sequence[MetricSpec], task: str, functions: Mapping[str, MetricFunction] | None = None
) -> tuple[Further, ...]:
    """Return what a recipe measures besides, ready to be called.

    Args:
        specs: The recipe's.
        task: Its task.
        functions: Functions of one's own by the name of their metric, where they are at hand.

    Raises:
        ArgumentError: If a function cannot be imported or called.
    """
    found: list[Further] = []
    for spec in specs:
        if spec.path is None:
            own = _OWN.get(task, {}).get(spec.name)
            if own is not None:
                found.append(Further(spec.name, own, terms=_TERMS.get(own)))
            continue
        where = f"also_measure.{spec.name}"
        given: Any = (functions or {}).get(spec.name) or import_object(spec.path, where=where)
        if not callable(given):
            raise ArgumentError(f"{where}: expected a function, got {type(given).__name__}")
        found.append(Further(spec.name, given, spec.path))
    return tuple(found)


def _probabilities(outputs: Tensor) -> Tensor:
    """Return probabilities (N, C) of logits (N, C), or of (N,) those of no and of yes."""
    if outputs.ndim == 2:
        return outputs.double().softmax(1)
    yes = outputs.double().sigmoid()
    return torch.stack((1 - yes, yes), dim=1)


def _confusion(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return (C, C): how many examples of each class (row) are taken for each (column)."""
    probabilities = _probabilities(outputs)
    classes = probabilities.shape[1]
    pairs = targets.long() * classes + probabilities.argmax(1)
    return pairs.bincount(minlength=classes**2).view(classes, classes).double()


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of the recalls of the classes that occur, as scikit-learn has it.

    Args:
        outputs: Logits (N, C), or (N,) of two classes.
        targets: Class numbers (N,).

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
        >>> balanced_accuracy(logits, torch.tensor([0, 0, 1, 1]))
        tensor(0.7500, dtype=torch.float64)
    """
    table = _confusion(outputs, targets)
    counts = table.sum(1)
    return (table.diagonal() / counts)[counts > 0].mean()


def class_macro_f1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over classes of F1; that of a class nobody has or predicts is left out."""
    table = _confusion(outputs, targets)
    either = table.sum(0) + table.sum(1)
    return macro_f1(2 * table.diagonal()[either > 0], either[either > 0])


def brier(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the Brier score: the mean squared error of the probabilities.

    Of several classes, summed over them (Brier 1950, equation 2), from 0 to 2; of two, or of
    labels, of the probability of yes alone, from 0 to 1, as scikit-learn has it.
    """
    return _errors(outputs, targets).mean()


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared errors of the probabilities: (N,), or (N, labels)."""
    if outputs.ndim == 2 and targets.ndim == 1:
        wanted = F.one_hot(targets.long(), outputs.shape[1])
        return (_probabilities(outputs) - wanted).square().sum(1)
    return (outputs.double().sigmoid() - targets.double()).square()


def _brier_terms(outputs: Tensor, targets: Tensor) -> Terms:
    return per_example(_errors(outputs, targets)), None


def nll(outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Return the mean negative log likelihood of the targets, whatever the loss is."""
    if outputs.ndim == targets.ndim + 1:
        logits = outputs.double().movedim(-1, 1)
        return F.cross_entropy(logits, targets.long(), reduction=reduction)
    return F.binary_cross_entropy_with_logits(
        outputs.double(), targets.double(), reduction=reduction
    )


def _nll_terms(outputs: Tensor, targets: Tensor) -> Terms:
    losses = nll(outputs, targets, "none")
    if outputs.ndim == targets.ndim + 1 and targets.ndim > 1:  # tokens, of which some are ignored
        return losses.flatten(1).sum(1), (targets != IGNORED).flatten(1).sum(1).double()
    return per_example(losses), None


_TERMS: Mapping[MetricFunction, Callable[[Tensor, Tensor], Terms]] = {
    brier: _brier_terms,
    nll: _nll_terms,
}
"""Those that are means over examples."""


def class_auroc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the area under the ROC curve of each class against the rest, the mean over classes.

    It is scikit-learn's `roc_auc_score(..., multi_class="ovr")`; a class that does not occur is
    left out of the mean. NaN where a single class occurs.

    Args:
        outputs: Logits (N, C).
        targets: Class numbers (N,).

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
        >>> class_auroc(logits, torch.tensor([0, 1, 1]))
        tensor(0.5000, dtype=torch.float64)
    """
    scores = _probabilities(outputs).T
    found = [auroc(scores[label][None], targets == label) for label in targets.unique()]
    return torch.cat(found).mean()


_CLASSES: Mapping[str, MetricFunction] = {
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": class_macro_f1,
    "brier": brier,
    "nll": nll,
}
_OWN: Mapping[str, Mapping[str, MetricFunction]] = {
    "classification": {**_CLASSES, "auroc": class_auroc},
    "binary": _CLASSES,
    "multilabel": {"brier": brier, "nll": nll},
    "tokens": {"nll": nll},
}
"""What measures the metrics of `droplab.recipe.FURTHER` on a split. That of a regression, "nll", is
made of the errors on two splits: see `gaussian_nll`."""
