"""How the layer is written for 30 %."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=2,
    name="thirty-percent",
    title="A layer that drops 30 %",
    topic="writing",
    level=1,
    snippet="""
        import torch
        from torch import nn
    """,
    question="While training, 30 % of the numbers are to be dropped. Which line makes that layer?",
    options=(
        Code("layer = nn.Dropout(rate=0.3)"),
        Code("layer = nn.Dropout(30)"),
        Code("layer = nn.Dropout(p=0.7)"),
        Code("layer = nn.Dropout(p=30)"),
        Code("layer = nn.Dropout(p=0.3)"),
    ),
    then="""
        torch.manual_seed(0)
        y = layer(torch.ones(100_000))
    """,
    # Its standard deviation is 0.0014, so that 0.01 is seven of them.
    check="""
        dropped = (y == 0).float().mean().item()
        abs(dropped - 0.3) < 0.01
    """,
    saw="{dropped:.1%} of 100 000 numbers came out as zero",
    hints=(
        "Keras calls it `rate`. PyTorch has another name for it.",
        "It is the probability that a number is dropped, and a probability is at most 1.",
    ),
    explanation="""
        In PyTorch the argument is called `p`: the probability that a number is dropped, from 0 to
        1. There is no `rate` (that is Keras), so `rate=0.3` is an error, and so is 30, with or
        without `p=`, since 30 is no probability. `p=0.7` runs without complaint and drops far too
        much.
    """,
    mistakes=(
        """Taking `p` for the share that is kept. It was that in the 2014 paper and in old versions
        of TensorFlow; in PyTorch it is the share that is dropped.""",
        """Writing per cent: `nn.Dropout(30)` is refused at least. `nn.Dropout(1)`, meant as 1 %,
        is accepted and drops everything.""",
    ),
)
