"""Populations as others train them: the rivals of `bench_sweep`.

Both have S seeds x A arms as droplab has them: all arms of a seed read the same batches, in the
order of that seed. Each generator yields (seconds, mean validation accuracy) after every epoch. A
rate holds behind every hidden layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from droplab.data import Split, Splits

Data = tuple[Tensor, Tensor]


def data_of(splits: Splits) -> tuple[Data, Data]:
    """The training and the validation split as pairs of tensors."""
    parts = splits.train, splits.validation
    held = [part for part in parts if isinstance(part, Split)]
    pairs = [(part.inputs, part.targets) for part in held if isinstance(part.inputs, Tensor)]
    return pairs[0], pairs[1]


class Net(nn.Module):
    """A multilayer perceptron with `nn.Dropout` after each hidden layer."""

    def __init__(self, widths: Sequence[int], p: float) -> None:
        super().__init__()
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in pairs)
        self.dropout = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in list(self.layers)[:-1]:
            x = self.dropout(F.relu(layer(x)))
        return list(self.layers)[-1](x)


def stock_vmap(
    widths: Sequence[int],
    lr: float,
    batch: int,
    train: Data,
    test: Data,
    seeds: int,
    rates: Sequence[float],
) -> Iterator[tuple[float, float]]:
    """`torch.func.vmap` over `nn.Linear` and `nn.Dropout`.

    All arms have the mean of the rates, since it refuses several.
    """
    arms = len(rates)
    nets = [Net(widths, sum(rates) / arms) for _ in range(seeds * arms)]
    parameters, buffers = stack_module_state(nets)  # pyright: ignore[reportArgumentType]
    net = nets[0]
    optimizer = torch.optim.Adam(list(parameters.values()), lr=lr, fused=True)

    def loss(own: Any, held: Any, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, (own, held), (x,)), y)

    step = vmap(grad_and_value(loss), in_dims=(0, 0, 0, 0), randomness="different")
    forward = vmap(lambda p, b, x: functional_call(net, (p, b), (x,)), in_dims=(0, 0, None))
    while True:
        began = perf_counter()
        net.train()
        orders = torch.stack([torch.randperm(len(train[1])) for _ in range(seeds)])
        for index in orders.split(batch, dim=1):
            x = train[0][index].float().div(255).repeat_interleave(arms, 0)
            y = train[1][index].repeat_interleave(arms, 0)
            gradients, _ = step(parameters, buffers, x, y)
            for name, parameter in parameters.items():
                parameter.grad = gradients[name]
            optimizer.step()
        net.eval()
        right = 0
        with torch.no_grad():
            for images, labels in zip(test[0].split(500), test[1].split(500), strict=True):
                logits = forward(parameters, buffers, images.float().div(255))
                right += (logits.argmax(2) == labels).sum().item()
        yield perf_counter() - began, right / (len(test[1]) * len(nets))


def jax_population(
    widths: Sequence[int],
    lr: float,
    batch: int,
    train: Data,
    test: Data,
    seeds: int,
    rates: Sequence[float],
) -> Iterator[tuple[float, float]]:
    """JAX: a jitted scan over the steps of an epoch, vmapped over arms and seeds; Adam by hand.

    An epoch is run and thrown away before the first one, to compile.

    Raises:
        ImportError: If JAX is not installed.
    """
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

    arms, chosen = len(rates), jnp.asarray(rates)
    images, labels = jnp.asarray(train[0].flatten(1).numpy()), jnp.asarray(train[1].numpy())
    tests, answers = jnp.asarray(test[0].flatten(1).numpy()), jnp.asarray(test[1].numpy())
    pairs = list(itertools.pairwise(widths))

    def initial(key: Any) -> Any:
        keys = jax.random.split(key, len(pairs))
        return [
            (jax.random.uniform(k, (i, o), minval=-1, maxval=1) / i**0.5, jnp.zeros(o))
            for k, (i, o) in zip(keys, pairs, strict=True)
        ]

    def forward(parameters: Any, x: Any, rate: Any, key: Any) -> Any:
        x = x.astype(jnp.float32) / 255
        for number, (weight, bias) in enumerate(parameters[:-1]):
            x = jax.nn.relu(x @ weight + bias)
            if key is not None:
                keep = jax.random.uniform(jax.random.fold_in(key, number), x.shape) >= rate
                x = jnp.where(keep, x / (1 - rate), 0.0)
        return x @ parameters[-1][0] + parameters[-1][1]

    def loss(parameters: Any, x: Any, y: Any, rate: Any, key: Any) -> Any:
        logits = jax.nn.log_softmax(forward(parameters, x, rate, key))
        return -jnp.take_along_axis(logits, y[:, None], 1).mean()

    def member(parameters: Any, m: Any, v: Any, x: Any, y: Any, rate: Any, t: Any, key: Any) -> Any:
        g = jax.grad(loss)(parameters, x, y, rate, key)
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
        one, two = 1 - 0.9**t, 1 - 0.999**t
        moved = jax.tree.map(
            lambda p, a, b: p - lr * (a / one) / (jnp.sqrt(b / two) + 1e-8), parameters, m, v
        )
        return moved, m, v

    over_arms = jax.vmap(member, in_axes=(0, 0, 0, None, None, 0, None, 0))
    over_seeds: Any = jax.vmap(over_arms, in_axes=(0, 0, 0, 0, 0, None, None, 0))

    @jax.jit
    def epoch(state: Any, orders: Any, rates: Any, first: Any, key: Any) -> Any:
        def step(carry: Any, item: Any) -> Any:
            number, index = item
            keys = jax.random.split(jax.random.fold_in(key, number), (seeds, arms))
            t = first + number + 1
            return over_seeds(*carry, images[index], labels[index], rates, t, keys), None

        count = orders.shape[0]
        return jax.lax.scan(step, state, (jnp.arange(count), orders))[0]

    @jax.jit
    def accuracy(parameters: Any) -> Any:
        def one(own: Any) -> Any:
            parts = zip(jnp.split(tests, 10), jnp.split(answers, 10), strict=True)
            return sum((forward(own, x, 0.0, None).argmax(1) == y).sum() for x, y in parts)

        return jax.vmap(jax.vmap(one))(parameters).mean() / len(answers)

    start = [initial(jax.random.key(seed)) for seed in range(seeds)]
    parameters = jax.tree.map(lambda *t: jnp.repeat(jnp.stack(t)[:, None], arms, 1), *start)
    zero = jax.tree.map(jnp.zeros_like, parameters)
    state = (parameters, zero, zero)
    steps = len(labels) // batch
    generator = np.random.default_rng(0)

    def shuffled() -> Any:
        orders = np.stack([generator.permutation(len(labels)) for _ in range(seeds)])
        cut = orders[:, : steps * batch].reshape(seeds, steps, batch).transpose(1, 0, 2)
        return jnp.asarray(cut)

    compiled = epoch(state, shuffled(), chosen, 0, jax.random.key(0))
    accuracy(compiled[0]).block_until_ready()
    first = 0
    while True:
        began = perf_counter()
        state = epoch(state, shuffled(), chosen, first, jax.random.key(first))
        found = float(accuracy(state[0]))
        first += steps
        yield perf_counter() - began, found
