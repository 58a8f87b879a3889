"""What all tests share."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

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


@pytest.fixture(scope="session", autouse=True)
def _seeds_of_no_device():
    """Without one `torch.manual_seed` would note three, with the stack: half a millisecond."""
    with pytest.MonkeyPatch.context() as patch:
        if not torch.accelerator.is_available():
            for device in (torch.cuda, torch.xpu, torch.mtia):
                patch.setattr(device, "manual_seed_all", lambda seed: None, raising=False)
        yield


@pytest.fixture(scope="session")
def _folders(tmp_path_factory):
    """New folders, which `mktemp` takes the longer to number the more there are."""
    place = tmp_path_factory.mktemp("own")
    return (place / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_folders(_folders, monkeypatch):
    """No test leaves runs or plans where others find them, or sees a terminal that is not there."""
    folder = next(_folders)
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DROPLAB_PLANS", f"{folder}-plans")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    yield
    if "mlflow" in sys.modules:  # what an example has set
        sys.modules["mlflow"].set_tracking_uri(None)


@pytest.fixture
def keep_plan(_own_folders):
    """Keep a plan for a recipe, which this process and those that it starts then do not measure."""

    def keep(recipe, plan):
        from droplab.studies import resolve
        from droplab.studies._stored_plans import plan_key, remember

        remember(plan_key(resolve(recipe), recipe.arms, plan.device), plan)

    return keep


_plans = tempfile.TemporaryDirectory(prefix="droplab-plans-")

_IN_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30
"""Bytes that must be free there; a whole session leaves half a gigabyte until it ends."""


def _has_room():
    """Whether the tests' folders fit into memory, where compiled code must run, too."""
    free = shutil.disk_usage(_IN_MEMORY).free
    return free >= _ROOM and not os.statvfs(_IN_MEMORY).f_flag & os.ST_NOEXEC


def pytest_configure():
    gc.disable()  # until everything is collected
    # a run waits for the disk at every row, in all a fifth of the time that its tests take
    if _IN_MEMORY.is_dir() and _has_room():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["DROPLAB_PLANS"] = _plans.name  # of the processes that tests start


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """Let the garbage collector leave alone what lives as long as the session.

    That is torch and eight thousand tests, and to look through them takes half a second each time.
    """
    gc.collect()
    gc.freeze()
    gc.callbacks.append(_note_full)
    gc.enable()


_full = False
"""Whether the collector has looked through everything since it was last told to leave it alone."""


def _note_full(phase, info):
    global _full
    _full = _full or info["generation"] == 2


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Let it leave alone what tests have imported since, before it is looked through again.

    That is half a million objects of compilers and other libraries.
    """
    global _full
    if _full:
        gc.collect()
        gc.freeze()
        _full = False
