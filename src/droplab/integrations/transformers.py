"""The Trainer of Hugging Face: a study of a model that it trains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from droplab import studies
from droplab.errors import ArgumentError, PlacementError, nearest, quote
from droplab.importing import optional
from droplab.integrations._told import AnyTrial, told
from droplab.numeric import real
from droplab.placement import rates
from droplab.studies import Study, Trial

_QUIET = {
    "eval_strategy": "epoch",
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}
"""Training arguments that a study wants others of than a single run."""

_MOVED = 0.4765625
"""A rate that no configuration has: what follows it is what a field sets."""

Arguments = Mapping[str, Any] | Callable[[Trial], Mapping[str, Any]]


def study(
    model_init: Callable[[], nn.Module],
    folder: str | Path,
    *,
    training_arguments: Arguments | None = None,
    trainer_arguments: Arguments | None = None,
    trainer: Callable[..., Any] | None = None,
    example: Any = None,
    **how: Any,
) -> Study:
    """Return a study of a model that the Trainer trains; its `run()` does so for arms and seeds.

    The Trainer builds the model by `model_init`, twice, the arm's dropout in it, and its `seed` and
    `data_seed` are the trial's. After each evaluation it reports what was measured, and logged
    before (`loss`), under the names of the study's metrics, such as `eval_loss`.

    Args:
        model_init: Returns a new model, as the Trainer wants it.
        folder: The study's folder.
        training_arguments: Arguments of `TrainingArguments`, or a function of the trial that
            returns them. Left out, there is an evaluation an epoch, nothing is saved, and the
            output folder is one a trial in the study's folder.
        trainer_arguments: Further arguments of the Trainer, or a function of the trial that returns
            them: `train_dataset`, `eval_dataset`, `compute_metrics`, `data_collator`, `callbacks`
            and so on.
        trainer: The class of Trainer; None for `transformers.Trainer`.
        example: A batch, run once, as `Trial.place` takes it.
        how: As in `droplab.study`: arms, seeds, metrics and the rest.

    Raises:
        BackendError: If transformers is not installed.
        RecipeError: If a value is impossible.
    """
    _package()
    out = str(Path(folder) / "trainer")
    train = _Train(model_init, training_arguments, trainer_arguments, trainer, example, out)
    return studies.study(folder, train=train, **how)


def report(trial: AnyTrial) -> Any:
    """Return a callback for the Trainer that reports each evaluation to a trial of a study.

    For a training function, or a script, of your own: place the model, give this to the Trainer,
    and `trial.seed` to its `seed`. What was evaluated before the first step, or after training, is
    not reported.

    Args:
        trial: What a study gave, or `droplab.trial()`.

    Returns:
        A `transformers.TrainerCallback`.

    Raises:
        BackendError: If transformers is not installed.
    """

    class Report(_package().TrainerCallback):
        """Tells a trial what was measured."""

        training = False

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.training = True

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.training = False

        def on_evaluate(
            self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
        ) -> None:
            if not (self.training and state.global_step):
                return
            found: dict[str, Any] = {}
            for logged in state.log_history:
                found.update(logged)
            told(trial, {**found, **(metrics or {})}, "the Trainer writes eval_ before the names")

    return Report()


def existing(model: nn.Module, **fields: float) -> dict[str, float]:
    """Return the rates that fields of a model's configuration set, for "existing" of an arm.

    A configuration has few rates, each of which sets that of many modules. The model is built
    anew, without memory for its weights, with the field changed, and what follows it is what it
    sets.

    Args:
        model: A model of transformers; of one with adapters, the one inside.
        fields: Fields of its configuration, such as `hidden_dropout_prob`, and their new rates.

    Returns:
        Name of a rate, as `droplab sites` lists it, -> new rate.

    Raises:
        ArgumentError: If the model has no configuration, or that has no such field.
        PlacementError: If no rate of the model follows a field.
    """
    config: Any = getattr(model, "config", None)
    if not callable(getattr(config, "to_dict", None)):
        raise ArgumentError(
            f"existing: expected a model of transformers, which has a config, got {type(model)}"
        )
    built = _rates(model, config, {})
    found: dict[str, float] = {}
    for name, p in fields.items():
        there = [key for key in config.to_dict() if "drop" in key]
        if name not in there or real(p) is None:
            what = f"a field of {type(config).__name__} that drops, and a rate"
            raise ArgumentError(
                f"existing: expected {what}, got {name}={quote(p)}{nearest(name, there)}"
            )
        after = _rates(model, config, {name: _MOVED})
        moved = [site for site, rate in after.items() if rate != built.get(site)]
        if not moved:
            raise PlacementError(
                f"existing: no rate of {type(model).__name__} follows {name}; leave it out"
            )
        found |= dict.fromkeys(moved, float(p))
    return found


def _rates(model: nn.Module, config: Any, changes: Mapping[str, float]) -> Mapping[str, float]:
    changed = copy.deepcopy(config)
    for name, value in changes.items():
        setattr(changed, name, value)
    with torch.device("meta"):
        return rates(type(model)(changed))


def _package() -> Any:
    return optional("transformers", install="droplab[transformers]")


@dataclass(frozen=True)
class _Train:
    """Trains one trial."""

    model_init: Callable[[], nn.Module]
    training_arguments: Arguments | None
    trainer_arguments: Arguments | None
    trainer: Callable[..., Any] | None
    example: Any
    out: str

    @property
    def __wrapped__(self) -> Any:
        """What the training is called after."""
        return self.model_init

    def __call__(self, trial: Trial) -> None:
        package = _package()
        settings = {**_QUIET, "output_dir": self.out, **_given(self.training_arguments, trial)}
        for name in ("seed", "data_seed"):
            if settings.setdefault(name, trial.seed) != trial.seed:
                raise ArgumentError(
                    f"training_arguments: {name} is the trial's, expected none, got "
                    f"{quote(settings[name])}; leave it out"
                )
        settings["output_dir"] = str(Path(settings["output_dir"]) / trial.name)
        more = _given(self.trainer_arguments, trial)
        callbacks = [*(more.pop("callbacks", None) or []), report(trial)]
        made = (self.trainer or package.Trainer)(
            model_init=lambda: trial.place(self.model_init(), self.example),
            args=package.TrainingArguments(**settings),
            callbacks=callbacks,
            **more,
        )
        made.train()


def _given(arguments: Arguments | None, trial: Trial) -> dict[str, Any]:
    if callable(arguments):
        return dict(arguments(trial))
    found = dict(arguments or {})
    if "callbacks" in found:  # they may count, and each trial counts for itself
        found["callbacks"] = copy.deepcopy(found["callbacks"])
    return found
