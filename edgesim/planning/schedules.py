"""Every schedule by name, in one table: how the transfers of a parameter server are cut, ordered and mixed.

A `Phased` schedule cuts each phase into segments, with the aggregation barrier between the phases; a
`Queued` one knows no barrier: its messages wait in queues by priority, and a pull can go as soon as all
workers' pushes of its bytes have been added up.

`pick` knows more than the table: what installed packages offer as entry points of the group
`edgesim.schedules`, and a user's own by import path, `package.module:name`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgesim.plan import QueuePlan
from edgesim.planning import overlap, own, rivals, slices, threshold
from edgesim.planning.cost import Costs, Phase, PlanningError


@dataclass(frozen=True, slots=True)
class Phased:
    """Segments of each phase, one after the other, with a barrier between the phases."""

    cut: Callable[[Phase], tuple[int, ...]]
    """From the times of a phase to its cuts, 1-based last layer of each segment."""
    adapts: bool = False
    """True: plans again during the run from what the workers measure, and rehearses where they contend."""
    doc: str = ""
    """What it does, in a line; without it the first line of the docstring of `cut`."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Messages in queues by priority, without a barrier between the phases."""

    split: Callable[[Costs], QueuePlan]
    """From what sending and computing costs one worker to the messages, common to all workers."""
    adapts: bool = False
    """True: rehearses where workers are unlike or contend, and keeps the barrier if that is shorter."""
    doc: str = ""
    """What it does, in a line; without it the first line of the docstring of `split`."""


Schedule = Phased | Queued

SCHEDULES: dict[str, Schedule] = {
    "sequential": Phased(rivals.sequential, doc="one message for all layers, then all computing"),
    "layer-by-layer": Phased(rivals.layer_by_layer, doc="one message a layer"),
    "ibatch": Phased(rivals.ibatch, doc="layers batched greedily (a reconstruction)"),
    "mg-wfbp": Phased(
        rivals.mg_wfbp, doc="layers merged where waiting for the next costs less than a start-up"
    ),
    "tictac": Phased(rivals.tictac, doc="one message a layer in forward order: layer-by-layer, on a chain"),
    "fusion-25mb": Phased(
        rivals.fusion(25 * rivals.MIB, overfull=True), doc="buckets of 25 MiB, as PyTorch DDP fills them"
    ),
    "fusion-64mb": Phased(
        rivals.fusion(64 * rivals.MIB), doc="buckets of at most 64 MiB, as Horovod fills them"
    ),
    "dynacomm": Phased(
        threshold.best_cuts,
        adapts=True,
        doc="layers batched so that the iteration is as short as can be (the default)",
    ),
    "p3": Queued(slices.p3, doc="no barrier: slices of 40,000 elements, the lowest layer first"),
    "bytescheduler": Queued(
        slices.bytescheduler, doc="no barrier: slices of 1M elements by priority, 4M on their way at most"
    ),
    "dynacomm-overlap": Queued(
        overlap.search,
        adapts=True,
        doc="no barrier: messages merged and split by search from the cuts of dynacomm",
    ),
}
"""Every schedule of edgesim by name: those with a barrier, then those without."""
PHASED = tuple(name for name, schedule in SCHEDULES.items() if isinstance(schedule, Phased))
"""Names of those with a barrier."""
QUEUED = tuple(name for name, schedule in SCHEDULES.items() if isinstance(schedule, Queued))
"""Names of those without."""


def pick(name: str) -> Schedule:
    """Return the schedule of a name: of the table, of an installed package, or of an import path.

    What an import path or entry point names is a function from a `Phase` to cuts, or a `Phased` or `Queued`
    object; a name of the table is never looked for elsewhere. What such a schedule returns is checked when it
    plans. Raises `PlanningError` for a name that leads nowhere, or to something else.

    >>> pick("sequential").cut(Phase([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], 0.5))
    (2,)
    >>> pick("edgesim.planning.rivals:layer_by_layer").cut(Phase([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], 0.5))
    (1, 2)
    """
    if is_built_in(name):
        return SCHEDULES[name]
    if own.is_import_path(name):
        return _checked(name, own.imported(name))
    try:
        found = own.installed(name)
    except LookupError:
        known = names()
        raise PlanningError(
            f"unknown schedule {name!r}{own.hint(name, known)}; known: {', '.join(known)}; "
            "your own: package.module:function"
        ) from None
    return _checked(name, found)


def names() -> tuple[str, ...]:
    """Return the names of the table, then those that installed packages offer."""
    return (*SCHEDULES, *(name for name in own.installed_names() if not is_built_in(name)))


def is_built_in(name: str) -> bool:
    """Return whether a schedule is one of the table."""
    return name in SCHEDULES


def describe(schedule: Schedule) -> str:
    """Return what a schedule does, in a line: its `doc`, or the first line of its function's docstring.

    >>> describe(pick("tictac"))
    'one message a layer in forward order: layer-by-layer, on a chain'
    """
    function = schedule.cut if isinstance(schedule, Phased) else schedule.split
    told = function.__doc__ if hasattr(function, "__name__") else None  # a partial has that of `partial`
    return schedule.doc or (told or "").strip().partition("\n")[0]


def _checked(name: str, found: object) -> Schedule:
    """Return what a user's name stands for, as a schedule whose plans are checked."""
    if isinstance(found, Phased) and callable(found.cut):
        cut = partial(own.cuts, name, found.cut)
        return Phased(cut=cut, adapts=found.adapts, doc=describe(found))
    if isinstance(found, Queued) and callable(found.split):
        split = partial(own.queue_plan, name, found.split)
        return Queued(split=split, adapts=found.adapts, doc=describe(found))
    if callable(found) and not isinstance(found, type):
        return _checked(name, Phased(found))
    what = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
    raise PlanningError(
        f"schedule {name!r} is {what}: give a function from a Phase to cuts, or a Phased or Queued "
        "object that holds a function"
    )
