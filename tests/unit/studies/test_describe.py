"""What a run notes of its data and model."""

from __future__ import annotations

import json
import random

import torch
import torch.nn.functional as F
from torch import nn

import droplab
from droplab.data import Split, Splits, StreamedSplit
from droplab.recipe import load
from droplab.studies import resolve
from droplab.studies._describe import class_counts, own_dropout


def examples(count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    return torch.randn(count, 12, generator=generator) + 0.5 * targets[:, None], targets


def small(factory, validation, **changes):
    options = {"rates": [0.2], "seeds": 1, "epochs": 1, "batch_size": 16, "out": "run"}
    return droplab.sweep(factory, examples(90, 0), validation, **options, **changes)


class Own(nn.Module):
    """Drops in a module, in a function and within an LSTM; other rates are idle."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 8)
        self.drop = nn.Dropout(0.25)
        self.zero = nn.Dropout(0.0)
        self.idle = nn.Dropout(0.9)
        self.lstm = nn.LSTM(8, 8, num_layers=2, dropout=0.125, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(self.zero(self.drop(self.first(x))), 0.5, self.training)
        return self.last(self.lstm(x[:, None])[0][:, 0])


def test_a_run_notes_dropout_of_the_models_own_and_its_verdict_says_so():
    result = small(Own, examples(40, 1), sites=["last"])
    noted = json.loads(result.run.notes["dropout"])
    assert noted == {"drop": 0.25, "lstm.dropout": 0.125, "F.dropout": 0.5}
    assert result.verdict.own_dropout == noted
    assert result.verdict.rates_text(result.run.recipe.baseline.name) == "the model's own dropout"


def test_a_plain_model_notes_none_and_random_numbers_stay():
    experiment = resolve(load("digits"))
    torch.manual_seed(3)
    before = torch.random.get_rng_state(), random.getstate()
    assert own_dropout(experiment) == {}
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == random.getstate()


def test_a_run_notes_the_classes_of_its_validation_examples():
    validation = examples(40, 1)
    result = small(lambda: nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)), validation)
    counts = json.loads(result.run.notes["data"])["validation_counts"]
    assert counts == torch.bincount(validation[1], minlength=3).tolist()


def test_streamed_examples_are_not_read_for_it():
    class Never:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise AssertionError

    streamed = StreamedSplit(Never(), torch.arange(3), 2)
    memory = Split(torch.zeros(4, 1), torch.tensor([0, 2, 2, 0]))
    assert class_counts(Splits(memory, streamed, None), 2) == {}
    assert class_counts(Splits(memory, memory, None), 4) == {"validation_counts": [2, 0, 2, 0]}
