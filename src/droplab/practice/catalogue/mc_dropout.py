"""Switching on dropout, and dropout alone, for Monte Carlo samples."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=21,
    name="mc-dropout",
    title="Monte Carlo dropout",
    topic="mc-dropout",
    level=3,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(),
            nn.Dropout(0.2), nn.Linear(64, 3)
        )
        for step in range(50):  # a trained network would have seen data like this
            net(torch.randn(100, 20))
        net.eval()
        before = net[1].running_mean.clone()
        x = 2 + torch.randn(10, 20)  # what it is to predict: a little different
    """,
    question="""
        Fifty predictions for the same inputs, each with a mask of its own, are to show how sure
        the network is. Everything but dropout must stay as it is for predictions. Which lines
        prepare the network for that?
    """,
    options=(
        Code("""
            for module in net.modules():
                if isinstance(module, nn.Dropout):
                    module.train()
        """),
        Code("net.eval()"),
        Code("net.train()"),
        Code("net.requires_grad_(False)"),
    ),
    then="""
        with torch.no_grad():
            samples = torch.stack([net(x) for _ in range(50)])
    """,
    check="""
        spread = samples.std(0).mean().item()
        moved = (net[1].running_mean - before).abs().max().item()
        spread > 0.01 and moved == 0
    """,
    saw="the samples have a spread of {spread:.3f}; the mean that BatchNorm remembers moved by "
    "{moved:.2f}",
    hints=(
        "Dropout is not the only module that looks at the mode.",
        "Every module has a mode of its own.",
    ),
    explanation="""
        The samples need dropout in training mode and everything else in eval mode. `net.train()`
        turns dropout on and BatchNorm as well: it then normalises with the batch that happens to
        be there, and, worse, goes on learning from the data that you predict for, also under
        `torch.no_grad()`. So switch on the dropout modules one by one.
    """,
    mistakes=(
        "`net.train()` for the samples in a network with BatchNorm.",
        """Fifty passes in eval mode: fifty identical predictions and a spread of 0, which looks
        like perfect certainty.""",
    ),
)
