"""The self-test passes on right masks and fails on wrong ones."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from droplab.cli.selftest import command
from droplab.errors import ArgumentError
from droplab.ops import _selftest_checks, selftest
from droplab.ops import dropout as right_dropout

SMALL = {"devices": ["cpu"], "elements": 65536, "compiled": False}


def failed(**options):
    return [check.name for check in selftest(**(SMALL | options)).checks if not check.passed]


def test_right_masks_pass():
    state = torch.get_rng_state()
    result = selftest(**SMALL)
    assert result.passed
    assert result.backends == {"cpu": "cpu"}
    assert torch.equal(torch.get_rng_state(), state)
    document = json.loads(json.dumps(result.to_dict()))
    assert document["passed"] is True
    assert len(document["checks"]) == len(result.checks) == 9 + _selftest_checks.SCORES
    assert selftest(**SMALL) == result
    assert selftest(**SMALL, seed=1) != result


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
def test_compiled_code_is_tested_as_well():
    result = selftest(devices=["cpu"], elements=65536)
    assert result.passed
    compiled = {check.name for check in result.checks if check.mode == "compiled"}
    assert "two layers, two masks" in compiled
    assert compiled > {check.name for check in result.checks if check.mode == "eager"}


def broken_rate(x, p, key):
    return right_dropout(x, p if p in (0.0, 0.3, 1.0) else p + 0.01, key=key)


def broken_backward(x, p, key):
    out = right_dropout(x.detach(), p, key=key)
    return out + (x - x.detach()) * 2 if p == 0.3 else out


def repeated(x, p, key):
    n = len(x)
    return right_dropout(x[:1].repeat(2048), p, key=key).repeat(n // 2048 + 1)[:n]


def deaf_to_calls(x, p, key):
    return right_dropout(x, p, key=torch.stack((key[0], key[1] & ~0x7FFFFFFF)))


def deaf_to_ranks(x, p, key):
    return right_dropout(x, p, key=torch.stack((key[0], key[1] & 0x7FFFFFFFFFFF)))


def deaf_to_streams(x, p, key):
    return right_dropout(x, p, key=torch.stack((key[0] * 0, key[1])))


@pytest.mark.parametrize(
    ("broken", "names"),
    [
        (broken_rate, {"keep rate, p = 0.1", "keep rate, p = 0.5", "keep rate, p = 0.9"}),
        (broken_backward, {"backward mask = forward mask (float32)"}),
        (repeated, {"independence of the next lane", "output = reference (float32)"}),
        (deaf_to_calls, {"independence of the next call"}),
        (deaf_to_ranks, {"independence of the next rank"}),
        (deaf_to_streams, {"independence of the next seed", "independence of another layer"}),
    ],
)
def test_wrong_masks_fail(monkeypatch, broken, names):
    monkeypatch.setattr(_selftest_checks, "eager", broken)
    assert names <= set(failed())


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(ArgumentError, match="expected a device of this machine, got 'nowhere'"):
        selftest(devices=["nowhere"])
    with pytest.raises(ArgumentError, match="elements: expected at least 65536, got 5"):
        selftest(elements=5)
    with pytest.raises(ArgumentError, match="selftest: seed"):
        selftest(seed=-1)


def test_without_a_compiler_that_is_said(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: 1 / 0)
    result = selftest(**(SMALL | {"compiled": None}))
    assert result.passed
    assert result.skipped == ("compiled code: ZeroDivisionError: division by zero",)
    with pytest.raises(ArgumentError, match="expected a compiler, got none"):
        selftest(**(SMALL | {"compiled": True}))


def test_command_prints_a_table_and_exits_with_0():
    done = CliRunner().invoke(command, ["--no-compile", "--elements", "65536"])
    assert done.exit_code == 0
    assert "independence of the next rank" in done.output
    assert "All 19 checks passed" in done.output
    assert "run in 1,000,000" in " ".join(done.output.split())


def test_command_prints_json_and_exits_with_1_on_failure(monkeypatch):
    monkeypatch.setattr(_selftest_checks, "eager", broken_rate)
    done = CliRunner().invoke(command, ["--no-compile", "--elements", "65536", "--json"])
    assert done.exit_code == 1
    document = json.loads(done.output)
    assert document["passed"] is False
    done = CliRunner().invoke(command, ["--no-compile", "--elements", "65536"])
    assert "3 of 19 checks failed" in done.output
