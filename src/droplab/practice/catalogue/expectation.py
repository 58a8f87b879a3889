"""What stays the same in expectation."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=8,
    name="expectation",
    title="What stays the same",
    topic="expectation",
    level=2,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        layer = nn.Dropout(p=0.5)
        x = torch.tensor([1.0, -2.0, 3.0, 4.0, -5.0])
        calls = torch.stack([layer(x) for _ in range(10_000)])
        print("one call:", calls[0].tolist())
        print("mean of all:", [round(mean, 2) for mean in calls.mean(0).tolist()])
    """,
    question="The same x goes through dropout 10 000 times. What stays as it is in x?",
    options=(
        Claim(
            "The sum of each output: what is dropped is given to the others.",
            check="torch.allclose(calls.sum(1), x.sum())",
            saw="the sum of x is {x.sum():.0f}; those of the outputs lie between "
            "{calls.sum(1).min():.0f} and {calls.sum(1).max():.0f}",
        ),
        Claim(
            "Nothing: on average half of each number is lost.",
            check="torch.allclose(calls.mean(0), x / 2, rtol=0.05)",
            saw="the averages are between {(calls.mean(0) / x).min():.2f} and "
            "{(calls.mean(0) / x).max():.2f} times the numbers of x",
        ),
        Claim(
            "Each number, on average over the calls.",
            # The mean of 10 000 calls has a standard deviation of 1 % of the number, five to 5 %.
            check="torch.allclose(calls.mean(0), x, rtol=0.05)",
            saw="the averages are between {(calls.mean(0) / x).min():.2f} and "
            "{(calls.mean(0) / x).max():.2f} times the numbers of x",
        ),
        Claim(
            "The typical size: the mean of the squares.",
            check="torch.allclose(calls.square().mean(), x.square().mean(), rtol=0.05)",
            saw="the mean square is {x.square().mean():.1f} in x and "
            "{calls.square().mean():.1f} in the outputs",
        ),
    ),
    hints=(
        "With p = 0.5 a number becomes either 0 or its double. What is that on average?",
        "A single call is a game of chance. Average over many of them.",
    ),
    explanation="""
        Each number x becomes 0 with probability p and x / (1 - p) otherwise, so that its
        expectation is (1 - p) * x / (1 - p) = x. This holds on average, not in a single call. And
        it holds for the number itself alone: its square becomes x^2 / (1 - p) on average, twice as
        much with p = 0.5. The signal keeps its mean and becomes noisier.
    """,
    mistakes=(
        """Thinking that dropout keeps everything the same on average. It keeps the mean, not the
        spread, and what depends on the spread (BatchNorm, for one) notices.""",
        "Thinking that the survivors share out exactly what was dropped. Each is scaled by itself.",
    ),
)
