"""The self-test of masks, for users to run on their own machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import torch

from droplab.errors import ArgumentError
from droplab.ops import _selftest_checks as checks
from droplab.ops._backends import backend_name
from droplab.ops.layout import BLOCK
from droplab.rng import check_seed

FALSE_ALARMS = 1e-6
"""Probability that a run with fresh masks fails although every mask is right."""


@dataclass(frozen=True)
class Check:
    """One line of the self-test.

    Attributes:
        device: Where it ran.
        mode: "eager" or "compiled".
        name: What was checked.
        value: Number of wrong elements, or the score in standard deviations.
        limit: Largest absolute value that passes.
        passed: Whether it does.
    """

    device: str
    mode: str
    name: str
    value: float
    limit: float
    passed: bool


@dataclass(frozen=True)
class SelfTest:
    """The result of `selftest`.

    Attributes:
        checks: Every check that ran.
        backends: Device to the name of the backend that made its masks.
        skipped: What could not run, and why.
        elements: Elements of each random mask.
        seed: Seed of the masks.
        false_alarms: Probability that the whole test fails although every mask is right.
    """

    checks: tuple[Check, ...]
    backends: dict[str, str]
    skipped: tuple[str, ...]
    elements: int
    seed: int
    false_alarms: float

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
        return {"passed": self.passed, **asdict(self)}


def selftest(
    *,
    devices: Sequence[str] | None = None,
    elements: int = 1 << 20,
    seed: int = 0,
    compiled: bool | None = None,
) -> SelfTest:
    """Check the masks on this machine, on every device and under `torch.compile`.

    Exact: the backward mask is the forward mask; the output is that of the plain-torch reference,
    bit for bit; compiled code draws the masks that eager code draws. Random: keep rate, and
    independence of neighbouring elements, lanes and blocks, and of calls, seeds, layers and ranks.
    The random ones are judged together, at a false-alarm rate of one in a million; with the same
    seed a run repeats its result.

    Args:
        devices: Such as "cpu" or "cuda:0"; None for the CPU and every accelerator that torch finds.
        elements: Elements of each random mask, at least 65536.
        seed: Seed of the masks; another seed is another test.
        compiled: Whether to test compiled code as well; None to do so where a compiler exists.

    Returns:
        A `SelfTest`; `passed` says it in one word.

    Raises:
        ArgumentError: If the seed is out of range, there are too few elements, or a device is not
            there.

    Randomness:
        None from torch's default generator, whose state is left as it was.

    Example:
        >>> result = selftest(devices=["cpu"], elements=65536, compiled=False)
        >>> result.passed
        True
    """
    check_seed(seed, where="selftest: seed")
    if elements < 4 * BLOCK:
        raise ArgumentError(f"selftest: elements: expected at least {4 * BLOCK}, got {elements}")
    places = [_device(name) for name in devices] if devices is not None else _find_devices()
    skipped: list[str] = []
    modes = ["eager"]
    if compiled is not False:
        reason = _why_no_compiler()
        if reason is None:
            modes.append("compiled")
        else:
            skipped.append(f"compiled code: {reason}")
            if compiled:
                raise ArgumentError(f"selftest: compiled: expected a compiler, got none: {reason}")
    scores = checks.SCORES * len(modes) * len(places)
    limit = -NormalDist().inv_cdf(FALSE_ALARMS / scores / 2)
    results: list[Check] = []
    for device in places:
        for mode in modes:
            results += _run(device, mode, elements, seed, limit)
    backends = {str(device): backend_name(device) for device in places}
    return SelfTest(tuple(results), backends, tuple(skipped), elements, seed, FALSE_ALARMS)


def _run(device: torch.device, mode: str, n: int, seed: int, limit: float) -> Iterator[Check]:
    check = partial(_check, str(device), mode)
    call: checks.Call = checks.eager
    if mode == "compiled":
        torch.compiler.reset()
        compiled: Callable[..., Any] = torch.compile(checks.eager, fullgraph=True, dynamic=False)
        call = _with_rate_tensor(compiled)
        twice = torch.compile(checks.two_layers, fullgraph=True)
        for name, wrong in checks.drawn_checks(twice, device):
            yield check(name, wrong, 0)
    for name, wrong in checks.exact_checks(call, device, seed):
        yield check(name, wrong, 0)
    for name, score in checks.random_scores(call, device, n, seed):
        yield check(name, score, limit)


def _check(device: str, mode: str, name: str, value: float, limit: float) -> Check:
    return Check(device, mode, name, value, limit, passed=abs(value) <= limit)


def _with_rate_tensor(compiled: Callable[..., Any]) -> checks.Call:
    # As a float, every rate would be a program of its own.
    return lambda x, p, key: compiled(x, torch.tensor(p, dtype=torch.float64), key)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:  # as torch was built
        first = str(error).strip().splitlines()[0]
        raise ArgumentError(
            f"selftest: devices: expected a device of this machine, got {name!r} ({first})"
        ) from error
    return device


def _find_devices() -> list[torch.device]:
    found = [torch.device("cpu")]
    found += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    for kind in ("mps", "xpu"):
        backend = getattr(torch, kind, None)
        if backend is not None and backend.is_available():
            found.append(torch.device(kind))
    return found


def _why_no_compiler() -> str | None:
    try:
        torch.compile(checks.two_layers, fullgraph=True)(torch.ones(8))
    except Exception as error:  # what is missing decides what is raised
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    finally:
        torch.compiler.reset()
    return None
