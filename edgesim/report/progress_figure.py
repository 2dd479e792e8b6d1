"""How far pipelines came over simulated time: batches that were back, of many runs on the same axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from edgesim.report.comparison_bars import clipped
from edgesim.report.drawing import time_axis
from edgesim.report.figures import Picture
from edgesim.report.iterations import iteration_ends, server_of
from edgesim.report.learning_figure import COLOURS, MOST, STYLES
from edgesim.report.palette import SIGNS
from edgesim.report.pipeline import is_pipeline
from edgesim.report.tables import Tables
from edgesim.report.view import Window

TOP, BOTTOM, LEFT, RIGHT, TALL, ROW = 0.45, 0.5, 0.75, 0.3, 3.6, 0.2
"""Margins, height of the axes, and of a row of the legend, in inches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run came."""

    name: str
    """Tells it from the others."""
    ends_s: tuple[float, ...]
    """When each batch was back, in s."""
    crashes_s: tuple[float, ...]
    """When devices failed, in s."""


def progress(runs: Iterable[tuple[str, Tables | None, Mapping[str, Any]]]) -> list[Progress]:
    """Return how far runs in a pipeline came, given as name, rows and summary; equal ones as one."""
    found: dict[object, Progress] = {}
    for name, tables, summary in runs:
        if tables is None or not is_pipeline(tables, summary):
            continue
        ends_s = tuple(iteration_ends(tables, server_of(tables, summary)))
        crashes_s = tuple(at_s for at_s, kind in tables.rows("marks", "time_s", "kind") if kind == "crash")
        key = tuple(round(time_s, 9) for time_s in ends_s)
        before = found.get(key)
        both = name if before is None else f"{before.name} = {name}"
        found[key] = Progress(name=both, ends_s=ends_s, crashes_s=crashes_s)
    return [*found.values()]


def progress_figure(runs: Sequence[Progress], *, title: str = "", width: float = 10.0) -> Picture:
    """Return batches that were back against simulated time, a line a run; `width` is in inches.

    Steeper is faster, level is standing still; a triangle is a device that failed.
    """
    if len(runs) > MOST:
        title = f"{title} | the first {MOST} of {len(runs)} runs".removeprefix(" | ")
        runs = runs[:MOST]
    names = [clipped(run.name) for run in runs]
    columns = max(1, min(len(names), int((width - LEFT) / (0.55 + 0.075 * max(map(len, names), default=1)))))
    top = TOP + ROW * math.ceil(len(names) / columns) + 0.12
    height = top + TALL + BOTTOM
    picture = Picture(figsize=(width, height))
    FigureCanvasAgg(picture)
    picture.text(0.012, 1 - 0.1 / height, title, va="top", fontsize=11)
    axes = picture.add_axes((LEFT / width, BOTTOM / height, (width - LEFT - RIGHT) / width, TALL / height))
    handles: list[Any] = []
    for index, (name, run) in enumerate(zip(names, runs, strict=True)):
        look = {"color": COLOURS[index % len(COLOURS)], "ls": STYLES[index // len(COLOURS) % len(STYLES)]}
        _draw(axes, run, look)
        handles.append(Line2D([], [], label=name, lw=1.8, **look))
    end_s = max((run.ends_s[-1] for run in runs if run.ends_s), default=1.0)
    time_axis(axes, Window(start_s=0.0, end_s=end_s))
    axes.set_xlim(0.0, 1.01 * end_s)
    axes.set_ylim(bottom=0.0)
    axes.grid(color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylabel("batches that were back", fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    picture.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(LEFT / width, 1 - 0.38 / height), ncols=columns,
        frameon=False, fontsize=9, borderaxespad=0.0, handlelength=2.2, labelspacing=0.3,
    )  # fmt: skip
    return picture


def _draw(axes: Axes, run: Progress, look: dict[str, Any]) -> None:
    times, done = np.array([0.0, *run.ends_s]), np.arange(len(run.ends_s) + 1)
    axes.plot(times, done, drawstyle="steps-post", lw=1.6, **look)
    at = np.array(run.crashes_s)
    places = np.searchsorted(times, at, side="right") - 1
    colour = look["color"]
    axes.plot(at, places, marker=SIGNS["crash"][0], ls="", ms=7, color=colour, mec="white", zorder=5)
