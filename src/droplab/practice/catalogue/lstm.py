"""`dropout=` of a recurrent layer."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=23,
    name="lstm",
    title="An LSTM that ignores its rate",
    topic="no-effect",
    level=3,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        x = torch.randn(6, 4, 10)  # 6 steps of 4 sequences
    """,
    question="All of these are in training mode. Which of them drops anything?",
    options=(
        Code("net = nn.LSTM(10, 20, dropout=0.5)"),
        Code("net = nn.LSTM(10, 20, num_layers=2, dropout=0.5)"),
        Code("net = nn.LSTM(10, 20, bidirectional=True, dropout=0.5)"),
        Code("net = nn.LSTM(10, 20, dropout=0.9)"),
    ),
    then="""
        once, _ = net(x)
        again, _ = net(x)
    """,
    check="""
        apart = (once - again).abs().max().item()
        apart > 0
    """,
    saw="two passes over the same sequences differ by at most {apart:.3f}",
    hints=(
        "Read the warning, if there is one.",
        "The argument drops what one layer of the stack hands to the next one.",
    ),
    explanation="""
        `dropout=` of `nn.LSTM`, `nn.GRU` and `nn.RNN` acts between the layers of a stack, on the
        outputs of all layers but the last. With a single layer there is nothing in between, also
        not with both directions, and torch only warns. To drop the output of a single layer, put
        an `nn.Dropout` behind it.
    """,
    mistakes=(
        "Setting `dropout=` with one layer and overlooking the warning.",
        """Expecting it to act between the time steps. It does not; that needs another kind of
        layer, such as one with variational dropout.""",
    ),
)
