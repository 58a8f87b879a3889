"""What the libraries that are tested here import where it is there."""

from __future__ import annotations

import contextlib

import pytest

from tests.docs.test_projects import usable_torchvision

with contextlib.suppress(pytest.skip.Exception):
    usable_torchvision()
