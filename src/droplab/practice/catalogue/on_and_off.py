"""When dropout is on and when it is off."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=5,
    name="on-and-off",
    title="The switch",
    topic="on-and-off",
    level=1,
    several=True,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(20, 50), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, 3)
        )
        x = torch.randn(4, 20)
    """,
    question="The network is new. After which of these lines is its dropout off?",
    options=(
        Code("net.eval()"),
        Code("torch.set_grad_enabled(False)  # as torch.no_grad() does"),
        Code("net.requires_grad_(False)"),
        Code("net.train(False)"),
        Code("net.train()"),
    ),
    then="once, again = net(x), net(x)",
    check="""
        apart = (once - again).abs().max().item()
        apart == 0
    """,
    saw="two passes over the same input differ by at most {apart:.3f}",
    hints=(
        "Gradients and modes are two different things.",
        "There is one flag, `net.training`. Which of the lines set it to False?",
    ),
    explanation="""
        A new module is in training mode, and dropout is on. Only the flag `training` decides:
        `eval()` clears it in the module and in all modules inside, and is short for
        `train(False)`. Whether gradients are recorded has nothing to do with it: under
        `torch.no_grad()` dropout goes on dropping.
    """,
    mistakes=(
        """Evaluating under `torch.no_grad()` alone. It saves memory and leaves dropout on; you need
        `net.eval()` as well.""",
        "Expecting a network that has just been made or loaded to be in eval mode. It is not.",
    ),
)
