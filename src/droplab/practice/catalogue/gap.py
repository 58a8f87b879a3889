"""Reading a gap between training and validation."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=15,
    name="gap",
    title="A smaller gap",
    topic="gap",
    level=2,
    seconds=90,
    snippet="""
        import torch
        import torch.nn.functional as F
        from torch import nn
        from droplab.data import load

        digits = load("digits").train
        images, labels = digits.inputs.flatten(1) / 255, digits.targets
        parts = {"training": slice(0, 100), "validation": slice(600, 1100)}

        def train(p):
            torch.manual_seed(0)
            net = nn.Sequential(
                nn.Linear(64, 128), nn.ReLU(), nn.Dropout(p),
                nn.Linear(128, 128), nn.ReLU(), nn.Dropout(p), nn.Linear(128, 10)
            )
            optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
            for step in range(120):
                optimizer.zero_grad()
                F.cross_entropy(net(images[:100]), labels[:100]).backward()
                optimizer.step()
            net.eval()
            return {
                name: F.cross_entropy(net(images[part]), labels[part]).item()
                for name, part in parts.items()
            }

        little, much = train(p=0.2), train(p=0.95)
        little_gap = little["validation"] - little["training"]
        much_gap = much["validation"] - much["training"]
    """,
    question="""
        The gap is the validation loss minus the training loss, both in eval mode. With p = 0.95
        instead of 0.2, what happens to the gap, and what to the network?
    """,
    options=(
        Claim(
            "The gap shrinks, and the network gets better: a lower validation loss.",
            check="much_gap < little_gap and much['validation'] < little['validation']",
        ),
        Claim(
            "The gap grows, and the network gets worse: a higher validation loss.",
            check="much_gap > little_gap and much['validation'] > little['validation']",
        ),
        Claim(
            "The gap shrinks, and the network gets worse: a higher validation loss.",
            check="much_gap < little_gap and much['validation'] > little['validation']",
        ),
    ),
    saw="p = 0.2: training loss {little['training']:.2f}, validation {little['validation']:.2f}, "
    "gap {little_gap:.2f}; p = 0.95: training {much['training']:.2f}, validation "
    "{much['validation']:.2f}, gap {much_gap:.2f}",
    hints=(
        "There are two ways to close a gap: one side comes down, or the other goes up.",
        "Can a network with 5 % of its hidden units learn much at all?",
    ),
    explanation="""
        A gap says how much better a network is on what it has learnt from than on what is new. It
        shrinks when validation gets better, and also when training gets worse. With p = 0.95 the
        network hardly learns, and what it knows, it knows about all images alike. A small gap is a
        symptom, not the aim: choose by the validation metric, and read the gap beside it.
    """,
    mistakes=(
        "Reporting a smaller gap as a success without saying which side moved.",
        "Taking the training side of the gap with dropout on. Measure both in eval mode.",
    ),
)
