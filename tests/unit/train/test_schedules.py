"""The driver of schedules, and the callbacks on stand-ins for the frameworks."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError, BackendError, PlacementError
from droplab.nn import Dropout, GaussianNoise
from droplab.nn.schedules import constant, linear
from droplab.train.schedules import RateSchedule, hugging_face_callback, lightning_callback

ramp = partial(linear, start=0.0, end=0.4, steps=4)


def _model() -> nn.Sequential:
    blocks = [nn.Sequential(nn.Linear(4, 4), Dropout(0.5)) for _ in range(2)]
    return nn.Sequential(*blocks, GaussianNoise(0.1), nn.Dropout(0.3))


def test_steps_set_the_rates_of_droplabs_layers_alone() -> None:
    model = _model()
    schedule = RateSchedule(model, ramp)
    seen = [schedule.rates]
    for _ in range(5):
        schedule.step()
        seen.append(schedule.rates)
    expected = [0.0, 0.1, 0.2, 0.3, 0.4, 0.4]
    assert seen == [{"0.1": pytest.approx(p), "1.1": pytest.approx(p)} for p in expected]
    assert model[2].std == 0.1
    assert model[3].p == 0.3


def test_patterns_choose_layers() -> None:
    model = _model()
    schedule = RateSchedule(model, {"0.*": ramp, "1.*": partial(constant, p=0.2)}, start=4)
    assert schedule.rates == {"0.1": 0.4, "1.1": 0.2}
    only = RateSchedule(model, {"0.*": ramp})
    assert only.rates == {"0.1": 0.0}
    assert model[1][1].p == 0.2


def test_the_layers_really_drop_at_the_rate() -> None:
    model = nn.Sequential(Dropout(0.5))
    schedule = RateSchedule(model, partial(linear, start=0.0, end=1.0, steps=2))
    x = torch.ones(100)
    assert torch.equal(model(x), x)
    schedule.set(2)
    assert not model(x).any()


def test_a_resumed_run_goes_on() -> None:
    first = RateSchedule(_model(), ramp)
    for _ in range(3):
        first.step()
    second = RateSchedule(_model(), ramp)
    second.load_state_dict(first.state_dict())
    second.step()
    assert second.last_step == 4
    assert second.rates == {"0.1": 0.4, "1.1": 0.4}


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"0.1": ramp, "0.*": ramp}, "one pattern for '0.1'"),
        ({"decoder.*": ramp}, "got none"),
        ({"0.2": ramp}, "did you mean '0.1'"),
    ],
)
def test_patterns_must_fit(schedule: Any, words: str) -> None:
    with pytest.raises(PlacementError, match=words):
        RateSchedule(_model(), schedule)


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(PlacementError, match="put dropout into the model first"):
        RateSchedule(nn.Linear(2, 2), ramp)


def test_a_schedule_that_returns_nonsense_is_refused() -> None:
    with pytest.raises(ArgumentError, match="percentage"):
        RateSchedule(_model(), lambda step: 30.0)


@pytest.fixture
def frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    lightning, transformers = ModuleType("lightning.pytorch"), ModuleType("transformers")
    lightning.Callback = transformers.TrainerCallback = type("Callback", (), {})  # pyright: ignore
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", lightning)
    monkeypatch.setitem(sys.modules, "transformers", transformers)


@pytest.mark.usefixtures("frameworks")
@pytest.mark.parametrize(("every", "expected"), [("step", [0.1, 0.2, 0.3]), ("epoch", [0.2] * 3)])
def test_lightning_counts(every: Any, expected: list[float]) -> None:
    model, seen = _model(), []
    callback = lightning_callback(ramp, every=every)
    trainer = SimpleNamespace(global_step=1, current_epoch=2)
    callback.on_train_start(trainer, model)
    callback.on_train_epoch_start(trainer, model)
    for _ in range(3):
        callback.on_train_batch_start(trainer, model, None, 0)
        seen.append(model[0][1].p)
        trainer.global_step += 1
    assert seen == pytest.approx(expected)


@pytest.mark.usefixtures("frameworks")
@pytest.mark.parametrize(("every", "expected"), [("step", [0.1, 0.2, 0.3]), ("epoch", [0.2] * 3)])
def test_the_trainer_counts(every: Any, expected: list[float]) -> None:
    model, seen = _model(), []
    callback = hugging_face_callback(ramp, every=every)
    state = SimpleNamespace(global_step=1, epoch=2.0)
    callback.on_train_begin(None, state, None, model=model)
    callback.on_epoch_begin(None, state, None, model=model)
    for _ in range(3):
        callback.on_step_begin(None, state, None, model=model)
        seen.append(model[0][1].p)
        state.global_step += 1
    assert seen == pytest.approx(expected)


def test_frameworks_are_imported_only_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match="pip install 'lightning'"):
        lightning_callback(ramp)
    with pytest.raises(BackendError, match="pip install 'transformers'"):
        hugging_face_callback(ramp)
    with pytest.raises(ArgumentError, match="did you mean 'epoch'"):
        lightning_callback(ramp, every="epochs")  # pyright: ignore[reportArgumentType]
