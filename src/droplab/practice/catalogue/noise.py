"""How much noise dropout adds."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=24,
    name="noise",
    title="From 0.5 to 0.9",
    topic="scale",
    level=3,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        x = torch.ones(1_000_000)
        half = nn.Dropout(p=0.5)(x).std().item()
        most = nn.Dropout(p=0.9)(x).std().item()
        ratio = most / half
    """,
    question="""
        Every number of x is 1, so that all spread in the output is noise from dropout. By which
        factor does its standard deviation grow from p = 0.5 to p = 0.9?
    """,
    # The ratio has a standard deviation of 0.004.
    options=(
        Claim("About 3.", check="abs(ratio - 3) < 0.05"),
        Claim("About 1.8, as the rates do.", check="abs(ratio - 1.8) < 0.05"),
        Claim("It stays: the scale sees to that.", check="abs(ratio - 1) < 0.05"),
        Claim("About 5, as the scales do: 2 and 10.", check="abs(ratio - 5) < 0.05"),
    ),
    saw="standard deviation {half:.3f} with p = 0.5 and {most:.3f} with p = 0.9, a factor of "
    "{ratio:.2f}",
    hints=(
        "A number is 0 with probability p, and 1 / (1 - p) otherwise. Compute its variance.",
        "The variance is p / (1 - p): what is that for 0.5 and for 0.9?",
    ),
    explanation="""
        The variance of a 1 that goes through dropout is p / (1 - p): 1 for p = 0.5 and 9 for
        p = 0.9, so the standard deviation grows from 1 to 3. The rate does not act in proportion:
        from 0.1 to 0.2 the variance goes up by 0.14, from 0.8 to 0.9 by 5. That is why high rates
        are so much harder on a network, and why it pays to try rates in small steps up there.
    """,
    mistakes=(
        "Taking 0.9 for nearly twice as strong as 0.5. By variance it is nine times as strong.",
        "Thinking that the scale keeps the size of the signal. It keeps the mean only.",
    ),
)
