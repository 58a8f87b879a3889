"""User data from .npz, .npy and IDX files."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from droplab.data._blocks import Units
from droplab.data._idx import read_idx
from droplab.data._items import array_tensor
from droplab.data._labels import class_numbers
from droplab.data._targets import CLASSES_OF, guess_task, read_targets
from droplab.data._units import UNIT_ROLES, read_units
from droplab.data.dataset import AnySplit, DataSet, content_checksum
from droplab.data.split import Split
from droplab.data.streamed import StreamedSplit
from droplab.data.tree import Inputs
from droplab.errors import DataError, nearest, quote
from droplab.files import check_fits, check_ordinary, fits
from droplab.recipe import DataSpec

ROLES: Mapping[str, tuple[str, ...]] = {
    "inputs": ("x_train", "train_images", "inputs", "images", "x", "X"),
    "labels": ("y_train", "train_labels", "labels", "targets", "y"),
    "test_inputs": ("x_test", "test_images", "test_inputs"),
    "test_labels": ("y_test", "test_labels"),
}
"""What each array of an .npz file, or .npy file of a folder, is usually called."""

IDX_ROLES: Mapping[str, tuple[str, ...]] = {
    role: (f"{part}-ubyte", f"{part}-ubyte.gz")
    for role, part in {
        "inputs": "train-images-idx3",
        "labels": "train-labels-idx1",
        "test_inputs": "t10k-images-idx3",
        "test_labels": "t10k-labels-idx1",
    }.items()
}

_NPY = b"\x93NUMPY"
"""What an .npy file begins with."""

Reader = Callable[[str], np.ndarray]

Names = str | tuple[str, ...] | dict[str, str]
"""The array of a role; inputs may be several, in an order or by names."""


def load_npz(path: Path, spec: DataSpec, task: str | None = None) -> DataSet:
    """Return the data set in an .npz file; the arguments name its arrays."""
    if spec.in_memory is False:
        raise DataError(
            f"{path}: an .npz file can only be read whole; save its arrays as .npy files to stream"
        )
    with _archive(path) as (members, read):
        return _assemble(path, spec, _names(spec, ROLES, members, where=str(path)), read, task)


@contextmanager
def _archive(path: Path) -> Iterator[tuple[list[str], Reader]]:
    """Open an .npz file: the names of its arrays, and what reads one."""
    check_ordinary(path)
    with path.open("rb") as raw:
        if raw.read(len(_NPY)) == _NPY:  # which np.load would read whole, whatever its size
            raise DataError(f"{path}: expected an .npz file, got one array; is it an .npy file?")
        try:
            archive = zipfile.ZipFile(raw)
        except Exception as error:  # zipfile has many ways to fail on a damaged file
            raise DataError(f"{path}: expected an .npz file, and cannot read it: {error}") from None
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}

        def read(name: str) -> np.ndarray:
            where = f"{path}: {name}"
            return _numpy(lambda: _member(archive, members[name], where), where=where)

        yield list(members), read


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> np.ndarray:
    """Return an array of an archive, whose header is believed only as far as it has bytes."""
    form: Any = np.lib.format
    with archive.open(info) as file:
        version = form.read_magic(file)
        read_header = form.read_array_header_1_0 if version[0] == 1 else form.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("Python objects")
    size = math.prod(shape) * dtype.itemsize
    if size > info.file_size:
        raise ValueError(f"its header speaks of {size} bytes, and it has {info.file_size}")
    check_fits(size, where=where)
    with archive.open(info) as file:
        return form.read_array(file, allow_pickle=False)


def load_npy(path: Path, spec: DataSpec, task: str | None = None) -> DataSet:
    """Return the data set in .npy files: a folder of them, or one whose labels are named."""
    folder, named = _files(path, spec, {r: _npy(names) for r, names in ROLES.items()})
    return _assemble(path, spec, named, partial(_mapped, folder), task)


def _mapped(folder: Path, name: str) -> np.ndarray:
    file = folder / name
    check_ordinary(file)
    return _numpy(lambda: np.lib.format.open_memmap(file, mode="r"), where=str(file))


def load_inputs(path: str) -> Split | None:
    """Return inputs that stand without labels, to predict them; as targets they have 0.

    They are those of an .npy file, or of an .npz file or a folder of .npy files in which no array
    has the usual name of labels: the test inputs if there are any.

    Args:
        path: Where they are.

    Returns:
        The inputs; None where there are labels, and of data of another kind, which `load` reads.

    Raises:
        DataError: If they cannot be read.
    """
    where = Path(path).expanduser()
    if where.suffix == ".npz" and where.is_file():
        with _archive(where) as (names, read):
            return _inputs_of(where, names, ROLES, read)
    if where.suffix == ".npy" and where.is_file():
        return _read_inputs(where, where.name, partial(_mapped, where.parent))
    if where.is_dir():
        roles = {role: _npy(names) for role, names in ROLES.items()}
        found = [each.name for each in where.iterdir()]
        return _inputs_of(where, found, roles, partial(_mapped, where))
    return None


def _inputs_of(
    path: Path, found: Sequence[str], roles: Mapping[str, tuple[str, ...]], read: Reader
) -> Split | None:
    if any(name in found for role in ("labels", "test_labels") for name in roles[role]):
        return None
    usual = (*roles["test_inputs"], *roles["inputs"])
    name = next((each for each in usual if each in found), None)
    return None if name is None else _read_inputs(path, name, read)


def _read_inputs(path: Path, name: str, read: Reader) -> Split:
    array, where = read(name), f"{path}: {name}"
    _check_rows(array, where, 2)
    check_fits(array.nbytes, where=where)
    targets = torch.zeros(len(array), dtype=torch.int64)
    rows = _Rows([array], partial(_as_named, name), targets, [where])
    found = _split(rows, DataSpec(path=str(path), in_memory=True), 1, "classification")
    assert isinstance(found, Split)
    return found


def load_idx(path: Path, spec: DataSpec, task: str | None = None) -> DataSet:
    """Return the data set in IDX files: a folder of them, or one whose labels are named."""
    if spec.in_memory is False:
        raise DataError(f"{path}: IDX files can only be read whole; save .npy files to stream")
    folder, named = _files(path, spec, IDX_ROLES)

    def read(name: str) -> np.ndarray:
        array = read_idx(folder / name)
        # Images have a channel, as everywhere else.
        return array[:, None] if array.ndim == 3 else array

    return _assemble(path, spec, named, read, task)


def _npy(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}.npy" for name in names)


def _files(
    path: Path, spec: DataSpec, roles: Mapping[str, tuple[str, ...]]
) -> tuple[Path, dict[str, Names]]:
    """Return the folder of the files and the file name of each role."""
    if path.is_dir():
        return path, _names(spec, roles, [p.name for p in path.iterdir()], where=str(path))
    folder = path.parent
    if "labels" not in spec.arguments:
        raise DataError(
            f"{path}: expected the file of its labels in data.arguments.labels, a name in the same "
            "folder, got none"
        )
    found = [entry.name for entry in folder.iterdir() if entry.is_file()]
    given = DataSpec(path=spec.path, arguments={**spec.arguments, "inputs": path.name})
    return folder, _names(given, dict.fromkeys(roles, ()), found, where=str(folder))


def _names(
    spec: DataSpec, roles: Mapping[str, tuple[str, ...]], found: Sequence[str], *, where: str
) -> dict[str, Names]:
    """Return the name of the array, or file, of each role that there is one for.

    No name is taken for what examples are drawn by, unless it is given.
    """
    named: dict[str, Names] = {}
    for key in spec.arguments:
        if key not in (known := (*roles, *UNIT_ROLES, "classes")):
            raise DataError(f"data.arguments.{key}: unknown key{nearest(key, known)}")
    for role, usual in {**roles, **dict.fromkeys(UNIT_ROLES, ())}.items():
        given = spec.arguments.get(role)
        name = given if given is not None else next((n for n in usual if n in found), None)
        if isinstance(given, (tuple, dict)):
            _check_several(given, role)
        for each in _listed(given) if given is not None else ():
            if each not in found:
                key = f"data.{role}" if role in UNIT_ROLES else f"data.arguments.{role}"
                raise DataError(f"{where}: no '{each}' for {key}{nearest(str(each), found)}")
        if name is not None:
            named[role] = name
    for role in ("inputs", "labels"):
        if role not in named:
            raise DataError(
                f"{where}: expected training {role} under one of the names "
                f"{', '.join(roles[role])}, got {', '.join(sorted(found)) or 'nothing'}; name them "
                f"in data.arguments.{role}"
            )
    if ("test_inputs" in named) != ("test_labels" in named):
        one = "test_labels" if "test_inputs" in named else "test_inputs"
        raise DataError(f"{where}: expected data.arguments.{one} too, got only the other half")
    return named


def _check_several(given: tuple[Any, ...] | dict[str, Any], role: str) -> None:
    where = f"data.arguments.{role}: expected"
    if not role.endswith("inputs"):
        raise DataError(f"{where} the name of one array, got {quote(given)}")
    if not given or not all(isinstance(name, str) for name in _listed(given)):
        got = quote(list(given)) if given else "an empty list"
        raise DataError(f"{where} the names of arrays, got {got}")


def _listed(names: Any) -> list[Any]:
    """Return the arrays of a role, one after the other."""
    if isinstance(names, dict):
        return list(names.values())
    return list(names) if isinstance(names, tuple) else [names]


def _as_named(names: Names, parts: Sequence[Any]) -> Any:
    """Return what belongs to the arrays of a role as inputs have it: one, or several."""
    if isinstance(names, dict):
        return dict(zip(names, parts, strict=True))
    return tuple(parts) if isinstance(names, tuple) else parts[0]


def _assemble(
    path: Path, spec: DataSpec, named: Mapping[str, Names], read: Reader, task: str | None
) -> DataSet:
    pairs = [("inputs", "labels")]
    if "test_inputs" in named:
        pairs.append(("test_inputs", "test_labels"))
    arrays = [(list(map(read, _listed(named[x]))), read(str(named[y]))) for x, y in pairs]
    for (inputs, labels), (x, y) in zip(arrays, pairs, strict=True):
        check_fits(8 * labels.size, where=f"{path}: {named[y]}")
        if spec.in_memory is True:
            nbytes = sum(array.nbytes for array in inputs)
            check_fits(nbytes, where=f"{path}: {', '.join(_listed(named[x]))}")
    given, places = [labels for _, labels in arrays], [f"{path}: {named[y]}" for _, y in pairs]
    classes = _class_names(spec.arguments.get("classes", ()))
    task = task or guess_task(given[0], where=places[0])
    notes: tuple[str, ...] = ()
    if task in CLASSES_OF:
        targets, classes, notes = class_numbers(given, classes, where=places)
    else:
        pairs_of = zip(given, places, strict=True)
        targets = [read_targets(each, task, where=place) for each, place in pairs_of]
    splits: list[AnySplit] = []
    for (inputs, _), target, (x, y) in zip(arrays, targets, pairs, strict=True):
        where = [f"{path}: {name}" for name in _listed(named[x])]
        for array, place in zip(inputs, where, strict=True):
            _check_rows(array, place, 2 if isinstance(named[x], str) else 1)
            if len(array) != len(target):
                raise DataError(
                    f"{place}: expected as many inputs as labels, got {len(array)} inputs and "
                    f"{len(target)} labels ({named[y]})"
                )
        rows = _Rows(inputs, partial(_as_named, named[x]), target, where)
        splits.append(_split(rows, spec, len(classes), task))
    shapes = [
        _as_named(named[x], [array.shape[1:] for array in inputs])
        for (inputs, _), (x, _) in zip(arrays, pairs, strict=True)
    ]
    if shapes[0] != shapes[-1]:
        raise DataError(f"{path}: training inputs are {shapes[0]} each, test inputs {shapes[-1]}")
    train, test = splits[0], splits[1] if len(splits) > 1 else None
    whole = isinstance(train, Split) and (test is None or isinstance(test, Split))
    checksum = content_checksum(train, test) if whole else ""  # pyright: ignore[reportArgumentType] # both are Split
    units = _units(path, named, read, len(train))
    if checksum and units is not None:
        checksum = content_checksum(train, test, others=units.values.tobytes())  # pyright: ignore[reportArgumentType] # as above
    source = f"the user's {path}"
    about = {"notes": notes, "task": task, "units": units}
    return DataSet(path.stem, train, test, classes, source, checksum, **about)


def _units(path: Path, named: Mapping[str, Names], read: Reader, count: int) -> Units | None:
    """Return what the training examples are drawn by, if an array is named."""
    for role in UNIT_ROLES:
        if role in named:
            name = str(named[role])
            return read_units(role, name, read(name), count, f"{path}: {name}")
    return None


def _check_rows(array: np.ndarray, where: str, least: int) -> None:
    if array.ndim < least or not array.size:
        raise DataError(
            f"{where}: expected numbers of shape (N, ...), one row an example, got shape "
            f"{array.shape}{', which is empty' if not array.size else ''}"
        )


class _Rows:
    """Rows of arrays, which may be memory-mapped, as a map-style data set."""

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        form: Callable[[Sequence[Any]], Any],
        targets: torch.Tensor,
        where: Sequence[str],
    ) -> None:
        self.arrays, self.form, self.targets, self.where = arrays, form, targets, where

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Inputs, torch.Tensor]:
        parts = [
            array_tensor(np.asarray(array[index]), where=f"{place}[{index}]")
            for array, place in zip(self.arrays, self.where, strict=True)
        ]
        return self.form(parts), self.targets[index]


def _split(rows: _Rows, spec: DataSpec, classes: int, task: str) -> AnySplit:
    nbytes = sum(array.nbytes for array in rows.arrays)
    keep = fits(nbytes) if spec.in_memory == "auto" else spec.in_memory
    if not keep:
        return StreamedSplit(rows, torch.arange(len(rows)), classes, task=task)
    parts: list[torch.Tensor] = []
    for array, where in zip(rows.arrays, rows.where, strict=True):
        part = array_tensor(array, where=where)
        if part.is_floating_point() and not bool(part.isfinite().all()):
            i = int((~part.reshape(len(part), -1).isfinite().all(1)).nonzero()[0])
            raise DataError(f"{where}: expected finite numbers, got NaN or infinity in example {i}")
        parts.append(part)
    return Split(rows.form(parts), rows.targets)


def _class_names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, tuple) or not all(isinstance(name, str) for name in given):
        raise DataError(f"data.arguments.classes: expected a list of names, got {quote(given)}")
    return given


def _numpy(read: Callable[[], np.ndarray], *, where: str) -> np.ndarray:
    try:
        return read()
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile have many ways to fail on a damaged file
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{where}: expected an array of numbers, got one of Python objects, which droplab "
                "never unpickles, since that can run code; save it as an array of numbers"
            ) from None
        raise DataError(f"{where}: cannot read this array: {error}") from None
