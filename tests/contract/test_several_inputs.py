"""A model with several inputs learns the same in every executor, and as in a plain torch loop."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from droplab import placement
from droplab.data import Split
from droplab.ops import mask_key
from droplab.train import (
    Batched,
    EagerStep,
    ExecutionPlan,
    Population,
    Single,
    batch_order,
    evaluate,
    fit,
    initial_model,
)
from droplab.train._record import record
from droplab.train.agreement import (
    OneByOne,
    comparison_batches,
    why_not_recorded,
    why_not_recorded_together,
    why_not_stacked,
)
from droplab.train.agreement._compare import disagreement
from droplab.train.calling import call
from droplab.train.capture import CapturedStep

SEEDS, RATES = (0, 3), (0.0, 0.3)
COUNT, LENGTH, WORDS, WIDTH, CLASSES = 45, 7, 9, 6, 3
COMMON = {"epochs": 3, "batch_size": 10}  # the last batch of an epoch has five examples


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, WIDTH), nn.Linear(5, WIDTH)
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, a, b):
        return self.last(torch.relu(self.left(a) + self.right(b)))


class MaskedMean(nn.Module):
    """Words by name, with a mask of those that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, words, mask):
        kept = self.words(words) * mask[..., None]
        return self.last(torch.tanh(kept.sum(1) / mask.sum(1, keepdim=True)))


class Whole(nn.Module):
    """Takes the dict as it is, and an input in it that is a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MaskedMean()
        self.last = nn.Linear(CLASSES + 4, CLASSES)

    def forward(self, batch):
        words, mask = batch["words"]
        return self.last(torch.cat((self.inner(words, mask), batch["a"]), 1))


class Pair(nn.Module):
    """Of torch's layers alone, with two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.last = nn.Bilinear(4, 5, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, a, b):
        return self.last(torch.tanh(self.mixed(a, b)))


class Encoder(nn.Module):
    """A transformer with a mask of padding, which torch's layers act on in Python in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, words, mask):
        hidden = self.encoder(self.words(words), src_key_padding_mask=~mask)
        return self.last((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


class PaddedGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(
            self.words(words), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return self.last(self.gru(packed)[1][-1])


def examples(seed: int, count: int = COUNT) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, LENGTH + 1, (count,), generator=generator)
    words = torch.randint(1, WORDS, (count, LENGTH), generator=generator)
    mask = torch.arange(LENGTH) < lengths[:, None]
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    return {
        "a": normal(count, 4),
        "b": normal(count, 5),
        "words": words * mask,
        "mask": mask,
        "lengths": lengths,
        "targets": torch.randint(0, CLASSES, (count,), generator=generator),
    }


def split(form: str, seed: int = 1, count: int = COUNT) -> Split:
    x = examples(seed, count)
    forms = {
        "two": (x["a"], x["b"]),
        "mask": {"words": x["words"], "mask": x["mask"]},
        "whole": {"words": (x["words"], x["mask"]), "a": x["a"]},
        "lengths": {"words": x["words"], "lengths": x["lengths"]},
    }
    return Split(forms[form], x["targets"])


CASES: dict[str, tuple[type[nn.Module], str]] = {
    "two inputs": (TwoTowers, "two"),
    "inputs by name": (MaskedMean, "mask"),
    "a dict as it is": (Whole, "whole"),
    "a bilinear layer": (Pair, "two"),
    "a transformer": (Encoder, "mask"),
}


def make_optimizer(parameters):
    return torch.optim.Adam(parameters, lr=1e-2, fused=True)


def build(kind):
    return lambda: kind().double()


def replica(kind, seed, rate):
    model = initial_model(build(kind), seed)
    applied = placement.plan(model, {"last": rate}).apply()
    applied.seed({name: mask_key(seed, name) for name in applied.names})
    return model, make_optimizer(model.parameters()), applied


def replicas(kind):
    return [replica(kind, seed, rate) for seed in SEEDS for rate in RATES]


def population(kind):
    models = [initial_model(build(kind), seed) for seed in SEEDS]
    applied = placement.plan(models[0], {"last": 0.3}).apply()
    applied.seed({"last": mask_key(SEEDS[0], "last")})
    keys = torch.tensor([[mask_key(seed, "last")] for seed in SEEDS])
    rates = torch.tensor([[rate] for rate in RATES], dtype=torch.float64)
    return Population(models, applied, rates, keys, make_optimizer)


@cache
def alone(kind, form, member, *, captured=False):
    """A single run, for all tests that compare with it: none changes what it returns."""
    plan = ExecutionPlan(1, captured=captured)
    model, optimizer, applied = replica(kind, SEEDS[member // 2], RATES[member % 2])
    executor = Single(model, optimizer, applied, plan)
    seeds = SEEDS[member // 2 : member // 2 + 1]
    parts = split(form), split(form, 2, 23)
    return [e.results[0] for e in fit(executor, *parts, seeds=seeds, plan=plan, **COMMON)], model


@pytest.mark.parametrize("case", CASES)
def test_the_eager_step_is_that_of_a_plain_loop(case):
    kind, form = CASES[case]
    results, trained = alone(kind, form, 0)
    train, validation = split(form), split(form, 2, 23)
    model = initial_model(build(kind), SEEDS[0])
    optimizer = make_optimizer(model.parameters())
    x, loss_of = train.inputs, nn.CrossEntropyLoss()
    for epoch in range(1, COMMON["epochs"] + 1):
        for index in batch_order(SEEDS[0], epoch, COUNT).split(COMMON["batch_size"]):
            match form:
                case "two":
                    outputs = model(x[0][index], x[1][index])
                case "whole":
                    words, mask = x["words"]
                    outputs = model({"words": (words[index], mask[index]), "a": x["a"][index]})
                case _:
                    outputs = model(**{name: each[index] for name, each in x.items()})
            optimizer.zero_grad()
            loss_of(outputs, train.targets[index]).backward()
            optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value), name
    assert results[-1].validation == evaluate(model, validation)


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_step_has_the_bits_of_the_eager_one(case):
    kind, form = CASES[case]
    eager, one = alone(kind, form, 1)
    recorded, two = alone(kind, form, 1, captured=True)
    for name, value in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], value), name
    assert [e.validation for e in eager] == [e.validation for e in recorded]
    batches = comparison_batches(split(form), SEEDS[:1], 10)
    assert why_not_recorded(lambda: replica(kind, 0, 0.3), batches) == ""


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_every_member_of_a_population_learns_as_it_does_alone(case, captured):
    kind, form = CASES[case]
    members = population(kind)
    executor = Batched(members, captured=captured)
    parts = split(form), split(form, 2, 23)
    plan = ExecutionPlan(1, captured=captured)
    together = list(fit(executor, *parts, seeds=SEEDS, plan=plan, **COMMON))
    for member in range(members.members):
        results, model = alone(kind, form, member)
        state = members.state_dict(member)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-7, atol=1e-9, msg=name)
        for epoch, expected in zip(together, results, strict=True):
            got = epoch.results[member]
            assert got is not None
            for part in ("running", "train", "validation"):
                one, two = getattr(got, part), getattr(expected, part)
                assert one["loss"] == pytest.approx(two["loss"], rel=1e-6), part
                assert one["accuracy"] == two["accuracy"], part


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_refused_in_vain(case):
    kind, form = CASES[case]
    batches = comparison_batches(split(form), SEEDS, 10)
    direct = partial(OneByOne, build=EagerStep)
    assert why_not_stacked(direct(replicas(kind), 2), population(kind), batches, None) == ""
    reason = why_not_recorded_together(
        lambda: population(kind), lambda: direct(replicas(kind), 2), batches
    )
    assert reason == ""


@pytest.mark.parametrize("form", ["two", "mask"])
def test_an_executor_that_mixes_the_inputs_up_is_found(form, monkeypatch):
    """The comparison is no formality: a record whose first input stands still is refused."""
    kind = {"two": TwoTowers, "mask": MaskedMean}[form]

    def stuck(function, subject, inputs, targets, **options):
        replay = record(function, subject, inputs, targets, **options)
        first = next(iter(inputs.values())) if isinstance(inputs, dict) else inputs[0]

        def with_the_first(given, targets):
            if isinstance(given, dict):
                return replay({**given, next(iter(given)): first}, targets)
            return replay((first, *given[1:]), targets)

        return with_the_first

    monkeypatch.setattr("droplab.train.capture.record", stuck)
    direct = OneByOne([replica(kind, 0, 0.0)])
    other = OneByOne([replica(kind, 0, 0.0)], build=CapturedStep)
    assert "differ" in disagreement(direct, other, comparison_batches(split(form), SEEDS[:1], 10))


def test_packed_sequences_are_trained_eagerly_and_alone():
    batches = comparison_batches(split("lengths"), SEEDS, 10)
    assert why_not_recorded(lambda: replica(PaddedGRU, 0, 0.3), batches)
    direct = OneByOne(replicas(PaddedGRU), 2)
    reason = why_not_stacked(direct, population(PaddedGRU), batches, None)
    assert "torch.func.vmap refuses the model" in reason


class Trimmed(nn.Module):
    """Cuts a batch to its longest sequence, by a number that no record sees."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, words, lengths):
        longest = int(lengths.numpy().max())
        return self.last(torch.tanh(self.words(words[:, :longest]).mean(1)))


def test_one_long_sequence_among_many_keeps_lengths_from_being_recorded(monkeypatch):
    """A record of short sequences alone would cut every batch to their length."""
    train = split("lengths", count=400)
    lengths = torch.full((400,), 3)
    lengths[399] = LENGTH  # which no seed meets in its first steps
    rare = Split({"words": train.inputs["words"], "lengths": lengths}, train.targets)

    def reason():
        batches = comparison_batches(rare, SEEDS[:1], 10)
        return why_not_recorded(lambda: replica(Trimmed, 0, 0.3), batches)

    assert reason() == "its forward does other operations in another state"
    monkeypatch.setattr("droplab.train.agreement._compare._extremes", lambda inputs: ())
    assert reason() == ""  # so it is these batches that tell


def test_the_batches_of_a_seed_are_those_of_its_single_run():
    from droplab.train._executor import SeedBatches

    data = split("whole")
    orders = [batch_order(seed, 1, COUNT) for seed in SEEDS]
    together = list(SeedBatches(data, torch.device("cpu")).batches(orders, 16))
    for index, order in enumerate(orders):
        for (inputs, targets), (x, y) in zip(together, data.batches(order, 16), strict=True):
            assert torch.equal(targets[index], y)
            assert torch.equal(inputs["a"][index], x["a"])
            for one, two in zip(inputs["words"], x["words"], strict=True):
                assert torch.equal(one[index], two)
                assert one.dtype == two.dtype


def test_call_is_what_an_executor_calls():
    model, x = TwoTowers().double(), split("two").inputs
    assert torch.equal(call(model, x), model(*x))
