"""What recoveries took, term by term: of one run, or of the alternatives of a comparison side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgesim.report.comparison_bars import clipped
from edgesim.report.figures import Picture, legend_columns
from edgesim.report.numbers import amount, duration, time_unit
from edgesim.report.palette import PHASES, text_colour
from edgesim.report.pipeline import TERMS
from edgesim.report.ranking import Setting
from edgesim.report.rulers import Ruler, ruler_of, width_px

MOST = 40
"""Most recoveries that are drawn."""
ROW, HEADING, NAMES = 0.32, 0.9, 0.8
"""Height of a bar in inches; of the heading of a setting, and of the names of the columns, in bars."""
TOP, BOTTOM, RIGHT, MARGIN = 0.62, 0.5, 0.2, 0.15
"""Margins in inches; the last is left of headings and legend."""
LEAST, LINE, APART = 3.0, 0.2, 16.0
"""Least width of the bars and height of a row of the legend, in inches; space between columns, in pixels."""
COLUMNS = ("in all", "batches again", "updates lost", "moved", "outcome")
"""Figures beside a bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A recovery of a run."""

    run: str
    """Name of the run; empty where there is one alone."""
    setting: str = ""
    """What the run has in common with others beside it; empty where there is one setting."""
    row: Mapping[str, Any]
    """Its row of `recoveries` in the summary."""

    @property
    def total_s(self) -> float:
        """How long it took, in s."""
        return math.fsum(self.row.get(f"{term}_s") or 0.0 for term in TERMS)

    @property
    def name(self) -> str:
        """Who failed, and when."""
        who = ", ".join(self.row.get("devices") or ()) or str(self.row.get("kind") or "").replace("-", " ")
        return f"{who} at {duration(self.row.get('failed_s'))}"

    @property
    def label(self) -> str:
        """What its bar is called: the run, if there are several, who failed, and when."""
        return ", ".join(part for part in (clipped(self.run), self.name) if part)

    @property
    def cells(self) -> tuple[str, ...]:
        """What it came to, in numbers: a text for each of `COLUMNS`."""
        again, lost = self.row.get("batches_recomputed"), self.row.get("updates_lost")
        outcome = str(self.row.get("outcome") or "").partition(":")[0]
        return (
            duration(self.total_s),
            "" if again is None else str(again),
            "" if lost is None else str(lost),
            amount(self.row.get("bytes_moved"), "B") if "bytes_moved" in self.row else "",
            "" if outcome == "recovered" else outcome,
        )


def recovered(runs: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Recovered]:
    """Return all recoveries of some runs, given as name and summary, run by run.

    Alarms that were seen to be false at once are left out where there is anything else.
    """
    found = [
        Recovered(run=name, row=row) for name, summary in runs for row in summary.get("recoveries") or ()
    ]
    true = [one for one in found if one.row.get("outcome") != "false alarm"]
    return true or found


def recovered_of(groups: Sequence[Setting]) -> list[Recovered]:
    """Return all recoveries of a comparison, setting by setting: those of one failure beside each other."""
    found = []
    for group in groups:
        mine = recovered((one.name, one.run.summary) for one in group.entries)
        mine.sort(key=lambda one: round(float(one.row.get("failed_s") or 0.0), 6))
        found += [replace(one, setting=group.heading) for one in mine]
    true = [one for one in found if one.row.get("outcome") != "false alarm"]
    return true or found


def recovery_figure(found: Sequence[Recovered], *, title: str = "", width: float = 10.0) -> Picture:
    """Return a bar a recovery, made of its terms, with its figures in columns beside it.

    `width` is in inches; more is taken where names and figures leave no room for bars. Bars of one setting
    stand together. The height grows with the recoveries, of which no more than `MOST` are drawn.
    """
    if len(found) > MOST:
        title = f"{title} | the first {MOST} of {len(found)} recoveries".removeprefix(" | ")
        found = found[:MOST]
    headings, bars, rows = _places(found)
    used = [term for term in TERMS if any(one.row.get(f"{term}_s") for one in found)]
    handles = [Patch(facecolor=PHASES[term], label=term) for term in used]
    picture = Picture(figsize=(width, 1.0))
    FigureCanvasAgg(picture)
    axes = picture.add_axes((0.1, 0.1, 0.8, 0.8))
    ruler = ruler_of(axes)
    inch = 1.0 / picture.dpi
    left = 0.3 + inch * max((ruler.width(one.label, 8.5) for one in found), default=0.0)
    columns = [inch * wide for wide in _widths(found, ruler)]
    width = max(width, left + LEAST + sum(columns) + RIGHT)
    across = legend_columns(handles, width - MARGIN) if handles else 1
    top = TOP + LINE * (math.ceil(len(handles) / across) - 1)
    height = top + rows * ROW + BOTTOM
    picture.set_size_inches(width, height)
    bare = width - left - sum(columns) - RIGHT
    axes.set_position((left / width, BOTTOM / height, bare / width, rows * ROW / height))
    picture.text(0.012, 1 - 0.1 / height, title, va="top", fontsize=11)
    _draw(axes, found, bars, rows)
    _table(axes, found, bars, columns)
    for place, name in headings:
        axes.annotate(
            name, (0, place), xycoords=("axes fraction", "data"), xytext=(72.0 * (MARGIN - left), 0),
            textcoords="offset points", va="center", fontsize=9, fontweight="bold", annotation_clip=False,
        )  # fmt: skip
    picture.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(MARGIN / width, 1 - 0.38 / height), ncols=across,
        frameon=False, fontsize=9, borderaxespad=0.0, handlelength=1.4, columnspacing=1.3,
    )  # fmt: skip
    return picture


def _places(found: Sequence[Recovered]) -> tuple[list[tuple[float, str]], list[float], float]:
    """Return place and name of each heading, the place of each bar, and the height of all, in bars."""
    headings, bars, y, last = list[tuple[float, str]](), list[float](), NAMES, ""
    for one in found:
        if one.setting and one.setting != last:
            headings.append((y + HEADING / 2, one.setting))
            y += HEADING
        bars.append(y + 0.5)
        y, last = y + 1.0, one.setting
    return headings, bars, max(y, 1.0)


def _widths(found: Sequence[Recovered], ruler: Ruler) -> list[float]:
    """Return the width of each column of figures in pixels, 0 for one without any."""
    widths = []
    for name, *texts in zip(COLUMNS, *(one.cells for one in found), strict=True):
        wide = max((ruler.width(text, 8.5) for text in (name, *texts) if text), default=0.0)
        widths.append(wide + APART if any(texts) else 0.0)
    return widths


def _table(axes: Axes, found: Sequence[Recovered], bars: Sequence[float], columns: Sequence[float]) -> None:
    """Write the figures to the right of the axes, in columns so many inches wide."""
    at = 0.0
    for column, wide in enumerate(columns):
        at += 72.0 * wide
        rows = [(NAMES / 2, COLUMNS[column], "#666666")] if wide else []
        rows += [(place, one.cells[column], "black") for place, one in zip(bars, found, strict=True)]
        for place, text, colour in rows:
            axes.annotate(
                text, (1, place), xycoords=("axes fraction", "data"), xytext=(at, 0), ha="right",
                textcoords="offset points", va="center", fontsize=8.5, color=colour, annotation_clip=False,
            )  # fmt: skip


def _draw(axes: Axes, found: Sequence[Recovered], bars: Sequence[float], rows: float) -> None:
    longest = max((one.total_s for one in found), default=0.0) or 1.0
    factor, unit = time_unit(longest)
    ruler = ruler_of(axes)
    full = 1.02 * longest / factor
    axes.set_xlim(0.0, full)
    axes.set_ylim(rows, 0.0)
    for place, one in zip(bars, found, strict=True):
        at = 0.0
        for term in TERMS:
            length = float(one.row.get(f"{term}_s") or 0.0) / factor
            if length <= 0.0:
                continue
            axes.barh(place, length, left=at, height=0.7, color=PHASES[term], ec="white", lw=0.5)
            text = duration(length * factor)
            size = ruler.fit(text, 7.5, length / full * width_px(axes) - 4.0)
            if size is not None:
                colour = text_colour(PHASES[term])
                look: dict[str, Any] = {"ha": "center", "va": "center_baseline", "color": colour}
                axes.text(at + length / 2, place, text, fontsize=size, **look)
            at += length
    axes.set_yticks(bars, [one.label for one in found], fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.6g}"))
    axes.set_xlabel(f"time from the failure ({unit})", fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
