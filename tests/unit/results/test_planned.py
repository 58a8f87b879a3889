"""The sentence on an execution plan, the same in the terminal, the lab and the report."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from droplab.cli._watch import Watch
from droplab.lab._plan import plan_sentence as sentence_of_the_lab
from droplab.recipe import load
from droplab.report._facts import unchanged
from droplab.results import RunResult, choices_note, plan_choices, plan_sentence
from droplab.train import ExecutionPlan, Tried

TRIED = (
    Tried(1, captured=True, group=8, workers=2, step=1.25e-3, total=48.0, chosen=True),
    Tried(1, captured=True, step=1.5e-3, total=7300.0, reason="slower"),
    Tried(captured=True, compiled=True, reason="there is no [C] compiler here"),
)

RECORDED = {"threads": 1, "captured": True}


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"threads": 2}, "Steps eager, 2 threads; replicas one by one."),
        (
            {"threads": 1, "eager_reason": "it reads a clock"},
            "Steps eager (it reads a clock), 1 th",
        ),
        ({"threads": 1, "device": "cuda"}, "Steps eager, on cuda; replicas one by one."),
        (
            {**RECORDED, "matmul": "medium"},
            "Steps recorded and replayed, 1 thread, matmul 'medium'",
        ),
        ({**RECORDED, "compiled": True}, "Steps recorded and compiled, 1 thread; replicas one by"),
        ({**RECORDED, "channels_last": True}, ", 1 thread, convolutions channels last; replicas"),
        ({**RECORDED, "group": 8}, "; up to 8 replicas together."),
        ({**RECORDED, "group": 8, "workers": 2}, "together, 2 groups at a time, each in a worker"),
        ({**RECORDED, "workers": 1}, "; replicas alone, in 1 worker process."),
        ({**RECORDED, "workers": 2, "reason": "vmap"}, "alone, in 2 worker processes: vmap."),
        ({**RECORDED, "reason": "it is short"}, "; replicas one by one: it is short."),
    ],
)
def test_each_kind_of_plan_has_its_sentence(plan, said):
    assert said in plan_sentence(plan)


def test_no_two_plans_that_train_differently_read_alike():
    threads = [
        ExecutionPlan(n, m, c).to_dict()
        for n in (1, 2)
        for m in ("highest", "medium")
        for c in (False, True)
    ]
    ways = [
        {},
        {"group": 4},
        {"workers": 2},
        {"group": 4, "workers": 2},
        {"group": 1, "workers": 1},
    ]
    kinds = [{}, {"channels_last": True}, {"eager_reason": "why"}, {"compiled": True}]
    plans = [{**a, **b, **c} for a, b, c in itertools.product(threads, ways, kinds)]
    plans = [
        p
        for p in plans
        if not (p["eager_reason"] and p["captured"]) and not (p["compiled"] and not p["captured"])
    ]
    assert len({plan_sentence(plan) for plan in plans}) == len(plans)


def test_terminal_lab_and_report_say_the_same(tmp_path):
    recipe = load("digits")
    plan = ExecutionPlan(1, "medium", workers=2, eager_reason="it [reads] a clock", reason="vmap")
    said = plan_sentence(plan.to_dict())
    console = Console(file=io.StringIO(), width=40)
    with Watch(console, recipe, ["none"]) as watch:
        watch.started(recipe, tmp_path, plan, 10, 0)
    assert said in console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert said in sentence_of_the_lab(recipe, plan.to_dict())
    result = RunResult(tmp_path, recipe, {}, (), plan=plan.to_dict())
    assert [f.value + "." for f in unchanged(result) if f.name == "execution plan"] == [said]


def test_what_was_tried_is_told_in_words():
    plan = ExecutionPlan(1, captured=True, group=8, workers=2, tried=TRIED, others=0.62)
    said = [(row.step, row.total, row.verdict) for row in plan_choices(plan.to_dict())]
    assert said == [
        ("1.25 ms", "48 s", "chosen"),
        ("1.5 ms", "2.03 h", "slower"),
        ("", "", "not tried: there is no [C] compiler here"),
    ]
    assert "other processes used 62% of the processors" in choices_note(plan.to_dict())
    assert "other processes" not in choices_note({"tried": plan.to_dict()["tried"]})


@pytest.mark.parametrize("plan", [{}, {"threads": 1}, {"tried": []}, {"tried": None}])
def test_an_older_run_says_that_it_was_not_kept(plan):
    assert plan_choices(plan) == []
    assert "was not kept" in choices_note(plan)


def test_damaged_rows_do_no_harm():
    rows = [1, {"step": "fast", "total": float("nan")}, {"reason": "x" * 10**6}]
    text = [row.verdict for row in plan_choices({"tried": rows, "others": "many"})]
    assert len(text) == 2
    assert max(map(len, text)) < 10_000
