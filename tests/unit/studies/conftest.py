"""What tests of sweeps share."""

from __future__ import annotations

import pytest

from droplab.studies import _planner
from droplab.train import timing


@pytest.fixture
def thorough(monkeypatch):
    """Every plan is measured however short the training is, in one short turn each.

    Which is the fastest is then left to chance, and no test here rests on it.
    """
    monkeypatch.setattr(_planner, "_AT_ONCE", 0.0)
    monkeypatch.setattr(_planner, "_SHARE", 1e9)
    monkeypatch.setattr(_planner, "_LAST_TURNS", 1)
    monkeypatch.setattr(_planner.Planner, "_seconds", lambda self, most: 0.0)
    monkeypatch.setattr(timing, "_TURN", 0.002)
