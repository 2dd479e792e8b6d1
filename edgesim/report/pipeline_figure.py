"""A pipeline over simulated time: time per batch, who has which layers, how slow the devices seem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgesim.report.drawing import time_axis
from edgesim.report.figures import Picture
from edgesim.report.iterations import iteration_ends, server_of
from edgesim.report.numbers import duration, time_unit
from edgesim.report.palette import text_colour
from edgesim.report.pipeline import RECOVERY, Phase, layer_count, layers_of, phases, stage_devices
from edgesim.report.rulers import ruler_of, width_px
from edgesim.report.tables import Tables
from edgesim.report.view import Window

COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F5539", "#999999",
    "#332288", "#44AA99", "#AA4499",
)  # fmt: skip
"""Of devices, in the pipeline's order; Okabe and Ito, then Paul Tol's muted ones."""
DOTTED = 80
"""Most batches that are drawn one by one."""
LONG = 6.0
"""A batch that took so many times the median is cut off at the top, and its time written."""
TOLD = 6
"""Most of these times that are written."""
HEIGHTS = (1.9, 2.3, 1.3, 1.3)
"""Heights of the axes, in inches."""
TOP, BOTTOM, LEFT, RIGHT, GAP = 0.75, 0.5, 0.85, 0.3, 0.2
"""Margins and the gap between the axes, in inches."""
LEGEND = 24
"""Most devices of a legend; of more every second, or third, and so on."""
PLANNED: dict[str, Any] = {"color": "#999999", "lw": 3.0}
"""Look of the period that a plan promised."""
SHADES = {True: ("recovery", "#D55E00"), False: ("re-partition", "#CC79A7")}


def pipeline_figure(
    tables: Tables, summary: Mapping[str, Any], *, title: str = "", width: float = 12.0
) -> Picture:
    """Return time per batch, layers by device, capacities, and staleness, against simulated time.

    `width` is in inches. The bands are recoveries and re-partitions; black lines are plans that came into
    force. Capacities are those that the central node had estimated with each plan: larger is slower.
    Staleness is that of the gradients of each device: the updates of its stage since it read the weights.
    """
    names = stage_devices(summary)
    columns = max(1, int((width - LEFT) / (0.6 + 0.075 * max(map(len, names), default=1))))
    rows = math.ceil(min(len(names), LEGEND) / columns)
    top = TOP + 0.2 * (rows - 1)
    heights = HEIGHTS if tables.updates.num_rows else HEIGHTS[:-1]
    height = top + sum(heights) + GAP * (len(heights) - 1) + BOTTOM
    picture = Picture(figsize=(width, height))
    FigureCanvasAgg(picture)
    picture.text(0.012, 1 - 0.1 / height, title, va="top", fontsize=11)
    down, axes = top, []
    for tall in heights:
        box = (LEFT / width, 1 - (down + tall) / height, (width - LEFT - RIGHT) / width, tall / height)
        axes.append(picture.add_axes(box))
        down += tall + GAP
    end_s = _end_s(tables, summary)
    colours = device_colours(names)
    _periods(axes[0], tables, summary)
    _layers(axes[1], summary, end_s, colours)
    _capacities(axes[2], summary, end_s, colours)
    if len(axes) == len(HEIGHTS):
        _staleness(axes[3], tables, colours)
    shades = _finish(axes, tables, summary, end_s)
    told = names[:: math.ceil(len(names) / LEGEND)] if names else ()
    handles: list[Any] = [Patch(facecolor=colours[name], label=name) for name in told]
    picture.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(LEFT / width, 1 - 0.36 / height), ncols=columns,
        frameon=False, fontsize=9, borderaxespad=0.0, handlelength=1.4, columnspacing=1.3,
    )  # fmt: skip
    _lines_legend(axes[0], shades)
    return picture


def device_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each device; of more than can be told apart they run from dark to light.

    >>> device_colours(["hub", "a"])
    {'hub': '#0072B2', 'a': '#E69F00'}
    """
    if len(names) <= len(COLOURS):
        return dict(zip(names, COLOURS, strict=False))
    scale = colormaps["viridis"]
    return {name: to_hex(scale(index / (len(names) - 1))) for index, name in enumerate(names)}


def _end_s(tables: Tables, summary: Mapping[str, Any]) -> float:
    times = [float(summary.get("simulated_s") or 0.0), *iteration_ends(tables)[-1:]]
    return max(times) or 1.0


def _steps(summary: Mapping[str, Any], end_s: float) -> list[tuple[Mapping[str, Any], float, float]]:
    """Return each plan and since when and until when it was in force, in s."""
    plans: Sequence[Mapping[str, Any]] = summary.get("partitions") or ()
    begins = [float(plan["time_s"]) for plan in plans]
    return [*zip(plans, begins, [*begins[1:], end_s], strict=True)] if plans else []


def _periods(axes: Axes, tables: Tables, summary: Mapping[str, Any]) -> None:
    """Draw the time from each batch that was back to the next, and what the plans promised."""
    ends = np.array(iteration_ends(tables, server_of(tables, summary)))
    lengths = np.diff(ends, prepend=0.0)
    usual = float(np.median(lengths)) if len(lengths) else 1.0
    most = LONG * usual
    factor, unit = time_unit(float(min(lengths.max(initial=0.0), most)))
    shown = np.minimum(lengths, most) / factor
    few = len(ends) <= DOTTED
    axes.plot(
        ends, shown, marker="o" if few else ".", ms=3.4 if few else 2.0, lw=1.0 if few else 0.0,
        color="#0072B2", zorder=4,
    )  # fmt: skip
    cut = np.flatnonzero(lengths > most)
    axes.plot(ends[cut], shown[cut], marker="^", ls="", ms=6.5, color="#0072B2", zorder=5, clip_on=False)
    taken = -math.inf
    scale = width_px(axes) / _end_s(tables, summary)
    for place in cut[:TOLD]:
        if ends[place] * scale - taken < 60.0:
            continue
        taken = ends[place] * scale
        axes.annotate(
            duration(float(lengths[place])), (ends[place], shown[place]), xytext=(6, 0), fontsize=7.5,
            textcoords="offset points", va="center", zorder=6,
        )  # fmt: skip
    for plan, start_s, end_s in _steps(summary, _end_s(tables, summary)):
        if plan.get("period_s"):
            axes.plot([start_s, end_s], [float(plan["period_s"]) / factor] * 2, zorder=3, **PLANNED)
    axes.set_ylim(bottom=0.0)
    axes.set_ylim(top=1.08 * axes.get_ylim()[1])
    axes.set_ylabel(f"time per batch ({unit})", fontsize=9)


def _layers(axes: Axes, summary: Mapping[str, Any], end_s: float, colours: Mapping[str, str]) -> None:
    """Draw which device had which layers, the first on top; the names where they fit."""
    count = layer_count(summary)
    ruler, scale = ruler_of(axes), width_px(axes) / end_s
    for plan, start_s, until_s in _steps(summary, end_s):
        for device, first, last in layers_of(plan, count):
            colour = colours[device]
            box = Rectangle(
                (start_s, first - 0.5), until_s - start_s, last - first + 1, fc=colour, ec="white"
            )
            box.set(lw=0.6, zorder=2)
            axes.add_patch(box)
            tall = (last - first + 1) / max(count, 1) * HEIGHTS[1] * 72.0
            size = ruler.fit(device, 8.0, (until_s - start_s) * scale - 6.0) if tall >= 9.0 else None
            if size is not None:
                axes.text(
                    (start_s + until_s) / 2, (first + last) / 2, device, fontsize=size, ha="center",
                    va="center_baseline", color=text_colour(colour), zorder=6,
                )  # fmt: skip
    axes.set_ylim(count + 0.5, 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=2))
    axes.set_ylabel("layer", fontsize=9)


def _capacities(axes: Axes, summary: Mapping[str, Any], end_s: float, colours: Mapping[str, str]) -> None:
    """Draw the capacities that were estimated with each plan, as steps."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for plan, start_s, until_s in _steps(summary, end_s):
        for device, value in zip(plan.get("order") or (), plan.get("capacity") or (), strict=False):
            times, values = lines.setdefault(device, ([], []))
            times += [start_s, until_s]
            values += [math.nan if value is None else float(value)] * 2
    known = [value for _, values in lines.values() for value in values if math.isfinite(value)]
    for place, (device, (times, values)) in enumerate(lines.items()):
        axes.plot(times, values, color=colours[device], lw=1.8, zorder=4 + 0.01 * place)
    if known and min(known) > 0.0 and max(known) > 8.0 * min(known):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    else:
        axes.set_ylim(0.0, 1.1 * max(known, default=1.0))
    if not known:
        axes.text(0.5, 0.5, "never estimated", transform=axes.transAxes, ha="center", color="#777777")
    axes.set_ylabel("capacity\n(larger: slower)", fontsize=9)


def _staleness(axes: Axes, tables: Tables, colours: Mapping[str, str]) -> None:
    """Draw how stale the gradients of each device were."""
    lines: dict[str, tuple[list[float], list[int]]] = {}
    rows = tables.rows("updates", "time_s", "subject", "gradients", "staleness")
    for time_s, device, gradients, stale in rows:
        if gradients and device in colours:
            times, values = lines.setdefault(device, ([], []))
            times.append(time_s)
            values.append(stale)
    for device, (times, values) in lines.items():
        axes.plot(times, values, color=colours[device], lw=1.4, drawstyle="steps-post", zorder=4)
    axes.set_ylim(-0.12, 1.15 * max([1, *(value for _, values in lines.values() for value in values)]))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes.set_ylabel("staleness\n(updates)", fontsize=9)


def _finish(axes: Sequence[Axes], tables: Tables, summary: Mapping[str, Any], end_s: float) -> set[bool]:
    """Give all axes one time axis, bands and lines of new plans; return which kinds of bands there are."""
    found = phases(tables)
    plans = [start_s for _, start_s, _ in _steps(summary, end_s)[1:]]
    for one in axes:
        time_axis(one, Window(start_s=0.0, end_s=end_s))
        one.set_xlim(0.0, end_s)
        one.tick_params(axis="y", labelsize=8)
        one.set_axisbelow(True)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
        for phase in found:
            _shade(one, phase, end_s, over=one is axes[1])
        for start_s in plans:
            one.axvline(start_s, color="black", lw=0.9, ls=(0, (4, 2)), zorder=5)
        if one is not axes[-1]:
            one.set_xlabel("")
            one.tick_params(axis="x", labelbottom=False)
        if one is not axes[1]:
            one.grid(axis="y", color="#e6e6e6", lw=0.8)
    return {phase.kind == RECOVERY for phase in found}


def _shade(axes: Axes, phase: Phase, end_s: float, *, over: bool) -> None:
    colour = SHADES[phase.kind == RECOVERY][1]
    if over:  # on layers the colour is that of a device
        look: dict[str, Any] = {"fc": "none", "ec": "white", "hatch": "////", "lw": 0.0, "zorder": 3}
        axes.axvspan(phase.start_s, min(phase.end_s, end_s), **look)
        return
    axes.axvspan(phase.start_s, min(phase.end_s, end_s), color=colour, alpha=0.22, lw=0, zorder=2.5)


def _lines_legend(axes: Axes, shades: set[bool]) -> None:
    """Say above the uppermost axes what lines and bands are."""
    handles: list[Any] = [
        Line2D([], [], color="#0072B2", marker="o", ms=3.4, lw=1.0, label="measured"),
        Line2D([], [], label="as planned", **PLANNED),
        Line2D([], [], color="black", lw=0.9, ls=(0, (4, 2)), label="new plan"),
        *(
            Patch(facecolor=SHADES[kind][1], alpha=0.3, label=SHADES[kind][0])
            for kind in sorted(shades, reverse=True)
        ),
    ]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), frameon=False,
        fontsize=8, borderaxespad=0.15, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip
