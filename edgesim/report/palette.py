"""Colours and signs of the pictures: told apart by the colour-blind, and the same in every figure.

Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from collections.abc import Iterable

KINDS = {
    "forward": "#0072B2",
    "backward": "#D55E00",
    "update": "#009E73",
    "aggregate": "#009E73",
    "plan": "#CC79A7",
    "pull": "#56B4E9",
    "push": "#E69F00",
    "reduce": "#E69F00",
    "broadcast": "#F0E442",
    "all-reduce": "#7F5539",
}
OTHERS = ("#F0E442", "#999999", "#CC79A7", "#000000", "#7F5539")
"""For kinds that a training system of one's own brings, in the order of their names."""
DARK = {"#0072B2", "#D55E00", "#009E73", "#000000", "#7F5539", "#CC79A7", "#999999"}
"""Colours on which text is white."""

SIGNS = {
    "crash": ("v", "#000000"),
    "return": ("^", "#009E73"),
    "slow": ("<", "#CC79A7"),
    "change": (">", "#CC79A7"),
    "cut": ("v", "#D55E00"),
    "restore": ("^", "#56B4E9"),
    "plan": ("D", "#000000"),
}
"""Marker and colour of a mark: triangles for what happens, a diamond for what is decided."""
STRETCHES = {
    "crash": ("down", "#dddddd", "#888888", "////"),
    "cut": ("while cut", "#fbe3d2", "#D55E00", "\\\\\\\\"),
    "slow": ("while slowed", "#f7e6ef", "#CC79A7", "...."),
    "change": ("while changed", "#f7e6ef", "#CC79A7", "----"),
}
"""Name, face, lines and hatch of a stretch of time in which something was on."""
OTHER_SIGN = (">", "#777777")


def colours(kinds: Iterable[str]) -> dict[str, str]:
    """Return a colour for each kind: known kinds first, with theirs; others share the rest in order of name.

    >>> colours(["pull", "compress", "forward"])
    {'forward': '#0072B2', 'pull': '#56B4E9', 'compress': '#F0E442'}
    """
    present = set(kinds)
    known = {kind: colour for kind, colour in KINDS.items() if kind in present}
    unknown = sorted(present - KINDS.keys())
    return known | {kind: OTHERS[index % len(OTHERS)] for index, kind in enumerate(unknown)}


def text_colour(background: str) -> str:
    """Return black or white, whichever reads on a colour."""
    return "white" if background in DARK else "black"
