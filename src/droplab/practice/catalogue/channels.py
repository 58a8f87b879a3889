"""Whole channels of feature maps."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=11,
    name="channels",
    title="Whole channels",
    topic="placement",
    level=2,
    snippet="""
        import torch
        from torch import nn

        torch.manual_seed(0)
        maps = 1 + torch.rand(50, 32, 8, 8)  # 50 images, 32 channels of 8 x 8
    """,
    question="""
        After a convolution, neighbouring pixels carry nearly the same information. So a channel
        is to be dropped as a whole or not at all, half of them on average, and other ones for
        each image. Which layer does that?
    """,
    options=(
        Code("layer = nn.Dropout2d(0.5)"),
        Code("layer = nn.Dropout(0.5)"),
        Code("layer = nn.Dropout1d(0.5)"),
        Code("layer = nn.AlphaDropout(0.5)"),
    ),
    then="y = layer(maps)",
    # 1600 channels are dropped or kept: a standard deviation of 1.25 %, and 7 % is over five.
    check="""
        zero = (y == 0).flatten(2).float().mean(2)  # the share of zeros, for each channel
        gone, whole = (zero == 1).float().mean().item(), (zero == 0).float().mean().item()
        images_differ = bool((zero != zero[0]).any())
        gone + whole == 1 and abs(gone - 0.5) < 0.07 and images_differ
    """,
    saw="{gone:.0%} of the channels are gone, {whole:.0%} are whole, and "
    "{1 - gone - whole:.0%} have holes or other numbers instead of zeros",
    hints=(
        "The number in the name says how many dimensions one channel has.",
        "A channel of an image has a height and a width.",
    ),
    explanation="""
        `nn.Dropout2d` draws once for each channel of each image and keeps or drops it whole.
        `nn.Dropout` draws for each pixel; what it takes away, the neighbours give back, and it
        regularises little. `nn.Dropout1d` is for (batch, channels, length) and refuses a batch of
        images or takes its dimensions for something else. `nn.AlphaDropout` is made for SELU
        networks and does not drop to zero.
    """,
    mistakes=(
        "Plain `nn.Dropout` between convolutions, and the verdict that dropout is useless there.",
        "`nn.Dropout2d` on (batch, features): it warns, and does what you did not mean.",
    ),
)
