"""Colours and the style of charts, for the page (light and dark) and for a picture."""

from __future__ import annotations

from collections.abc import Sequence

# Okabe and Ito's hues, darkened for white and lightened for black until lines and labels have a
# contrast of at least 4.5 to their ground. The first is the baseline's.
LIGHT = (
    "#57606a",
    "#0069a8",
    "#b84500",
    "#00744f",
    "#9a3d78",
    "#7d6000",
    "#00708a",
    "#6a51b8",
    "#a32a3c",
)
DARK = (
    "#a3adba",
    "#58aee8",
    "#f28a4b",
    "#3fc495",
    "#e295c4",
    "#d9b341",
    "#55c8de",
    "#ab98f0",
    "#f0808f",
)
# A scale for arms that have an order, low rates first: lightness and hue both go one way, so that
# neighbours can be told apart, and printed grey still tells which is higher. Contrast as above.
RAMP_LIGHT = (
    "#a05e01",
    "#a64c00",
    "#a73a1e",
    "#a02e38",
    "#96254c",
    "#88215c",
    "#781f6a",
    "#661f75",
    "#521f7c",
    "#3c207f",
    "#23217d",
    "#002869",
)
RAMP_DARK = (
    "#fed6af",
    "#fec9ad",
    "#febdac",
    "#ffafae",
    "#fea0b6",
    "#fb91c5",
    "#e78ed4",
    "#d18be1",
    "#b78be9",
    "#9b8bec",
    "#7c8cea",
    "#598de2",
)
ORDERED = 10_000
"""Places from here on are steps of that scale, from its first to its last."""

GROUND_LIGHT = {
    "bg": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#1c2430",
    "soft": "#59636f",
    "line": "#d9dee4",
    "grid": "#e9ecf0",
    "good": "#0b6b45",
    "bad": "#a8321f",
    "goodbg": "#e2f4ea",
    "badbg": "#fbe9e5",
    "plainbg": "#eef0f3",
}
GROUND_DARK = {
    "bg": "#12161c",
    "panel": "#1a2029",
    "ink": "#e8ecf1",
    "soft": "#a4aebb",
    "line": "#333c48",
    "grid": "#262e38",
    "good": "#63d3a0",
    "bad": "#f59a86",
    "goodbg": "#123527",
    "badbg": "#41211b",
    "plainbg": "#252d37",
}
DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Beyond the last colour, the colours come again with the next dash pattern."""


def colour_class(place: int) -> str:
    """Return the class of the arm at this place: 0 for the baseline."""
    if place == 0:
        return "c0"
    if place >= ORDERED:
        return f"o{place - ORDERED}"
    return f"c{(place - 1) % (len(LIGHT) - 1) + 1}"


def dash(place: int) -> str | None:
    """Return the dash pattern of the arm at this place, None for a full line."""
    if place == 0 or place >= ORDERED:
        return None
    return DASHES[(place - 1) // (len(LIGHT) - 1) % len(DASHES)] or None


def step(rank: int, count: int) -> int:
    """Return the place of the arm of this rank among `count` that have an order."""
    return ORDERED + round(rank * (len(RAMP_LIGHT) - 1) / max(1, count - 1))


def variables(ground: dict[str, str], colours: Sequence[str], ramp: Sequence[str] = ()) -> str:
    """Return the colours as CSS variables."""
    named = {**ground, **{f"c{i}": colour for i, colour in enumerate(colours)}}
    named |= {f"o{i}": colour for i, colour in enumerate(ramp)}
    return "".join(f"--{name}:{value};" for name, value in named.items())


def chart_rules(*, literal: bool = False) -> str:
    """Return the style of charts.

    Args:
        literal: Write colours out instead of naming variables, for a renderer without them.
    """

    def of(name: str) -> str:
        if not literal:
            return f"var(--{name})"
        named = {f"{at}{i}": c for at, cs in _SCALES.items() for i, c in enumerate(cs)}
        return {**GROUND_LIGHT, **named}[name]

    rules = [
        f".axis text,.tick{{fill:{of('soft')};font-size:11px}}",
        f".name{{fill:{of('ink')};font-size:13px;font-weight:600}}",
        f".note{{fill:{of('soft')};font-size:11px}}",
        f".halo{{stroke:{of('bg')};stroke-width:3;paint-order:stroke}}",
        f".ink{{fill:{of('ink')};font-size:12px}}",
        f".grid{{stroke:{of('grid')};stroke-width:1}}",
        f".zero{{stroke:{of('soft')};stroke-width:1.2}}",
        f".ground{{fill:{of('bg')}}}",
        f".goodside{{fill:{of('goodbg')};opacity:.55}}",
        ".line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}",
        ".thin{fill:none;stroke-width:1.4;stroke-linejoin:round}",
        ".band{stroke:none;opacity:.14}",
        ".dot{opacity:.42}",
        f".ring{{fill:{of('bg')};stroke-width:2}}",
        ".bar{fill:none;stroke-width:4;stroke-linecap:round;opacity:.85}",
        ".leader{fill:none;stroke-width:.8;opacity:.6}",
        ".label{font-size:12px;font-weight:600}",
        ".faint{opacity:.4}",
    ]
    for i in range(len(LIGHT)):
        colour = of(f"c{i}")
        rules.append(
            f".c{i}.line,.c{i}.thin,.c{i}.bar,.c{i}.leader,.c{i}.ring{{stroke:{colour}}}"
            f".c{i}.band,.c{i}.dot,.c{i}.label,.c{i}.mark{{fill:{colour}}}"
        )
    first = next(rule for rule in rules if rule.startswith(".c0."))
    rules += [
        first.replace(".c0.", f".o{i}.").replace(of("c0"), of(f"o{i}"))
        for i in range(len(RAMP_LIGHT))
    ]
    return "\n".join(rules)


_SCALES = {"c": LIGHT, "o": RAMP_LIGHT}
