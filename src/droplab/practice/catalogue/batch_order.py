"""The order of the batches, with dropout and without."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=19,
    name="batch-order",
    title="What else has changed?",
    topic="batch-order",
    level=3,
    snippet="""
        import torch
        from torch import nn
        from torch.utils.data import DataLoader

        data = torch.arange(12.0).view(12, 1)

        def order_of_batches(p):
            torch.manual_seed(0)
            net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(p), nn.Linear(8, 1))
            loader = DataLoader(data, batch_size=4, shuffle=True)
            epochs = []
            for epoch in range(2):
                order = []
                for batch in loader:
                    net(batch)  # here a training step would be made
                    order += batch.flatten().int().tolist()
                print(f"p = {p}, epoch {epoch + 1}:", order)
                epochs.append(order)
            return epochs

        without = order_of_batches(p=0.0)
        dropout = order_of_batches(p=0.5)
    """,
    question="""
        Two runs with the same seed and the same initial weights, and only the rate is changed. Do
        both see the examples in the same order?
    """,
    options=(
        Claim("Yes, in both epochs: the seed is the same.", check="without == dropout"),
        Claim(
            "In the first epoch, not in the second.",
            check="without[0] == dropout[0] and without[1] != dropout[1]",
        ),
        Claim(
            "No, in neither epoch.",
            check="without[0] != dropout[0] and without[1] != dropout[1]",
        ),
    ),
    saw="first epoch: {'the same order' if without[0] == dropout[0] else 'different orders'}; "
    "second epoch: {'the same order' if without[1] == dropout[1] else 'different orders'}",
    hints=(
        "The masks and the shuffling both need random numbers. Where do they get them?",
        "When is the order of an epoch drawn: before the masks of that epoch, or after?",
    ),
    explanation="""
        On the CPU, `nn.Dropout` and `DataLoader(shuffle=True)` draw from the same generator. The
        first order is drawn before any mask and is the same. The masks of the first epoch then use
        up random numbers, which the run without dropout does not, and from the second epoch on the
        two runs see different batches. What is compared is then dropout and another order of the
        batches, not dropout alone.
    """,
    mistakes=(
        """Believing that the same `torch.manual_seed` makes two runs comparable. It makes one run
        repeatable.""",
        "Comparing two single runs, and giving dropout the credit for the luck of the batches.",
    ),
)
