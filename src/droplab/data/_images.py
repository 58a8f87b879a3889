"""User data from a folder of class folders of images."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from torch import Tensor

from droplab.data._items import image_tensor
from droplab.data._layout import (
    ENDINGS,
    class_folders,
    deeper_folders,
    find_layout,
    is_image,
)
from droplab.data._memory import as_split
from droplab.data._progress import Progress
from droplab.data._units import UNIT_ROLES, asked_units, units_of_names
from droplab.data.dataset import AnySplit, DataSet, content_checksum
from droplab.data.split import Split
from droplab.errors import DataError, nearest, quote
from droplab.limits import PIXELS
from droplab.recipe import DataSpec

_KEYS = ("size", "grey", *UNIT_ROLES)


class ImageFiles:
    """Image files with their class numbers, as a map-style data set.

    Args:
        files: Path and class number of each.
        size: (height, width) to resize to; None: as they are.
        grey: One channel (True) or three.
    """

    def __init__(
        self, files: Sequence[tuple[Path, int]], size: tuple[int, int] | None, grey: bool
    ) -> None:
        self.files, self.size, self.grey = files, size, grey

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        image = _open(path)
        if image.mode.startswith(("I", "F")):
            image_tensor(image, where=str(path))  # refuses it
        image = image.convert("L" if self.grey else "RGB")
        if self.size:
            image = image.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        return image_tensor(image, where=str(path)), label


def load_images(path: Path, spec: DataSpec, progress: Progress) -> DataSet:
    """Return the data set in a folder: one folder a class, or folders such as train/ of such.

    Within a split the images come in the order of the SHA-256 of their relative path, so that the
    first n are a fair sample of all classes, on every machine.

    Raises:
        DataError: If there are no images, fewer than two classes, or an image cannot be read.
    """
    size, grey = _arguments(spec)
    layout = find_layout(path)
    root = layout.train
    classes = class_folders(root)
    parts = [_files(root, classes)]
    notes = [*layout.notes, *deeper_folders(root, classes)]
    for other in (layout.validation, layout.test):
        parts.append(_files(other, classes) if other is not None else [])
        for name in class_folders(other, least=1) if other is not None else ():
            if name not in classes:
                raise DataError(
                    f"{other}/{name}: class '{name}' is not among the classes of training"
                    f"{nearest(name, classes)}"
                )
    every = [file for part in parts for file, _ in part]
    if grey is None:
        grey = all(_open(file).mode in ("1", "L", "LA", "La") for file, _ in parts[0])
    if size is None:
        _check_sizes(every)

    def split(part: Sequence[tuple[Path, int]]) -> AnySplit:
        # The same file gives the same image, so only the size has to be looked at.
        return as_split(
            ImageFiles(part, size, bool(grey)),
            name=path.name,
            classes=len(classes),
            in_memory=spec.in_memory,
            progress=progress,
        )

    train, validation, test = (split(part) if part else None for part in parts)
    assert train is not None  # a class folder without images is refused
    asked, units, others = asked_units(spec), None, b""
    if asked is not None:
        files = [file.relative_to(root).as_posix() for file, _ in parts[0]]
        units = units_of_names(*asked, files, str(root))
        others = units.values.tobytes()
    kept = [part for part in (train, validation, test) if isinstance(part, Split)]
    whole = len(kept) == sum(bool(part) for part in parts)
    checksum = content_checksum(*kept, others=others) if whole else ""
    source = f"the user's images in {path}"
    about = {"notes": tuple(notes), "units": units}
    return DataSet(path.name, train, test, classes, source, checksum, validation, **about)


def _arguments(spec: DataSpec) -> tuple[tuple[int, int] | None, bool | None]:
    for key in spec.arguments:
        if key not in _KEYS:
            raise DataError(f"data.arguments.{key}: unknown key{nearest(key, _KEYS)}")
    size: Any = spec.arguments.get("size")
    if size is not None and not (
        isinstance(size, tuple)
        and len(size) == 2
        and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in size)
        and size[0] * size[1] <= PIXELS
    ):
        raise DataError(
            f"data.arguments.size: expected [height, width], got {quote(size)}; an image has at "
            f"most {PIXELS} pixels"
        )
    grey = spec.arguments.get("grey")
    if grey is not None and not isinstance(grey, bool):
        raise DataError(f"data.arguments.grey: expected true or false, got {quote(grey)}")
    return size, grey


def _files(root: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    keyed: list[tuple[bytes, Path, int]] = []
    for label, name in enumerate(classes):
        folder = root / name
        if not folder.is_dir():
            continue
        files = [path for path in folder.rglob("*") if is_image(path)]
        if not files:
            raise DataError(
                f"{folder}: expected images of class '{name}' ({', '.join(sorted(ENDINGS))}), got "
                "none; fill the folder or remove it"
            )
        for file in files:
            relative = file.relative_to(root).as_posix()
            keyed.append((hashlib.sha256(os.fsencode(relative)).digest(), file, label))
    return [(file, label) for _, file, label in sorted(keyed)]


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a size that is refused below
            opened = Image.open(path)
        with opened as image:
            width, height = image.size
            if width * height > PIXELS:
                raise DataError(
                    f"{path}: expected an image of at most {PIXELS} pixels, got {width}x{height}"
                )
            image.load()
            return ImageOps.exif_transpose(image)
    except DataError:
        raise
    except Exception as error:  # each format has its own ways to fail on a damaged file
        raise DataError(f"{path}: cannot read this image: {quote(str(error))[1:-1]}") from None


def _check_sizes(files: Sequence[Path]) -> None:
    first = _open(files[0]).size
    for file in files:
        size = _open(file).size
        if size != first:
            raise DataError(
                f"{file}: expected images of one size, got {size[0]}x{size[1]} here and "
                f"{first[0]}x{first[1]} in {files[0].name}; resize all of them with "
                f"data.arguments.size = [{first[1]}, {first[0]}]"
            )
