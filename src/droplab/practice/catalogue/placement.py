"""Where dropout goes in a small network."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=10,
    name="placement",
    title="Dropping hidden units",
    topic="placement",
    level=2,
    snippet="""
        import torch
        from torch import nn

        fc1, fc2 = nn.Linear(20, 64), nn.Linear(64, 10)
        nn.init.ones_(fc1.weight)  # with positive inputs, all 64 hidden units fire
        drop = nn.Dropout(p=0.5)
    """,
    question="Half of the 64 hidden units are to be dropped, and nothing else. Which does that?",
    options=(
        Code("net = nn.Sequential(fc1, nn.ReLU(), fc2, drop)"),
        Code("net = nn.Sequential(drop, fc1, nn.ReLU(), fc2)"),
        Code("net = nn.Sequential(drop, fc1, nn.ReLU(), drop, fc2)"),
        Code("net = nn.Sequential(fc1, nn.ReLU(), drop, fc2)"),
    ),
    then="""
        arrived = {}

        def look(layer, args):
            arrived[layer] = args[0]

        fc1.register_forward_pre_hook(look)
        fc2.register_forward_pre_hook(look)
        torch.manual_seed(0)
        logits = net(1 + torch.rand(500, 20))
    """,
    # The least certain of the three shares has a standard deviation of 0.7 %.
    check="""
        inputs, hidden, outputs = [
            (tensor == 0).float().mean().item() for tensor in (arrived[fc1], arrived[fc2], logits)
        ]
        inputs == 0 and abs(hidden - 0.5) < 0.04 and outputs == 0
    """,
    saw="dropped: {inputs:.0%} of the inputs, {hidden:.0%} of the hidden units, "
    "{outputs:.0%} of the outputs",
    hints=(
        "The hidden units are what fc1 and ReLU make, and what fc2 reads.",
        "A dropout layer drops what comes out of the layer before it.",
    ),
    explanation="""
        Dropout goes between the activation and the layer that reads it: the next layer then works
        with a thinned vector, which is how the 2014 paper defines it. At the very end it would set
        logits to zero, that is, forbid the network at random to say what it knows; that belongs
        nowhere. In front of the first layer it drops inputs, which can be useful, at a lower rate
        (0.1 or 0.2), but is something else.
    """,
    mistakes=(
        "Dropout after the last layer. The loss is then computed from mutilated logits.",
        """Using one rate everywhere. Inputs are often less redundant than hidden units, and bear
        less of it.""",
    ),
)
