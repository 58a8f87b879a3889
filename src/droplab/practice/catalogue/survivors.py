"""The scale 1 / (1 - p)."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=6,
    name="survivors",
    title="What becomes of the survivors",
    topic="scale",
    level=1,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        layer = nn.Dropout(p=0.2)  # in training mode
        x = torch.ones(1000)
        y = layer(x)
        print("y begins with", [round(value, 4) for value in y[:8].tolist()])
    """,
    question="Every number in x is 1. The layer drops a fifth of them. What do the others become?",
    options=(
        Claim("1, as before", check="bool((y[y != 0] == 1).all())"),
        Claim("0.8", check="torch.allclose(y[y != 0], torch.tensor(0.8))"),
        Claim("1.2", check="torch.allclose(y[y != 0], torch.tensor(1.2))"),
        Claim("1.25", check="torch.allclose(y[y != 0], torch.tensor(1.25))"),
    ),
    saw="{int((y == 0).sum())} of 1000 numbers are 0; all the others are {y.max().item():.4f}",
    hints=(
        "The sum should stay about the same, although a fifth of the numbers is gone.",
        "Four fifths of the numbers have to make up for all: 0.8 times what is 1?",
    ),
    explanation="""
        What is kept is divided by 1 - p, here by 0.8, and 1 / 0.8 = 1.25. So the sum stays about
        the same: 800 numbers of 1.25 add up to 1000. The next layer then sees signals of the same
        size in training and in eval mode.
    """,
    mistakes=(
        "Adding p instead of dividing by 1 - p: close for small rates (1.2, 1.25), not the same.",
        "Undoing the scale by hand, or scaling in eval mode as well. There is nothing left to do.",
    ),
)
