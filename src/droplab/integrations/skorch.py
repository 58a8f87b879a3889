"""skorch and scikit-learn: a search over dropout rates by cross-validation, with the verdict."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import nn

from droplab.errors import ArgumentError, BackendError, quote
from droplab.integrations._cross_validation import cv_results, folds_of
from droplab.integrations._told import AnyTrial, told
from droplab.ops import mask_key
from droplab.placement import OwnDropout, plan
from droplab.recipe import Arm
from droplab.studies import Trial, study

try:
    from joblib import effective_n_jobs
    from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
    from sklearn.metrics import check_scoring
    from sklearn.model_selection import check_cv
    from sklearn.pipeline import Pipeline
    from sklearn.utils import _safe_indexing, get_tags
    from sklearn.utils.validation import _check_method_params, check_is_fitted
    from skorch import NeuralNet
    from skorch.callbacks import Callback
except ModuleNotFoundError as error:
    raise BackendError(
        f"droplab.integrations.skorch: expected skorch and scikit-learn, got no {error.name}; run: "
        "pip install 'droplab[skorch]'"
    ) from None


def report(trial: AnyTrial) -> Any:
    """Return a callback for a skorch net that places its module and reports every epoch.

    Args:
        trial: What a study gave, or `droplab.trial()`. Its metrics have the names of the net's
            history: `valid_loss`, `valid_acc`, `train_loss`, or those of your scoring callbacks.

    Returns:
        A `skorch.callbacks.Callback`.
    """
    return _Report(trial)


class _Report(Callback):
    def __init__(self, trial: AnyTrial) -> None:
        self.trial = trial

    def on_train_begin(self, net: Any, *_: Any, **__: Any) -> None:
        self.trial.place(net.module_)

    def on_epoch_end(self, net: Any, *_: Any, **__: Any) -> None:
        told(self.trial, net.history[-1], "it is a name of the net's history")


class DropoutSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Searches over dropout rates by cross-validation, as scikit-learn's searches do.

    Every rate is tried on the same folds, with the same initial weights and order of batches, as
    in `droplab.study`; so nothing but dropout differs, and `verdict_` says whether the differences
    are more than luck, by a test that knows that folds share examples. `best_params_` is simply the
    rate with the best mean score, as scikit-learn has it.

    Args:
        estimator: A skorch net, or a Pipeline that ends in one.
        rates: Rates for every hidden site; or name -> what drops, as the arms of `droplab.study`.
            The net as it is, 0, is always among them.
        scoring: As in GridSearchCV: a name or a function; None for the net's own `score`.
        cv: As in GridSearchCV: how many folds, or a splitter whose folds have each example in one
            of them, once or several times over (`KFold`, `GroupKFold`, `RepeatedStratifiedKFold`).
            None for 5.
        refit: Whether the best is fitted on all examples in the end, for `predict`.
        return_train_score: Whether scores of the training examples are kept, too.
        seed: The first of the numbers that initial weights and masks are drawn from; whole repeats
            of the folds are counted on from it.
        n_jobs: Folds at a time, each in a process of its own; None for one in this process, -1 for
            as many as there are processors.
        folder: Where the study goes, which the lab and `droplab report` open; None for nowhere.
        verbose: Whether a line is printed for each fold.

    Attributes:
        cv_results_: Scores of every candidate, by the keys of GridSearchCV. `mean_fit_time` has
            the time of scoring in it.
        best_params_: `{"dropout": rate}`, or the name of what drops.
        best_score_: Its mean score.
        best_index_: Its place in `cv_results_`.
        best_estimator_: The net (or Pipeline) fitted on all examples, if `refit`.
        n_splits_: How many folds there were, over all repeats.
        verdict_: What droplab has to say; see `droplab.judge`.
        result_: The run, for `droplab.render(search.result_, search.verdict_)`.

    Example:
        >>> import warnings; warnings.simplefilter("ignore")
        >>> from skorch import NeuralNetRegressor
        >>> from torch import nn
        >>> X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
        >>> net = NeuralNetRegressor(
        ...     lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)),
        ...     max_epochs=2, train_split=None, verbose=0,
        ... )
        >>> search = DropoutSearchCV(net, [0, 0.5], cv=5).fit(X, X[:, :1])
        >>> search.best_params_["dropout"] in (0, 0.5), len(search.verdict_.arms)
        (True, 2)
    """

    def __init__(
        self,
        estimator: Any,
        rates: Sequence[float] | Mapping[str, Any],
        *,
        scoring: Any = None,
        cv: Any = None,
        refit: bool = True,
        return_train_score: bool = False,
        seed: int = 0,
        n_jobs: int | None = None,
        folder: str | Path | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator, self.rates, self.scoring, self.cv = estimator, rates, scoring, cv
        self.refit, self.return_train_score, self.seed = refit, return_train_score, seed
        self.n_jobs, self.folder, self.verbose = n_jobs, folder, verbose

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, **fit_params: Any) -> Self:  # noqa: N803 # scikit-learn's name
        """Try every rate on every fold, and fit the best on all examples.

        Args:
            X: Examples, as the net takes them.
            y: Targets.
            groups: For splitters that want them.
            fit_params: For the net's `fit`.

        Raises:
            ArgumentError: If the estimator is no net, or the folds are none.
            RecipeError: If a rate is impossible.
            RunError: If every fold failed.
        """
        _net(self.estimator)
        cv: Any = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, groups))
        folds = folds_of(splits, self.cv)
        score: Any = check_scoring(self.estimator, scoring=self.scoring)
        candidates = _candidates(self.rates)
        first = math.ceil(self.seed / folds) * folds  # a repeat begins at a multiple
        metrics = {"score": "higher"} | (
            {"train_score": "higher"} if self.return_train_score else {}
        )
        train = _Fold(self.estimator, X, y, splits, first, score, metrics, fit_params)
        with tempfile.TemporaryDirectory() as nowhere:
            mine = study(
                Path(nowhere) / "search" if self.folder is None else self.folder,
                arms={name: given for name, (_, given) in candidates.items()},
                seeds=range(first, first + len(splits)),
                folds=folds,
                metrics=metrics,
                train=train,
                quiet=not self.verbose,
            )
            self.verdict_ = mine.run(workers=effective_n_jobs(self.n_jobs or 1))
            self.result_ = mine.result()
        self.n_splits_ = len(splits)
        values = [value for value, _ in candidates.values()]
        self.cv_results_ = cv_results(self.result_, list(candidates), values)
        self.best_index_ = int(np.argmin(self.cv_results_["rank_test_score"]))
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        self.best_score_ = float(self.cv_results_["mean_test_score"][self.best_index_])
        self.scorer_: Any = score
        if self.refit:
            arm = self.result_.recipe.arms[self.best_index_]
            self.best_estimator_ = clone(self.estimator)
            _fit(self.best_estimator_, X, y, fit_params, lambda m: _put(m, arm, self.seed))
        return self

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803 # scikit-learn's name
        """Return the score of the best estimator, by `scoring`."""
        return float(self.scorer_(self._best(), X, y))

    def predict(self, X: Any) -> Any:  # noqa: N803 # scikit-learn's name
        """Return what the best estimator predicts."""
        return self._best().predict(X)

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 # scikit-learn's name
        """Return the probabilities of the best estimator."""
        return self._best().predict_proba(X)

    @property
    def classes_(self) -> Any:
        """The classes, of a net that classifies."""
        return self._best().classes_

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks of an estimator: what the one inside is."""
        tags, own = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = own.estimator_type
        tags.classifier_tags, tags.regressor_tags = own.classifier_tags, own.regressor_tags
        return tags

    def _best(self) -> Any:
        check_is_fitted(self, "best_estimator_", msg="call fit with refit=True before this")
        return self.best_estimator_


@dataclass(frozen=True)
class _Fold:
    """Trains a net on the rows of one fold, and scores it on the others."""

    estimator: Any
    X: Any
    y: Any
    splits: list[tuple[Any, Any]]
    first: int
    score: Any
    metrics: Mapping[str, str]
    fit_params: Mapping[str, Any]

    @property
    def __wrapped__(self) -> Any:
        """What the training is called after."""
        return type(_net(self.estimator))

    def __call__(self, trial: Trial) -> None:
        estimator = clone(self.estimator)
        rows = self.splits[trial.seed - self.first]
        parts = [self._rows(each) for each in rows]
        params = _check_method_params(self.X, self.fit_params, indices=rows[0])  # weights, say
        _fit(estimator, *parts[0], params, trial.place)
        found = {"score": self.score(estimator, *parts[1])}
        if "train_score" in self.metrics:
            found["train_score"] = self.score(estimator, *parts[0])
        trial.report(**found)

    def _rows(self, rows: Any) -> tuple[Any, Any]:
        y = None if self.y is None else _safe_indexing(self.y, rows)
        return _safe_indexing(self.X, rows), y


def _net(estimator: Any) -> Any:
    """Return the net that is trained: the estimator, or the end of a pipeline."""
    net = estimator
    while isinstance(net, Pipeline):
        net = net.steps[-1][1]
    if not isinstance(net, NeuralNet):
        raise ArgumentError(
            f"estimator: expected a skorch net, or a Pipeline that ends in one, got "
            f"{type(estimator).__name__}; what a network is wrapped in otherwise hides it"
        )
    return net


def _fit(estimator: Any, X: Any, y: Any, params: Mapping[str, Any], place: Any) -> None:  # noqa: N803 # scikit-learn's name
    """Fit an estimator, with something done to the net's module as soon as there is one."""
    net = _net(estimator)
    initialize = net.initialize

    def placed() -> Any:
        found = initialize()
        place(net.module_)
        return found

    net.initialize = placed
    try:
        estimator.fit(X, y, **params)
    finally:
        del net.initialize


def _put(module: nn.Module, arm: Arm, seed: int) -> None:
    """Put an arm into a module for good, outside any study."""
    own = OwnDropout.of(module)
    own.write(module, own.changes(arm.existing))
    if arm.rates:
        applied = plan(module, dict(arm.rates), arm.kind).apply()
        applied.seed({stream: mask_key(seed, stream) for stream in applied.streams})


def _candidates(given: Any) -> dict[str, tuple[Any, Any]]:
    """Return name -> (value in `best_params_`, what drops)."""
    if isinstance(given, Mapping):
        return {name: (name, what) for name, what in given.items()}
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise ArgumentError(
            f"rates: expected numbers from 0 to 1, or names and what drops, got {quote(given)}"
        )
    listed = list(given)
    twice = [each for i, each in enumerate(listed) if each in listed[:i]]
    if twice:
        raise ArgumentError(f"rates: expected each rate once, got {quote(twice[0])} twice")
    if not any(each == 0 for each in listed):
        listed.insert(0, 0.0)
    return {f"{each}": (each, each) for each in listed}
