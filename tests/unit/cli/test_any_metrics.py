"""A metric is one entry: a run with metrics that no code knows is shown like any other."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from markupsafe import escape
from rich.console import Console

from droplab.cli._outcome import outcome, show
from droplab.cli._watch import Watch
from droplab.cli.report import report_text
from droplab.recipe import Measure, Metric, dumps, load
from droplab.recipe import _metrics as of
from droplab.report import figure_svg
from droplab.report._markdown import escaped
from droplab.results import EpochRow, RunStore, TestRow
from droplab.results import load as load_run
from droplab.verdict import RunMetrics, judge

LOSS = Measure("loss", "loss", higher_is_better=False, unit="", train=True)
REGRESSION = (
    LOSS,
    Measure("rmse", "RMSE", higher_is_better=False, unit="", train=True),
    Measure("mae", "MAE", higher_is_better=False, unit=""),
    Measure("r2", "R²", higher_is_better=True, unit=""),
    Measure("wobble", "mean wobble [kg] | <50 %", higher_is_better=True, unit="%", train=True),
)
ARMS = ("none", "0.3", "input")
EPOCHS = 5


def write(
    folder: Path, measures: Sequence[Measure], *, seeds: int = 8, scale: float = 1.0, seed: int = 0
) -> Path:
    """Write a run with random numbers in these measures."""
    recipe = load("digits")
    arms = tuple(recipe.arm(name) for name in ARMS)
    seeds_of = tuple(range(seeds))
    recipe = replace(
        recipe, title="", story="", hints=(), arms=arms, seeds=seeds_of, epochs=EPOCHS, target=None
    )
    metrics, test_metrics = of.metrics_of(tuple(measures)), of.test_metrics_of(tuple(measures))
    rng = np.random.default_rng(seed)

    def numbers(known: Mapping[str, Metric], arm: str) -> dict[str, float]:
        better = ARMS.index(arm) / 10
        return {
            name: float(rng.uniform(0.3, 0.6) + (better if metric.higher_is_better else -better))
            * (1.0 if metric.fraction else scale)
            for name, metric in known.items()
        }

    members = [(arm, s) for arm in ARMS for s in recipe.seeds]
    with RunStore.create(
        folder,
        dumps(recipe),
        recipe.digest,
        {},
        members,
        metrics=metrics.values(),
        test_metrics=test_metrics.values(),
    ) as store:
        for epoch in range(1, EPOCHS + 1):
            store.commit_epochs(
                [EpochRow(numbers(metrics, arm), arm, s, epoch, 0.5) for arm, s in members]
            )
        for arm, s in members:
            store.set_member_state(arm, s, "done")
            if arm != "0.3":
                store.add_test_row(TestRow(numbers(test_metrics, arm), arm, s))
    return folder


def outputs(run: Path) -> dict[str, str]:
    """Return everything that is shown of a run."""
    result = load_run(run)
    verdict = judge(result)
    found = {
        "html": report_text(run, "html"),
        "md": report_text(run, "md"),
        "verdict": json.dumps(verdict.to_dict(), ensure_ascii=False),
        "json": json.dumps(outcome(result).to_dict(), ensure_ascii=False),
    }
    for width in (60, 80, 200):
        console = Console(file=io.StringIO(), width=width)
        show(outcome(result), console)
        found[f"terminal, {width} columns"] = console.file.getvalue()  # type: ignore[attr-defined]
    return found


def check(run: Path) -> None:
    """Look for every label in every output, and for what only a classifier has in none."""
    metrics = RunMetrics.of(load_run(run))
    texts = outputs(run)
    for place, text in texts.items():
        assert "accurac" not in text.lower(), place
        assert "calibration" not in text.lower(), place
    for metric in (*metrics.epoch.values(), *metrics.test.values()):
        written = json.dumps(metric.label, ensure_ascii=False)
        assert f'"label": {written}, "higher_is_better"' in texts["verdict"]
        assert f'"label": {written}, "higher_is_better"' in texts["json"]
    for metric in metrics.compared:
        assert f'<th scope="col">{_unbroken(metric.label)}</th>' in texts["html"]
        assert f"| {escaped(metric.label)} |" in texts["md"]
        for place, text in texts.items():
            if place.startswith("terminal"):
                table = [line.split() for line in text.partition("After epoch")[2].splitlines()]
                words = {word for line in table for word in line}
                assert not {*metric.label.split(), *ARMS} - words, (place, metric.label)
    for metric in metrics.test.values():
        assert f'<th scope="col">{_unbroken(metric.label)}</th>' in texts["html"]
        assert f"| {escaped(metric.label)} |" in texts["md"]


def _unbroken(text: str) -> str:
    return str(escape(text.replace(" %", "\u00a0%")))


def test_a_regression_is_shown_as_one(tmp_path):
    run = write(tmp_path / "run", REGRESSION)
    check(run)
    found = judge(load_run(run))
    assert found.also.startswith("Validation RMSE with 'input' is ")
    assert found.diagnosis is not None
    assert found.test is not None
    assert "training RMSE is" in found.diagnosis.sentence
    assert "touched once, 'input' has a test RMSE of 0." in found.test.sentence
    assert not any("standard error" in each for each in found.caveats)


LABELS = st.lists(st.text("abzXYZ²é<&|[]*_%", min_size=1, max_size=9), min_size=1, max_size=3)


@st.composite
def measured(draw: st.DrawFn) -> tuple[Measure, ...]:
    names = draw(
        st.lists(
            st.from_regex(r"[b-z][a-z0-9]{1,6}", fullmatch=True).filter(
                lambda name: name not in ("loss", "ece")
            ),
            min_size=1,
            max_size=5,
            unique=True,
        )
    )
    return (
        LOSS,
        *(
            Measure(
                name,
                f"{' '.join(draw(LABELS))} q{i}",
                higher_is_better=draw(st.booleans()),
                unit=draw(st.sampled_from(["", "%"])),
                train=i == 0 or draw(st.booleans()),
            )
            for i, name in enumerate(names)
        ),
    )


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    measures=measured(),
    seeds=st.sampled_from([1, 3, 8]),
    power=st.integers(-9, 12),
    seed=st.integers(0, 99),
)
def test_any_metric_is_in_every_output(tmp_path_factory, measures, seeds, power, seed):
    folder = tmp_path_factory.mktemp("any")
    run = write(folder / "run", measures, seeds=seeds, scale=10.0**power, seed=seed)
    check(run)
    result = load_run(run)
    for name, metric in result.metrics.items():
        found = judge(result, primary=name)
        assert metric.label in found.headline
        assert str(escape(RunMetrics.of(result).named(name).title)) in figure_svg(result, found)


@pytest.mark.parametrize("power", [-7, -3, 0, 5, 9])
def test_numbers_of_any_size_have_digits_that_tell(tmp_path, power):
    result = load_run(write(tmp_path / "run", REGRESSION, scale=10.0**power))
    found = judge(result)
    rmse = found.metrics.score
    values = {arm.metrics["val_rmse"].mean for arm in found.arms}
    texts = {rmse.text(value) for value in values}
    assert len(texts) == len(values)
    for value, text in ((value, rmse.text(value)) for value in values):
        assert len(text) <= 8
        assert float(text.replace("−", "-")) == pytest.approx(value, rel=0.05)


def test_a_run_is_watched_with_its_own_metrics(tmp_path, monkeypatch):
    run = load_run(write(tmp_path / "run", REGRESSION))
    monkeypatch.setattr(type(run.recipe), "measures", property(lambda _: REGRESSION))
    console = Console(file=io.StringIO(), width=200)
    with Watch(console, run.recipe, ARMS) as watch:
        for row in run.rows:
            watch.epoch_done(row)
        console.print(watch._view())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    last = run.rows[-1].values
    rmse = RunMetrics.of(run).score
    assert f"validation RMSE {rmse.text(last['val_rmse'])}, validation loss" in text
    assert "accurac" not in text
    assert "running training" in text


def test_a_run_is_watched_with_what_decides():
    recipe = replace(load("digits"), primary="val_ece", epochs=1)
    values = dict.fromkeys(recipe.metrics, 0.25) | {"val_ece": 0.125}
    console = Console(file=io.StringIO(), width=200)
    with Watch(console, recipe, ["none"]) as watch:
        watch.epoch_done(EpochRow(values, "none", 0, 1, 1.0))
        console.print(watch._view())
    line, *table = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line.endswith(", validation loss 0.250, calibration error 12.5 %")
    assert "12.5 %" in "".join(table)
