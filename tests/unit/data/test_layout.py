"""Which folders of images are splits, which are classes, and which are not read."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from droplab.data import DataSet, Split, carve, load
from droplab.errors import DataError
from droplab.recipe import DataSpec


def fill(root: Path, *folders: str, first: int = 0) -> None:
    """Put two images into each folder, of values that count up from `first`."""
    for at, name in enumerate(folders):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(2):
            value = first + 2 * at + i
            Image.new("L", (4, 3), value).save(root / name / f"{value}.png")


def values(split: object) -> list[int]:
    assert isinstance(split, Split)
    return sorted(split.inputs[:, 0, 0, 0].tolist())


def read(root: Path) -> DataSet:
    return load(DataSpec(path=str(root)))


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "VALID", "TEST"),
        ("seg_train", "seg_dev", "seg_test"),
        ("Train_set", "valset", "TestSet"),
        ("trainImages", "ValImages", "testImages"),
        ("train2017", "val2017", "test2017"),
        ("my-training.data", "my-validation.data", "my-testing.data"),
    ],
)
@pytest.mark.parametrize("above", ["", "dataset", "archive/dataset"])
@pytest.mark.parametrize("doubled", [False, True])
def test_splits_by_their_usual_names(
    tmp_path: Path, train: str, validation: str, test: str, above: str, doubled: bool
) -> None:
    root = tmp_path / above
    for at, split in enumerate((train, validation, test)):
        inner = f"{split}/{split}" if doubled else split
        fill(root / inner, "cat", "dog", first=10 * at)
    data = read(tmp_path)
    assert data.classes == ("cat", "dog")
    assert [values(part) for part in (data.train, data.validation, data.test)] == [
        [0, 1, 2, 3],
        [10, 11, 12, 13],
        [20, 21, 22, 23],
    ]
    assert data.notes == ()


def test_a_validation_split_is_validated_on_and_the_test_split_kept(tmp_path: Path) -> None:
    for at, split in enumerate(("train", "val", "test")):
        fill(tmp_path / split, "cat", "dog", first=10 * at)
    data = read(tmp_path)
    own = carve(data, DataSpec(path=str(tmp_path)))
    assert (values(own.validation)[0], values(own.test)[0], own.validated_on) == (10, 20, "own")
    official = carve(data, DataSpec(path=str(tmp_path), validation="test"))
    assert (values(official.validation)[0], official.test, official.validated_on) == (
        20,
        None,
        "test",
    )
    assert official.notes == (
        'The data\'s own validation split (4 examples) is not used: data.validation = "test".',
    )
    cut = carve(data, DataSpec(path=str(tmp_path), validation=1, train=3))
    assert cut.validated_on == "train"
    assert "is not used: data.validation = 1" in cut.notes[0]


def test_a_training_and_a_validation_folder_alone(tmp_path: Path) -> None:
    fill(tmp_path / "train", "cat", "dog")
    fill(tmp_path / "val", "cat", "dog", first=10)
    data = read(tmp_path)
    assert data.test is None
    splits = carve(data, DataSpec(path=str(tmp_path)))
    assert (values(splits.validation), splits.test) == ([10, 11, 12, 13], None)


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    """A folder that holds images is a class: trains, beside buses."""
    fill(tmp_path, "train", "bus", "car")
    data = read(tmp_path)
    assert (data.classes, len(data.train), data.test) == (("bus", "car", "train"), 6, None)
    fill(tmp_path / "train", "inside")
    assert read(tmp_path).classes == ("bus", "car", "train")


def test_every_folder_that_is_not_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "Training", "cat", "dog")
    fill(tmp_path, "Testing", "annotations")
    fill(tmp_path / "train_augmented", "cat", "dog", first=50)
    (tmp_path / "docs").mkdir()
    (tmp_path / "__MACOSX" / "Training").mkdir(parents=True)
    Image.new("L", (4, 3)).save(tmp_path / "Training" / "sample.png")
    fill(tmp_path / "Training", "cat/close up", first=90)
    data = read(tmp_path)
    assert values(data.train) == [0, 1, 2, 3, 90, 91]
    assert data.test is None
    name = tmp_path.name
    assert data.notes == (
        f"{name}/Testing is not read: its images are in no class folder.",
        f"{name}/annotations is not read, since it is no split.",
        f"{name}/docs is not read, since it is no split.",
        f"{name}/train_augmented is not read, since it is no split.",
        "Images in Training itself, in no class folder, are not read.",
        "Training: images in folders inside a class are read with it: cat/close up.",
    )


def test_folders_that_could_be_misread_are_refused(tmp_path: Path) -> None:
    a = tmp_path / "a"
    fill(a, "train", "test")
    with pytest.raises(DataError, match="'test' and 'train' are named as splits and hold images"):
        read(a)
    b = tmp_path / "b"
    fill(b, "cat/images", "cat/masks", "dog/images", "dog/masks")
    with pytest.raises(DataError, match=r"cat: expected the images .* got only folders .*'masks'"):
        read(b)
    c = tmp_path / "c"
    fill(c / "Testing", "cat", "dog")
    fill(c / "val", "cat", "dog")
    with pytest.raises(DataError, match="found 'val' and 'Testing' and no training split"):
        read(c)
    d = tmp_path / "d"
    fill(d / "train_a", "cat", "dog")
    fill(d / "train_b", "cat", "dog")
    with pytest.raises(DataError, match="expected one train split, got 'train_a' and 'train_b'"):
        read(d)
    e = tmp_path / "e"
    for part in ("full", "small"):
        fill(e / part / "Training", "cat", "dog")
    with pytest.raises(DataError, match=r"full: .* got only folders \('Training'\); .* give "):
        read(e)


def test_a_link_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a").symlink_to(tmp_path / "a")
    with pytest.raises(DataError):
        read(tmp_path)
