"""How the validation loss depends on the rate."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=16,
    name="too-much",
    title="From no dropout to too much",
    topic="rate",
    level=2,
    seconds=90,
    snippet="""
        import torch
        import torch.nn.functional as F
        from torch import nn
        from droplab.data import load

        digits = load("digits").train
        images, labels = digits.inputs.flatten(1) / 255, digits.targets

        def validation_loss(p, seed):
            torch.manual_seed(seed)
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
            new = slice(600, 1100)
            return F.cross_entropy(net(images[new]), labels[new]).item()

        none, half, most = [
            sum(validation_loss(p, seed) for seed in range(3)) / 3
            for p in (0.0, 0.5, 0.95)
        ]
    """,
    question="""
        The same network learns 100 images with rates of 0, 0.5 and 0.95, three times each. What
        happens to the validation loss from the first rate to the last?
    """,
    options=(
        Claim("It falls and then rises.", check="none > half < most"),
        Claim("It falls: the more dropout, the better.", check="none > half > most"),
        Claim("It rises: dropout only disturbs.", check="none < half < most"),
        Claim("It rises and then falls.", check="none < half > most"),
    ),
    saw="mean validation loss: {none:.2f} with p = 0, {half:.2f} with 0.5, {most:.2f} with 0.95",
    hints=(
        "What can a network of which 95 % is missing learn in 120 steps?",
        "A large network and 100 images: is there something to gain at first?",
    ),
    explanation="""
        Without dropout this network learns its 100 images by heart, and is sure of itself where it
        is wrong: a high validation loss. Some dropout helps against that. Far too much leaves too
        little of the network to learn with, and it underfits. In between lies a rate that suits
        the network and the data. Customary starting points are 0.2 to 0.5 for hidden layers and
        0.1 or 0.2 for inputs.
    """,
    mistakes=(
        "One rate for everything, because it was good in another network.",
        "Raising the rate when the network underfits. Then dropout is what it needs less of.",
    ),
)
