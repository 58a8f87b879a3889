"""Whether a model takes the data and returns logits, seen on a few examples before training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from droplab.data import Inputs, channels_last
from droplab.data.tree import described, leaves, moved
from droplab.errors import ArgumentError, DroplabError
from droplab.models import check_module
from droplab.train.calling import call, check_call
from droplab.train.outputs import fields, fits
from droplab.train.scoring import Batches, evaluate, evaluating
from droplab.train.tasks import CLASSIFICATION, CrossEntropy, Task

_NORMS = nn.modules.batchnorm._BatchNorm  # pyright: ignore[reportPrivateUsage]
_CONVOLUTIONS = nn.modules.conv._ConvNd  # pyright: ignore[reportPrivateUsage]


def check_model(
    model: nn.Module, split: Batches, *, classes: int = 1, task: Task = CLASSIFICATION
) -> int:
    """Check on two examples, in eval mode, that the model takes the data and gives its outputs.

    Args:
        model: The model.
        split: Where the examples come from.
        classes: How many classes the data has.
        task: What is learned.

    Returns:
        How many numbers there are in the last dimension of the outputs.

    Raises:
        ArgumentError: If the model refuses the batch, its output is no tensor as the task has it
            (of classes: shape (B, C) with C at least `classes`), or it brings a training step of
            its own.
    """
    check_module(model, where="model")
    with evaluating(model), torch.inference_mode():
        return _check_batch(model, split, min(2, len(split)), classes, "eval", task)


def check_further(model: nn.Module, validation: Batches, task: Task) -> None:
    """Check that the further metrics of a task can be measured, on the model as it begins.

    Raises:
        ArgumentError: If a function of one's own fails, or returns no finite number.

    Randomness: torch's default generator is left as it was.
    """
    if not task.further:
        return
    with torch.random.fork_rng(devices=[]):
        score = evaluate(model, validation, task=task)
    for name in task.further:
        if not math.isfinite(score[name]):
            raise ArgumentError(
                f"also_measure.{name}: expected a finite number on the validation examples, got "
                f"{score[name]} from the model before training; a split that a metric cannot have "
                "gives none"
            )


def check_training(
    model: nn.Module,
    split: Batches,
    batch_size: int,
    *,
    classes: int = 1,
    task: Task = CLASSIFICATION,
) -> None:
    """Check, in train mode, that the model takes batches of the sizes that training will have.

    Args:
        model: A model that is thrown away afterwards: its running statistics change.
        split: The training examples.
        batch_size: Examples a step; the last step of an epoch takes what is left.
        classes: How many classes the data has.
        task: What is learned.

    Raises:
        ArgumentError: As for `check_model`; among others if the last batch has one example and a
            BatchNorm in the model needs two.

    Randomness: torch's default generator is left as it was.
    """
    sizes = {min(2, batch_size, len(split)), len(split) % batch_size or batch_size}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for size in sorted(size for size in sizes if size <= 2):
            try:
                _check_batch(model.train(), split, size, classes, "train", task)
            except ArgumentError as error:
                if size > 1 or not any(isinstance(m, _NORMS) for m in model.modules()):
                    raise
                raise ArgumentError(_alone(split, batch_size)) from error.__cause__


def _check_batch(
    model: nn.Module, split: Batches, size: int, classes: int, mode: str, task: Task
) -> int:
    inputs, targets = next(split.batches(torch.arange(size), size))
    targets, _ = task.unpacked(targets)
    device = next((p.device for p in model.parameters()), None)
    check_call(model, inputs)
    try:
        output = call(model, moved(inputs, device))
    except DroplabError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"model: cannot take a batch of {described(inputs)} in {mode} mode: {_brief(error)}"
            f"{_hint(model, inputs)}"
        ) from error
    wanted = f"expected {task.wanted(targets)} for a batch of {len(targets)}"
    if task.name != "classification":
        wanted += f" (task = '{task.name}')"
    if not isinstance(output, Tensor):
        raise ArgumentError(f"model: {wanted}, got {_parts(output, targets, classes, mode, task)}")
    if not task.takes(output, targets) or not output.is_floating_point():
        kind = "" if output.is_floating_point() else f" of {output.dtype}"
        raise ArgumentError(f"model: {wanted}, got {tuple(output.shape)}{kind}")
    if task.name == "classification" and output.shape[1] < classes:
        raise ArgumentError(
            f"model: the data has {classes} classes, and the model returns {output.shape[1]} "
            "logits; give it as many outputs as there are classes"
        )
    if not isinstance(task.loss, CrossEntropy):  # one's own is tried as well
        _try_loss(task, output.detach(), targets.to(output.device))
    return output.shape[-1] if output.ndim > 1 else 1


def _try_loss(task: Task, outputs: Tensor, targets: Tensor) -> None:
    outputs = task.aligned(outputs, targets)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            outputs = outputs.clone().requires_grad_()
            losses, _ = task.loss.terms(outputs, targets.clone())
    except DroplabError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"loss: cannot take outputs of shape {tuple(outputs.shape)} ({outputs.dtype}) and "
            f"targets of shape {tuple(targets.shape)} ({targets.dtype}): {_brief(error)}"
        ) from error
    if not losses.requires_grad:
        raise ArgumentError(
            "loss: expected numbers that follow from the outputs by operations with a gradient, "
            "got some without; leave out argmax, comparisons, detach and .item(), and measure such "
            "numbers with also_measure"
        )
    if outputs.isfinite().all() and not losses.isfinite().all():
        wrong = losses[losses.isfinite().logical_not()][0].item()
        raise ArgumentError(
            f"loss: expected finite numbers of the model before training, got {wrong}; look at "
            "what the function takes a logarithm or a root of, or divides by"
        )


def _parts(output: Any, targets: Tensor, classes: int, mode: str, task: Task) -> str:
    """Say what an output that is no tensor holds, and which part of it seems to be the logits."""
    name = type(output).__name__
    tensors = [(str(part), each) for part, each in fields(output) if isinstance(each, Tensor)]
    fit = [part for part, each in tensors if fits(each, targets, classes, task)]
    if not fit:
        what = "logits" if "logit" in task.wanted(targets) else "predictions"
        return f"{name} in {mode} mode; let forward return the {what} alone"
    best = next((part for part in fit if "logit" in part.lower()), fit[0])
    shapes = ", ".join(f"{part} {tuple(value.shape)}" for part, value in tensors[:6])
    return (
        f"{name} with {shapes} in {mode} mode; if {best} is the logits, wrap the model: a "
        f"torch.nn.Module whose forward(x) returns self.inner(x){best}"
    )


def _alone(split: Batches, batch_size: int) -> str:
    count = len(split)
    if batch_size == 1:
        return (
            "batch_size: BatchNorm cannot normalise a batch of one example, got batch_size = 1; "
            "take at least 2"
        )
    return (
        f"batch_size: {count} training examples in batches of {batch_size} leave one for the last "
        "batch, and a BatchNorm in the model cannot normalise a single example; take another "
        f"batch size ({_fitting(count, batch_size)}), or {count - 1} examples"
    )


def _fitting(count: int, batch_size: int) -> int:
    """Return the size nearest to `batch_size` that does not leave a last batch of one."""
    for distance in range(1, count):
        for size in (batch_size + distance, batch_size - distance):
            if 2 <= size <= count and count % size != 1:
                return size
    return count


def _brief(error: Exception) -> str:
    text = f"{error}".strip().splitlines()
    said = text[0][:300] if text else ""
    plain = isinstance(error, (RuntimeError, TypeError, ValueError, IndexError))
    return said if said and plain else f"{type(error).__name__}: {said}".rstrip(": ")


def _hint(model: nn.Module, inputs: Inputs) -> str:
    modules = list(model.modules())
    if not isinstance(inputs, Tensor):
        return _hint_of_several(inputs)
    if channels_last(inputs.shape):
        return (
            "; with the channels in the last axis, as these seem to have them, turn the images: "
            "permute(0, 3, 1, 2), in numpy transpose(0, 3, 1, 2)"
        )
    if inputs.ndim == 3 and any(isinstance(module, _CONVOLUTIONS) for module in modules):
        return "; grey images need a channel axis, (N, 1, H, W): take images[:, None]"
    whole = not inputs.is_floating_point()
    if whole and not any(isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for m in modules):
        return (
            "; whole numbers other than uint8 are token numbers for an embedding: give numbers of "
            "another meaning as floats"
        )
    return ""


def _hint_of_several(inputs: Inputs) -> str:
    if any(tensor.dtype == torch.bool for tensor in leaves(inputs)):
        return "; of several inputs, bool stays bool, as a mask is: give numbers 0 and 1 as floats"
    return ""
