"""A panel for each setting of a comparison, side by side: one look for each alternative, one legend.

Lengths are in inches from the left and from the top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from edgesim.report.comparison_bars import clipped
from edgesim.report.figures import Picture, legend_columns
from edgesim.report.ranking import Setting

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F5539")
"""Okabe and Ito, as in `palette`, and a brown for their yellow, which is too pale for a line."""
STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
"""Lines of the first eight runs, the next eight, and so on."""
MOST = len(COLOURS) * len(STYLES)
"""Most runs that can be told apart."""
FEW = 5
"""Up to so many runs share one panel where no setting has two of them."""
PANELS, ACROSS = 12, 3
"""Most panels, and most beside each other."""
TOP, BOTTOM, LEFT, RIGHT, NOTE = 0.42, 0.5, 0.7, 0.2, 0.22
"""Margins, and the height of a line below all."""
HEAD, BETWEEN, APART, HALVES = 0.4, 0.35, 0.5, 0.12
"""Heights of a panel's title and of its axis, width between panels, and height between axes of one panel."""
LEGEND = 0.2
"""Height of a row of the legend."""
AWAY = 3.0
"""Panels share the time axis unless the longest run is so many times as long as that of the median panel."""
DASH = 4.0
"""Length of a dash of lines that are the same, in line widths."""


def split(groups: Sequence[Setting]) -> bool:
    """Return whether the settings of a comparison have a panel each, rather than one for all runs."""
    sizes = [len(group.entries) for group in groups]
    return len(groups) > 1 and (max(sizes) > 1 or sum(sizes) > FEW)


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and line of each alternative, in the order in which they are met first."""
    return {
        name: {"color": COLOURS[index % len(COLOURS)], "ls": STYLES[index // len(COLOURS) % len(STYLES)]}
        for index, name in enumerate(dict.fromkeys(names))
    }


def shares(same: Sequence[Any]) -> list[dict[str, Any]]:
    """Return for lines of a panel, given by what they show, how each is drawn where others are the same.

    These take turns: dashes of one are in the gaps of the others, so that none is hidden.

    >>> shares(["a", "b", "a"])
    [{'ls': (0.0, (4.0, 4.0))}, {}, {'ls': (4.0, (4.0, 4.0))}]
    """
    found: list[dict[str, Any]] = []
    for place, one in enumerate(same):
        alike, before = same.count(one), same[:place].count(one)
        turn = DASH * (alike - before) % (DASH * alike)
        found.append({} if alike == 1 else {"ls": (turn, (DASH, DASH * (alike - 1)))})
    return found


def together(ends_s: Sequence[float]) -> bool:
    """Return whether panels that end at such times, in s, can share a time axis.

    >>> together([10.0, 50.0, 60.0]), together([10.0, 20.0, 100.0])
    (True, False)
    """
    return not ends_s or max(ends_s) <= AWAY * median(ends_s)


def grid(
    titles: Sequence[str],
    styles: dict[str, dict[str, Any]],
    *,
    title: str,
    note: str,
    width: float,
    tall: Sequence[float],
) -> tuple[Picture, list[list[Axes]]]:
    """Return a picture `width` inches wide with a panel for each title, and the axes of each panel.

    `tall` are the heights of the axes of a panel, which are above each other. The legend tells the styles of
    the alternatives; `note` is written below all.
    """
    across = 2 if len(titles) in (2, 4) else min(ACROSS, len(titles))
    handles = [Line2D([], [], label=clipped(name), lw=1.8, **look) for name, look in styles.items()]
    columns = legend_columns(handles, width - LEFT)
    head = TOP + LEGEND * math.ceil(len(handles) / columns)
    deep = HEAD + sum(tall) + HALVES * (len(tall) - 1) + BETWEEN
    lines = wrap(note, int(width / 0.066))
    height = head + math.ceil(len(titles) / across) * deep + BOTTOM - BETWEEN + NOTE * len(lines)
    picture = Picture(figsize=(width, height))
    FigureCanvasAgg(picture)
    picture.text(0.012, 1 - 0.1 / height, title, va="top", fontsize=11)
    picture.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(LEFT / width, 1 - 0.38 / height), ncols=columns,
        frameon=False, fontsize=9, borderaxespad=0.0, handlelength=2.2, labelspacing=0.3, columnspacing=1.3,
    )  # fmt: skip
    picture.text(0.012, 0.07 / height, "\n".join(lines), va="bottom", fontsize=8, color="#555555")
    wide = (width - LEFT - RIGHT - (across - 1) * APART) / across
    found = []
    for number, name in enumerate(titles):
        row, column = divmod(number, across)
        left, down = LEFT + column * (wide + APART), head + row * deep + HEAD
        axes = []
        for one in tall:
            axes.append(
                picture.add_axes((left / width, 1 - (down + one) / height, wide / width, one / height))
            )
            down += one + HALVES
        said = "\n".join(wrap(name, int(wide / 0.068), max_lines=2, placeholder=" …"))
        axes[0].set_title(said, loc="left", fontsize=8.5, pad=3)
        found.append(axes)
    return picture, found


def rest(shown: int, total: int) -> str:
    """Say how many settings have no panel.

    >>> rest(12, 14), rest(3, 3)
    ('2 more settings are not drawn.', '')
    """
    more = total - shown
    if not more:
        return ""
    return f"{more} more setting{' is' if more == 1 else 's are'} not drawn."


def outermost(panels: Sequence[Sequence[Axes]], labels: Sequence[str], *, one_time: bool) -> None:
    """Write the labels of the axes, from the upper one of a panel down, beside the leftmost panels, and that
    of the time below the last of each column."""
    across = 2 if len(panels) in (2, 4) else min(ACROSS, len(panels))
    for number, panel in enumerate(panels):
        for axes, label in zip(panel, labels, strict=True):
            axes.set_ylabel(label if number % across == 0 else "", fontsize=8.5)
            if axes is not panel[-1] or (one_time and number + across < len(panels)):
                axes.set_xlabel("")
            axes.tick_params(axis="both", labelsize=7.5)
            if axes is not panel[-1]:
                axes.tick_params(axis="x", labelbottom=False)
