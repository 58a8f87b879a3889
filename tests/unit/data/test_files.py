"""User data in .npz, .npy and IDX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from droplab.data import Split, StreamedSplit, _files, load, load_inputs
from droplab.errors import DataError
from droplab.recipe import DataSpec

X = np.random.default_rng(0).integers(0, 256, (8, 2, 3)).astype(np.uint8)
Y = np.arange(8) % 3
HOLES = X.astype(float)
HOLES[4, 1, 2] = np.nan


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def folder_of_npy(folder: Path, **arrays: Any) -> str:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("inputs", "labels", "test_inputs", "test_labels"),
    ],
)
def test_npz_under_the_usual_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (X, Y, X[:2], Y[:2]), strict=True))
    data = load(DataSpec(path=save(tmp_path / "d.npz", **arrays)))
    assert isinstance(data.train, Split)
    assert isinstance(data.test, Split)
    assert np.array_equal(data.train.inputs.numpy(), X)
    assert data.train.inputs.dtype == torch.uint8
    assert np.array_equal(data.train.targets.numpy(), Y)
    assert (len(data.test), data.classes, data.name) == (2, ("0", "1", "2"), "d")


def test_npz_with_named_arrays_and_classes(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", a=X, b=Y)
    arguments = {"inputs": "a", "labels": "b", "classes": ["p", "q", "r", "s"]}
    data = load(DataSpec(path=path, arguments=arguments))
    assert data.test is None
    assert data.classes == ("p", "q", "r", "s")


def test_npy_folder_and_single_file_are_the_same_data(tmp_path: Path) -> None:
    folder = folder_of_npy(tmp_path / "f", x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
    whole = load(DataSpec(path=folder))
    others = {"labels": "y_train.npy", "test_inputs": "x_test.npy", "test_labels": "y_test.npy"}
    single = load(DataSpec(path=f"{folder}/x_train.npy", arguments=others))
    npz = load(DataSpec(path=save(tmp_path / "d.npz", x=X, y=Y, x_test=X[:2], y_test=Y[:2])))
    assert whole.checksum == single.checksum == npz.checksum
    other = load(DataSpec(path=save(tmp_path / "e.npz", x=X, y=Y)))
    assert other.checksum != npz.checksum


def test_npy_can_be_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of_npy(tmp_path / "f", x_train=X.astype(float), y_train=Y)
    kept = load(DataSpec(path=folder, in_memory=True))
    assert isinstance(kept.train, Split)
    order = torch.tensor([5, 0, 7])
    monkeypatch.setattr(_files, "fits", lambda nbytes: False)
    for in_memory in (False, "auto"):
        streamed = load(DataSpec(path=folder, in_memory=in_memory))
        assert isinstance(streamed.train, StreamedSplit)
        pairs = zip(kept.train.batches(order, 2), streamed.train.batches(order, 2), strict=True)
        for (x, y), (streamed_x, streamed_y) in pairs:
            assert torch.equal(x, streamed_x)
            assert torch.equal(y, streamed_y)
        assert (streamed.classes, streamed.checksum) == (kept.classes, "")


def test_idx_files_are_the_named_data_set(tiny: Any, tmp_path: Path) -> None:
    for gz in (True, False):
        folder = tiny.write(tmp_path / f"gz{gz}", gz=gz)
        end = ".gz" if gz else ""
        single = DataSpec(
            path=f"{folder}/train-images-idx3-ubyte{end}",
            arguments={"labels": f"train-labels-idx1-ubyte{end}"},
        )
        for data in (load(DataSpec(path=str(folder))), load(single)):
            assert isinstance(data.train, Split)
            assert data.train.inputs.shape == (12, 1, 4, 4)
            assert np.array_equal(
                data.train.inputs[:, 0].numpy(), tiny.arrays["train-images-idx3-ubyte"]
            )


def test_labels_may_be_names(tmp_path: Path) -> None:
    words = np.array(["dog", "cat", "emu"])[Y]
    path = save(tmp_path / "d.npz", x=X, y=words, x_test=X[:2], y_test=words[:2])
    data = load(DataSpec(path=path))
    assert isinstance(data.train, Split)
    assert data.classes == ("cat", "dog", "emu")
    assert data.train.targets[:3].tolist() == [1, 0, 2]


@pytest.mark.parametrize("labels", [Y[:, None], Y.astype(float), Y.astype(np.uint8), Y > 0])
def test_labels_in_other_clothes(tmp_path: Path, labels: np.ndarray) -> None:
    data = load(DataSpec(path=save(tmp_path / "d.npz", x=X, y=labels)))
    assert isinstance(data.train, Split)
    assert data.train.targets.dtype == torch.int64
    assert data.train.targets.tolist() == labels.reshape(-1).astype(int).tolist()


@pytest.mark.parametrize(
    ("arrays", "arguments", "message"),
    [
        (
            {"x": X, "y": Y[:7]},
            {},
            "d.npz: x: expected as many inputs as labels, got 8 .* 7 labels",
        ),
        ({"x": X[:0], "y": Y[:0]}, {}, "d.npz: y: expected at least two classes"),
        ({"x": X[:0], "y": Y}, {}, "x: .* got shape .*, which is empty"),
        ({"x": Y, "y": Y}, {}, r"x: expected numbers of shape \(N, ...\).*got shape \(8,\)"),
        ({"x": X, "y": X}, {}, r"y: expected class numbers of shape \(N,\), got \(8, 2, 3\)"),
        ({"x": X, "y": np.eye(8)}, {}, r"y: .*if they are one-hot .* labels.argmax\(1\)"),
        ({"x": X, "y": Y - 1}, {}, "y: expected class numbers, whole and from 0, got -1 at exam"),
        ({"x": X, "y": np.where(Y, np.inf, 0.5)}, {}, "y: expected finite .* got inf at example 1"),
        ({"x": X, "y": Y * np.nan}, {}, "y: expected class numbers, .* got nan at example 0"),
        ({"x": X, "y": Y * 1j}, {}, "y: expected whole numbers or names, got dtype complex"),
        ({"x": X, "y": Y * 0}, {}, "y: expected at least two classes to tell apart, got only 0"),
        (
            {"x": X, "y": Y},
            {"classes": ["a", "b"]},
            "from 0 to 1, .* 2 classes, got 2 at exam.* 2; if the labels begin at 1",
        ),
        ({"x": X, "y": Y}, {"classes": 3}, "data.arguments.classes: expected a list of names"),
        ({"x": X * 1j, "y": Y}, {}, "x: expected an array of numbers, got dtype complex"),
        ({"x": HOLES, "y": Y}, {}, "x: .*NaN or infinity in example 4"),
        ({"a": X, "y": Y}, {}, "expected training inputs under one of .* x_train, .* got a, y"),
        ({"x": X, "b": Y}, {}, "expected training labels under one of .* y_train"),
        ({"x": X, "y": Y}, {"inputs": "z"}, "no 'z' for data.arguments.inputs; valid names are x"),
        ({"x": X, "y": Y}, {"lables": "y"}, "data.arguments.lables: unknown key; .*'labels'"),
        ({"x": X, "y": Y, "x_test": X}, {}, "expected data.arguments.test_labels too"),
        (
            {"x": X, "y": Y, "x_test": X[:, 0], "y_test": Y},
            {},
            r"training inputs are \(2, 3\) each, test inputs \(3,\)",
        ),
        (
            {"x": X, "y": np.array(list("abcabcab")), "x_test": X[:1], "y_test": np.array(["d"])},
            {},
            "y_test: 'd' at example 0 is not among the classes",
        ),
        (
            {"x": X, "y": np.array(list("abcabcab")), "x_test": X, "y_test": Y},
            {},
            "y_test: expected class names as in the training split, got numbers",
        ),
        (
            {"x": X, "y": Y, "x_test": X, "y_test": np.array(list("abcabcab"))},
            {},
            "y_test: expected class numbers as in the training split, got names",
        ),
    ],
)
def test_bad_arrays_are_named(tmp_path: Path, arrays: Any, arguments: Any, message: str) -> None:
    path = save(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(DataSpec(path=path, arguments=arguments))


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("it was unpickled",))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    bomb = np.array([Bomb()] * 8, dtype=object)
    for arrays in ({"x": X, "y": bomb}, {"x": bomb, "y": Y}):
        with pytest.raises(DataError, match=r"never unpickles, since that can run code"):
            load(DataSpec(path=save(tmp_path / "d.npz", **arrays)))
        folder = folder_of_npy(tmp_path / "f", **arrays)
        with pytest.raises(DataError, match=r"never unpickles, since that can run code"):
            load(DataSpec(path=folder))


def test_files_that_are_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = Path(save(tmp_path / "d.npz", x=X, y=Y)).read_bytes()
    cases: list[tuple[str, bytes, dict[str, Any], str]] = [
        ("a.npz", whole[:-40], {}, "a.npz: expected an .npz file, and cannot read it"),
        ("b.npz", b"", {}, "b.npz: expected an .npz file, and cannot read it"),
        ("c.npz", b"text", {}, "c.npz: expected an .npz file, and cannot read it"),
        ("e.npy", b"text", {"arguments": {"labels": "e.npy"}}, "e.npy: cannot read this array"),
        ("f.npy", b"", {}, "f.npy: expected the file of its labels in data.arguments.labels"),
        ("g.idx", b"text", {"arguments": {"labels": "g.idx"}}, "g.idx: expected an IDX file"),
        ("h.dat", b"1,2", {}, "cannot tell the format of h.dat; say which in data.format"),
        ("i.dat", b"1,2", {"format": "images"}, "expected a folder of class folders"),
        ("d.npz", whole, {"in_memory": False}, "save its arrays as .npy files to stream"),
        ("j.idx", b"", {"in_memory": False}, "IDX files can only be read whole"),
    ]
    for name, content, more, message in cases:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            load(DataSpec(path=name, **more))
    with (tmp_path / "k.npz").open("wb") as file:
        np.save(file, X)
    with pytest.raises(DataError, match=r"k.npz: expected an .npz file, got one array"):
        load(DataSpec(path="k.npz"))
    with pytest.raises(DataError, match=r"no file or folder 'dd.npz'; did you mean 'd.npz'"):
        load(DataSpec(path="dd.npz"))
    with pytest.raises(DataError, match=r"no file or folder 'digit'; did you mean 'digits'"):
        load(DataSpec(path="digit"))


def test_damage_inside_an_npz_is_found(tmp_path: Path) -> None:
    path = Path(save(tmp_path / "d.npz", x=X, y=Y))
    content = bytearray(path.read_bytes())
    content[content.index(X.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"d.npz: x: cannot read this array"):
        load(DataSpec(path=str(path)))


def test_inputs_without_labels_are_read_to_be_predicted(tmp_path):
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    np.savez(tmp_path / "alone.npz", x_train=x, x_test=x[:4], other=x[:2])
    np.save(tmp_path / "alone.npy", x)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "images.npy", x)
    for name, count in (("alone.npz", 4), ("alone.npy", 7), ("folder", 7)):
        found = load_inputs(str(tmp_path / name))
        assert isinstance(found, Split)
        assert torch.equal(found.inputs, torch.from_numpy(x[:count]))
        assert not found.targets.any()


def test_what_has_labels_or_is_no_arrays_is_left_to_others(tmp_path):
    x, y = np.zeros((6, 3), np.float32), np.arange(6) % 2
    np.savez(tmp_path / "both.npz", x_train=x, y_train=y)
    np.savez(tmp_path / "odd.npz", something=x)
    (tmp_path / "classes" / "a").mkdir(parents=True)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    for name in ("both.npz", "odd.npz", "classes", "table.csv", "nothing.npz"):
        assert load_inputs(str(tmp_path / name)) is None


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 2), np.nan, np.float32), "NaN or infinity in example 0"),
        (np.zeros(4, np.float32), r"expected numbers of shape \(N, \.\.\.\)"),
        (np.array([["a"], ["b"]]), "expected"),
    ],
)
def test_inputs_that_are_no_numbers_are_refused(array, words, tmp_path):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=words):
        load_inputs(str(tmp_path / "x.npy"))
