"""A profile as bars: how long each layer takes forward and backward, and how many parameters it has."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgesim.report.figures import Picture
from edgesim.report.numbers import duration, time_unit
from edgesim.report.palette import KINDS
from edgesim.workload import Workload

NAMED = 30
"""Most layers whose names all fit under their bars; of more, only the slowest are named."""
SLOWEST = 4
"""How many layers are numbered over their bars, and named above all, where not all are named below."""


def profile_figure(workload: Workload, *, width: float = 12.0, height: float = 5.6) -> Picture:
    """Return a bar chart of a profile; sizes in inches.

    Above, a bar a layer: forward time, and backward time on top of it. Below, upside down and on the same
    layers, its parameters in MB. Legible from 1 layer to some 200.
    """
    picture = Picture(figsize=(width, height))
    FigureCanvasAgg(picture)
    named = len(workload.layers) <= NAMED
    grid = picture.add_gridspec(
        2, 1, height_ratios=(3, 1), hspace=0.06,
        left=0.07, right=0.985, top=0.86 if named else 0.845, bottom=_room(workload) if named else 0.1,
    )  # fmt: skip
    times = picture.add_subplot(grid[0])
    sizes = picture.add_subplot(grid[1], sharex=times)
    _times(times, workload, named)
    _sizes(sizes, workload, named)
    picture.suptitle(_title(workload), x=0.07, y=0.975, ha="left", va="top", fontsize=11)
    below = _source(workload) if named else f"{_source(workload)}\n{_told(workload)}"
    picture.text(0.07, 0.928, below, ha="left", va="top", fontsize=8, color="#555555", linespacing=1.5)
    return picture


def _room(workload: Workload) -> float:
    """Return the share of the height that slanted names need below the bars."""
    return 0.05 + 0.0075 * max(len(_short(layer.name)) + 3 for layer in workload.layers)


def _times(axes: Axes, workload: Workload, named: bool) -> None:
    layers = workload.layers
    sums = [layer.forward_s + layer.backward_s for layer in layers]
    length_s, unit = time_unit(max(sums) or 1.0)
    places = list(range(1, len(layers) + 1))
    forward = [layer.forward_s / length_s for layer in layers]
    backward = [layer.backward_s / length_s for layer in layers]
    axes.bar(places, forward, width=0.8, color=KINDS["forward"], label="forward", linewidth=0)
    axes.bar(
        places, backward, width=0.8, bottom=forward, color=KINDS["backward"], label="backward", linewidth=0
    )
    axes.set_ylabel(f"time a batch ({unit})", fontsize=9)
    axes.set_ylim(0.0, 1.2 * max(sums) / length_s if max(sums) else 1.0)
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper right")
    if not named:
        _number_slowest(axes, workload, [value / length_s for value in sums])
    _plain_spines(axes)


def _number_slowest(axes: Axes, workload: Workload, sums: list[float]) -> None:
    """Write the numbers of the slowest layers over their bars, none over another."""
    span, tallest, written = len(sums), max(sums), list[tuple[float, float]]()
    for index in _slowest(workload):
        wide, high = 0.009 * len(str(index + 1)) * span, 0.075 * tallest
        if all(abs(index - left) > wide or abs(sums[index] - up) > high for left, up in written):
            axes.annotate(
                str(index + 1), (index + 1, sums[index]), xytext=(0, 2), textcoords="offset points",
                ha="center", va="bottom", fontsize=7.5, color="#222222",
            )  # fmt: skip
            written.append((index, sums[index]))


def _slowest(workload: Workload) -> list[int]:
    """Return the 0-based slowest layers, slowest first."""
    layers = workload.layers
    order = sorted(range(len(layers)), key=lambda i: (-layers[i].forward_s - layers[i].backward_s, i))
    return order[:SLOWEST]


def _sizes(axes: Axes, workload: Workload, named: bool) -> None:
    layers = workload.layers
    megabytes = [layer.parameter_bytes / 1e6 for layer in layers]
    axes.bar(range(1, len(layers) + 1), megabytes, width=0.8, color="#7F7F7F", linewidth=0)
    axes.set_ylim(1.1 * max(megabytes) or 1.0, 0.0)
    axes.set_xlim(0.4, len(layers) + 0.6)
    axes.set_ylabel("parameters\n(MB)", fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if named:
        names = [f"{index} {_short(layer.name)}" for index, layer in enumerate(layers, start=1)]
        axes.set_xticks(range(1, len(layers) + 1), names, rotation=45, ha="right", fontsize=7.5)
        axes.tick_params(axis="x", length=0)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(16, integer=True))
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel("layer, in order of execution", fontsize=9)
    _plain_spines(axes)


def _plain_spines(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(name: str, most: int = 28) -> str:
    """Return a module's name, its beginning left out where it is long."""
    return name if len(name) <= most else "…" + name[-(most - 1) :]


def _told(workload: Workload) -> str:
    """Return the slowest layers in words."""
    entries = []
    for index in _slowest(workload):
        layer = workload.layers[index]
        entries.append(f"{index + 1} {_short(layer.name)} {duration(layer.forward_s + layer.backward_s)}")
    return "slowest: " + "; ".join(entries)


def _title(workload: Workload) -> str:
    shape = "x".join(str(size) for size in workload.input_shape)
    millions = sum(layer.parameters for layer in workload.layers) / 1e6
    return (
        f"{workload.model}: {len(workload.layers)} layers, {millions:.3g} M parameters, batches of "
        f"{workload.batch_size} x {shape}; a step takes {duration(workload.step_s)}"
    )


def _source(workload: Workload) -> str:
    notes = workload.provenance
    told = [notes[key] for key in ("cpu",) if key in notes]
    told += [
        f"{label} {notes[key]}" for key, label in (("torch", "torch"), ("threads", "threads")) if key in notes
    ]
    told += [f"{notes['repeats']} repeats"] if "repeats" in notes else []
    told += [f"layers add up to {workload.coverage:.1%} of the step"]
    return textwrap.shorten("; ".join(told), 170, placeholder=" ...")
