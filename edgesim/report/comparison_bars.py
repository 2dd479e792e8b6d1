"""The bars of a comparison: the mean time per iteration of each run, grouped by setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgesim.report.numbers import duration, time_unit
from edgesim.report.ranking import Entry, Setting, mean_text
from edgesim.report.rulers import ruler_of, width_px

LONGEST, WORDS = 48, 140
"""Most characters of a name, and of a heading, that are drawn."""
BESIDE = 8.0
"""Space between a bar and its figures, in points."""
BEST, OTHER = "#0072B2", "#56B4E9"
HEADING, BETWEEN = 0.9, 0.35
"""Heights, in bars, of a setting's heading and of the gap before the next."""


def places(groups: Sequence[Setting]) -> tuple[list[float], list[float], float]:
    """Return the height of each heading and of each bar, in bars from the top, and the height of all."""
    headings, bars, y = [], [], 0.0
    for number, group in enumerate(groups):
        y += BETWEEN if number else 0.0
        if len(groups) > 1:
            headings.append(y + HEADING / 2)
            y += HEADING
        bars += [y + place + 0.5 for place in range(len(group.entries))]
        y += len(group.entries)
    return headings, bars, max(y, 1.0)


def clipped(name: str) -> str:
    """Return a name as it is drawn: a long one without its middle, as its end tells it from others.

    >>> clipped("availability 1.0, from 4 s 0.3, every 8 s, no events, never")
    'availability 1.0, from 4 s 0.…, no events, never'
    """
    if len(name) <= LONGEST:
        return name
    last = name[-(LONGEST // 2) :]
    end = last[last.find(", ") :] if ", " in last else last[-(LONGEST // 4) :]
    return f"{name[: LONGEST - 1 - len(end)]}…{end}"


def draw_bars(axes: Axes, groups: Sequence[Setting]) -> list[Any]:
    """Draw a bar a run with its lower bound and its figures; return the handles of a legend.

    A bar is the mean iteration; where any run has iterations that are clearly unlike, a diamond in each is
    the steady one.
    """
    headings, bars, height = places(groups)
    entries = [entry for group in groups for entry in group.entries]
    unlike = any(entry.disturbed for entry in entries)
    longest = max((_reach_s(one, unlike) for one in entries), default=0.0) or 1.0
    length_s, unit = time_unit(longest)
    counts = len({entry.run.summary.get("iterations") for entry in entries}) > 1
    bounded = False
    for place, entry in zip(bars, entries, strict=True):
        won = any(entry is one for group in groups for one in group.winners)
        bounded |= _bar(axes, place, entry, length_s, BEST if won else OTHER, unlike)
        value = _reach_s(entry, unlike)
        beside: dict[str, Any] = {"xytext": (BESIDE, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(_text(entry, unlike, counts), (value / length_s, place), fontsize=8, **beside)
    for place, group in zip(headings, groups, strict=False):
        axes.annotate(
            shorten(group.heading, WORDS, placeholder=" …"), (0, place), xycoords=("axes fraction", "data"),
            xytext=(_indent(axes), 0), textcoords="offset points", va="center", fontsize=9,
            fontweight="bold", annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(bars, [clipped(entry.name) for entry in entries], fontsize=9)
    axes.set_ylim(height, 0.0)
    texts = [(_reach_s(one, unlike), _text(one, unlike, counts)) for one in entries]
    axes.set_xlim(0.0, max(1.1 * longest, _room_s(axes, texts)) / length_s)
    _time_axis(axes, unit)
    if not any(math.isfinite(entry.mean_s) for entry in entries):
        axes.get_xaxis().set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return []
    return _handles(bounded, unlike)


def _indent(axes: Axes) -> float:
    """Return the place of a heading, which begins near the picture's edge, in points from the axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return 72.0 * (0.15 - float(axes.get_position().x0 * figure.get_size_inches()[0]))


def _room_s(axes: Axes, texts: Sequence[tuple[float, str]]) -> float:
    """Return how long an axis must be, in s, for texts to end within it that begin at some times.

    However long they are, bars keep a quarter of it.
    """
    ruler, wide = ruler_of(axes), width_px(axes)
    figure = axes.get_figure(root=True)
    beside = 1.5 * BESIDE * (figure.dpi if figure is not None else 72.0) / 72.0
    shares = ((reach_s, 1.0 - (ruler.width(text, 8.0) + beside) / wide) for reach_s, text in texts)
    return max((reach_s / max(share, 0.25) for reach_s, share in shares), default=0.0)


def _reach_s(entry: Entry, unlike: bool) -> float:
    """Return how far a bar and its marks reach, in s; its label comes after them."""
    if not math.isfinite(entry.mean_s):
        return 0.0
    bound = (entry.run.summary.get("bounds") or {}).get("iteration_s") or 0.0
    return max(entry.mean_s, bound, entry.steady_s if unlike and math.isfinite(entry.steady_s) else 0.0)


def _bar(axes: Axes, place: float, entry: Entry, length_s: float, colour: str, unlike: bool) -> bool:
    """Draw one bar and its marks; return whether it has a lower bound."""
    if not math.isfinite(entry.mean_s):
        return False
    axes.barh(place, entry.mean_s / length_s, height=0.7, color=colour, lw=0)
    bound = (entry.run.summary.get("bounds") or {}).get("iteration_s")
    if bound:
        axes.plot([bound / length_s] * 2, [place - 0.42, place + 0.42], color="black", lw=2.0)
    if unlike and math.isfinite(entry.steady_s):
        diamond = Line2D([entry.steady_s / length_s], [place], **_DIAMOND)
        diamond.set(zorder=4)
        axes.add_artist(diamond)
    return bool(bound)


_DIAMOND: dict[str, Any] = {"marker": "D", "ls": "", "ms": 6.5, "color": "white", "mec": "black", "mew": 1.0}


def _text(entry: Entry, unlike: bool, counts: bool) -> str:
    """Return the figures beside a bar."""
    summary = entry.run.summary
    if not math.isfinite(entry.mean_s):
        done = f"failed after {entry.done}" if entry.run.summary else "failed"
        why = f": {entry.lost}" if entry.lost else ""
        return f"{done}{why}" if entry.failed else "no iteration"
    ratio = (summary.get("bounds") or {}).get("ratio")
    notes = [f"steady {duration(entry.steady_s)}"] if unlike else []
    notes += [f"{ratio:.2f} x bound"] if ratio else []
    many = f", {summary.get('iterations')} iterations" if counts else ""
    return f"{mean_text(summary)}{many}" + (f"  ({' = '.join(notes)})" if notes else "")


def _time_axis(axes: Axes, unit: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.6g}"))
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"time per iteration ({unit})", fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _handles(bounded: bool, unlike: bool) -> list[Any]:
    handles: list[Any] = [
        Patch(facecolor=BEST, label="mean over the run: the best"),
        Patch(facecolor=OTHER, label="the others"),
    ]
    if unlike:
        handles.append(Line2D([], [], label="steady: median of the later half", **_DIAMOND))
    if bounded:
        handles.append(Line2D([], [], color="black", lw=2.0, label="lower bound of the steady iteration"))
    return handles
