"""The door to Optuna, which proposes plans by ask and tell; nothing else here knows of it."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droplab.errors import ArgumentError, BackendError, RunError, nearest
from droplab.results import whole_file
from droplab.rng import stream_key
from droplab.searches._space import Choice, Knob

SAMPLERS = ("tpe", "gp", "random")
"""Those of Optuna whose next proposal is a function of the trials before it and of a seed."""

STORAGE = "optuna.sqlite"
_STUDY = "droplab"
_OLDEST = (5, 0)


@dataclass(frozen=True)
class Proposal:
    """One plan that Optuna has on record.

    Args:
        number: Its number there.
        choice: The value of each knob.
        source: Where it comes from: "common" for one rate everywhere, "sampler", or the run that
            it was told from.
        finished: Whether Optuna was told how it did.
    """

    number: int
    choice: Choice
    source: str
    finished: bool


def optuna_version() -> str:
    """Return the version of Optuna.

    Raises:
        BackendError: If it is not there, or too old.
    """
    return _optuna().__version__


class Proposals:
    """A study of Optuna in a file of its own, written by the driver alone.

    Every proposal is asked from a sampler of its own, with a seed that follows from its number, on
    a copy of the study in memory, and is then written in one transaction. So it depends on the
    trials before it and on nothing that a killed driver could have lost.

    Args:
        folder: Where the study's file is, or is made.
        knobs: What is chosen for a plan.
        sampler: One of `SAMPLERS`.
        seed: Of the sampler.
        maximize: For each objective, whether more is better.
        labels: What each is called where Optuna shows it; empty for what it calls them.

    Raises:
        BackendError: If Optuna is not there, or too old.
        RunError: If the file cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        knobs: Sequence[Knob],
        sampler: str,
        seed: int,
        maximize: Sequence[bool],
        labels: Sequence[str] = (),
    ) -> None:
        if sampler not in SAMPLERS:
            raise ArgumentError(
                f"sampler: expected one of {', '.join(SAMPLERS)}, got '{sampler}'"
                f"{nearest(sampler, SAMPLERS)}"
            )
        self._optuna = _optuna()
        self._sampler, self._seed = sampler, seed
        self._directions = ["maximize" if more else "minimize" for more in maximize]
        self._knobs = {knob.name: self._distribution(knob) for knob in knobs}
        path = folder / STORAGE
        try:
            with self._quiet():
                if not path.exists():
                    # under another name first: a driver killed here leaves nothing half made
                    with whole_file(path) as part:
                        self._open(part, new=True)
                        if labels:
                            self._study.set_metric_names(list(labels))
                        self.close()
                self._open(path, new=False)
        except (self._optuna.exceptions.OptunaError, KeyError) as error:
            raise RunError(
                f"{path}: Optuna cannot read its file ({error}); begin the search anew with "
                "another --out"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def all(self) -> list[Proposal]:
        """Return everything that was proposed, in order."""
        return [
            Proposal(
                t.number, dict(t.params), t.user_attrs.get("source", ""), t.state.is_finished()
            )
            for t in self._study.get_trials(deepcopy=False)
        ]

    def propose(self, first: Sequence[Choice], count: int) -> list[Proposal]:
        """Return so many new proposals, in order; some may be given, and are taken first."""
        optuna = self._optuna
        made: list[int] = []
        with self._quiet():
            copy = optuna.create_study(directions=self._directions)
            copy.add_trials(self._study.get_trials(deepcopy=False))
            for place in range(count):
                number = len(copy.get_trials(deepcopy=False))
                if place < len(first):
                    params, source = first[place], "common"
                else:
                    copy.sampler = self._sampler_of(number)
                    params, source = copy.ask(self._knobs).params, "sampler"
                trial = optuna.trial.create_trial(
                    state=optuna.trial.TrialState.RUNNING,
                    params=dict(params),
                    distributions=self._knobs,
                    user_attrs={"source": source},
                )
                if place < len(first):
                    copy.add_trial(trial)
                self._study.add_trial(trial)
                made.append(number)
        return [each for each in self.all() if each.number in made]

    def add(self, choice: Choice, values: Sequence[float], source: str) -> None:
        """Add what an earlier run has measured."""
        optuna = self._optuna
        with self._quiet():
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=choice,
                    distributions=self._knobs,
                    values=list(values),
                    user_attrs={"source": source},
                )
            )

    def tell(
        self,
        number: int,
        values: Sequence[float] | None,
        *,
        over: Mapping[str, float] | None = None,
        steps: Mapping[int, float] | None = None,
        pruned: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell how a plan did.

        Args:
            number: Its number.
            values: Of each objective; None: it failed.
            over: For each constraint by how much it is broken; at most 0 where it is met.
            steps: Its value at each step on the way.
            pruned: Whether it was given up at the last of them.
            about: What `optuna-dashboard` is to show beside it.
        """
        optuna = self._optuna
        state = optuna.trial.TrialState
        with self._quiet():
            id = self._study.get_trials(deepcopy=False)[number]._trial_id
            trial = optuna.trial.Trial(self._study, id)
            for key, value in (about or {}).items():
                trial.set_user_attr(key, value)
            for key, value in (over or {}).items():
                trial.set_constraint(key, value)
            for step, value in (steps or {}).items():
                trial.report(value, step)
            if values is None:
                self._study.tell(number, state=state.FAIL)
            elif pruned:
                self._study.tell(number, state=state.PRUNED)
            else:
                self._study.tell(number, list(values))

    def importance(self) -> dict[str, float]:
        """Return the share of each knob by PED-ANOVA; empty where too few plans are done."""
        optuna = self._optuna
        done = self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if len(done) < 10 or len(self._knobs) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
        with self._quiet():
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(value) for name, value in found.items()}

    def _open(self, path: Path, *, new: bool) -> None:
        from sqlalchemy.engine import URL

        optuna = self._optuna
        url = URL.create("sqlite", database=os.fspath(path)).render_as_string()
        self._storage = optuna.storages.RDBStorage(url)
        if new:
            self._study = optuna.create_study(
                storage=self._storage, study_name=_STUDY, directions=self._directions
            )
        else:
            self._study = optuna.load_study(storage=self._storage, study_name=_STUDY)

    def _distribution(self, knob: Knob) -> Any:
        found = self._optuna.distributions
        if knob.words:
            return found.CategoricalDistribution(knob.words)
        return found.FloatDistribution(knob.low, knob.high, step=knob.step)

    def _sampler_of(self, number: int) -> Any:
        samplers = self._optuna.samplers
        seed = stream_key(self._seed, "search", number) % 2**32
        if self._sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self._sampler == "gp":
            return samplers.GPSampler(seed=seed)
        return samplers.TPESampler(seed=seed, multivariate=True)

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep what Optuna logs and warns of from whoever watches the search."""
        logging = self._optuna.logging
        before = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.set_verbosity(before)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise BackendError(
            "search: needs Optuna, which proposes the plans; install droplab[search]"
        ) from error
    numbers = tuple(map(int, re.findall(r"\d+", optuna.__version__)[:2]))
    if numbers < _OLDEST:
        raise BackendError(
            f"search: expected Optuna {'.'.join(map(str, _OLDEST))} or later, got "
            f"{optuna.__version__}; install droplab[search] anew"
        )
    return optuna
