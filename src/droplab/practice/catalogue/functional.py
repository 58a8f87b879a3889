"""`F.dropout` and the mode of the module."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=13,
    name="functional",
    title="Dropout as a function",
    topic="on-and-off",
    level=2,
    snippet="""
        import torch
        import torch.nn.functional as F
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(20, 10)
    """,
    question="""
        Dropout is written with `F.dropout` this time. It must be on in training mode and off in
        eval mode. Which `forward` does that?
    """,
    options=(
        Code("""
            def forward(self, x):
                return self.fc(F.dropout(x, 0.5))
        """),
        Code("""
            def forward(self, x):
                return self.fc(F.dropout(x, 0.5, self.train))
        """),
        Code("""
            def forward(self, x):
                return self.fc(F.dropout(x, 0.5, training=self.training))
        """),
        Code("""
            def forward(self, x):
                return self.fc(F.dropout(x, 0.5, training=torch.is_grad_enabled()))
        """),
    ),
    then="""
        Net.forward = forward
        torch.manual_seed(0)
        net, x = Net(), torch.randn(5, 20)
        net.train()
        in_training = net(x), net(x)
        net.eval()
        in_eval = net(x), net(x)
    """,
    check="""
        on_in_training = not torch.equal(*in_training)
        on_in_eval = not torch.equal(*in_eval)
        on_in_training and not on_in_eval
    """,
    saw="in training mode dropout is {'on' if on_in_training else 'off'}, "
    "in eval mode it is {'on' if on_in_eval else 'off'}",
    hints=(
        "A function belongs to no module and cannot look at its mode. You have to tell it.",
        "`net.train` is a method. What is the flag called?",
    ),
    explanation="""
        `F.dropout` has an argument `training`, which is True unless you say otherwise; so
        `F.dropout(x, 0.5)` drops for ever, also after `net.eval()`. Pass `training=self.training`.
        `self.train` is a method, and torch either refuses it or takes it for true. Whether
        gradients are on is not the mode: they may be on in eval mode, as they are here.
    """,
    mistakes=(
        "`F.dropout(x, p)` and no more: predictions stay random, and nothing warns.",
        "Mixing up `train` (a method) and `training` (the flag).",
    ),
)
