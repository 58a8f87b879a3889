"""The two ends of the range, p = 0 and p = 1."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=7,
    name="extremes",
    title="The two ends of the range",
    topic="writing",
    level=1,
    snippet="""
        import torch
        from torch import nn

        x = torch.arange(1.0, 7.0)
        nothing = nn.Dropout(p=0.0)(x)  # both in training mode
        all_of_it = nn.Dropout(p=1.0)(x)
        print("p = 0:", nothing.tolist())
        print("p = 1:", all_of_it.tolist())
    """,
    question="The scale is 1 / (1 - p). What do `p=0` and `p=1` do?",
    options=(
        Claim(
            "`p=0` changes nothing; `p=1` gives infinite numbers, as 1 / 0 does.",
            check="torch.equal(nothing, x) and bool(all_of_it.isinf().any())",
        ),
        Claim(
            "`p=0` changes nothing; `p=1` gives zeros.",
            check="torch.equal(nothing, x) and bool((all_of_it == 0).all())",
        ),
        Claim(
            "`p=0` gives zeros; `p=1` changes nothing.",
            check="bool((nothing == 0).all()) and torch.equal(all_of_it, x)",
        ),
    ),
    saw="p = 0 left {int((nothing == x).sum())} of {x.numel()} numbers as they were; "
    "p = 1 gave {int((all_of_it == 0).sum())} zeros",
    hints=(
        "`p` is the probability that a number is dropped.",
        "If nothing survives, is there anything left to scale?",
    ),
    explanation="""
        With `p=0` nothing is dropped and the scale is 1: the layer is the identity, also in
        training. With `p=1` everything is dropped; nothing is left that could be scaled, and
        PyTorch returns plain zeros. A network does not learn through such a layer: no signal goes
        forward, no gradient comes back.
    """,
    mistakes=(
        """Removing the layer to get the network without dropout. Setting `p=0` does the same and
        leaves the rest of the program as it is, which makes for a fairer comparison.""",
        "Writing `nn.Dropout(1)` and meaning 1 %.",
    ),
)
