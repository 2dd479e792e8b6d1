"""How slow each device of a pipeline is beside the central node, from the times that its batches took.

Source: FTPipeHD (Chen et al., arXiv 2110.02781, IEEE TMC 2023). C_i is how many times as long as the central
node worker i takes for the same layers; C_0 = 1, larger is slower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgesim.planning.cost import PlanningError


def capacity(measured_s: float, central_s: float) -> float:
    """Return C_i: a worker's forward + backward time of its layers over the central node's time of the same.

    `measured_s` is what the worker measured for a batch, `central_s` what the central node's profile says
    for those layers, both in s. The central node itself is 1 by definition. It is one number for all layers:
    a device that is slow at some kinds of layers only is told wrongly once others move to it.

    >>> capacity(0.50, 0.05)
    10.0
    """
    for name, value in (("measured time", measured_s), ("central node's time", central_s)):
        if not 0.0 < value < math.inf:
            raise PlanningError(
                f"a {name} of {value} s: give a finite time above 0 s for layers that compute"
            )
    return measured_s / central_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The running mean of what the latest batches took on one device.

    >>> Measured(window=2).add(9.0).add(1.0).add(2.0).mean_s
    1.5
    """

    window: int = 10
    """Batches that count, the latest; as many as pass before FTPipeHD looks for the first time."""
    times_s: tuple[float, ...] = ()
    """Forward + backward time of each of them, oldest first, in s."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise PlanningError(f"a window of {self.window} batches: give 1 or more")

    def add(self, time_s: float) -> Measured:
        """Return what is known once a batch has taken `time_s` s; what is older than the window goes."""
        if not 0.0 <= time_s < math.inf:
            raise PlanningError(f"a batch of {time_s} s: give a finite time, 0 s or more")
        return replace(self, times_s=(*self.times_s, time_s)[-self.window :])

    @property
    def count(self) -> int:
        """How many batches the mean is of, `window` at most."""
        return len(self.times_s)

    @property
    def mean_s(self) -> float:
        """Mean time of these batches, in s; NaN before the first."""
        return math.fsum(self.times_s) / self.count if self.times_s else math.nan


def due(batch: int, first: int = 10, every: int = 100) -> bool:
    """Tell whether capacities are looked at after a batch, counted from 1: after `first`, then every `every`.

    >>> [batch for batch in range(1, 300) if due(batch)]
    [10, 110, 210]
    """
    if first < 1 or every < 1:
        raise PlanningError(f"capacities after {first} batches and every {every}: give 1 or more")
    return batch >= first and (batch - first) % every == 0
