"""Which folders of the user's images are splits, and which are classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from droplab.errors import DataError, quote

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})

_ROLES: Mapping[str, frozenset[str]] = {
    "train": frozenset({"train", "training", "trn"}),
    "validation": frozenset({"val", "valid", "validation", "dev"}),
    "test": frozenset({"test", "testing", "tst"}),
}
_ENDS = ("set", "data", "images", "imgs", "folder", "split")
_DEEPEST = 8
"""How many folders that hold nothing but one folder are gone into; a link to itself has no end."""


@dataclass(frozen=True)
class Layout:
    """Where the splits of a folder of images lie; each holds one folder a class.

    Args:
        train: The training split, or the only one.
        validation: The validation split, if there is one.
        test: The test split, if there is one.
        notes: What lies beside them and is not read.
    """

    train: Path
    validation: Path | None
    test: Path | None
    notes: tuple[str, ...]


def find_layout(path: Path) -> Layout:
    """Return where the splits lie in a folder.

    A folder is a split if its name says so ("train", "Testing", "seg_train", "valset") and it
    holds folders of images; one that holds images itself is a class, whatever it is called.

    Raises:
        DataError: If splits are there without a training split, two folders could be one split, or
            split folders hold images that are in no class folder.
    """
    root = _innermost(path)
    inside = folders(root)
    named: dict[str, list[Path]] = {role: [] for role in _ROLES}
    bare: dict[str, Path] = {}
    for folder in inside:
        role = split_role(folder.name)
        if role is None:
            continue
        classes = [each for each in folders(_innermost(folder)) if holds_images(each)]
        if len(classes) > 1 or (classes and not holds_images(folder)):
            named[role].append(folder)
        elif holds_images(folder):
            bare[role] = folder
    if not any(named.values()):
        if len(bare) > 1:
            raise DataError(
                f"{root}: {_listed(bare.values())} are named as splits and hold images without "
                "classes; expected one folder a class in each, such as "
                f"{next(iter(bare.values())).name}/cat/1.png"
            )
        return Layout(root, None, None, _loose(root))
    chosen = {role: _only(root, role, found) for role, found in named.items() if found}
    if "train" not in chosen:
        raise DataError(
            f"{root}: found {_listed(chosen.values())} and no training split; expected a folder "
            "such as train/ beside it, with one folder a class"
        )
    unused = [folder for folder in inside if folder not in chosen.values()]
    notes = [_not_read(root, folder) for folder in unused]
    splits = {role: _innermost(folder) for role, folder in chosen.items()}
    for split in splits.values():
        notes += _loose(split)
    return Layout(splits["train"], splits.get("validation"), splits.get("test"), tuple(notes))


def split_role(name: str) -> str | None:
    """Return "train", "validation" or "test" if a folder's name says that it is such a split.

    Example:
        >>> [split_role(name) for name in ("Training", "seg_test", "ValSet", "restaurant")]
        ['train', 'test', 'validation', None]
    """
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    words |= {word.removesuffix(end) for word in words for end in _ENDS}
    found = [role for role, usual in _ROLES.items() if words & usual]
    return found[0] if len(found) == 1 else None


def class_folders(root: Path, *, least: int = 2) -> tuple[str, ...]:
    """Return the names of the classes of a split, in sorted order.

    Raises:
        DataError: If there are fewer than `least`, or one of them holds nothing but folders.
    """
    inside = folders(root)
    names = tuple(folder.name for folder in inside)
    if len(names) < least:
        raise DataError(
            f"{root}: expected one folder of images a class, and at least {least} of them, got "
            f"{f'only {quote(names[0])}' if names else 'no folder'}"
        )
    for name in names:
        if not name.isprintable():  # it is kept as text, which cannot hold other bytes
            raise DataError(
                f"{root}: expected folders with names in UTF-8, one a class, got {quote(name)}; "
                "rename it"
            )
    for folder in inside:
        deeper = folders(folder)
        if deeper and not holds_images(folder):
            raise DataError(
                f"{folder}: expected the images of class '{folder.name}', got only folders "
                f"({_listed(deeper)}); if these are the classes, give {folder} as data.path, else "
                "move the images that count into the class folder itself"
            )
    return names


def deeper_folders(root: Path, classes: Sequence[str]) -> list[str]:
    """Say which folders inside class folders have their images read with the class."""
    found = [
        f"{name}/{folder.name}"
        for name in classes
        if (root / name).is_dir()
        for folder in folders(root / name)
    ]
    if not found:
        return []
    listed = ", ".join(found[:5]) + (" and more" if len(found) > 5 else "")
    return [f"{root.name}: images in folders inside a class are read with it: {listed}."]


def folders(root: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and what macOS adds."""
    return sorted(
        entry
        for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
    )


def holds_images(folder: Path) -> bool:
    """Return whether there are images in a folder itself."""
    return any(is_image(entry) for entry in folder.iterdir())


def is_image(path: Path) -> bool:
    """Return whether this is a file with the ending of an image, and not hidden."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


def _innermost(folder: Path) -> Path:
    """Go into a folder as long as it holds one folder of folders and nothing else to read."""
    for _ in range(_DEEPEST):
        inside = folders(folder)
        if len(inside) != 1 or holds_images(folder) or not folders(inside[0]):
            break
        folder = inside[0]
    return folder


def _only(root: Path, role: str, found: Sequence[Path]) -> Path:
    plain = [folder for folder in found if folder.name.lower() in _ROLES[role]]
    if len(found) == 1 or len(plain) == 1:
        return (plain or list(found))[0]
    raise DataError(
        f"{root}: expected one {role} split, got {_listed(found)}; move the others elsewhere"
    )


def _not_read(root: Path, folder: Path) -> str:
    why = ""
    if holds_images(folder) and split_role(folder.name):
        why = ": its images are in no class folder"
    return f"{root.name}/{folder.name} is not read{why or ', since it is no split'}."


def _loose(root: Path) -> tuple[str, ...]:
    if not holds_images(root):
        return ()
    return (f"Images in {root.name} itself, in no class folder, are not read.",)


def _listed(paths: Iterable[Path]) -> str:
    names = [repr(path.name) for path in paths]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if more else " and ".join(names[:5])
