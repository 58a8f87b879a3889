"""Plans that are kept from run to run, and plans that a user names."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from droplab.errors import ArgumentError
from droplab.recipe import load, override
from droplab.studies import _planning as planning
from droplab.studies import _stored_plans as stored
from droplab.studies import choose_plan, read_plan, resolve, run
from droplab.studies._stored_plans import plan_key, plans_folder, remember, write_plan
from droplab.train import ExecutionPlan, Tried

TOGETHER = ExecutionPlan(1, captured=True, group=8)


def tiny(**changes):
    return resolve(override(load("digits"), {"epochs": 2, "seeds": [0, 1], **changes}))


@pytest.fixture
def measured(monkeypatch):
    """Counts how often something is measured; what is chosen is told beforehand."""
    found = []

    class Planner:
        answer = TOGETHER
        at_once = False

        def __init__(self, *_):
            pass

        def choose(self):
            found.append(self.answer)
            return self.answer

    monkeypatch.setattr(planning, "Planner", Planner)
    others(monkeypatch, 0.0)
    return found


def others(monkeypatch, part):
    """Let other processes take so much of the machine."""
    monkeypatch.setattr(planning, "Load", lambda: SimpleNamespace(others=part))


def test_what_was_measured_beside_others_is_measured_again(measured, monkeypatch):
    others(monkeypatch, 0.5)
    plans = [choose_plan(tiny()) for _ in range(2)]
    assert plans == [TOGETHER] * 2
    assert [plan.others for plan in plans] == [0.5, 0.5]
    assert len(measured) == 2
    others(monkeypatch, 0.05)
    choose_plan(tiny())
    others(monkeypatch, 0.5)
    choose_plan(tiny())
    assert len(measured) == 3


def test_the_second_run_measures_nothing(measured):
    told = []
    plans = [choose_plan(tiny(), on_measure=lambda: told.append(1)) for _ in range(3)]
    assert plans == [TOGETHER] * 3
    assert len(measured) == len(told) == 1
    choose_plan(tiny(), again=True)
    assert len(measured) == 2


def test_two_runs_here_have_the_same_bits(tmp_path):
    """Planned for real, and the second time from what was kept."""
    recipe = override(load("digits"), {"epochs": 2, "seeds": [0, 1]})
    one, two = (run(recipe, tmp_path / name) for name in "ab")
    assert one.plan == two.plan
    rows = [[dataclasses.replace(row, seconds=0.0) for row in each.rows] for each in (one, two)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 10},
        {"epochs": 3},
        {"seeds": [0, 1, 2]},
        {"clip": 1.0},
        {"optimizer.name": "SGD"},
        {"optimizer.lr": 0.1},
        {"model.hidden": [64, 64]},
        {"data.train": 190},
        {"scheduler.name": "StepLR", "scheduler.step_size": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_a_plan_depends_on_changes_its_key(changes):
    one, two = tiny(), tiny(**changes)
    assert plan_key(one, one.recipe.arms, "cpu") == plan_key(tiny(), one.recipe.arms, "cpu")
    assert plan_key(one, one.recipe.arms, "cpu") != plan_key(two, two.recipe.arms, "cpu")


def test_arms_device_machine_and_versions_change_the_key(monkeypatch):
    one = tiny()
    arms = one.recipe.arms
    keys = {plan_key(one, arms, "cpu"), plan_key(one, arms, "cuda"), plan_key(one, arms[1:], "cpu")}
    machine = stored.environment()
    for change in ({"cpu": "another"}, {"cores": 64}, {"packages": {"torch": "9.9"}}):
        monkeypatch.setattr(stored, "environment", lambda new=change: {**machine, **new})
        keys.add(plan_key(one, arms, "cpu"))
    assert len(keys) == 6


NET = """
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1)){}
"""


@pytest.fixture
def own(monkeypatch):
    """Return an experiment on a model of one's own whose forward ends in some text."""
    monkeypatch.syspath_prepend(str(Path.cwd()))

    def made(name, end):
        Path(f"{name}.py").write_text(NET.format(end))
        importlib.invalidate_caches()
        arms = [{"name": "none"}, {"name": "half", "rates": {"fc": 0.5}}]
        recipe = dataclasses.replace(
            load("digits"), model=type(load("digits").model)(f"{name}:Own"), epochs=1, seeds=(0,)
        )
        return resolve(override(recipe, {"arms": arms}))

    return made


def test_another_forward_of_the_same_layers_has_another_key(own):
    keys = set()
    for name, end in (("net_a", ""), ("net_b", " * 2")):
        experiment = own(name, end)
        facts = stored._model_facts(experiment.build())
        keys.add(json.dumps(facts).replace(name, "net"))
    assert len(keys) == 2


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"threads": "1"}', b"\xff\xfe", b"[" * 9999])
def test_a_damaged_file_is_measured_anew_and_replaced(measured, text):
    experiment = tiny()
    choose_plan(experiment)
    [file] = plans_folder().iterdir()
    file.write_bytes(text)
    assert choose_plan(experiment) == TOGETHER
    assert len(measured) == 2
    assert choose_plan(experiment) == TOGETHER
    assert len(measured) == 2


def test_a_folder_that_cannot_be_written_is_no_error(measured, monkeypatch):
    Path("file").write_text("in the way")
    monkeypatch.setenv("DROPLAB_PLANS", str(Path("file") / "plans"))
    assert choose_plan(tiny()) == TOGETHER
    assert choose_plan(tiny()) == TOGETHER
    assert len(measured) == 2


def test_a_kept_plan_is_not_followed_where_memory_has_become_short(measured, monkeypatch):
    choose_plan(tiny())
    monkeypatch.setattr("droplab.studies._room.available_bytes", lambda _: 0)
    choose_plan(tiny())
    assert len(measured) == 2


def test_what_was_compared_for_code_of_ones_own_is_compared_again(measured, own, monkeypatch):
    """A forward may call what lies in other files, of which the key knows nothing."""
    asked = []
    monkeypatch.setattr(planning, "why_alone", lambda *_: asked.append(1) or "it counts")
    experiment = own("net_c", "")
    key = plan_key(experiment, experiment.recipe.arms, "cpu")
    remember(key, ExecutionPlan(1, group=2))
    choose_plan(experiment)
    assert (len(asked), len(measured)) == (1, 1)
    asked.clear()
    choose_plan(tiny())
    choose_plan(tiny())
    assert not asked


def test_a_run_is_repeated_by_its_folder_or_its_file(tmp_path):
    plan = ExecutionPlan(1, captured=True, group=4)
    recipe = tiny().recipe
    first = run(recipe, tmp_path / "one", plan=plan)
    assert read_plan(first.path, replicas=8) == plan
    assert read_plan(first.path / "plan.json", replicas=8) == plan
    (first.path / "plan.json").unlink()  # as in a run of an earlier version
    assert read_plan(first.path, replicas=8) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected the folder of a run, or a plan as JSON"),
        ("threads = 1", "expected a plan as JSON, and this is none"),
        ("[" * 100_000, "expected a plan as JSON, and this is none"),
        ("[1]", "a table with at least 'threads'"),
        ('{"threads": 1.5}', "threads: expected int, got float"),
        ('{"threads": true}', "threads: expected int, got bool"),
        ('{"threads": 0}', "expected at least 1, got 0"),
        ('{"threads": 10000000000}', "threads: expected at most 1000000"),
        ('{"threads": 1, "matmul": "low"}', "expected one of highest, medium"),
        ('{"threads": 1, "device": "tpu"}', "expected 'cpu' or 'cuda', got 'tpu'"),
        ('{"threads": 1, "device": "cuda"}', "torch finds no CUDA device"),
        ('{"threads": 1, "group": 9}', "trains 9 replicas together, and this run has 8"),
        ('{"threads": 1, "captured": true, "compiled": true}', "there is no C compiler here"),
    ],
)
def test_a_plan_that_does_not_fit_is_one_sentence(monkeypatch, text, message):
    monkeypatch.setattr(stored, "compiler", lambda: None)
    monkeypatch.setattr("droplab.train._execution.cuda_is_there", lambda: False)
    path = Path("plan.json")
    if text is not None:
        path.write_text(text)
    with pytest.raises(ArgumentError, match=message) as found:
        read_plan(path, replicas=8)
    assert str(found.value).startswith("plan.json: ")
    assert len(str(found.value)) < 300


def test_what_a_plan_was_chosen_from_is_kept_with_it(tmp_path):
    tried = (Tried(group=8, step=1e-3, total=4.0, chosen=True), Tried(reason="no time"))
    write_plan(tmp_path / "plan.json", dataclasses.replace(TOGETHER, tried=tried, others=0.25))
    plan = read_plan(tmp_path / "plan.json", replicas=8)
    assert (plan, plan.tried, plan.others) == (TOGETHER, tried, 0.25)
    result = run(override(load("digits"), {"epochs": 1}), tmp_path / "run", plan=plan)
    assert ExecutionPlan.from_dict(result.plan).tried == tried
    for rows in (1, [1], [{"step": "fast"}], [{"step": float("inf")}], [{"group": 10**9}]):
        text = json.dumps({**TOGETHER.to_dict(), "tried": rows})
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(ArgumentError, match="expected"):
            read_plan(tmp_path / "plan.json", replicas=8)


def test_a_plan_is_written_whole_or_not_at_all(monkeypatch):
    path = Path("plan.json")
    write_plan(path, TOGETHER)
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_plan(path, ExecutionPlan(2))
    assert read_plan(path, replicas=8) == TOGETHER
    assert [each.name for each in path.resolve().parent.iterdir()] == ["plan.json"]
