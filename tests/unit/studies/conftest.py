"""What tests of sweeps share."""

from __future__ import annotations

import pytest

from droplab.studies import _planner


@pytest.fixture
def thorough(monkeypatch):
    """Plans are measured however short the training is."""
    monkeypatch.setattr(_planner, "_AT_ONCE", 0.0)
    monkeypatch.setattr(_planner, "_SHARE", 1e9)
