"""Dropout and ReLU commute."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=9,
    name="relu",
    title="Before the activation or after it",
    topic="relu",
    level=2,
    snippet="""
        import torch
        from torch import nn

        x = torch.randn(1000, generator=torch.Generator().manual_seed(0))

        def both_orders(activation):
            torch.manual_seed(0)
            before = activation(nn.Dropout(0.5)(x))
            torch.manual_seed(0)  # the same mask again
            after = nn.Dropout(0.5)(activation(x))
            return int((before == after).sum())  # places where the orders agree

        relu = both_orders(torch.relu)
        sigmoid = both_orders(torch.sigmoid)
    """,
    question="""
        Dropout before the activation, or after it: with the same mask, for which activation does
        the order make no difference?
    """,
    options=(
        Claim("For neither.", check="relu < 1000 and sigmoid < 1000"),
        Claim("For both.", check="relu == 1000 and sigmoid == 1000"),
        Claim("For the sigmoid only.", check="relu < 1000 and sigmoid == 1000"),
        Claim("For ReLU only.", check="relu == 1000 and sigmoid < 1000"),
    ),
    saw="of 1000 numbers, the two orders agree in {relu} with ReLU and in {sigmoid} with a sigmoid",
    hints=(
        "Take one number that is dropped and one that is kept, and follow both orders by hand.",
        "relu(2 * x) is 2 * relu(x). And what are relu(0) and sigmoid(0)?",
    ),
    explanation="""
        ReLU leaves 0 at 0, and a positive factor can be taken out of it: relu(c * x) = c * relu(x).
        Dropout does nothing else than to set numbers to 0 or to multiply them by a positive factor,
        so for ReLU the order is a matter of taste. A sigmoid turns the dropped 0 into 0.5 and
        squeezes the scaled numbers: there dropout belongs after it. The same goes for GELU, SiLU
        and tanh, which keep 0 at 0, but not the factor.
    """,
    mistakes=(
        """Comparing "before" and "after" ReLU in an experiment and explaining the difference. With
        the same masks there is none.""",
        "Carrying the rule over to every activation.",
    ),
)
