"""From a recipe's data to a data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from droplab.data._catalogue import CATALOGUE
from droplab.data._digits import load_digits
from droplab.data._files import IDX_ROLES, load_idx, load_npy, load_npz
from droplab.data._frame import TABLES
from droplab.data._function import load_function
from droplab.data._images import load_images
from droplab.data._progress import Progress, silent
from droplab.data._table import load_table
from droplab.data._targets import CLASSES_OF, read_targets
from droplab.data.dataset import AnySplit, DataSet
from droplab.data.split import Split
from droplab.errors import DataError, DroplabError, nearest
from droplab.files import check_ordinary
from droplab.recipe import FORMATS, DataSpec


def names() -> tuple[str, ...]:
    """Return the names of the data sets that droplab knows.

    Example:
        >>> names()
        ('digits', 'fashion-mnist', 'mnist')
    """
    return tuple(sorted(("digits", *CATALOGUE)))


def load(
    spec: DataSpec | str, *, task: str | None = None, progress: Progress | None = None
) -> DataSet:
    """Return the data that a recipe names.

    Args:
        spec: A recipe's data, or just a name of `names()`.
        task: What targets are read for; None: they tell, if they leave no doubt.
        progress: Called as progress(what, done, total) while something takes long; None: silence.

    Returns:
        The data set, in memory in its own dtype (uint8 for images) if it fits there.

    Raises:
        DataError: If it is unknown, cannot be fetched, verified or read, or is no usable data.

    Randomness: none of its own; torch's default generator is left as it was while a function's
        items are tried for repeating.

    Example:
        >>> digits = load("digits")
        >>> digits.train.inputs.shape, digits.train.inputs.dtype, len(digits.test)
        (torch.Size([1297, 1, 8, 8]), torch.uint8, 500)
    """
    spec = DataSpec(name=spec) if isinstance(spec, str) else spec
    tell = progress or silent
    if spec.function is not None:
        return load_function(spec, tell, task)
    if spec.path is not None:
        return _load_path(Path(spec.path).expanduser(), spec, tell, task)
    if spec.name == "digits":
        return _read_for(load_digits(), task)
    if spec.name is not None and spec.name in CATALOGUE:
        return _read_for(CATALOGUE[spec.name].load(tell), task)
    raise DataError(f"data.name: no data set '{spec.name}'{nearest(spec.source, names())}")


def _read_for(dataset: DataSet, task: str | None) -> DataSet:
    """Return data whose targets are class numbers, which a task may take as something else."""
    if task is None or task in CLASSES_OF:
        return dataclasses.replace(dataset, task=task or "classification")
    read: dict[str, Split] = {}
    for name in ("train", "validation", "test"):
        split: AnySplit | None = getattr(dataset, name)
        where = f"{dataset.name} ({name})"
        if isinstance(split, Split):
            read[name] = Split(split.inputs, read_targets(split.targets, task, where=where))
        elif split is not None:
            raise DataError(f"{where}: expected targets for task = '{task}', got class numbers")
    return dataclasses.replace(dataset, **read, classes=(), notes=(), task=task)


def _load_path(path: Path, spec: DataSpec, progress: Progress, task: str | None) -> DataSet:
    try:
        return _load_existing(path, spec, progress, task)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise DataError(f"data.path: cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        if isinstance(error, DroplabError):
            raise
        raise DataError(f"data.path: cannot read {path}: {error}") from None
    except MemoryError:
        raise DataError(f"data.path: {path} needs more memory than there is") from None


def _load_existing(path: Path, spec: DataSpec, progress: Progress, task: str | None) -> DataSet:
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, [*siblings, *(names() if path.name == str(path) else ())])
        raise DataError(
            f"data.path: no file or folder '{path}'{hint if 'did you mean' in hint else ''}; a "
            "path is relative to the working directory"
        )
    form = spec.format or _format(path)
    if form == "npz":
        return load_npz(path, spec, task)
    if form == "npy":
        return load_npy(path, spec, task)
    if form in TABLES:
        return load_table(path, form, spec, task)
    if form == "idx":
        return load_idx(path, spec, task)
    if not path.is_dir():
        raise DataError(f"data.path: expected a folder of class folders of images, got {path}")
    return _read_for(load_images(path, spec, progress), task)


def _format(path: Path) -> str:
    """Return the format that a path speaks of by its ending, or by what lies in it."""
    if path.is_dir():
        inside = {entry.name for entry in path.iterdir()}
        if any(name in inside for name in IDX_ROLES["inputs"]):
            return "idx"
        return "npy" if any(name.endswith(".npy") for name in inside) else "images"
    if path.suffix in (".npz", ".npy"):
        return path.suffix[1:]
    check_ordinary(path)
    table = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if table in TABLES:
        return table
    with path.open("rb") as file:
        if "idx" in path.name or file.read(2) == b"\0\0":
            return "idx"
    raise DataError(
        f"data.path: cannot tell the format of {path}; say which in data.format, one of "
        f"{', '.join(FORMATS)}"
    )
