"""Why a dropout layer "has no effect" in training."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=4,
    name="no-effect",
    title="The layer that does nothing",
    topic="no-effect",
    level=1,
    snippet="""
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1 = nn.Linear(20, 50)
                self.drop = nn.Dropout(p=0.5)
                self.fc2 = nn.Linear(50, 10)
    """,
    question="""
        The network has a dropout layer, and it is in training mode. With which `forward` does the
        layer have an effect?
    """,
    options=(
        Code("""
            def forward(self, x):
                x = torch.relu(self.fc1(x))
                self.drop(x)
                return self.fc2(x)
        """),
        Code("""
            def forward(self, x):
                x = torch.relu(self.fc1(x))
                x = self.drop(x)
                return self.fc2(x)
        """),
        Code("""
            def forward(self, x):
                x = torch.relu(self.fc1(x))
                self.drop.train()
                return self.fc2(x)
        """),
        Code("""
            def forward(self, x):
                x = torch.relu(self.fc1(x))
                return self.fc2(x)
        """),
    ),
    then="""
        Net.forward = forward
        torch.manual_seed(0)
        net = Net().train()
        x = torch.randn(5, 20)
        once, again = net(x), net(x)
    """,
    check="""
        apart = (once - again).abs().max().item()
        apart > 0
    """,
    saw="two passes over the same input differ by at most {apart:.3f}",
    hints=(
        "A layer does not change the tensor that it is given. It returns another one.",
        "Follow `x` from line to line: which lines give it a new value?",
    ),
    explanation="""
        A layer works only where it is called and where its result is used. Creating it in
        `__init__` puts it on the list that `print(net)` shows, and nothing more. Calling it
        without keeping the result makes a dropped-out copy and throws it away. To find out whether
        dropout works, run the same input through the network twice in training mode: with dropout
        the two outputs differ.
    """,
    mistakes=(
        "Writing `self.drop(x)` without `x = `. Nothing complains.",
        "Creating the layer and forgetting it in `forward`. Nothing complains here either.",
        "Believing `print(net)`: it lists layers that are never called.",
    ),
)
