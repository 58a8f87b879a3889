"""What the server that forks worker processes loads before, so that each of them finds it.

Only that server imports this: it takes seconds, and every worker would take them anew.
"""

from __future__ import annotations

import contextlib

import torch._dynamo  # the first step of an optimizer imports it  # noqa: F401

from droplab.ops.dispatch import mask_kernel_address

with contextlib.suppress(Exception):  # what fails is told where it is used
    mask_kernel_address()  # numba, and the kernel from its cache
