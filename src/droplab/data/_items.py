"""Items of map-style data sets, as users and torchvision write them, made into tensors."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from droplab.data._labels import outside
from droplab.data._targets import read_targets
from droplab.data.tree import Inputs, alike, described, merged, named
from droplab.errors import DataError, quote
from droplab.limits import CLASSES

PADDING = (
    "pad sequences to one length, torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True), "
    "and give their lengths, or a mask, as a second input: "
    "({'x': padded[i], 'lengths': lengths[i]}, target)"
)
"""What to do where sequences differ in length."""


def as_input(item: Any, index: int) -> Inputs:
    """Return the input of an item as a tensor: an image as uint8 (C, H, W), floats as float32.

    Several inputs, in a tuple or a dict, may be single numbers, too.

    Raises:
        DataError: If the item is no pair, or its input no tensor, array or image, and no tuple or
            dict of them.
    """
    value = _pair(item, index)[0]
    if isinstance(value, (tuple, Mapping)):
        return _parts(value, f"data: item {index}")
    return _part(value, f"data: item {index}")


def _part(value: Any, where: str) -> Tensor:
    if isinstance(value, Image.Image):
        return image_tensor(value, where=where)
    if isinstance(value, np.ndarray):
        return array_tensor(value, where=where)
    if isinstance(value, Tensor):
        return normal_dtype(value.detach())
    raise DataError(
        f"{where}: expected a tensor, an array or a PIL image as its input, or a tuple or dict of "
        f"them, got {type(value).__name__}"
    )


def _parts(value: tuple[Any, ...] | Mapping[Any, Any], where: str) -> Inputs:
    if not len(value):
        raise DataError(f"{where}: expected at least one input, got an empty tuple or dict")
    if isinstance(value, Mapping):
        check_names(value, where)
        return {name: _nested(each, f"{where}: {name!r}") for name, each in value.items()}
    return tuple(_nested(each, f"{where}: input {i}") for i, each in enumerate(value))


def _nested(value: Any, where: str) -> Inputs:
    if isinstance(value, (tuple, Mapping)):
        return _parts(value, where)
    if isinstance(value, (bool, int, float, np.generic)):
        return normal_dtype(
            torch.as_tensor(value.item() if isinstance(value, np.generic) else value)
        )
    return _part(value, where)


def check_names(inputs: Mapping[Any, Any], where: str) -> None:
    """Check that inputs by name have names that a model can take them by.

    Raises:
        DataError: If one has not.
    """
    wrong = next((name for name in inputs if not isinstance(name, str)), None)
    if wrong is not None:
        raise DataError(
            f"{where}: expected inputs by the names of forward's parameters, got {quote(wrong)}"
        )


def check_alike(first: Inputs, other: Inputs, first_index: int, index: int) -> None:
    """Check that the inputs of two items can stand in one batch.

    Raises:
        DataError: If they differ in shape or dtype, or in their names.
    """
    if alike(first, other):
        return
    one, two = dict(named(first)), dict(named(other))
    if list(one) != list(two):
        raise DataError(
            f"data: expected the same inputs in every item, got {described(first)} at "
            f"{first_index} and {described(other)} at {index}; items of one data set have the same "
            "names in the same order"
        )
    at = next(at for at in one if not alike(one[at], two[at]))
    x, y = one[at], two[at]
    sequences = x.ndim == y.ndim <= 2 and x.dtype == y.dtype and x.shape[1:] == y.shape[1:]
    raise DataError(
        f"data: expected items of one shape and dtype, got {tuple(x.shape)} {x.dtype} at "
        f"{first_index} and {tuple(y.shape)} {y.dtype} at {index}{f' for {at}' if at else ''}; "
        + (PADDING if sequences else "resize them in the data set")
    )


def as_target(item: Any, index: int, classes: int = 0) -> int:
    """Return the class number of an item.

    Args:
        item: What the data set gave.
        index: Its index, for the message.
        classes: How many classes there are; 0 if unknown.

    Raises:
        DataError: If it is no whole number, or lies outside the classes.
    """
    value = _pair(item, index)[1]
    try:
        plain: Any = value.item() if isinstance(value, (Tensor, np.ndarray)) else value
        # 0.0 and 1.0, as binary cross entropy wants them, are class numbers in an array, too
        if isinstance(plain, float):
            target = int(plain) if plain.is_integer() else operator.index(value)
        else:
            target = operator.index(plain)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"data: item {index}: expected a class number, a whole number from 0, got "
            f"{quote(value)}"
        ) from None
    if not 0 <= target < (classes or CLASSES):
        raise DataError(outside(target, f"data: item {index}", classes=classes))
    return target


def as_value(item: Any, index: int, task: str) -> Tensor:
    """Return the target of an item as the loss of a task takes it, without a batch.

    Args:
        item: What the data set gave.
        index: Its index, for the message.
        task: A task whose targets are no class numbers.

    Raises:
        DataError: If it does not fit the task.
    """
    value = _pair(item, index)[1]
    if isinstance(value, Tensor):
        value = value.detach()
        value = value.float() if value.dtype == torch.bfloat16 else value
    array = np.asarray(value)
    if task == "regression" and array.size == 1:
        array = array.reshape(())
    return read_targets(array[None], task, where=f"data: item {index}")[0]


def raw_target(item: Any, index: int) -> Any:
    """Return the target of an item as the data set gave it."""
    value = _pair(item, index)[1]
    return value.detach().cpu() if isinstance(value, Tensor) else value


def image_tensor(image: Image.Image, *, where: str) -> Tensor:
    """Return an image as uint8 (C, H, W): one channel if it is grey, else red, green, blue."""
    if image.mode.startswith(("I", "F")):
        raise DataError(
            f"{where}: expected an image with 8 bits a channel, got mode {image.mode}; convert it "
            "first, or return tensors from a function of your own"
        )
    grey = image.mode in ("1", "L", "LA", "La")
    array = np.array(image.convert("L" if grey else "RGB"))
    return torch.from_numpy(array[None] if grey else array.transpose(2, 0, 1).copy())


def array_tensor(array: np.ndarray, *, where: str) -> Tensor:
    """Return an array as a tensor in one of the dtypes that inputs have."""
    if array.dtype == object or array.dtype.kind not in "buif":
        raise DataError(
            f"{where}: expected an array of numbers, got dtype {array.dtype}; objects are never "
            "unpickled, since that can run code"
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # long doubles, which torch lacks
        array = array.astype(np.float64)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
    if not native.flags.writeable:
        native = native.copy()
    return normal_dtype(torch.from_numpy(native))


def normal_dtype(tensor: Tensor) -> Tensor:
    """Return float64 as float32, which models have, and 16- and 32-bit integers as int64."""
    if tensor.dtype == torch.float64:
        return tensor.to(torch.float32)
    if tensor.dtype in (torch.int8, torch.int16, torch.int32):
        return tensor.to(torch.int64)
    return tensor


def gather(inputs: Sequence[Inputs]) -> Inputs:
    """Return the inputs of items side by side; a tensor alone has at least two dimensions then."""
    together = merged(torch.stack, inputs)
    alone = isinstance(together, Tensor) and together.ndim == 1
    return together[:, None] if alone else together  # pyright: ignore[reportArgumentType, reportCallIssue] # a tensor


def stacked(targets: Sequence[int | Tensor]) -> Tensor:
    """Return targets side by side, class numbers as int64.

    Raises:
        DataError: If they differ in shape.
    """
    first = targets[0]
    if not isinstance(first, Tensor):
        return torch.tensor(targets)
    for i, each in enumerate(targets):
        if not isinstance(each, Tensor) or each.shape != first.shape:
            raise DataError(
                f"data: expected targets of one shape, got {tuple(first.shape)} and "
                f"{tuple(torch.as_tensor(each).shape)} ({i} items later); pad them in the data set"
            )
    return torch.stack([each for each in targets if isinstance(each, Tensor)])


def _pair(item: Any, index: int) -> tuple[Any, Any]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        several = isinstance(item, (tuple, list))
        length = f" of length {len(item)}" if several else ""
        more = "; several inputs stand in a tuple or dict of their own: ((a, b), target)"
        raise DataError(
            f"data: item {index}: expected a pair (input, class number), got "
            f"{type(item).__name__}{length}{more if several and len(item) > 2 else ''}"
        )
    return item[0], item[1]
