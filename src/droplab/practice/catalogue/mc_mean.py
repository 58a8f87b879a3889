"""The mean of the samples and the prediction in eval mode."""

from __future__ import annotations

from droplab.practice._exercise import Claim, Exercise

EXERCISE = Exercise(
    number=22,
    name="mc-mean",
    title="One pass for all masks",
    topic="mc-dropout",
    level=3,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        x = torch.randn(1, 50).expand(20_000, 50)  # one input, 20 000 masks

        def compare(net):
            net.train()
            samples = net(x)
            standard_error = samples.std(0) / len(x) ** 0.5
            net.eval()
            one_pass = net(x[:1])[0]
            distance = (samples.mean(0) - one_pass).abs()
            return (distance / standard_error).max().item()

        with torch.no_grad():
            linear = compare(nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 8)))
            deep = compare(nn.Sequential(
                nn.Dropout(0.5), nn.Linear(50, 8), nn.ReLU(), nn.Linear(8, 8)
            ))
    """,
    question="""
        The one pass in eval mode stands for the mean over all masks. For which network is it that
        mean? (Up to chance: five standard errors.)
    """,
    options=(
        Claim("For both.", check="linear < 5 and deep < 5"),
        Claim("For the one with ReLU only.", check="deep < 5 < linear"),
        Claim("For neither.", check="linear > 5 and deep > 5"),
        Claim("For the linear one only.", check="linear < 5 < deep"),
    ),
    saw="the mean of 20 000 samples lies {linear:.1f} standard errors from the one pass in the "
    "linear network, and {deep:.0f} in the one with ReLU",
    hints=(
        "The mean of relu(z) is not relu of the mean of z: try z = -1 and z = 1.",
        "For which functions f is the mean of f(z) the same as f of the mean of z?",
    ),
    explanation="""
        Dropout keeps the mean of what goes into a layer, and a linear layer hands a mean on as it
        is. A ReLU does not: half the time -1 and half the time 1 has the mean 0, and after ReLU
        0.5. So in a deep network the pass in eval mode is an approximation of the mean over the
        masks. A good one, mostly, which is why it is used; but Monte Carlo samples tell more than
        their mean.
    """,
    mistakes=(
        "Taking the two for the same thing, and a difference between them for a mistake.",
        "Averaging logits and then speaking of the mean probability: softmax is not linear either.",
    ),
)
