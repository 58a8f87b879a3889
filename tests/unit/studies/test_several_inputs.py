"""Sweeps over models with several inputs, with outputs in parts, and with splits of one's own."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

import droplab
from droplab.data import Split
from droplab.errors import ArgumentError, DataError
from droplab.recipe import loads
from droplab.results import plan_sentence
from droplab.studies import Observer, resolve
from droplab.train import ExecutionPlan, batch_order, initial_model

WORDS, COUNT = 12, 80
PLAN = ExecutionPlan(1)


def sequences(count=COUNT, seed=0):
    """Sentences of unequal length; the class is the word that occurs oftener."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (count,), generator=generator)
    words = [torch.randint(1, WORDS, (int(n),), generator=generator) for n in lengths]
    targets = torch.tensor([int((x < 6).sum() > (x >= 6).sum()) for x in words])
    return pad_sequence(words, batch_first=True), lengths, targets


def by_name(**options):
    words, lengths, targets = sequences(**options)
    return {"words": words, "lengths": lengths}, targets


class PaddedGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8, padding_idx=0)
        self.gru = nn.GRU(8, 12, batch_first=True)
        self.last = nn.Linear(12, 2)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(
            self.words(words), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return self.last(self.gru(packed)[1][-1])


class MaskedMean(nn.Module):
    def __init__(self, form=lambda y: y):
        super().__init__()
        self.words, self.hidden = nn.Embedding(WORDS, 8), nn.Linear(8, 16)
        self.last, self.form = nn.Linear(16, 2), form

    def forward(self, words, lengths):
        there = (torch.arange(words.shape[1]) < lengths[:, None])[..., None]
        mean = (self.words(words) * there).sum(1) / lengths[:, None]
        return self.form(self.last(torch.relu(self.hidden(mean))))


def small(factory, train=None, validation=None, **changes):
    options = {"rates": [0.4], "seeds": 2, "epochs": 3, "batch_size": 16, "out": "run"}
    train = by_name() if train is None else train
    return droplab.sweep(factory, train, validation, **{**options, "execution": PLAN, **changes})


def two(factory, **changes):
    return small(factory, by_name(), by_name(seed=1, count=30), **changes)


def test_a_padded_gru_is_trained_as_in_a_plain_loop():
    found = two(PaddedGRU)
    (x, targets), (inputs, expected) = by_name(), by_name(seed=1, count=30)
    for seed in (0, 1):
        model = initial_model(PaddedGRU, seed)
        optimizer = torch.optim.Adam(model.parameters())
        for epoch in (1, 2, 3):
            model.train()
            for index in batch_order(seed, epoch, COUNT).split(16):
                loss = nn.functional.cross_entropy(
                    model(x["words"][index], x["lengths"][index]), targets[index]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                logits = model.eval()(**inputs)
            rows = [r for r in found.run.rows if (r.arm, r.seed, r.epoch) == ("none", seed, epoch)]
            plain = nn.functional.cross_entropy(logits, expected).item()
            assert [row.val_loss for row in rows] == [pytest.approx(plain, rel=1e-5)]
            accuracy = (logits.argmax(1) == expected).double().mean().item()
            assert rows[0].val_accuracy == pytest.approx(accuracy)


@pytest.mark.usefixtures("thorough")
def test_the_plan_says_why_packed_sequences_are_trained_alone_and_eagerly(monkeypatch):
    monkeypatch.setenv("DROPLAB_PLANS", "plans")
    sentence = plan_sentence(two(PaddedGRU, execution=None, epochs=2).run.plan)
    assert sentence.startswith("Steps eager (its step cannot be traced: ")
    assert "torch.func.vmap refuses the model" in sentence


@pytest.mark.usefixtures("thorough")
def test_replicas_with_several_inputs_may_be_recorded_and_trained_together(monkeypatch):
    monkeypatch.setenv("DROPLAB_PLANS", "plans")
    plan = two(MaskedMean, execution=None, epochs=2).run.plan
    reasons = [each["reason"] for each in plan["tried"]]
    assert not any("traced" in reason or "refuses" in reason for reason in reasons), reasons
    assert any(each["captured"] and each["group"] > 1 and each["step"] for each in plan["tried"])
    assert any(each["captured"] and each["group"] == 1 and each["step"] for each in plan["tried"])


def test_a_group_has_the_rows_of_single_replicas():
    one = two(MaskedMean, out="one", epochs=2)
    together = ExecutionPlan(1, captured=True, group=4)
    other = two(MaskedMean, out="other", epochs=2, execution=together)
    for a, b in zip(one.run.rows, other.run.rows, strict=True):
        assert (a.arm, a.seed, a.epoch) == (b.arm, b.seed, b.epoch)
        assert b.val_loss == pytest.approx(a.val_loss, rel=1e-5)
    again = two(MaskedMean, out="one", epochs=2, resume=True, execution=None)
    assert [r.val_loss for r in again.run.rows] == [r.val_loss for r in one.run.rows]


def test_lists_arrays_and_items_are_the_same_examples():
    (inputs, targets), validation = by_name(), by_name(seed=1, count=30)
    forms = [
        (inputs, targets),
        ({name: each.numpy() for name, each in inputs.items()}, targets.numpy()),
        Split(inputs, targets),
        [({name: each[i] for name, each in inputs.items()}, int(targets[i])) for i in range(COUNT)],
        ((inputs["words"], inputs["lengths"].tolist()), targets.tolist()),
    ]
    losses = []
    for number, form in enumerate(forms):
        as_tuple = number == len(forms) - 1
        other = (tuple(validation[0].values()), validation[1]) if as_tuple else validation
        found = small(MaskedMean, form, other, out=f"run{number}", epochs=1)
        losses.append([row.val_loss for row in found.run.rows])
    assert losses == [losses[0]] * len(forms)


class Notes(Observer):
    def __init__(self):
        self.notes = []

    def noted(self, note):
        if "of the validation examples are of class" not in note:  # few ones are uneven by chance
            self.notes.append(note)


def logits_and_more(y):
    return SimpleNamespace(logits=y, hidden=y * 2)


@pytest.mark.parametrize("captured", [False, True])
def test_outputs_in_parts_are_taken_and_the_run_says_so(captured):
    plan = ExecutionPlan(1, captured=captured)
    together = dataclasses.replace(plan, group=4)
    how = {"epochs": 1}  # five steps, of which three replay a record
    plain = two(MaskedMean, out="plain", execution=plan, **how)
    observer = Notes()
    forms = {
        "object": logits_and_more,
        "tuple": lambda y: (y, y * 2),
        "dict": lambda y: {"out": y, "hidden": y[..., :1]},
    }
    how["observer"] = observer
    for name, form in forms.items():
        found = two(lambda f=form: MaskedMean(f), out=name, execution=plan, **how)
        assert [r.val_loss for r in found.run.rows] == [r.val_loss for r in plain.run.rows]
        assert not isinstance(found.model(*sequences(4)[:2]), torch.Tensor)  # it is as it was
        assert "is taken for its outputs" in json.loads(found.run.notes["data"])["notes"][0]
    assert [note.split(": ")[1][:10] for note in observer.notes] == [
        "its .logit",
        "its [0] is",
        "its ['out'",
    ]
    found = two(lambda: MaskedMean(logits_and_more), out="group", execution=together, epochs=1)
    for a, b in zip(found.run.rows, plain.run.rows, strict=True):
        assert a.val_loss == pytest.approx(b.val_loss, rel=1e-5)


def test_what_is_not_certain_keeps_its_error():
    with pytest.raises(ArgumentError, match=r"expected logits .* got dict with .* wrap the model"):
        two(lambda: MaskedMean(lambda y: {"a": y, "b": -y}))


def test_a_softmax_under_cross_entropy_is_noted():
    observer = Notes()
    two(lambda: MaskedMean(lambda y: y.softmax(1)), observer=observer, epochs=1)
    assert [note[:32] for note in observer.notes] == ["The model ends in a softmax: its"]
    two(MaskedMean, observer=observer, epochs=1, out="other")
    assert len(observer.notes) == 1


def test_all_splits_may_be_given_by_their_names():
    table = {
        "train": by_name(),
        "validation": by_name(seed=1, count=30),
        "test": by_name(seed=2, count=40),
    }
    found = small(MaskedMean, table, out="all")
    sizes = json.loads(found.run.notes["data"])
    assert [sizes[name] for name in table] == [COUNT, 30, 40]
    assert {row.arm for row in found.run.tests} == {"none", "0.4"}
    without = two(MaskedMean, out="two")
    assert [r.val_loss for r in without.run.rows] == [r.val_loss for r in found.run.rows]
    assert not without.run.tests


class Augmented:
    """Training items with noise of their own."""

    def __init__(self):
        self.inputs, self.targets = by_name()

    def __len__(self):
        return COUNT

    def __getitem__(self, i):
        words = self.inputs["words"][i].clone()
        words[torch.randint(0, 2, ())] = 1
        return {"words": words, "lengths": self.inputs["lengths"][i]}, int(self.targets[i])


def test_an_unaugmented_validation_set_beside_an_augmented_training_set():
    table = {"train": Augmented(), "validation": by_name(seed=1, count=30)}
    found = small(MaskedMean, table)
    notes = json.loads(found.run.notes["data"])["notes"]
    assert not any("differ when they are asked for twice" in note for note in notes)
    both = small(MaskedMean, {"train": Augmented(), "validation": Augmented()}, out="both")
    notes = json.loads(both.run.notes["data"])["notes"]
    assert any("validation items differ when they are asked for twice" in note for note in notes)


X, LENGTHS, Y = sequences(20)


@pytest.mark.parametrize(
    ("train", "validation", "error", "message"),
    [
        (
            ({"words": X, "lengths": LENGTHS[:9]}, Y),
            None,
            ArgumentError,
            r"^train: inputs\['lengths'\]: .* N = 20 as targets have, got \(9,\)",
        ),
        (((X, LENGTHS[:9]), Y), None, ArgumentError, r"^train: inputs\[1\]: .* N = 20"),
        (({"words": X, "lenghts": LENGTHS}, Y), None, ArgumentError, "did you mean 'lengths'"),
        (({"words": X}, Y), None, ArgumentError, "expected 'lengths' too, .* got 'words'"),
        (((X, LENGTHS, LENGTHS), Y), None, ArgumentError, "at most 2 of them"),
        (({1: X}, Y), None, DataError, "train inputs: expected inputs by the names .* got 1"),
        (
            ([x[: int(n)] for x, n in zip(X, LENGTHS, strict=True)], Y),
            None,
            DataError,
            "sequences of unequal length; pad sequences .*pad_sequence.* lengths",
        ),
        (
            [(x[: int(n)], int(y)) for x, n, y in zip(X, LENGTHS, Y, strict=True)],
            None,
            DataError,
            "items of one shape .*; pad sequences .*pad_sequence.* lengths",
        ),
        ({"train": (X, Y), "val": (X, Y)}, None, DataError, "train: .* got 'val'; valid names"),
        ({"train": (X, Y), "validaton": 1}, None, DataError, "did you mean 'validation'"),
        ({"train": (X, Y)}, None, ArgumentError, "expected a split 'validation' among them"),
        ({"validation": (X, Y)}, None, DataError, "expected a split 'train' among them"),
        ({"train": (X, Y), "validation": (X, Y)}, (X, Y), ArgumentError, "got it twice"),
        ((X, Y), False, ArgumentError, "validation: expected examples .*, got none"),
    ],
)
def test_bad_input_is_told(train, validation, error, message):
    if validation is None and not (
        isinstance(train, dict) and set(train) & {"train", "validation"}
    ):
        validation = by_name(seed=1, count=20)
    with pytest.raises(error, match=message):
        small(MaskedMean, train, validation or None)


RECIPE = """
epochs = 1
batch_size = 10
seeds = [0, 1]
arms = [{name = "none"}, {name = "half", rates = {last = 0.5}}]
model.path = "tests.unit.studies.test_several_inputs:MaskedMean"
optimizer.name = "Adam"
data.path = "words.npz"
data.validation = 20
data.arguments = {inputs = INPUTS, labels = "kind", test_inputs = TEST, test_labels = "kind"}
"""


@pytest.mark.parametrize(
    ("inputs", "places"),
    [
        ('["x", "n"]', ("[0]", "[1]")),
        ('{words = "x", lengths = "n"}', ("['words']", "['lengths']")),
    ],
)
def test_arrays_of_a_file_may_be_several_inputs(inputs, places):
    words, lengths, targets = sequences()
    np.savez("words.npz", x=words.numpy(), n=lengths.numpy(), kind=targets.numpy())
    recipe = loads(RECIPE.replace("INPUTS", inputs).replace("TEST", inputs), name="words")
    train = resolve(recipe).splits.train
    found = list(train.inputs.values()) if "words" in inputs else list(train.inputs)
    assert torch.equal(found[0], words[:60])
    assert torch.equal(found[1], lengths[:60])
    assert len(droplab.run(recipe, "run", plan=PLAN).rows) == 4


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ('["x", "m"]', "no 'm' for data.arguments.inputs; valid names are kind, labels, n, x"),
        ('["x", "kind"]', r"words.npz: kind: expected as many inputs as labels, got 9 .* 80"),
        ("[]", "data.arguments.inputs: expected the names of arrays, got an empty list"),
        ("[1]", "data.arguments.inputs: expected the names of arrays"),
    ],
)
def test_bad_names_of_arrays_are_told(inputs, message):
    words, lengths, targets = sequences()
    short = {"kind": targets[:9].numpy(), "labels": targets.numpy()}
    np.savez("words.npz", x=words.numpy(), n=lengths.numpy(), **short)
    text = RECIPE.replace('labels = "kind"', 'labels = "labels"')
    with pytest.raises(DataError, match=message):
        resolve(loads(text.replace("INPUTS", inputs).replace("TEST", inputs), name="words"))
