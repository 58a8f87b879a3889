"""Lightning: a study of a LightningModule, trained by its own Trainer."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droplab import studies
from droplab.errors import ArgumentError, quote
from droplab.importing import optional
from droplab.integrations._told import AnyTrial, told
from droplab.studies import Study, Trial

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "devices": 1,
}
"""Arguments of the Trainer that a study wants others of than a single run."""

Arguments = Mapping[str, Any] | Callable[[Trial], Mapping[str, Any]]


def study(
    make_module: Callable[[], Any],
    make_datamodule: Callable[[], Any] | None,
    folder: str | Path,
    *,
    trainer_arguments: Arguments | None = None,
    example: Any = None,
    **how: Any,
) -> Study:
    """Return a study of a LightningModule; its `run()` fits every arm with every seed.

    Each trial makes the module, puts the arm's dropout into it, makes a Trainer and calls its
    `fit`. After each epoch in which it has validated (or trained, where nothing validates) it
    reports what the module has logged by `self.log` under the names of the study's metrics.

    Args:
        make_module: Returns a new LightningModule.
        make_datamodule: Returns its data: a LightningDataModule, a loader, or loaders for training
            and for validation; None if the module has loaders of its own.
        folder: The study's folder.
        trainer_arguments: What the Trainer is made with; or a function of the trial that returns
            it, for example for a logger that wants `trial.name`. Callbacks of a mapping are copied
            for every trial. Left out, a Trainer here has no logger, no checkpoints and no progress
            bar, and one device.
        example: A batch for `forward`, run once, as `Trial.place` takes it.
        how: As in `droplab.study`: arms, seeds, metrics and the rest.

    Raises:
        BackendError: If Lightning is not installed.
        RecipeError: If a value is impossible.
    """
    _package()
    fit = _Fit(make_module, make_datamodule, trainer_arguments, example)
    return studies.study(folder, train=fit, **how)


def report(trial: AnyTrial) -> Any:
    """Return a callback for the Trainer that reports to a trial of a study.

    For a training function, or a script, of your own: place the module, and give this to the
    Trainer. After each epoch in which the Trainer has validated (or trained, where nothing
    validates) it reports what the module has logged under the names of the study's metrics.

    Args:
        trial: What a study gave, or `droplab.trial()`.

    Returns:
        A `lightning.pytorch.Callback` (of `pytorch_lightning` where that is what is used).

    Raises:
        BackendError: If Lightning is not installed.
    """
    return _callback(_package(), trial)


def _package(module: Any = None) -> Any:
    """Return the package whose Trainer takes a module: Lightning goes by two names."""
    if module is not None:
        roots = {base.__module__.partition(".")[0] for base in type(module).__mro__}
        own = "pytorch_lightning" in roots and "lightning" not in roots
    else:
        own = _PACKAGES[1] in sys.modules and _PACKAGES[0] not in sys.modules
    return optional(*(_PACKAGES[::-1] if own else _PACKAGES), install="droplab[lightning]")


def _callback(package: Any, trial: AnyTrial) -> Any:
    class Report(package.Callback):
        """Tells a trial what was logged."""

        validated = False

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            self.validated = not trainer.sanity_checking

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.enable_validation and not self.validated:
                return
            self.validated = False
            hint = "log it with self.log, in training_step with on_epoch=True"
            told(trial, trainer.callback_metrics, hint)

    return Report()


@dataclass(frozen=True)
class _Fit:
    """Trains one trial."""

    make_module: Callable[[], Any]
    make_datamodule: Callable[[], Any] | None
    arguments: Arguments | None
    example: Any

    @property
    def __wrapped__(self) -> Any:
        """What the training is called after."""
        return self.make_module

    def __call__(self, trial: Trial) -> None:
        module = self.make_module()
        package = _package(module)
        if not isinstance(module, package.LightningModule):
            raise ArgumentError(
                f"make_module: expected a LightningModule, got {quote(module)[:80]}"
            )
        trial.place(module, self.example)
        given = self.arguments or {}
        given = dict(given(trial) if callable(given) else copy.deepcopy(dict(given)))
        callbacks = given.pop("callbacks", None) or []
        callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
        made = {**_QUIET, **given, "callbacks": [*callbacks, _callback(package, trial)]}
        trainer = package.Trainer(**made)
        trainer.fit(module, **self._data())

    def _data(self) -> dict[str, Any]:
        data = None if self.make_datamodule is None else self.make_datamodule()
        if data is None:
            return {}
        if hasattr(data, "train_dataloader"):
            return {"datamodule": data}
        if isinstance(data, (list, tuple)):
            if len(data) != 2:
                raise ArgumentError(
                    "make_datamodule: expected a LightningDataModule, or a loader for training "
                    f"and one for validation, got {len(data)} of them"
                )
            return {"train_dataloaders": data[0], "val_dataloaders": data[1]}
        return {"train_dataloaders": data}
