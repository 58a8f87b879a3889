"""User data from a folder of class folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from droplab.data import Split, StreamedSplit, carve, load
from droplab.errors import DataError
from droplab.recipe import DataSpec


def picture(path: Path, value: int, mode: str = "RGB", size: tuple[int, int] = (4, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Cats are dark (below 100), dogs are light; the value of a picture is its name."""
    for i in range(40):
        picture(tmp_path / "train" / "cat" / f"{i}.png", i)
        picture(tmp_path / "train" / "dog" / ("more" * (i % 2)) / f"{i + 100}.PNG", i + 100)
    picture(tmp_path / "test" / "dog" / "200.png", 200)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "cat" / ".hidden.png").write_bytes(b"no image either")
    return tmp_path


def test_a_folder_of_folders(root: Path) -> None:
    data = load(DataSpec(path=str(root)))
    assert isinstance(data.train, Split)
    assert isinstance(data.test, Split)
    assert data.classes == ("cat", "dog")
    assert data.train.inputs.shape == (80, 3, 3, 4)
    assert data.train.inputs.dtype == torch.uint8
    values = data.train.inputs[:, 0, 0, 0]
    assert torch.equal(data.train.targets, (values >= 100).long())
    assert sorted(values.tolist()) == [*range(40), *range(100, 140)]
    assert (data.test.targets.tolist(), data.test.inputs.unique().tolist()) == ([1], [200])


def test_the_order_is_mixed_and_does_not_depend_on_the_place(root: Path, tmp_path: Path) -> None:
    data = load(DataSpec(path=str(root), train=20, validation=20))
    splits = carve(data, DataSpec(path=str(root), train=20, validation=20))
    for split in (splits.train, splits.validation):
        assert isinstance(split, Split)
        assert 3 <= int(split.targets.sum()) <= 17
    moved = tmp_path / "elsewhere"
    (root / "train").rename(moved)
    (root / "test").rename(tmp_path / "test2")
    again = load(DataSpec(path=str(moved)))
    assert again.test is None
    assert isinstance(again.train, Split)
    assert isinstance(data.train, Split)
    assert torch.equal(again.train.inputs, data.train.inputs)


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / name / "1.png", 7, "L")
    data = load(DataSpec(path=str(tmp_path)))
    assert isinstance(data.train, Split)
    assert data.train.inputs.shape == (2, 1, 3, 4)
    picture(tmp_path / "a" / "2.png", 7)
    mixed = load(DataSpec(path=str(tmp_path)))
    assert isinstance(mixed.train, Split)
    assert mixed.train.inputs.shape == (3, 3, 3, 4)
    grey = load(DataSpec(path=str(tmp_path), arguments={"grey": True}))
    assert isinstance(grey.train, Split)
    assert grey.train.inputs.shape == (3, 1, 3, 4)


def test_pictures_can_be_resized_and_streamed(root: Path) -> None:
    picture(root / "train" / "cat" / "big.png", 9, size=(8, 6))
    arguments = {"size": [5, 2]}
    kept = load(DataSpec(path=str(root), arguments=arguments))
    streamed = load(DataSpec(path=str(root), arguments=arguments, in_memory=False))
    assert isinstance(kept.train, Split)
    assert isinstance(streamed.train, StreamedSplit)
    assert kept.train.inputs.shape == (81, 3, 5, 2)
    order = torch.arange(81)
    for (x, y), (x2, y2) in zip(
        kept.train.batches(order, 9), streamed.train.batches(order, 9), strict=True
    ):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_the_camera_may_have_been_turned(tmp_path: Path) -> None:
    array = np.zeros((2, 4, 3), np.uint8)
    array[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "1.png", exif=exif)
    data = load(DataSpec(path=str(tmp_path)))
    assert isinstance(data.train, Split)
    assert data.train.inputs.shape == (2, 3, 4, 2)
    assert data.train.inputs[0, 0].nonzero().tolist() == [[0, 1]]


def test_an_unreadable_picture_is_named(root: Path) -> None:
    victim = root / "train" / "cat" / "3.png"
    content = victim.read_bytes()
    for broken in (b"", b"text", content[:50]):
        victim.write_bytes(broken)
        with pytest.raises(DataError, match=r"cat.3\.png: cannot read this image"):
            load(DataSpec(path=str(root)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sise": [1, 1]}, "data.arguments.sise: unknown key; did you mean 'size'"),
        ({"size": 4}, r"data.arguments.size: expected \[height, width\], got 4"),
        ({"size": [4, 0]}, "data.arguments.size: expected"),
        ({"size": [4, True]}, "data.arguments.size: expected"),
        ({"grey": 1}, "data.arguments.grey: expected true or false, got 1"),
    ],
)
def test_bad_arguments(root: Path, arguments: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(DataSpec(path=str(root), arguments=arguments))


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 2 of them, got no folder"):
        load(DataSpec(path=str(tmp_path)))
    picture(tmp_path / "cat" / "1.png", 1)
    with pytest.raises(DataError, match="at least 2 of them, got only 'cat'"):
        load(DataSpec(path=str(tmp_path)))
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match=r"dog: expected images of class 'dog' \(.bmp, .*got none"):
        load(DataSpec(path=str(tmp_path)))
    picture(tmp_path / "dog" / "1.png", 1, size=(5, 5))
    with pytest.raises(DataError, match=r"one size, got .*data.arguments.size = \["):
        load(DataSpec(path=str(tmp_path)))
    picture(tmp_path / "dog" / "1.png", 1, mode="I;16")
    with pytest.raises(DataError, match=r"dog.1.png: expected an image with 8 bits a channel"):
        load(DataSpec(path=str(tmp_path)))


def test_a_class_that_only_the_test_split_has(root: Path) -> None:
    picture(root / "test" / "doge" / "1.png", 1)
    with pytest.raises(DataError, match=r"'doge' is not among the classes .*did you mean 'dog'"):
        load(DataSpec(path=str(root)))


def patients(folder: Path, count: int = 40) -> None:
    """Four pictures of each of ten patients, one a day."""
    for i in range(count):
        kind = "cat" if i % 2 else "dog"
        picture(folder / kind / f"p{i // 4}_2026-01-{1 + i % 28:02d}_{i}.png", i)


@pytest.mark.parametrize("pattern", ["p[0-9]+", "(p[0-9]+)_"])
def test_the_names_of_files_tell_groups(tmp_path: Path, pattern: str) -> None:
    patients(tmp_path)
    spec = DataSpec(path=str(tmp_path), arguments={"groups": pattern}, validation=0.25)
    splits = carve(load(spec), spec)
    assert isinstance(splits.train, Split)
    assert isinstance(splits.validation, Split)
    of = [set((s.inputs[:, 0, 0, 0] // 4).tolist()) for s in (splits.train, splits.validation)]
    assert not of[0] & of[1]
    assert len(splits.validation) == 12  # three patients, for ten are too few
    folded = DataSpec(path=str(tmp_path), arguments={"groups": pattern}, folds=5)
    for seed in range(5):
        mine = carve(load(folded), folded).of_seed(seed)
        of = [set((s.inputs[:, 0, 0, 0] // 4).tolist()) for s in (mine.train, mine.validation)]
        assert not of[0] & of[1]


def test_the_names_of_files_tell_times(tmp_path: Path) -> None:
    patients(tmp_path, 28)
    spec = DataSpec(path=str(tmp_path), arguments={"time": "[0-9-]{10}"}, validation=7)
    splits = carve(load(spec), spec)
    assert sorted(splits.validation.inputs[:, 0, 0, 0].tolist()) == list(range(21, 28))
    numbered = DataSpec(path=str(tmp_path), arguments={"time": r"_(\d+)\.png"}, validation=7)
    splits = carve(load(numbered), numbered)  # as numbers: 9 comes before 10
    assert sorted(splits.validation.inputs[:, 0, 0, 0].tolist()) == list(range(21, 28))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("groups", "x[0-9]+", r"data.groups: expected 'x\[0-9\]\+' to find something .* 'dog/p"),
        ("groups", "(p", "expected a regular expression .* does not compile"),
        ("groups", 3, "data.groups: expected a name, got 3"),
        ("time", "p[0-9]+", "expected numbers or dates such as 2026-03-31, got 'p"),
    ],
)
def test_names_that_tell_nothing_are_refused(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    patients(tmp_path, 8)
    spec = DataSpec(path=str(tmp_path), arguments={key: value}, validation=2)
    with pytest.raises(DataError, match=message):
        load(spec)
