"""Every schedule by name, in one table: how the transfers of a parameter server are cut, ordered and mixed.

A `Phased` schedule cuts each phase into segments, with the aggregation barrier between the phases; a
`Queued` one knows no barrier: its messages wait in queues by priority, and a pull can go as soon as all
workers' pushes of its bytes have been added up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgesim.plan import QueuePlan
from edgesim.planning.cost import Costs, Phase


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
    doc: str = ""
    """What it does, in a line; without it the first line of the docstring of `split`."""


Schedule = Phased | Queued
