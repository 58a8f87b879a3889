"""The 8x8 digits that come with droplab."""

from __future__ import annotations

import hashlib
import io
from importlib import resources

import numpy as np
import torch

from droplab.data.dataset import DataSet
from droplab.data.split import Split
from droplab.errors import DataError

TRAIN = 1297
"""The first 1 297 images are the training split, the other 500 the test split."""

_SHA256 = "08732e0dbfebb85fbbea719b816ddfc29a3cabf4a0df32e66dd2d14e2b980575"


def load_digits() -> DataSet:
    """Return the handwritten digits, uint8 images of 1 x 8 x 8, from the package itself.

    Raises:
        DataError: If the file in the package was changed.
    """
    content = (resources.files("droplab.data") / "digits" / "digits.npz").read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise DataError(
            f"digits: the file in the package should have SHA-256 {_SHA256[:12]}..., and has "
            f"{found[:12]}...; install droplab again"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"]).long()
    inputs = images[:, None]
    return DataSet(
        name="digits",
        train=Split(inputs[:TRAIN], labels[:TRAIN]),
        test=Split(inputs[TRAIN:], labels[TRAIN:]),
        classes=tuple("0123456789"),
        source="the copy in the droplab package (UCI Optical Recognition of Handwritten Digits)",
        checksum=f"sha256:{found}",
    )
