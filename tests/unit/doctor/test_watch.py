"""Watching loops: every check on right and wrong ones, and what a watch leaves alone."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from droplab.doctor import examine_loop
from droplab.doctor._codes import WATCHING as CHECKS
from droplab.errors import ArgumentError

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()
DATA = TensorDataset(X, Y)


def net(p=0.5, *, norm=True):
    layers = [nn.Linear(8, 32), nn.BatchNorm1d(32) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(p), nn.Linear(32, 2))


def batches(generator=None):
    return DataLoader(DATA, 16, shuffle=True, generator=generator)


class Loop:
    """A small training loop with a switch for everything that can be done wrongly."""

    def __init__(self, model, **switches):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        self.switches = switches

    def on(self, name, default):
        return self.switches.get(name, default)

    def step(self, x, y):
        if self.on("seed", None) is not None:
            torch.manual_seed(self.on("seed", None))
        out = self.model(x)
        self.optimizer.zero_grad()
        F.cross_entropy(out, y).backward()
        self.optimizer.step()
        return out

    def validate(self):
        if self.on("evaluate", True):
            self.model.eval()
        with torch.set_grad_enabled(not self.on("no_grad", True)):
            for x, y in DataLoader(DATA, 32):
                out = self.model(x)
                if self.on("count", False):
                    (out.argmax(1) == y).sum()

    def run(self, epochs=2):
        self.model.train(self.on("train", True))
        loader = batches(self.on("generator", None))
        for _ in range(epochs):
            if self.on("undo", True):
                self.model.train(self.on("train", True))
            for x, y in loader:
                out = self.step(x, y)
                if self.on("count", False):
                    (out.argmax(1) == y).sum()
            if self.on("validation", True):
                self.validate()


def codes(model=None, *, select=(), **switches):
    torch.manual_seed(0)
    with examine_loop(select=select) as watch:
        Loop(model or net(), **switches).run()
    return [finding.code for finding in watch.findings]


def test_a_right_loop_is_right():
    assert codes() == []
    assert codes(net(norm=False)) == []
    assert codes(nn.Linear(8, 2)) == []


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"undo": False}, ["DRP006"]),
        ({"evaluate": False, "no_grad": False}, ["DRP007"]),
        ({"evaluate": False}, ["DRP008"]),
        ({"seed": 3}, ["DRP041"]),
        ({"train": False, "validation": False}, ["DRP005"]),
        ({"count": True}, ["DRP044"]),
        ({"no_grad": False}, []),
        ({"validation": False}, []),
    ],
)
def test_what_is_switched_is_found(switches, expected):
    assert codes(**switches) == expected


def test_drp004_functional_dropout_in_validation():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 2)

        def forward(self, x):
            return F.dropout(self.fc(x), 0.5)

    assert codes(Net()) == ["DRP004"]


def test_drp005_a_part_that_sleeps():
    class Net(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[3].eval()
            return self

    assert codes(Net(*net())) == ["DRP005"]


def test_drp006_needs_train_mode_to_be_lost():
    """A model that is in eval mode from the start is DRP005; eval after training is right."""
    model = net()
    with examine_loop() as watch:
        loop = Loop(model)
        for x, y in batches():
            loop.step(x, y)
        loop.validate()
    assert watch.findings == []


def sample(model, x, passes=5, *, grad=False):
    with torch.set_grad_enabled(grad):
        return torch.stack([model(x) for _ in range(passes)])


def test_drp009_monte_carlo_with_batchnorm():
    model = net()
    with examine_loop() as watch:
        Loop(model).run()
        model.train()
        sample(model, X)
    assert [finding.code for finding in watch.findings] == ["DRP009"]
    assert watch.findings[0].evidence["Monte Carlo passes with BatchNorm in train mode"] == 5


def test_drp009_monte_carlo_done_right_is_no_finding():
    model = net()
    with examine_loop() as watch:
        Loop(model).run()
        model.eval()
        model[3].train()
        sample(model, X)
    assert watch.findings == []
    with examine_loop() as watch:
        plain = net(norm=False).train()
        Loop(plain).run()
        plain.train()
        sample(plain, X)
    assert watch.findings == []


def test_drp022_never_called():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.drop = nn.Linear(8, 2), nn.Dropout(0.5)

        def forward(self, x):
            return self.fc(x)

    assert codes(Net()) == ["DRP022"]


def test_drp041_a_seed_an_epoch_is_another_mask_each_step():
    """Masks repeat between epochs, not from step to step; only reading sees that."""
    with examine_loop() as watch:
        loop = Loop(net())
        for epoch in range(2):
            torch.manual_seed(epoch)
            for x, y in batches(torch.Generator()):
                loop.step(x, y)
    assert watch.findings == []


def test_drp044_measures_the_same_batches_without_dropout():
    torch.manual_seed(0)
    with examine_loop() as watch:
        Loop(net(0.8), count=True).run(epochs=8)
    (finding,) = watch.findings
    assert 0 < finding.evidence["training accuracy with dropout on"] < 1
    noisy = finding.evidence["some training batches, dropout on"]
    assert finding.evidence["the same batches, dropout off"] > noisy


def test_drp044_is_quiet_when_the_training_set_is_answered_in_eval_mode():
    model = net()
    with examine_loop() as watch:
        loop = Loop(model)
        for x, y in batches():
            loop.step(x, y)
        model.eval()
        with torch.no_grad():
            (model(X).argmax(1) == Y).sum()
    assert watch.findings == []


@pytest.mark.parametrize(("own", "expected"), [(False, ["DRP045"]), (True, [])])
def test_drp045_the_order_of_the_batches(own, expected):
    with examine_loop() as watch:
        for p in (0.0, 0.5):
            torch.manual_seed(0)
            model = net(p)
            generator = torch.Generator().manual_seed(0) if own else None
            Loop(model, generator=generator, validation=False).run(epochs=3)
    assert [finding.code for finding in watch.findings] == expected
    if expected:
        assert watch.findings[0].evidence == {"epochs": 3, "epochs with the same order": 1}


def test_drp045_two_models_with_one_rate_are_no_comparison():
    with examine_loop() as watch:
        for seed in (0, 1):
            torch.manual_seed(seed)
            Loop(net(0.5), validation=False).run(epochs=2)
    assert watch.findings == []


def test_drp045_the_first_epoch_is_the_same_for_all():
    """One epoch after one seed: the orders do not part, so nothing is confounded."""
    with examine_loop() as watch:
        for p in (0.5, 0.0):
            torch.manual_seed(0)
            Loop(net(p), validation=False).run(epochs=1)
    assert watch.findings == []


# What a watch is and is not


def test_the_loop_is_not_changed():
    """Same weights, buffers and generator state with and without a watch, bit for bit."""

    def train(watched):
        torch.manual_seed(0)
        model = net()
        if watched:
            with examine_loop():
                Loop(model, count=True).run(epochs=3)
        else:
            Loop(model, count=True).run(epochs=3)
        return model, torch.get_rng_state()

    (a, state_a), (b, state_b) = train(True), train(False)
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)
    assert torch.equal(state_a, state_b)


def test_hooks_are_gone_afterwards():
    from torch.nn.modules import module
    from torch.optim import optimizer

    before = len(module._global_forward_hooks), len(module._global_forward_pre_hooks)
    with examine_loop():
        Loop(net()).run()
    assert (len(module._global_forward_hooks), len(module._global_forward_pre_hooks)) == before
    assert not optimizer._global_optimizer_post_hooks


def test_an_error_in_the_loop_passes_through():
    from torch.nn.modules import module

    watch = examine_loop()

    def loop():
        with watch:
            net()(X)
            raise KeyError

    with pytest.raises(KeyError):
        loop()
    assert watch.findings == []
    assert not module._global_forward_hooks


def test_an_error_in_a_forward_that_the_loop_catches():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, x):
            return self.inner(x).view(3, 5, 7)

    model = net()
    with examine_loop() as watch:
        broken = Net()
        with pytest.raises(RuntimeError):
            broken(X)
        Loop(model, undo=False).run()
    assert [finding.code for finding in watch.findings] == ["DRP006"]


def test_a_model_can_be_chosen():
    wrong, right = net(), net()
    with examine_loop(right) as watch:
        Loop(wrong, undo=False).run()
        Loop(right).run()
    assert watch.findings == []
    assert watch.roots == [right]


def test_a_step_function_says_which_models_it_uses():
    model, other = net(), net()
    loop = Loop(model, undo=False)

    def step(x):
        return model(x)

    for chosen in (step, loop.step, functools.partial(step, X), model):
        with examine_loop(chosen) as watch:
            Loop(other, undo=False).run()
            loop.run()
        assert [finding.code for finding in watch.findings] == ["DRP006"]
        assert watch.roots == [model]


def test_a_function_without_models_watches_all():
    with examine_loop(print) as watch:
        Loop(net()).run()
    assert len(watch.roots) == 1


def test_selection():
    assert codes(undo=False, select=["DRP04"]) == []
    with examine_loop(ignore=["eval-not-undone"]) as watch:
        Loop(net(), undo=False).run()
    assert watch.findings == []


def test_the_place_in_the_loop_is_told():
    with examine_loop() as watch:
        Loop(net(), undo=False).run()
    assert watch.findings[0].path.endswith("test_watch.py")
    assert watch.findings[0].source == "out = self.model(x)"


def test_counts():
    with examine_loop() as watch:
        Loop(net()).run(epochs=2)
    assert (watch.steps, len(watch.passes), len(watch.trained(watch.roots[0]))) == (8, 12, 8)


def test_nothing_ran():
    with pytest.raises(ArgumentError, match="no model ran inside the block"), examine_loop():
        pass


def test_a_watch_is_entered_once():
    watch = examine_loop()
    with watch:
        net()(X)
    with pytest.raises(ArgumentError, match="entered once"), watch:
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": 3}, "step must be a module or a function"),
        ({"select": ["DRP999"]}, "expected codes"),
        ({"ignore": ["nope"]}, "expected codes"),
        ({"ranks": True}, "needs an initialised process group"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        examine_loop(**arguments)


def test_every_watching_check_is_tested_here():
    text = Path(__file__).read_text(encoding="utf-8")
    apart = {"DRP042"}  # test_watch_ranks.py
    assert all(code in text or code.lower() in text for code in set(CHECKS) - apart)
