"""Alternatives side by side: iteration times as bars, and typical iterations on one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgesim.report.activity import activities
from edgesim.report.drawing import draw
from edgesim.report.figures import Picture, longest
from edgesim.report.iterations import Iteration, server_of, typical
from edgesim.report.numbers import duration, figures, time_unit
from edgesim.report.tables import Tables
from edgesim.report.view import Layout, Window, choose_devices, lay_out

PANELS, DEVICES = 4, 6
"""Most timelines, and most devices in each: the server, the stragglers, then the first ones."""
BAR, UNIT, GAP = 0.32, 0.2, 0.42
"""Heights in inches of a bar, of a compute lane, and between timelines."""
TOP, MIDDLE, BOTTOM, RIGHT = 0.55, 1.15, 0.5, 0.6
"""Margins in inches: above the bars, between them and the timelines, below all, and to the right."""

Alternative = tuple[str, Mapping[str, Any], Tables]
"""(name, summary, rows)."""


def comparison(runs: Sequence[Alternative], *, title: str = "", width: float = 12.0) -> Picture:
    """Return the figure of a comparison; `width` is in inches, the height grows with the runs.

    Timelines are those of up to four alternatives, each of its typical iteration from its start, all on one
    time axis, of the same devices; of more than four the two shortest and the two longest.
    """
    panels = [(run, one) for run in _chosen(runs) if (one := typical(run[2], server_of(run[2], run[1])))]
    devices = _devices(panels)
    layouts = [lay_out(run[2], devices, Window(start_s=one.start_s, end_s=one.end_s)) for run, one in panels]
    bars = BAR * max(len(runs), 1)
    height = TOP + bars + MIDDLE + sum(layout.height * UNIT + GAP for layout in layouts) + BOTTOM - GAP
    picture = Picture(figsize=(width, height))
    FigureCanvasAgg(picture)
    picture.text(0.012, 1 - 0.1 / height, title or "comparison", va="top", fontsize=11)
    _bars(_axes(picture, 0.4 + 0.078 * longest([run[0] for run in runs]), TOP, bars), runs)
    left, down = 0.4 + 0.085 * longest(devices), TOP + bars + MIDDLE
    longest_s = max((one.end_s - one.start_s for _, one in panels), default=1.0)
    handles: dict[str, Any] = {}
    for (run, one), layout in zip(panels, layouts, strict=True):
        axes = _axes(picture, left, down, layout.height * UNIT)
        handles |= _panel(axes, run, one, layout, longest_s)
        down += layout.height * UNIT + GAP
        if run is not panels[-1][0]:
            axes.set_xlabel("")
    if handles:
        picture.legend(
            handles=list(handles.values()), loc="upper left", ncols=10, frameon=False, fontsize=8,
            bbox_to_anchor=(left / width, 1 - (TOP + bars + 0.6) / height), borderaxespad=0.0,
        )  # fmt: skip
    return picture


def _axes(picture: Picture, left: float, down: float, tall: float) -> Axes:
    """Return axes `left` inches from the left and `down` inches from the top."""
    width, height = picture.get_size_inches()
    box = (left / width, 1 - (down + tall) / height, (width - left - RIGHT) / width, tall / height)
    return picture.add_axes(box)


def _panel(axes: Axes, run: Alternative, one: Iteration, layout: Layout, longest_s: float) -> dict[str, Any]:
    """Draw one timeline and return the handles of its legend by name."""
    name, summary, tables = run
    window = Window(start_s=one.start_s, end_s=one.start_s + longest_s)
    drawn = draw(
        axes, tables, layout, window, server=server_of(tables, summary), quiet=True, origin_s=one.start_s
    )
    axes.set_title(name, loc="left", fontsize=9, pad=3)
    return {handle.get_label(): handle for handle in drawn}


def _chosen(runs: Sequence[Alternative]) -> list[Alternative]:
    """Return the runs whose timelines are shown, in their order."""
    finished = [run for run in runs if _steady_s(run)]
    ranked = sorted(finished, key=_steady_s)
    kept = ranked if len(ranked) <= PANELS else ranked[: PANELS // 2] + ranked[-(PANELS // 2) :]
    return [run for run in finished if any(run is other for other in kept)]


def _steady_s(run: Alternative) -> float:
    return float((run[1].get("iteration_s") or {}).get("steady") or 0.0)


def _devices(panels: Sequence[tuple[Alternative, Iteration]]) -> tuple[str, ...]:
    """Return the devices to show: all of few; of many the server, each run's straggler, the first ones."""
    if not panels:
        return ()
    (_, summary, tables), _ = panels[0]
    server = server_of(tables, summary)
    everybody = choose_devices(tables, tuple(summary.get("devices") or ()), server)
    if len(everybody) <= DEVICES:
        return everybody
    wanted = dict.fromkeys([server] if server in everybody else [])
    for run, one in panels:
        did = activities(run[2], one.start_s, one.end_s)
        workers = [name for name in everybody if name in did and name != server]
        if workers:
            wanted[max(workers, key=lambda name: did[name].end_s)] = None
    wanted.update(dict.fromkeys(everybody))
    chosen = list(wanted)[:DEVICES]
    return tuple(name for name in everybody if name in chosen)


def _bars(axes: Axes, runs: Sequence[Alternative]) -> None:
    """Draw the steady iteration of each run, a black line at its lower bound, its figures beside it."""
    steady = [_steady_s(run) for run in runs]
    length_s, unit = time_unit(max(steady, default=1.0) or 1.0)
    best = min((value for value in steady if value > 0.0), default=0.0)
    for place, (run, value) in enumerate(zip(runs, steady, strict=True)):
        axes.barh(place, value / length_s, height=0.7, color="#0072B2" if value == best else "#56B4E9", lw=0)
        bounds = run[1].get("bounds") or {}
        text = duration(value) if value else "no iteration"
        if bound := bounds.get("iteration_s"):
            axes.plot([bound / length_s] * 2, [place - 0.42, place + 0.42], color="black", lw=2.0)
            text += f"  ({figures(bounds['ratio'])} x bound)" if bounds.get("ratio") else ""
        beside: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(text, (value / length_s, place), fontsize=8, **beside)
    axes.set_yticks(range(len(runs)), [run[0] for run in runs], fontsize=9)
    axes.set_ylim(len(runs) - 0.4, -0.6)
    axes.set_xlim(0.0, 1.18 * max(steady, default=1.0) / length_s or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.6g}"))
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        f"steady iteration ({unit}){'; black line: lower bound' if axes.lines else ''}", fontsize=9
    )
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
