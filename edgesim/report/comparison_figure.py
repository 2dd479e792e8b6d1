"""Alternatives side by side: iteration times as bars, and timelines on one time axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from edgesim.report.activity import activities
from edgesim.report.bands import BAND_INCHES, bands
from edgesim.report.causes import CAUSES
from edgesim.report.comparison_bars import clipped, draw_bars, places
from edgesim.report.comparison_lines import lines
from edgesim.report.drawing import draw
from edgesim.report.faults import window
from edgesim.report.figures import Picture, legend_columns, longest
from edgesim.report.iterations import (
    Iteration,
    Stretch,
    server_of,
    servers_of,
    steady_stretch,
    typical,
)
from edgesim.report.pipeline import in_order, is_pipeline
from edgesim.report.ranking import Alternative, Entry, Setting, settings
from edgesim.report.tables import Tables
from edgesim.report.view import Layout, Window, choose_devices, lay_out

BARS = 24
"""Most runs of several settings that have a bar each."""
BATCHES = 4
"""Batches of a pipeline that are shown where nothing failed."""
PANELS, DEVICES = 4, 6
"""Most timelines, and most devices in each: the server, what failed, the stragglers, then the first ones."""
BAR, UNIT, GAP = 0.32, 0.2, 0.42
"""Heights in inches of a bar, of a compute lane, and between timelines."""
TOP, MIDDLE, BOTTOM, RIGHT = 0.75, 1.1, 0.5, 0.6
"""Margins in inches: above the bars, between them and the timelines, below all, and to the right."""
UNDER, LINE, MARGIN = 0.6, 0.175, 0.15
"""Where in the space between bars and timelines the legend begins, in inches; the height of each further row
of it, for which space is made; and its left margin."""
NOTE = 0.25
"""Height in inches of the note below all."""
SMALL: dict[str, Any] = {
    "loc": "upper left", "frameon": False, "fontsize": 8, "borderaxespad": 0.0,
    "handlelength": 1.4, "columnspacing": 1.3,
}  # fmt: skip
"""Look of the legends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One timeline: whose, and what of it."""

    entry: Entry
    tables: Tables
    window: Window
    """What is laid out: an iteration, or the stretch that all share."""
    origin_s: float | None
    """Where the time axis counts from; None: from the beginning of the run."""

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of the run's servers, that which ends its iterations first."""
        return servers_of(self.tables, self.entry.run.summary)

    @property
    def server(self) -> str | None:
        """Name of the server that ends the iterations."""
        return next(iter(self.servers), None)


def comparison(runs: Sequence[Alternative], *, title: str = "", width: float = 12.0) -> Picture:
    """Return the figure of a comparison; `width` is in inches, the height grows with the runs.

    Timelines are those of up to four alternatives, of the same devices on one time axis: of each its typical
    iteration from its start; or, where anything failed or changed, one stretch of time that all share. What
    has no room is counted below. Of more runs than have room as bars it is a figure of lines, see
    `comparison_lines`.
    """
    groups = settings(runs)
    if len(runs) > BARS and len(groups) > 1:
        return lines(groups, title=title, width=width)
    panels = _panels(_chosen(groups), runs)
    everybody, devices = _devices(panels)
    rest = _not_drawn(panels, groups, everybody, devices)
    layouts = [_laid_out(panel, devices) for panel in panels]
    bars = BAR * places(groups)[2]
    height = TOP + bars + MIDDLE + sum(_tall(layout) + GAP for layout in layouts) + BOTTOM - GAP
    height += NOTE if rest else 0.0
    picture = Picture(figsize=(width, height))
    FigureCanvasAgg(picture)
    left = 0.4 + 0.085 * longest([*_names(groups), *devices])
    upper = _axes(picture, left, TOP, bars)
    handles = draw_bars(upper, groups)
    found = _timelines(picture, left, TOP + bars + MIDDLE, panels, layouts)
    columns = legend_columns(found, width - MARGIN) if found else 1
    height = _grow(picture, upper, LINE * (math.ceil(len(found) / columns) - 1))
    picture.text(0.012, 1 - 0.1 / height, title or "comparison", va="top", fontsize=11)
    if handles:
        across, place = legend_columns(handles, width - left), (left / width, 1 - 0.45 / height)
        picture.legend(handles=handles, bbox_to_anchor=place, ncols=across, **SMALL)
    if found:
        place = (MARGIN / width, 1 - (TOP + bars + UNDER) / height)
        picture.legend(handles=found, bbox_to_anchor=place, ncols=columns, **SMALL)
    if rest:
        picture.text(0.012, 0.07 / height, rest, va="bottom", fontsize=8, color="#555555")
    return picture


def _not_drawn(
    panels: Sequence[Panel], groups: Sequence[Setting], everybody: Sequence[str], devices: Sequence[str]
) -> str:
    """Say how many devices and runs have no timeline here."""
    if not panels:
        return ""
    missing = [name for name in everybody if name not in devices]
    servers = {name for panel in panels for name in panel.servers}
    what = "device" if servers.intersection(missing) else "worker"
    runs = sum(len(group.entries) for group in groups) - len(panels)
    parts = [
        f"{count} more {name}{'' if count == 1 else 's'}"
        for count, name in ((len(missing), what), (runs, "run"))
        if count
    ]
    return f"timelines of {' and of '.join(parts)} are not drawn" if parts else ""


def _names(groups: Sequence[Setting]) -> list[str]:
    return [clipped(entry.name) for group in groups for entry in group.entries]


def _axes(picture: Picture, left: float, down: float, tall: float) -> Axes:
    """Return axes `left` inches from the left and `down` inches from the top."""
    width, height = picture.get_size_inches()
    box = (left / width, 1 - (down + tall) / height, (width - left - RIGHT) / width, tall / height)
    return picture.add_axes(box)


def _grow(picture: Picture, upper: Axes, more: float) -> float:
    """Put `more` inches between the uppermost axes and the others; return the height of the picture."""
    width, height = picture.get_size_inches()
    places = [(axes, axes.get_position()) for axes in picture.axes]
    taller = float(height + more)
    picture.set_size_inches(width, taller)
    for axes, place in places:
        low = place.y0 * height + (more if axes is upper else 0.0)
        axes.set_position((place.x0, low / taller, place.width, place.height * height / taller))
    return taller


def _timelines(
    picture: Picture, left: float, down: float, panels: Sequence[Panel], layouts: Sequence[Layout]
) -> list[Any]:
    """Draw the timelines one below the other and return the handles of their legend."""
    longest_s = max((panel.window.end_s - panel.window.start_s for panel in panels), default=1.0)
    handles: dict[str, Any] = {}
    for panel, layout in zip(panels, layouts, strict=True):
        axes = _axes(picture, left, down, _tall(layout))
        shown = Window(start_s=panel.window.start_s, end_s=panel.window.start_s + longest_s)
        drawn = draw(
            axes, panel.tables, layout, shown, server=panel.server, quiet=True, origin_s=panel.origin_s
        )
        handles |= {handle.get_label(): handle for handle in drawn}
        _thin_out(axes, axes.set_title(panel.entry.title, loc="left", fontsize=9, pad=3))
        down += _tall(layout) + GAP
        if panel is not panels[-1]:
            axes.set_xlabel("")
    return list(handles.values())


def _laid_out(panel: Panel, devices: Sequence[str]) -> Layout:
    """Return the layout of a panel, with a head for the bands of a pipeline."""
    head = BAND_INCHES * bands(panel.tables, panel.window) / UNIT
    return replace(lay_out(panel.tables, devices, panel.window), head=head)


def _tall(layout: Layout) -> float:
    """Return the height of a timeline, in inches."""
    return (layout.height + layout.head) * UNIT


def _thin_out(axes: Axes, title: Text) -> None:
    """Take away lengths of iterations that would be written over the title or over each other."""
    taken = title.get_window_extent().x1
    for text in [text for text in axes.texts if text.get_text().startswith(("iteration ", "batch "))]:
        place = text.get_window_extent()
        if place.x0 < taken + 4.0:
            text.remove()
        else:
            taken = place.x1


def _chosen(groups: Sequence[Setting]) -> list[Entry]:
    """Return the alternatives whose timelines are shown, in their order.

    Of two settings the best and the first of each; of more, those of the setting where they differ most; of
    more than have room, the best, the first (it is the base), the worst, and then the next best.
    """
    shown = [group for group in groups if group.ranked]
    if not shown:  # all failed: what they did until then
        return [entry for group in groups for entry in group.entries if entry.run.rows is not None][:PANELS]
    if len(shown) > PANELS // 2:
        shown = [max(shown, key=lambda group: group.spread)]
    kept: list[Entry] = []
    for group in shown:
        ranked, room = group.ranked, PANELS // len(shown)
        base = [entry for entry in group.entries[:1] if any(entry is one for one in ranked)]
        wanted = {id(entry): entry for entry in (ranked[0], *base, ranked[-1], *ranked)}
        few = [*wanted][:room]
        kept += [entry for entry in group.entries if id(entry) in few]
    return kept


def _panels(entries: Sequence[Entry], runs: Sequence[Alternative]) -> list[Panel]:
    """Return what is shown of each: what all share if any run met a fault, else its typical iteration."""
    known = [(entry, entry.run.rows) for entry in entries if entry.run.rows is not None]
    everyone = [(rows, run.summary) for run in runs if (rows := run.rows) is not None]
    shared = window([(tables, entry.run.summary) for entry, tables in known]) or window(everyone)
    found = []
    for entry, tables in known:
        if shared is not None:
            view, origin_s = Window(start_s=shared[0], end_s=shared[1]), None
        elif one := _usual(tables, entry):
            view, origin_s = Window(start_s=one.start_s, end_s=one.end_s), one.start_s
        else:
            continue
        found.append(Panel(entry=entry, tables=tables, window=view, origin_s=origin_s))
    return found if shared is not None else _as_long(found)


def _as_long(panels: Sequence[Panel]) -> list[Panel]:
    """Return panels, those of pipelines as long as the longest: batches go on in them."""
    longest_s = max((one.window.end_s - one.window.start_s for one in panels), default=0.0)
    return [
        replace(one, window=replace(one.window, end_s=one.window.start_s + longest_s))
        if is_pipeline(one.tables, one.entry.run.summary)
        else one
        for one in panels
    ]


def _usual(tables: Tables, entry: Entry) -> Iteration | Stretch | None:
    """Return the typical iteration of a run; of a pipeline, whose batches overlap, a few of them."""
    server = server_of(tables, entry.run.summary)
    if is_pipeline(tables, entry.run.summary):
        return steady_stretch(tables, server, most=BATCHES)
    return typical(tables, server)


def _devices(panels: Sequence[Panel]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all devices, and those to show: of many the servers (half the room at most), what failed, each
    run's straggler, the first ones."""
    if not panels:
        return (), ()
    first = panels[0]
    declared = in_order(first.entry.run.summary)
    everybody = choose_devices(first.tables, declared, first.server, first.servers)
    if len(everybody) <= DEVICES:
        return everybody, everybody
    wanted = dict.fromkeys([name for name in first.servers if name in everybody][: DEVICES // 2])
    for panel in panels:
        wanted.update(dict.fromkeys(_failed(panel, everybody)))
    for panel in panels:
        did = activities(panel.tables, panel.window.start_s, panel.window.end_s)
        workers = [name for name in everybody if name in did and name not in panel.servers]
        if workers:
            wanted[max(workers, key=lambda name: did[name].end_s)] = None
    wanted.update(dict.fromkeys(everybody))
    chosen = list(wanted)[:DEVICES]
    return everybody, tuple(name for name in everybody if name in chosen)


def _failed(panel: Panel, everybody: Sequence[str]) -> list[str]:
    """Return the devices that, or whose own links, a fault of the window concerns."""
    shown = panel.tables.between(panel.window.start_s, panel.window.end_s)
    subjects = [subject for subject, kind in shown.rows("marks", "subject", "kind") if kind in CAUSES]
    names = [subject if subject in everybody else subject.rpartition(".")[0] for subject in subjects]
    return [name for name in names if name in everybody]
