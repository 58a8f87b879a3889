"""Data sets by name, from files, folders or functions, as tensors that keep their dtype."""

from __future__ import annotations

from droplab.data._carve import carve
from droplab.data._doubts import channels_last, doubts
from droplab.data._files import load_inputs
from droplab.data._known import known
from droplab.data._load import load, names
from droplab.data._progress import Progress
from droplab.data.dataset import AnySplit, DataSet, Splits
from droplab.data.split import Split, to_float
from droplab.data.streamed import StreamedSplit
from droplab.data.tree import Inputs

__all__ = [
    "AnySplit",
    "DataSet",
    "Inputs",
    "Progress",
    "Split",
    "Splits",
    "StreamedSplit",
    "carve",
    "channels_last",
    "doubts",
    "known",
    "load",
    "load_inputs",
    "names",
    "to_float",
]
