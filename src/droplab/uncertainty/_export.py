"""A model as a file that runs without droplab: without dropout, or with seeded passes inside."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from droplab import ops
from droplab.errors import ArgumentError, quote
from droplab.importing import optional
from droplab.numeric import whole
from droplab.placement import (
    Applied,
    as_call,
    clear,
    inner,
    later_key_in_graphs,
)
from droplab.results import whole_file
from droplab.rng import check_seed
from droplab.uncertainty._awake import awake, unseeded
from droplab.uncertainty._blocks import ROWS, cut, example_of, rows_of
from droplab.uncertainty._graphs import Once, SeededPasses
from droplab.uncertainty._passes import Passes
from droplab.uncertainty._sample import check_unseeded, sample
from droplab.uncertainty.outputs import outputs

Format = Literal["onnx", "pt2"]
Dropout = Literal["off", "mc"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")

_CLOSE = 1e-5
"""How far the file's numbers may be from PyTorch's, relative to the largest."""


@dataclass(frozen=True)
class Exported:
    """What `export` has written and checked.

    Attributes:
        path: The file.
        to: "onnx" or "pt2".
        dropout: "off" or "mc".
        passes: Passes inside, 0 without dropout.
        seed: What their masks follow from.
        inputs: Names of the inputs, in order.
        outputs: How many tensors come out.
        batch: The number of inputs that every call takes, None if it is free.
        difference: The largest difference to PyTorch, relative to the largest number.
        woken: What drops, in a sentence.
    """

    path: Path
    to: Format
    dropout: Dropout
    passes: int
    seed: int | None
    inputs: tuple[str, ...]
    outputs: int
    batch: int | None
    difference: float
    woken: str


def export(
    model: nn.Module,
    example: Any,
    path: str | Path,
    *,
    to: Format,
    dropout: Dropout = "off",
    passes: int = 50,
    seed: int = 0,
    rates: Any = None,
) -> Exported:
    """Write a model to a file that runs without droplab, and check its numbers against PyTorch.

    "off": the model in eval mode; what was placed is left out, and the graph draws no random
    numbers. "mc": many passes with all dropout awake, masks included, by integer arithmetic in the
    graph: of up to 64 inputs (`ROWS`) its output is that of `sample(model, data, passes,
    seed=seed)`. Of more at once the masks are others, and as good.

    Args:
        model: Any module that `torch.export` can trace; it is left as it was.
        example: A batch that it runs on: a tensor, a tuple of arguments or a mapping of keyword
            arguments.
        path: The file; one that is there is replaced.
        to: "onnx", or "pt2", which `torch.export.load` reads.
        dropout: "off" or "mc".
        passes: How many passes, S.
        seed: What masks are drawn from, in [0, 2**63).
        rates: Where to place dropout, for a model that has none; see `awake`.

    Shape:
        With passes, (S, B, ...) for each tensor that the model returns.

    Returns:
        What was written. The batch is free where the model's code leaves it so.

    Raises:
        ArgumentError: If the model cannot be traced, draws random numbers in eval mode, is
            scripted, or the file's numbers are not PyTorch's; nothing is written then. Also as in
            `sample`.
        BackendError: If onnx or onnxruntime is missing.
        PlacementError: If the model does not run on the example.

    Randomness:
        None; torch's generators are left alone.

    Example:
        >>> import tempfile
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = export(model, torch.randn(3, 4), f"{folder}/m.pt2", to="pt2")
        >>> found.dropout, found.batch, found.difference < 1e-5
        ('off', None, True)
    """
    if to not in FORMATS or dropout not in ("off", "mc"):
        raise ArgumentError(
            "export: expected to = 'onnx' or 'pt2' and dropout = 'off' or 'mc', got "
            f"{quote(to)} and {quote(dropout)}"
        )
    count = whole(passes)
    if count is None or count < 1:
        raise ArgumentError(f"passes: expected a whole number of at least 1, got {quote(passes)}")
    check_seed(seed)
    if to == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            optional(name, install="droplab[export]")
    core = inner(model)
    _check_eager(core)
    block = cut(example_of(example), 0, ROWS)
    names, values = _arguments(core, block)
    drawn = [block, *(cut(block, 0, size) for size in (1, 3) if size < rows_of(block))]
    parts = [_arguments(core, part)[1] for part in drawn]
    woken = ""
    with ExitStack() as stack:
        stack.enter_context(_plain_kernels())
        if dropout == "mc":
            expected = [sample(core, part, count, seed=seed, rates=rates) for part in drawn]
            check_unseeded(core)
            found = stack.enter_context(awake(core, rates, example=block))
            stack.enter_context(unseeded(core))
            applied = Applied(core, (), found.paths)
            stack.callback(applied.revert)
            stack.enter_context(applied.traced())
            applied.seed(dict.fromkeys(applied.streams, 0))
            forward = Passes(core, applied, seed, shared=False)
            graph: Once | SeededPasses = SeededPasses(core, names, forward, count, values)
            woken = str(found)
        else:
            core = _without_dropout(core)
            graph = Once(core, names)
            with torch.no_grad():
                expected = [outputs(graph(*part)) for part in parts]
        target = Path(path)
        if not target.parent.is_dir():
            raise ArgumentError(f"{target}: expected a file in a folder that is there, got none")
        wanted = list(zip(parts, expected, strict=True))
        free, difference = _written(graph, values, names, wanted, target, to, dropout)
    return Exported(
        path=target,
        to=to,
        dropout=dropout,
        passes=count if dropout == "mc" else 0,
        seed=seed if dropout == "mc" else None,
        inputs=names,
        outputs=len(tree_leaves(expected[0])),
        batch=None if free else rows_of(block),
        difference=difference,
        woken=woken,
    )


def _check_eager(core: nn.Module) -> None:
    for path, module in core.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ArgumentError(
                f"export: expected a model in Python, got a scripted module at '{path or '.'}'; "
                "export the model that it was made from"
            )


def _arguments(core: nn.Module, block: Any) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    """Return the names of a batch's arguments in `forward`, and their values."""
    args, kwargs = as_call(block)
    bound = inspect.signature(core.forward).bind(*args, **kwargs).arguments
    if not bound or not all(isinstance(value, Tensor) for value in bound.values()):
        wrong = next((key for key, value in bound.items() if not isinstance(value, Tensor)), "none")
        raise ArgumentError(
            f"export: expected one tensor for each argument of forward, got another at {wrong}; "
            "wrap the model in one that takes its inputs by name"
        )
    return tuple(bound), tuple(bound.values())


def _without_dropout(core: nn.Module) -> nn.Module:
    try:
        bare = copy.deepcopy(core)
    except Exception as error:
        raise ArgumentError(
            f"export: expected a model that can be copied, got {type(error).__name__}: {error}"
        ) from None
    clear(bare)
    return bare.eval()


@contextlib.contextmanager
def _plain_kernels() -> Iterator[None]:
    """Let attention run as it is written, not by the kernel for eval mode, which has no graph."""
    before = torch.backends.mha.get_fastpath_enabled()
    logger = logging.getLogger("torch")
    level = logger.level
    torch.backends.mha.set_fastpath_enabled(False)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
        logger.setLevel(level)


def _written(
    graph: Once | SeededPasses,
    values: tuple[Tensor, ...],
    names: Sequence[str],
    wanted: Sequence[tuple[tuple[Tensor, ...], Any]],
    target: Path,
    to: Format,
    dropout: Dropout,
) -> tuple[bool, float]:
    """Write the file; return whether the number of inputs is free, and how far its numbers are.

    If it is not right at every size, it is written for the size of the example alone.
    """
    for free in (True, False) if graph.free else (False,):
        with contextlib.suppress(_WrongSize) if free else contextlib.nullcontext():
            program = _traced(graph, values, free)
            _check_keyed(program, dropout)
            with whole_file(target) as part, torch.no_grad():
                run = _write(program, part, to, names, values)
                far = _difference(run(values), tree_leaves(wanted[0][1]), target)
                for given, expected in wanted[1:] if free else ():
                    try:
                        far = max(far, _difference(run(given), tree_leaves(expected), target))
                    except Exception as error:
                        raise _WrongSize from error
            return free, far
    raise AssertionError("the second turn returns or raises")


class _WrongSize(Exception):
    """A program that should take any number of inputs does not."""


def _traced(graph: Once | SeededPasses, values: tuple[Tensor, ...], free: bool) -> Any:
    """Return the program, in plain operators.

    Raises:
        _WrongSize: If the number of inputs cannot be left free.
    """
    auto = torch.export.Dim.AUTO  # pyright: ignore[reportAttributeAccessIssue]
    shapes = (({0: auto},) * len(values),) if free else None
    table = torch.export.default_decompositions()
    table.update({**ops.plain_operators(), **later_key_in_graphs()})
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(graph, values, dynamic_shapes=shapes, strict=False)
            program = program.run_decompositions(table)
    except Exception as error:
        if free:
            raise _WrongSize from error
        raise ArgumentError(
            f"export: torch.export cannot trace {type(graph.core).__name__}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    given = program.graph_signature.user_inputs
    sizes = [n.meta["val"].shape[0] for n in program.graph.nodes if n.name in given]
    if free and not all(isinstance(size, torch.SymInt) for size in sizes):
        raise _WrongSize
    return program


def _check_keyed(program: Any, dropout: Dropout) -> None:
    for node in program.graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            stack = node.meta.get("nn_module_stack") or {"": ("the model", "")}
            where = (
                list(stack.values())[-1][0]
                .removeprefix("L['self'].")
                .removeprefix("core")
                .strip(".")
            )
            why = (
                "drops in eval mode as well; let it look at self.training"
                if dropout == "off"
                else "draws random numbers that have no keys; write it with droplab.ops"
            )
            raise ArgumentError(f"export: {where or 'the model'} calls {node.target}, which {why}")


def _write(
    program: Any, part: Path, to: Format, names: Sequence[str], values: Any
) -> Callable[[tuple[Tensor, ...]], list[Tensor]]:
    """Write the file, and return what runs it."""
    if to == "pt2":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that are parts of one storage
            torch.export.save(program, part)
        loaded = torch.export.load(part).module()
        return lambda given: tree_leaves(loaded(*given))
    import onnxruntime  # pyright: ignore[reportMissingImports]

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            made = torch.onnx.export(
                program, values, dynamo=True, verbose=False, input_names=list(names)
            )
        except Exception as error:
            cause = error.__cause__ or error
            raise ArgumentError(
                "export: ONNX has no form for what the model does: "
                f"{' '.join(str(cause).split())[:300]}; try to = 'pt2'"
            ) from error
    assert made is not None
    made.save(part)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(part, options, providers=["CPUExecutionProvider"])
    inputs = [each.name for each in session.get_inputs()]

    def run(given: tuple[Tensor, ...]) -> list[Tensor]:
        fed = {name: value.numpy() for name, value in zip(inputs, given, strict=True)}
        return [torch.from_numpy(each) for each in session.run(None, fed)]

    return run


def _difference(found: Sequence[Any], expected: Sequence[Any], path: Path) -> float:
    """Return how far the file's numbers are from PyTorch's.

    Raises:
        ArgumentError: If it is more than rounding.
    """
    far = 0.0
    for ours, wanted in zip(found, expected, strict=True):
        same = ours.shape == wanted.shape and ours.dtype == wanted.dtype
        if same and wanted.numel():
            size = max(float(wanted.double().abs().max()), 1e-30)
            far = max(far, float((ours.double() - wanted.double()).abs().max()) / size)
        if not same or not far <= _CLOSE:
            raise ArgumentError(
                f"{path}: expected the file to give PyTorch's numbers to {_CLOSE:g}, got a "
                f"difference of {far:.2g}{'' if same else ' and another shape'}; nothing is written"
            )
    return far
