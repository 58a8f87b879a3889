"""What droplab can say of the data sets that it knows, without loading them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from droplab.data._cache import missing_files
from droplab.data._catalogue import CATALOGUE
from droplab.data._load import names
from droplab.errors import DataError, nearest


@dataclass(frozen=True)
class Known:
    """A data set that droplab knows by name.

    Args:
        name: What recipes call it.
        summary: What is in it.
        licence: Of the data, and whose it is.
        folder: Where its files are, or will be.
        missing: Empty if it is there and verified, else what is wrong.
    """

    name: str
    summary: str
    licence: str
    folder: Path
    missing: str


def known(name: str) -> Known:
    """Return what there is to say of a data set, its files verified.

    Raises:
        DataError: If droplab knows none of that name.

    Example:
        >>> known("digits").missing
        ''
    """
    if name == "digits":
        return Known(
            "digits",
            "1 297 + 500 grey images of handwritten digits, 8x8, ten classes; comes with droplab",
            "CC BY 4.0, E. Alpaydin and C. Kaynak",
            Path(str(resources.files("droplab.data") / "digits")),
            "",
        )
    if name not in CATALOGUE:
        raise DataError(f"data: no data set '{name}'{nearest(name, names())}")
    entry = CATALOGUE[name]
    return Known(
        name, entry.summary, entry.licence, entry.folder, missing_files(entry.files, entry.folder)
    )
