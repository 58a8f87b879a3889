"""Fifty passes with dropout and their mean and spread, against other ways to make them.

A multilayer perceptron on 10 000 images, the ResNet-18 of timm at 28 x 28 (dropout before its head)
and a small BERT of transformers. The rivals: the loop that people write (dropout modules in
training mode, all else in eval mode), and torch-uncertainty and baal where they are installed; each
is used as its documentation shows. All keep every pass, as most of them do; droplab's are checked
to have the loop's mean within six standard errors before anything is timed. The ResNet and BERT
have fewer inputs unless `--whole` asks for all.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Literal

import _loops
import torch
from _harness import Benchmark, peak_of
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from droplab.uncertainty import sample

PASSES, BATCH = 50, 256
MANY, FEW = 10_000, 250


def perceptron() -> nn.Module:
    """Two hidden layers for images of 28 x 28, dropout after each."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.3)),
        *(nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.3)),
        nn.Linear(128, 10),
    )


def resnet() -> nn.Module:
    """The ResNet-18 of timm, a dropout module before its head.

    timm's own dropout is a function, which the loop that people write never wakes.
    """
    body = _loops.resnet()
    body.reset_classifier(0)  # pyright: ignore[reportCallIssue]
    return nn.Sequential(body, nn.Dropout(0.3), nn.Linear(512, 10))


class Bert(nn.Module):
    """A small BERT classifier, dropout at its usual places."""

    def __init__(self) -> None:
        super().__init__()
        # from where they are: the types of all that transformers has take twenty seconds to read
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertForSequenceClassification

        config = BertConfig(
            vocab_size=500,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
        config.num_labels = 4
        self.bert = BertForSequenceClassification(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, 4) of token numbers (B, T)."""
        return self.bert(tokens).logits


def loop(model: nn.Module, inputs: Tensor) -> Tensor:
    """What people write: switch the dropout modules on, and pass after pass over the batches."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    with torch.no_grad():
        passes = [torch.cat([model(x) for x in inputs.split(BATCH)]) for _ in range(PASSES)]
    model.eval()
    return torch.stack(passes)


def torch_uncertainty(model: nn.Module, inputs: Tensor) -> Tensor:
    """torch-uncertainty's wrapper."""
    from torch_uncertainty.methods import mc_dropout  # pyright: ignore[reportMissingImports]

    wrapped = mc_dropout(model, num_estimators=PASSES)
    wrapped.eval()
    with torch.no_grad():
        parts = [wrapped(x).view(PASSES, len(x), -1) for x in inputs.split(BATCH)]
    return torch.cat(parts, dim=1)


def baal(model: nn.Module, inputs: Tensor) -> Tensor:
    """baal's patched modules and its wrapper, without processes to load what is in memory."""
    from baal.bayesian.dropout import MCDropoutModule  # pyright: ignore[reportMissingImports]
    from baal.modelwrapper import (  # pyright: ignore[reportMissingImports]
        ModelWrapper,
        TrainingArgs,
    )

    patched = MCDropoutModule(model)
    wrapper = ModelWrapper(patched, TrainingArgs(use_cuda=False, batch_size=BATCH, workers=0))
    pairs = TensorDataset(inputs, torch.zeros(len(inputs)))
    with contextlib.redirect_stdout(sys.stderr):  # where it tells how far it is
        found = wrapper.predict_on_dataset(pairs, iterations=PASSES, verbose=False)
    patched.unpatch()
    return torch.as_tensor(found).movedim(-1, 0)


RIVALS: Mapping[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "the loop": loop,
    "torch-uncertainty": torch_uncertainty,
    "baal": baal,
}


def droplab(model: nn.Module, inputs: Tensor) -> Tensor:
    """This package."""
    return sample(model, inputs, PASSES, seed=0)


def measure_together(
    bench: Benchmark, title: str, model: nn.Module, inputs: Tensor, rates: float | None = None
) -> None:
    """Add a row for what no rival does: passes as they are chosen against passes one by one."""

    def work(batch_passes: bool | Literal["auto"]) -> Tensor:
        return sample(model, inputs, PASSES, seed=0, rates=rates, batch_passes=batch_passes)

    if not torch.allclose(work("auto"), work(False), atol=1e-5):
        raise SystemExit("the passes together are not those one by one")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(3 if bench.quick else 7):
        for own, batch_passes in zip(times, ("auto", False), strict=True):
            began = perf_counter()
            work(batch_passes)
            own.append(perf_counter() - began)
    bench.add(
        f"{PASSES} passes, {title}",
        "one pass at a time",
        *times,
        examples=len(inputs),
        threads=torch.get_num_threads(),
    )


def without_dropout() -> nn.Module:
    """The perceptron, for dropout to be placed in it."""
    torch.manual_seed(0)
    layers = [each for each in perceptron() if not isinstance(each, nn.Dropout)]  # pyright: ignore
    return nn.Sequential(*layers).eval()


class Recurrent(nn.Module):
    """A classifier of sequences; the dropout is within the LSTM, which vmap cannot batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(16, 64, num_layers=2, dropout=0.3, batch_first=True)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 4) of sequences (B, T, 16)."""
        return self.head(self.lstm(x)[0][:, -1])


def check(ours: Tensor, theirs: Tensor) -> None:
    """Make sure that both are passes of one network with dropout awake, and of the same rate."""
    error = (ours.var(0) / len(ours) + theirs.var(0) / len(theirs)).sqrt()
    apart = (ours.mean(0) - theirs.mean(0)).abs() / error.clamp(min=1e-6)
    if not apart.max() < 6 or not 0.9 < ours.std(0).mean() / theirs.std(0).mean() < 1.1:
        raise SystemExit("the passes are not those of the same network")


def measure(
    bench: Benchmark, title: str, make: Callable[[], nn.Module], inputs: Tensor, turns: int
) -> None:
    """Time all ways in turns, the first one with its memory, and add a row for each rival."""
    torch.manual_seed(0)
    try:
        model = make().eval()
    except (ImportError, RuntimeError) as error:  # torchvision, which timm imports, may be broken
        bench.skip(title, str(error).splitlines()[0])
        return
    left_out = {each.partition(":")[0] for each in bench.skipped}
    ways = {"droplab": droplab}
    ways |= {name: way for name, way in RIVALS.items() if name not in left_out}
    for name, way in list(ways.items()):
        try:
            way(model, inputs[:2])
        except ImportError as error:
            missing = (error.name or "").split(".")[0]
            own = missing == name.replace("-", "_")
            bench.skip(name, "not installed" if own else f"does not import: {error}")
            del ways[name]
        except RuntimeError as error:  # a torchvision that was built for another torch
            bench.skip(name, f"does not run: {str(error).splitlines()[0]}")
            del ways[name]
    check(droplab(model, inputs[:FEW]), loop(model, inputs[:FEW]))
    memory: dict[str, int | None] = {}
    times: dict[str, list[float]] = {name: [] for name in ways}

    def run(name: str) -> None:
        began = perf_counter()
        ways[name](model, inputs)
        times[name].append(perf_counter() - began)

    for turn in range(min(turns, 3) if bench.quick else turns):
        for name in ways:
            if turn:
                run(name)
            else:
                memory[name] = peak_of(lambda name=name: run(name))
    for name in list(ways)[1:]:
        bench.add(
            f"{PASSES} passes, {title}",
            name,
            times["droplab"],
            times[name],
            examples=len(inputs),
            threads=torch.get_num_threads(),
            peak_more_bytes=memory["droplab"],
            theirs_peak_more_bytes=memory[name],
            readme=not bench.quick and name == "the loop",
        )


def whole(parser: argparse.ArgumentParser) -> None:
    """Add the argument for as many inputs for each model."""
    parser.add_argument(
        "--whole",
        action="store_true",
        help="10 000 inputs for the ResNet and BERT as well, once each: half an hour",
    )


def main() -> None:
    """Run the benchmark."""
    bench, arguments = Benchmark.from_command_line("bench_uncertainty", __doc__ or "", whole)
    share = 10 if bench.quick else 1
    images = torch.rand(MANY // share, 1, 28, 28)
    tokens = torch.randint(0, 500, (MANY // share, 20))
    some, turns = (MANY, 1) if arguments.whole else (FEW // share, 7)
    measure(bench, "a perceptron", perceptron, images, 7)
    measure_together(
        bench, "a perceptron with placed dropout", without_dropout(), images, rates=0.3
    )
    sequences = torch.randn(MANY // 10 // share, 20, 16)
    measure_together(bench, "an LSTM of two layers", Recurrent().eval(), sequences)
    measure(bench, "a small BERT", Bert, tokens[: 2 * some], turns)
    measure(bench, "timm's ResNet-18 at 28 x 28", resnet, images[:some], turns)
    bench.finish()


if __name__ == "__main__":
    main()
