"""Optimizers that a training step cannot use are refused in a sentence, before it begins."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.train.optimizers import build_optimizer, check_optimizer


class Tokens(nn.Module):
    def __init__(self, *, sparse):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4, sparse=sparse), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.embedding(x).mean(1))


class Closing(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


ELSEWHERE = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (torch.optim.LBFGS, "gradients only, got LBFGS"),
        (lambda p: Closing(p, lr=0.1), "gradients only, got Closing"),
        (torch.optim.SparseAdam, "SparseAdam takes sparse gradients alone"),
        (lambda p: torch.optim.SGD(ELSEWHERE.parameters(), lr=0.1), "parameters that its function"),
        (lambda p: list(p), "expected a torch.optim.Optimizer from the function, got list"),
    ],
)
def test_what_a_step_cannot_use_is_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        check_optimizer(make, Tokens(sparse=False))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop"])
def test_sparse_gradients_are_refused_where_the_optimizer_does_not_take_them(name):
    model = Tokens(sparse=True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ArgumentError, match=rf"{name} .*'embedding.weight'.*sparse=False"):
        check_optimizer(lambda p: build_optimizer(name, {}, p), model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adagrad])
def test_and_taken_where_it_does(kind):
    made = check_optimizer(lambda p: kind(p, lr=0.1), Tokens(sparse=True))
    assert isinstance(made, kind)


def test_its_function_sees_the_parameters_of_the_model():
    """Muon takes matrices alone: a made-up vector in place of the model would be refused."""

    def matrices(parameters):
        return torch.optim.Muon([p for p in parameters if p.dim() == 2], lr=0.1)

    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    assert len(check_optimizer(matrices, Tokens(sparse=False)).param_groups[0]["params"]) == 2
