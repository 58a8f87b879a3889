"""Execution plans: measured, stored, applied, given back."""

from __future__ import annotations

from time import perf_counter

import pytest
import torch

from droplab.errors import ArgumentError
from droplab.train import ExecutionPlan, measure_plan
from droplab.train._execution import flushes_denormals


def test_settings_are_given_back_even_after_an_error():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()

    def fail():
        with ExecutionPlan(2, "medium").active():
            assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, "medium")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


def test_the_clearly_faster_plan_is_chosen():
    def make_step(plan):
        def step():
            until = perf_counter() + (1e-4 if plan.matmul == "highest" else 5e-3)
            while perf_counter() < until:
                pass

        return step

    plan = measure_plan(make_step, captured=True, seconds=0.2)
    assert plan.matmul == "highest"
    assert plan.captured


def test_a_plan_survives_json_and_newer_fields():
    plan = ExecutionPlan(2, "medium", True)
    assert ExecutionPlan.from_dict({**plan.to_dict(), "later": 1}) == plan


@pytest.mark.parametrize("arguments", [{"threads": 0}, {"threads": 1, "matmul": "low"}])
def test_bad_plans(arguments):
    with pytest.raises(ArgumentError, match="ExecutionPlan"):
        ExecutionPlan(**arguments)


def test_denormal_numbers_are_zero_while_a_plan_is_active():
    tiny = torch.full((1,), 1e-40)
    assert (tiny * 1.0).item() > 0
    with ExecutionPlan(1).active():
        assert flushes_denormals()
        assert not (tiny * 1.0).any()
        with ExecutionPlan(1).active():
            pass
        assert flushes_denormals()
    assert not flushes_denormals()
    assert (tiny * 1.0).item() > 0
