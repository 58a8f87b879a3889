"""Training accuracy that is measured with dropout on."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=14,
    name="train-accuracy",
    title="Better on new images than on old ones?",
    topic="train-accuracy",
    level=2,
    seconds=90,
    snippet="""
        import torch
        import torch.nn.functional as F
        from torch import nn
        from droplab.data import load

        digits = load("digits").train
        images, labels = digits.inputs.flatten(1) / 255, digits.targets
        train, validation = slice(0, 600), slice(600, 1100)

        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.8), nn.Linear(64, 10)
        )
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for step in range(200):
            optimizer.zero_grad()
            F.cross_entropy(net(images[train]), labels[train]).backward()
            optimizer.step()

        def accuracy(part):
            right = net(images[part]).argmax(1) == labels[part]
            return right.float().mean().item()

        net.train()
        running = accuracy(train)  # as most loops print it: with dropout on
        net.eval()
        validated = accuracy(validation)
        print(f"training accuracy   {running:.1%}")
        print(f"validation accuracy {validated:.1%}")
    """,
    question="""
        The network seems to be better on images it has never seen than on those it trains on: the
        run prints a lower accuracy for training. Why?
    """,
    options=(
        Claim(
            "The two were measured differently: in eval mode, training accuracy is the higher one.",
            check="measured_alike = accuracy(train)\nmeasured_alike > validated",
            saw="both in eval mode: training {measured_alike:.1%}, validation {validated:.1%}",
        ),
        Claim(
            "The validation images are that much easier.",
            check="""
                judge = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
                optimizer = torch.optim.Adam(judge.parameters(), lr=0.01)
                for step in range(200):
                    optimizer.zero_grad()
                    F.cross_entropy(judge(images[1100:]), labels[1100:]).backward()
                    optimizer.step()
                net = judge
                old, new = accuracy(train), accuracy(validation)
                new - old > (validated - running) / 2
            """,
            saw="a network that has learnt from other images gets {old:.1%} of the training and "
            "{new:.1%} of the validation images right",
        ),
        Claim(
            "Dropout makes networks better on new images than on those they learn from.",
            check="measured_alike = accuracy(train)\nmeasured_alike < validated",
            saw="both in eval mode: training {measured_alike:.1%}, validation {validated:.1%}",
        ),
    ),
    hints=(
        "In which mode was the network for each of the two numbers?",
        "Measure both in the same mode before you compare them.",
    ),
    explanation="""
        The accuracy that a loop adds up while it trains is that of a network with most of its
        hidden units missing. The validation accuracy is that of the whole network. To compare the
        two is to compare different networks. Measured in eval mode over the training images, the
        training accuracy is the higher one, as one would expect.
    """,
    mistakes=(
        """Concluding from the two printed numbers that the network does not overfit. The running
        accuracy hides it: the gap may even come out negative.""",
        """Comparing it between a network with dropout and one without. Use the training set in
        eval mode for both.""",
    ),
)
