"""An evaluation that leaves dropout off."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=12,
    name="forgotten-train",
    title="After the first evaluation",
    topic="no-effect",
    level=2,
    snippet="""
        import torch
        import torch.nn.functional as F
        from torch import nn

        torch.manual_seed(0)
        drop = nn.Dropout(0.5)
        net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), drop, nn.Linear(64, 2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        x, y = torch.randn(100, 8), torch.randint(2, (100,))

        def evaluate():
            net.eval()
            with torch.no_grad():
                return F.cross_entropy(net(x), y).item()

        dropped = []  # in each epoch: was dropout on?
        for epoch in range(5):
            for batch in torch.arange(100).split(20):
                optimizer.zero_grad()
                F.cross_entropy(net(x[batch]), y[batch]).backward()
                optimizer.step()
            dropped.append(drop.training)
            evaluate()
    """,
    question="The loop trains for five epochs. In which of them is dropout on?",
    options=(
        Claim("In all five.", check="dropped == [True] * 5"),
        Claim("In the first only.", check="dropped == [True] + [False] * 4"),
        Claim("In none.", check="dropped == [False] * 5"),
        Claim("In all but the last.", check="dropped == [True] * 4 + [False]"),
    ),
    saw="dropout on in epoch 1 to 5: {', '.join('yes' if on else 'no' for on in dropped)}",
    hints=(
        "Which line changes the mode, and which line changes it back?",
        "`torch.no_grad()` ends with its block. Does `net.eval()`?",
    ),
    explanation="""
        `net.eval()` stays in force until somebody calls `net.train()`, and here nobody does. The
        first epoch trains with dropout, all others without. It looks as if dropout had no effect:
        the curves are nearly those of the network without it. Call `net.train()` at the start of
        every epoch, not once before the loop.
    """,
    mistakes=(
        "`net.train()` once, before the loop over the epochs.",
        """An `evaluate` that leaves the network in another mode than it found it. Keep
        `was = net.training` and give it back with `net.train(was)`.""",
    ),
)
