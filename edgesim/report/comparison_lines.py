"""A comparison of many runs: the mean iteration over a number, a line a method, a panel for each rest.

Settings that are on no line, since no three differ in one number alone, follow as rows of dots: how many
times as long as the best each method takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import shorten, wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from edgesim.report.comparison_bars import clipped
from edgesim.report.comparison_panels import Panel, panels
from edgesim.report.figures import Picture, longest
from edgesim.report.numbers import counted, duration, figures, time_unit
from edgesim.report.ranking import Entry, Setting

LABEL = 80
"""Most characters of a row's name."""
PANELS, ROWS = 24, 30
"""Most panels and most rows of dots; the table has all."""
WIDE, TALL, GAP_X, GAP_Y = 2.5, 2.0, 0.7, 0.9
"""Least width of a panel, its height, and the gaps between panels, in inches."""
TOP, LEGEND, BOTTOM, RIGHT, ROW = 0.4, 0.2, 0.3, 0.25, 0.24
"""Heights in inches above all, of a line of the legend, below all; the right margin; the height of a row."""
FAR = 3.0
"""Dots this many times as long as the best, or longer, are drawn at the right edge."""
DECADE = 10.0
"""Values that span more than that are drawn on a logarithmic axis."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F5539")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p")
DASHES = ("-", "--", ":")
GREY: dict[str, Any] = {"color": "#888888", "lw": 2.5, "alpha": 0.6}
BOUNDS: dict[str, Any] = {
    "with a barrier": "-",
    "all-reduce": (0, (4, 1.2)),
    "without a barrier": (0, (1, 0.8)),
}
"""Lines of the lower bounds, by what they are of."""
EVERYBODY = "every worker"
"""Whose segments a run without a barrier tells."""


def lines(groups: Sequence[Setting], *, title: str = "", width: float = 12.0) -> Picture:
    """Return the figure of a comparison of many runs.

    `width` is in inches; the height grows with the panels.
    """
    found, rest = panels(groups)
    shown, rows = found[:PANELS], rest[:ROWS]
    styles = _styles(groups)
    across = max(int(width / (0.55 + 0.075 * longest([clipped(name) for name in styles]))), 1)
    columns = min(max(int((width - RIGHT) / (WIDE + GAP_X)), 1), max(len(shown), 1))
    head = TOP + LEGEND * math.ceil((len(styles) + len(_kinds(shown))) / across)
    deep = math.ceil(len(shown) / columns) * (TALL + GAP_Y)
    tall = ROW * (len(rows) + 1)
    height = head + deep + BOTTOM + (tall + 0.4 if rows else 0.0)
    picture = Picture(figsize=(width, height))
    FigureCanvasAgg(picture)
    left_out = _left_out(len(found) - len(shown), len(rest) - len(rows))
    picture.text(0.012, 1 - 0.1 / height, f"{title or 'comparison'}{left_out}", va="top", fontsize=11)
    kinds = _kinds(shown)
    _legend(picture, styles, kinds, across, 1 - TOP / height)
    _small_multiples(picture, shown, styles, columns, head)
    if rows:
        left = 0.4 + 0.06 * longest([shorten(group.heading, LABEL) for group in rows])
        axes = _axes(picture, left, head + deep + 0.1, width - left - 1.0, tall)
        _dots(axes, rows, styles)
    return picture


def _left_out(panels_: int, rows: int) -> str:
    """Say what a figure has no room for."""
    parts = [counted(count, what) for count, what in ((panels_, "panel"), (rows, "setting")) if count]
    return f" | {' and '.join(parts)} more in the table" if parts else ""


def _small_multiples(
    picture: Picture,
    shown: Sequence[Panel],
    styles: Mapping[str, dict[str, Any]],
    columns: int,
    head: float,
) -> None:
    """Draw the panels in rows, the first `head` inches from the top."""
    times = [entry.mean_s for panel in shown for _, _, group in panel.points for entry in group.ranked]
    length_s, unit = time_unit(max(times, default=1.0))
    wide = (picture.get_size_inches()[0] - RIGHT - columns * GAP_X) / columns
    for number, panel in enumerate(shown):
        row, column = divmod(number, columns)
        left, down = GAP_X + column * (wide + GAP_X), head + 0.35 + row * (TALL + GAP_Y)
        axes = _axes(picture, left, down, wide, TALL)
        _panel(axes, panel, styles, length_s)
        room = int(wide / 0.07)
        title = "\n".join(wrap(panel.title, room, max_lines=2))
        axes.set_title(title, fontsize=8, loc="left", pad=3)
        axes.set_ylabel(f"iteration ({unit})" if column == 0 else "", fontsize=8)


def _axes(picture: Picture, left: float, down: float, wide: float, tall: float) -> Axes:
    """Return axes `left` inches from the left and `down` inches from the top."""
    width, height = picture.get_size_inches()
    axes = picture.add_axes((left / width, 1 - (down + tall) / height, wide / width, tall / height))
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _styles(groups: Sequence[Setting]) -> dict[str, dict[str, Any]]:
    """Return the look of each method, in the order of their first run."""
    names = list(dict.fromkeys(entry.name for group in groups for entry in group.entries))
    return {
        name: {
            "color": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[index % len(MARKERS)],
            "ls": DASHES[index // len(COLOURS) % len(DASHES)],
        }
        for index, name in enumerate(names)
    }


def _bounded(entry: Entry) -> str:
    """Return what kind of lower bound a run has; empty where it has none.

    Without a barrier transfers of one iteration are hidden under the next: less time must be left.
    """
    summary = entry.run.summary
    if not (summary.get("bounds") or {}).get("iteration_s"):
        return ""
    if EVERYBODY in (summary.get("segments") or {}):
        return "without a barrier"
    return "with a barrier" if summary.get("server") or "servers" not in summary else "all-reduce"


def _kinds(shown: Sequence[Panel]) -> list[str]:
    """Return the kinds of lower bounds in some panels, in the order of their dashes."""
    entries = [entry for panel in shown for _, _, group in panel.points for entry in group.ranked]
    found = {_bounded(entry) for entry in entries}
    return [kind for kind in BOUNDS if kind in found]


def _legend(
    picture: Picture,
    styles: Mapping[str, dict[str, Any]],
    kinds: Sequence[str],
    across: int,
    top: float,
) -> None:
    handles = [Line2D([], [], label=clipped(name), lw=1.2, ms=4.5, **style) for name, style in styles.items()]
    for kind in kinds:
        label = "lower bound" if len(kinds) == 1 else f"lower bound {kind}"
        handles.append(Line2D([], [], label=label, **GREY, ls=BOUNDS[kind]))
    picture.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.005, top), ncols=across, frameon=False,
        fontsize=8, borderaxespad=0.0, handlelength=2.4, columnspacing=1.3, labelspacing=0.25,
    )  # fmt: skip


def _panel(axes: Axes, panel: Panel, styles: Mapping[str, dict[str, Any]], length_s: float) -> None:
    """Draw a line a method, and the lower bounds: of methods with a barrier, and without."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in styles}
    bounds: dict[str, dict[float, float]] = {kind: {} for kind in BOUNDS}
    for number, _, setting in panel.points:
        for entry in setting.ranked:
            found[entry.name].append((number, entry.mean_s / length_s))
            if kind := _bounded(entry):
                bound = entry.run.summary["bounds"]["iteration_s"] / length_s
                bounds[kind][number] = min(bound, bounds[kind].get(number, math.inf))
    for kind, line in bounds.items():
        if line:
            axes.plot([*line], [*line.values()], zorder=1, **GREY, ls=BOUNDS[kind])
    for name, pairs in found.items():
        if pairs:
            axes.plot(*zip(*pairs, strict=True), lw=1.0, ms=3.2, zorder=3, **styles[name])
    times = [time for pairs in found.values() for _, time in pairs]
    if times and max(times) > DECADE * min(times) > 0.0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: figures(y)))
    _numbers(axes, panel)
    axes.grid(axis="y", color="#dddddd", lw=0.5)


def _numbers(axes: Axes, panel: Panel) -> None:
    """Mark the numbers of a panel, each with its own text."""
    numbers = [number for number, _, _ in panel.points]
    if numbers[0] > 0.0 and numbers[-1] > DECADE * numbers[0]:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    texts = {number: text for number, text, _ in panel.points}
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: texts.get(x, "")))
    name = panel.points[0][2].words.get(panel.axis) or panel.axis
    name = name.rpartition(" " + str(panel.points[0][2].values[panel.axis]))[0] or panel.axis
    axes.set_xlabel(f"{name} ({panel.unit})" if panel.unit else name, fontsize=8, labelpad=1)


def _dots(axes: Axes, rows: Sequence[Setting], styles: Mapping[str, dict[str, Any]]) -> None:
    """Draw a row a setting: each method as many times as long as the best of it."""
    reach = min(max((group.spread for group in rows), default=1.0), FAR)
    for place, group in enumerate(rows):
        axes.axhline(place, color="#eeeeee", lw=0.8, zorder=1)
        for entry in reversed(group.ranked):
            ratio = min(entry.mean_s / group.best_s, reach)
            axes.plot([ratio], [place], ms=5.5, zorder=3, **{**styles[entry.name], "ls": ""})
        best = duration(group.best_s) if group.ranked else "none finished"
        axes.annotate(
            best, (1.0, place), xycoords=("axes fraction", "data"), xytext=(8, 0), fontsize=8,
            textcoords="offset points", va="center",
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [shorten(group.heading, LABEL) for group in rows], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(1.0 - 0.02 * (reach - 1.0 or 1.0), 1.0 + 1.02 * (reach - 1.0 or 1.0))
    axes.xaxis.set_major_locator(MaxNLocator(8))
    far = " or more at the edge" if reach == FAR else ""
    axes.set_xlabel(f"times as long as the best of the row (right: its iteration){far}", fontsize=8)
