"""The task of a recipe: its metrics, and what `primary` and `[target]` may name."""

from __future__ import annotations

import pytest

from droplab.errors import RecipeError
from droplab.recipe import TASKS, dumps, loads

TEXT = """
    epochs = 1
    batch_size = 2
    data = {name = "digits"}
    model = {path = "mlp"}
    optimizer = {name = "Adam"}
    arms = [{name = "none"}]
"""


def recipe(more: str):
    return loads(f"{TEXT}\n{more}", name="x")


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_of_a_task_may_decide(task: str) -> None:
    own = recipe(f'task = "{task}"')
    assert [each.name for each in own.measures][:1] == ["loss"]
    for name in own.metrics:
        made = recipe(f'task = "{task}"\nprimary = "{name}"\ntarget = {{{name} = "< 0.5"}}')
        assert made.primary == name
        assert loads(dumps(made)) == made


def test_a_task_changes_the_digest_unless_it_is_what_there_always_was() -> None:
    digests = {task: recipe(f'task = "{task}"').digest for task in TASKS}
    assert len(set(digests.values())) == len(TASKS)
    assert digests["classification"] == recipe("").digest


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('task = "regresion"', "task: expected a task, got 'regresion'; did you mean 'regression'"),
        ("task = 3", "task: expected a task, got 3"),
        ('primary = "val_rms"', "primary: .* did you mean 'val_rmse'"),
        ('primary = "val_rmse"', 'expected a metric of classification, .* write task = "regress'),
        ('task = "regression"\nprimary = "val_ece"', "metric of regression, got 'val_ece'"),
        ('task = "tokens"\ntarget = {val_mae = "< 2"}', "target: expected a metric of tokens"),
        ('target = {gap = "< 10"}', "a fraction .* for gap, got 10, .* did you mean 0.1"),
        (
            'task = "multilabel"\ntarget = {val_macro_f1 = "> 85"}',
            "a fraction .* did you mean 0.85",
        ),
    ],
)
def test_what_is_wrong(more: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(more)


def test_an_error_has_no_unit_to_be_a_fraction_of() -> None:
    made = recipe('task = "regression"\ntarget = {gap = "< 10", val_rmse = "<= 55"}')
    assert str(made.target) == "gap < 10 and val_rmse <= 55"
