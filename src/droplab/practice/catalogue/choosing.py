"""What a rate is chosen by."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=17,
    name="choosing",
    title="Choosing a rate",
    topic="rate",
    level=2,
    seconds=90,
    snippet="""
        import torch
        import torch.nn.functional as F
        from torch import nn
        from droplab.data import load

        digits = load("digits")
        images, labels = digits.train.inputs.flatten(1) / 255, digits.train.targets
        parts = {
            "training": (images[:100], labels[:100]),
            "validation": (images[600:], labels[600:]),
            "test": (digits.test.inputs.flatten(1) / 255, digits.test.targets),
        }

        def losses(p):
            torch.manual_seed(0)
            net = nn.Sequential(
                nn.Linear(64, 256), nn.ReLU(), nn.Dropout(p), nn.Linear(256, 10)
            )
            optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
            for step in range(150):
                optimizer.zero_grad()
                F.cross_entropy(net(images[:100]), labels[:100]).backward()
                optimizer.step()
            net.eval()
            return {
                name: F.cross_entropy(net(x), y).item()
                for name, (x, y) in parts.items()
            }

        def gap(loss):
            return loss["validation"] - loss["training"]

        tried = {p: losses(p) for p in (0.0, 0.5, 0.98)}
    """,
    question="""
        Three rates were tried. Which line picks the one that is best on the test images, without
        looking at those?
    """,
    options=(
        Code("rate = min(tried, key=lambda p: tried[p]['training'])"),
        Code("rate = min(tried, key=lambda p: gap(tried[p]))"),
        Code("rate = max(tried)  # the strongest regularisation"),
        Code("rate = min(tried, key=lambda p: tried[p]['validation'])"),
    ),
    check="tried[rate]['test'] == min(losses['test'] for losses in tried.values())",
    saw="picks p = {rate}, with a test loss of {tried[rate]['test']:.2f}; the best is "
    "{min(losses['test'] for losses in tried.values()):.2f}",
    hints=(
        "The test images are new. Which of the numbers says something about new images?",
        "By training loss, the winner is easy to guess. And by the gap?",
    ),
    explanation="""
        Dropout makes training harder, so the training loss nearly always votes for no dropout at
        all. The gap votes for so much that nothing is learnt any more. Only the loss on images
        that are neither trained on nor kept for the final test answers the question that is asked.
        The test images are looked at once, after the choice: whatever you choose by looks better
        than it is.
    """,
    mistakes=(
        "Choosing by the test set and reporting the same number as the result.",
        "Choosing from a single run where the candidates are close. Repeat with other seeds.",
    ),
)
