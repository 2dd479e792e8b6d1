"""What recoveries took, term by term: of one run, or of the alternatives of a comparison side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgesim.report.comparison_bars import clipped
from edgesim.report.figures import Picture
from edgesim.report.numbers import amount, counted, duration, time_unit
from edgesim.report.palette import PHASES, text_colour
from edgesim.report.pipeline import TERMS
from edgesim.report.rulers import ruler_of, width_px

MOST = 40
"""Most recoveries that are drawn."""
ROW, HEADING = 0.34, 0.9
"""Height of a bar in inches, and of the heading of a run in bars."""
TOP, BOTTOM, RIGHT = 0.75, 0.5, 0.2
"""Margins in inches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A recovery of a run."""

    run: str
    """Name of the run; empty where there is one alone."""
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
    def note(self) -> str:
        """What it came to, in numbers."""
        again, lost = self.row.get("batches_recomputed"), self.row.get("updates_lost")
        outcome = str(self.row.get("outcome") or "").partition(":")[0]
        parts = [
            duration(self.total_s),
            "" if again is None else f"{again} batch{'' if again == 1 else 'es'} again",
            "" if lost is None else f"{counted(lost, 'update')} lost",
            amount(self.row.get("bytes_moved"), "B") + " moved" if "bytes_moved" in self.row else "",
            "" if outcome == "recovered" else outcome,
        ]
        return ", ".join(part for part in parts if part)


def recovered(runs: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Recovered]:
    """Return all recoveries of some runs, given as name and summary, run by run.

    Alarms that were seen to be false at once are left out where there is anything else.
    """
    found = [
        Recovered(run=name, row=row) for name, summary in runs for row in summary.get("recoveries") or ()
    ]
    true = [one for one in found if one.row.get("outcome") != "false alarm"]
    return true or found


def recovery_figure(found: Sequence[Recovered], *, title: str = "", width: float = 10.0) -> Picture:
    """Return a bar a recovery, made of its terms, with its figures beside it; `width` is in inches.

    Bars of one run stand together. The height grows with the recoveries, of which no more than `MOST` are
    drawn.
    """
    if len(found) > MOST:
        title = f"{title} | the first {MOST} of {len(found)} recoveries".removeprefix(" | ")
        found = found[:MOST]
    headings, bars, rows = _places(found)
    height = TOP + rows * ROW + BOTTOM
    picture = Picture(figsize=(width, height))
    FigureCanvasAgg(picture)
    picture.text(0.012, 1 - 0.1 / height, title, va="top", fontsize=11)
    names = [clipped(one.name) for one in found] + [clipped(name) for _, name in headings]
    left = 0.3 + 0.085 * max(map(len, names), default=4)
    box = (left / width, BOTTOM / height, (width - left - RIGHT) / width, rows * ROW / height)
    axes = picture.add_axes(box)
    _draw(axes, found, bars, rows)
    for place, name in headings:
        axes.annotate(
            clipped(name), (0, place), xycoords=("axes fraction", "data"), xytext=(-4, 0), ha="right",
            textcoords="offset points", va="center", fontsize=9, fontweight="bold", annotation_clip=False,
        )  # fmt: skip
    used = [term for term in TERMS if any(one.row.get(f"{term}_s") for one in found)]
    picture.legend(
        handles=[Patch(facecolor=PHASES[term], label=term) for term in used], loc="upper left",
        bbox_to_anchor=(left / width, 1 - 0.38 / height), ncols=max(len(used), 1), frameon=False, fontsize=9,
        borderaxespad=0.0, handlelength=1.4, columnspacing=1.3,
    )  # fmt: skip
    return picture


def _places(found: Sequence[Recovered]) -> tuple[list[tuple[float, str]], list[float], float]:
    """Return place and name of each heading, the place of each bar, and the height of all, in bars."""
    headings, bars, y, last = list[tuple[float, str]](), list[float](), 0.0, ""
    for one in found:
        if one.run and one.run != last:
            headings.append((y + HEADING / 2, one.run))
            y += HEADING
        bars.append(y + 0.5)
        y, last = y + 1.0, one.run
    return headings, bars, max(y, 1.0)


def _draw(axes: Axes, found: Sequence[Recovered], bars: Sequence[float], rows: float) -> None:
    longest = max((one.total_s for one in found), default=0.0) or 1.0
    factor, unit = time_unit(longest)
    ruler = ruler_of(axes)
    notes = max((ruler.width(one.note, 8.0) for one in found), default=0.0) + 14.0
    room = max(width_px(axes) - notes, 0.3 * width_px(axes))
    full = longest / factor * width_px(axes) / room
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
        axes.annotate(
            one.note, (at, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(bars, [clipped(one.name) for one in found], fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.6g}"))
    axes.set_xlabel(f"time from the failure ({unit})", fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
