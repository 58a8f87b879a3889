"""What comes out of dropout in eval mode."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=3,
    name="eval-mode",
    title="What comes out in eval mode",
    topic="eval-mode",
    level=1,
    snippet="""
        import torch
        from torch import nn

        layer = nn.Dropout(p=0.3)
        layer.eval()

        x = torch.arange(1.0, 9.0)
        y = layer(x)
        print("x:", x.tolist())
        print("y:", y.tolist())
    """,
    question="The layer is in eval mode. What is in y?",
    options=(
        Claim("The numbers of x, each times 0.7.", check="torch.allclose(y, 0.7 * x)"),
        Claim(
            "About 30 % zeros; the other numbers as they were in x.",
            check="kept = y != 0\nbool((~kept).any()) and torch.equal(y[kept], x[kept])",
        ),
        Claim("Exactly the numbers of x.", check="torch.equal(y, x)"),
        Claim("The numbers of x, each divided by 0.7.", check="torch.allclose(y, x / 0.7)"),
    ),
    saw="{int((y == x).sum())} of the {y.numel()} numbers of y are the same as in x, to the bit",
    hints=(
        "Think of what you want from a trained network: one answer, or a new one at each call?",
        "PyTorch does all the rescaling while training, so that nothing is left to do later.",
    ),
    explanation="""
        In eval mode `nn.Dropout` is the identity: no zeros, no scaling, the same bits. That works
        because the numbers that survive in training are divided by 1 - p there, so that the next
        layer is used to the right size already.
    """,
    mistakes=(
        """Multiplying by 1 - p at test time. The 2014 paper does it that way, since it does not
        scale in training. With PyTorch you would scale twice.""",
        """Forgetting `model.eval()` before a prediction: then the prediction is a lottery ticket,
        and a different one at each call.""",
    ),
)
