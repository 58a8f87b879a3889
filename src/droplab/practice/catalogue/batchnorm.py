"""Dropout in front of a BatchNorm."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=18,
    name="batchnorm",
    title="Dropout in front of BatchNorm",
    topic="batchnorm",
    level=3,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(16))

        net.train()
        for step in range(300):  # BatchNorm collects mean and variance
            net(torch.randn(500, 16))

        spread_in_training = net(torch.randn(10_000, 16)).std().item()
        net.eval()
        spread_in_eval = net(torch.randn(10_000, 16)).std().item()
    """,
    question="""
        The inputs have a standard deviation of 1. In training mode BatchNorm hands on numbers with
        a standard deviation of 1 as well. And in eval mode?
    """,
    options=(
        Claim("1 as well: that is what BatchNorm is for.", check="abs(spread_in_eval - 1) < 0.05"),
        Claim("About 0.7: too small.", check="abs(spread_in_eval - 0.5**0.5) < 0.05"),
        Claim("About 1.4: too large.", check="abs(spread_in_eval - 2**0.5) < 0.05"),
        Claim("About 0.5: half of it.", check="abs(spread_in_eval - 0.5) < 0.05"),
    ),
    saw="standard deviation behind BatchNorm: {spread_in_training:.2f} in training mode, "
    "{spread_in_eval:.2f} in eval mode; the variance that it remembers is "
    "{net[1].running_var.mean():.2f}",
    hints=(
        "In eval mode BatchNorm divides by the standard deviation that it saw in training.",
        "Dropout keeps the mean. What does it do to the variance?",
    ),
    explanation="""
        With p = 0.5 the numbers that survive are doubled, and the variance doubles. BatchNorm
        learns this variance, 2, and in eval mode divides by its root, although dropout is off and
        the variance is 1 again. What comes out is smaller than what the next layer was trained on,
        by a factor of 0.71. This is called variance shift. The way out is dropout after the last
        BatchNorm.
    """,
    mistakes=(
        """Dropout between a convolution and its BatchNorm. Results get worse, and dropout is blamed
        rather than its place.""",
        "Thinking that a correct mean is enough.",
    ),
)
