"""What dropout is for."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=1,
    name="purpose",
    title="What dropout is for",
    topic="purpose",
    level=1,
    seconds=90,
    snippet="""
        import torch
        import torch.nn.functional as F
        from torch import nn
        from droplab.data import load

        digits = load("digits").train  # small images of handwritten digits
        images, labels = digits.inputs.flatten(1) / 255, digits.targets
        learnt, new = slice(0, 100), slice(600, 1100)

        def train(p, seed):
            torch.manual_seed(seed)
            net = nn.Sequential(
                nn.Linear(64, 256), nn.ReLU(), nn.Dropout(p), nn.Linear(256, 10)
            )
            optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
            for step in range(150):
                optimizer.zero_grad()
                F.cross_entropy(net(images[learnt]), labels[learnt]).backward()
                optimizer.step()
            return net.eval()

        @torch.no_grad()
        def loss(nets, part):
            x, y = images[part], labels[part]
            losses = [F.cross_entropy(net(x), y).item() for net in nets]
            return sum(losses) / len(losses)

        without = [train(p=0.0, seed=seed) for seed in range(3)]
        dropout = [train(p=0.5, seed=seed) for seed in range(3)]
    """,
    question="""
        Three networks learn the same 100 images without dropout, and three with it. Afterwards
        all of them are in eval mode. What has dropout done?
    """,
    options=(
        Claim(
            "It made them fit the 100 images better: the loss on those is lower.",
            check="loss(dropout, learnt) < loss(without, learnt)",
            saw="loss on the images learnt: {loss(without, learnt):.4f} without dropout, "
            "{loss(dropout, learnt):.4f} with it",
        ),
        Claim(
            "It made them better on images they have not seen: the loss on those is lower.",
            check="loss(dropout, new) < loss(without, new)",
            saw="loss on 500 new images: {loss(without, new):.3f} without dropout, "
            "{loss(dropout, new):.3f} with it",
        ),
        Claim(
            "It made them smaller: about half of their weights are zero.",
            check="""
                weights = torch.cat([w.flatten() for net in dropout for w in net.parameters()])
                zero = (weights == 0).float().mean().item()
                0.3 < zero < 0.7
            """,
            saw="{zero:.1%} of the weights of the networks with dropout are zero",
        ),
    ),
    hints=(
        "A network that is disturbed while it learns: will it know its examples by heart better?",
        "The point of training is not the examples that the network trains on.",
    ),
    explanation="""
        Dropout disturbs the network while it learns, so that no unit can lean on a particular
        other one. That makes it harder to learn the examples by heart, and the loss on them is
        higher. What is learnt that way carries over better to images that the network has not
        seen, and that is what dropout is for: less overfitting. The weights are all still there;
        only activations are dropped, and other ones at each step.
    """,
    mistakes=(
        """Judging dropout by the training loss. It nearly always gets worse; that is not the
        question.""",
        """Expecting a smaller or faster network. Dropout changes neither the number of weights
        nor the time a prediction takes.""",
        """Adding dropout to a network that does not overfit. There it has nothing to repair and
        mostly slows learning down.""",
    ),
)
