"""What all tests share."""

from __future__ import annotations

import os
import tempfile

import pytest
import torch
from hypothesis import settings

# how long an example takes says something about the machine alone
settings.register_profile("droplab", deadline=None)
settings.load_profile("droplab")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tests run beside each other; results are compared under one number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory, monkeypatch):
    """No test leaves runs or plans where others find them, or sees a terminal that is not there."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    monkeypatch.setenv("DROPLAB_PLANS", str(tmp_path_factory.mktemp("plans")))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


_plans = tempfile.TemporaryDirectory(prefix="droplab-plans-")


def pytest_configure():
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["DROPLAB_PLANS"] = _plans.name  # of the processes that tests start
