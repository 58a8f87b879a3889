"""A search over dropout rates with the conventions of scikit-learn."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from torch import nn

pytest.importorskip("skorch")
pytestmark = pytest.mark.filterwarnings("ignore:.*weights_only")

from sklearn.base import clone, is_classifier, is_regressor  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from skorch import NeuralNetClassifier, NeuralNetRegressor  # noqa: E402

from droplab import load_run, rates, study  # noqa: E402
from droplab.errors import ArgumentError, RecipeError  # noqa: E402
from droplab.integrations._cross_validation import folds_of  # noqa: E402
from droplab.integrations.skorch import DropoutSearchCV, report  # noqa: E402
from droplab.verdict._folds import compare_folds  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")
NOISY = (X[:, :1] + RNG.normal(size=(60, 1))).astype("float32")
LABELS = (NOISY[:, 0] > 0).astype("int64")


class Net(nn.Module):
    def __init__(self, out: int = 1) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 32), nn.Linear(32, out)

    def forward(self, x):
        return self.fc2(self.fc1(x).relu())


def regressor(epochs: int = 2, **more):
    how = {"max_epochs": epochs, "train_split": None, "verbose": 0, "batch_size": 16, "lr": 0.05}
    return NeuralNetRegressor(Net, **{**how, **more})


def classifier():
    return NeuralNetClassifier(
        Net, module__out=2, criterion=nn.CrossEntropyLoss, max_epochs=2, train_split=None, verbose=0
    )


def test_a_search_has_what_those_of_scikit_learn_have():
    search = DropoutSearchCV(regressor(), [0.0, 0.3, 0.6], cv=5, return_train_score=True)
    assert search.fit(X, NOISY) is search
    table = search.cv_results_
    assert table["params"] == [{"dropout": p} for p in (0.0, 0.3, 0.6)]
    assert list(table["param_dropout"]) == [0.0, 0.3, 0.6]
    scores = np.array([[table[f"split{k}_test_score"][i] for k in range(5)] for i in range(3)])
    np.testing.assert_allclose(table["mean_test_score"], scores.mean(1))
    np.testing.assert_allclose(table["std_test_score"], scores.std(1))
    assert table["mean_train_score"].shape == table["mean_fit_time"].shape == (3,)
    assert search.best_index_ == table["mean_test_score"].argmax()
    assert table["rank_test_score"][search.best_index_] == 1
    assert search.best_params_ == table["params"][search.best_index_]
    assert search.best_score_ == table["mean_test_score"].max()
    assert search.n_splits_ == 5
    assert search.predict(X).shape == (60, 1)
    best = search.best_estimator_.score(X, NOISY)
    assert search.score(X, NOISY) == pytest.approx(best)


def test_the_verdict_is_that_of_folds():
    search = DropoutSearchCV(regressor(), [0, 0.5], cv=5).fit(X, NOISY)
    verdict = search.verdict_
    assert verdict.folds == 5
    assert verdict.unit == "fold"
    scores = [search.cv_results_[f"split{k}_test_score"] for k in range(5)]
    differences = [half - none for none, half in scores]
    (expected,) = compare_folds([differences], folds=5)
    assert verdict.arm("0.5").differences["score"].p == pytest.approx(expected.p)
    said = " ".join([verdict.headline, *verdict.caveats])
    for word in ("Not paired", "Not dropout alone", "could not be seen", "without gradients"):
        assert word not in said


def test_a_rate_of_zero_is_cross_validation_of_the_net_itself():
    """Every fold trains on the rows that its splitter says, and scores on the others."""
    rows: list[int] = []

    def score(net, x, y):
        rows.append(len(x))
        return float(-((net.predict(x) - y) ** 2).mean())

    search = DropoutSearchCV(regressor(epochs=1), [0, 0.5], cv=KFold(4), scoring=score)
    search.fit(X, NOISY)
    assert rows == [15] * 8
    per_fold = [search.cv_results_[f"split{k}_test_score"][0] for k in range(4)]
    for (train, test), found in zip(KFold(4).split(X), per_fold, strict=True):
        assert found != pytest.approx(0)
        assert not set(train) & set(test)


def test_folds_are_repeated_and_each_repeat_is_counted():
    cv = RepeatedKFold(n_splits=5, n_repeats=2, random_state=0)
    search = DropoutSearchCV(regressor(1), [0, 0.5], cv=cv, refit=False).fit(X, NOISY)
    assert search.n_splits_ == 10
    assert search.verdict_.folds == 5
    assert search.verdict_.arm("0.5").seeds == tuple(range(10))
    with pytest.raises(Exception, match="refit=True"):
        search.predict(X)


def test_it_is_cloned_and_set_as_any_estimator():
    search = DropoutSearchCV(regressor(), [0, 0.5], cv=5, seed=3)
    other = clone(search)
    assert other.get_params()["rates"] == [0, 0.5]
    assert other.estimator is not search.estimator
    other.set_params(estimator__lr=0.5, seed=4)
    assert (other.estimator.lr, other.seed, search.estimator.lr) == (0.5, 4, 0.05)


def test_another_seed_gives_other_scores_and_the_same_one_the_same():
    def scores(seed: int):
        search = DropoutSearchCV(regressor(1), [0, 0.5], cv=5, refit=False, seed=seed)
        return search.fit(X, NOISY).cv_results_["mean_test_score"].tolist()

    assert scores(0) == scores(0) != scores(5)


def test_a_pipeline_is_fitted_in_every_fold():
    seen: list[int] = []

    class Scaler(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):  # noqa: N803
            seen.append(len(X))
            return super().fit(X, y)

    pipeline = make_pipeline(Scaler(), classifier())
    search = DropoutSearchCV(pipeline, {"none": {}, "late": {"fc2": 0.5}}, cv=5).fit(X, LABELS)
    assert seen == [48] * 10 + [60]
    assert search.best_params_["dropout"] in ("none", "late")
    assert list(search.classes_) == [0, 1]
    assert search.predict_proba(X).shape == (60, 2)
    assert 0 <= search.best_score_ <= 1


def test_the_best_is_fitted_with_its_dropout_and_can_be_kept():
    search = DropoutSearchCV(regressor(), {"none": {}, "half": {"fc2": 0.5}}, cv=5)
    search.fit(X, NOISY)
    wanted = {} if search.best_params_["dropout"] == "none" else {"fc2": 0.5}
    assert rates(search.best_estimator_.module_) == wanted
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    assert "initialize" not in vars(search.best_estimator_)


def test_the_study_can_be_kept(tmp_path: Path):
    search = DropoutSearchCV(regressor(1), [0, 0.5], cv=5, folder=tmp_path / "search")
    search.fit(X, NOISY)
    result = load_run(tmp_path / "search")
    assert result.recipe == search.result_.recipe
    assert result.recipe.data.folds == 5


def test_a_fold_that_fails_is_warned_of_and_comes_last():
    def score(net, x, y):
        if rates(net.module_)["fc2"] and x[0, 0] == X[0, 0]:
            raise ValueError("the fold of the dog")
        return 1.0 if rates(net.module_)["fc2"] else 0.0

    search = DropoutSearchCV(regressor(1), {"none": {}, "half": {"fc2": 0.5}}, cv=5, scoring=score)
    with pytest.warns(UserWarning, match="1 of 10 fits failed.*the fold of the dog"):
        search.fit(X, NOISY)
    assert search.best_params_ == {"dropout": "none"}
    assert np.isnan(search.cv_results_["mean_test_score"][1])
    assert list(search.cv_results_["rank_test_score"]) == [1, 2]


def test_it_is_searched_over_and_validated_as_any_estimator():
    search = DropoutSearchCV(classifier(), [0, 0.5], cv=5)
    assert is_classifier(search)
    assert is_regressor(DropoutSearchCV(regressor(), [0, 0.5]))
    scores = cross_val_score(search, X, LABELS, cv=2)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_weights_go_with_their_rows():
    """What `fit` is given for every example is cut as the examples are."""

    class Weighted(NeuralNetRegressor):
        def fit(self, X, y=None, weights=None, **more):  # noqa: N803
            seen.append((X[:, 0].tolist(), weights.tolist()))
            return super().fit(X, y, **more)

    seen: list[tuple[list[float], list[float]]] = []
    net = Weighted(Net, max_epochs=1, train_split=None, verbose=0)
    DropoutSearchCV(net, [0, 0.5], cv=3).fit(X, NOISY, weights=X[:, 0])
    assert [len(rows) for rows, _ in seen] == [40] * 6 + [60]
    assert all(rows == weights for rows, weights in seen)


@pytest.mark.parametrize(
    ("cv", "folds"),
    [(KFold(3), 3), (RepeatedKFold(n_splits=4, n_repeats=3), 4), (LeaveOneOut(), 60)],
)
def test_folds_are_counted_from_the_rows(cv, folds: int):
    assert folds_of(list(cv.split(X)), cv) == folds


def test_groups_are_folds_too():
    groups = np.repeat(np.arange(6), 10)
    assert folds_of(list(GroupKFold(3).split(X, NOISY, groups)), None) == 3


@pytest.mark.parametrize("cv", [ShuffleSplit(5, random_state=0), TimeSeriesSplit(4)])
def test_what_is_no_folds_is_refused(cv):
    with pytest.raises(ArgumentError, match="cv: expected folds"):
        DropoutSearchCV(regressor(), [0, 0.5], cv=cv).fit(X, NOISY)


@pytest.mark.parametrize(
    ("estimator", "given", "error", "message"),
    [
        (Ridge(), [0, 0.5], ArgumentError, "estimator: expected a skorch net.* got Ridge"),
        (regressor(), 0.5, ArgumentError, "rates: expected numbers"),
        (regressor(), [0, 1.5], RecipeError, "1.5"),
        (regressor(), [0, 0.5, 0.5], ArgumentError, "0.5 twice"),
        (regressor(), {"half": 0.5}, RecipeError, "baseline"),
    ],
)
def test_mistakes_are_said_in_a_sentence(estimator, given, error, message: str):
    with pytest.raises(error, match=message):
        DropoutSearchCV(estimator, given, cv=5).fit(X, NOISY)


def test_a_net_in_a_function_of_ones_own_reports_its_history(tmp_path: Path):
    histories: list[list[float]] = []

    def train(trial):
        net = NeuralNetClassifier(
            Net,
            module__out=2,
            criterion=nn.CrossEntropyLoss,
            max_epochs=2,
            verbose=0,
            callbacks=[report(trial)],
        )
        net.fit(X, LABELS)
        histories.append(net.history[:, "valid_loss"])

    metrics = {"valid_loss": "lower", "valid_acc": "higher"}
    arms = {"none": {}, "half": {"fc2": 0.5}}
    mine = study(tmp_path / "s", arms=arms, seeds=2, metrics=metrics, quiet=True)
    mine.run(train)
    result = mine.result()
    assert [row.valid_loss for row in result.rows] == [loss for each in histories for loss in each]
