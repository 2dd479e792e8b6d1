"""Move or stay: whether another partition is worth what it costs to get there.

A partition that is faster by some seconds a batch is gained once for each batch still to come; weights that
move, a rebuild and a refill are paid once. How many batches the gain will last is often unknown: capacities
may change back. Then `Regret` moves late enough never to pay more than twice what was necessary.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from edgesim.planning.cost import PlanningError

Link = TypeVar("Link", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of the partition.

    >>> Move(gain_s=0.5, cost_s=10.0).pays_after
    20.0
    """

    gain_s: float
    """How much sooner each batch will be done, in s; negative if it will take longer."""
    cost_s: float
    """What it takes once, in s; see `move_cost`."""

    def __post_init__(self) -> None:
        _checked(self.gain_s, self.cost_s)

    @property
    def pays_after(self) -> float:
        """Batches after which it has paid for itself; infinite if it never does."""
        return self.cost_s / self.gain_s if self.gain_s > 0.0 else math.inf


def worth(gain_s: float, cost_s: float, horizon: float) -> bool:
    """Tell whether a gain in s a batch, for `horizon` batches, is more than the cost in s of getting it.

    The optimum where the gain lasts for exactly so many batches; `horizon` may be infinite.

    >>> worth(0.5, 10.0, 20), worth(0.5, 10.0, 21)
    (False, True)
    """
    _checked(gain_s, cost_s)
    if not horizon >= 0.0:
        raise PlanningError(f"a horizon of {horizon} batches: give 0 or more")
    return gain_s > 0.0 and gain_s * horizon > cost_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """What staying has cost since the last move, for a horizon that nobody knows.

    Before each batch: `regret = regret.stay(gain_s)`, as if it were run where things are; if that makes a
    move `due`, move before the batch instead, and begin with a new `Regret`. With one permanent change,
    staying has then cost less than the move when it is made, so that both together are less than twice the
    move; and where no move is ever due, staying was the best. So the total is at most twice that of the best
    single switch, whenever training ends. No deterministic rule promises less, as for renting skis (Karlin
    et al., Competitive snoopy caching, Algorithmica 3, 1988).

    A batch that would be *slower* after the move works regret off, down to 0.

    >>> regret = Regret()
    >>> for batch in range(1, 100):
    ...     regret = regret.stay(gain_s=0.5)
    ...     if regret.due(cost_s=10.0):
    ...         break
    >>> batch, regret.total_s
    (20, 10.0)
    """

    total_s: float = 0.0
    """Time that an earlier move would have saved, in s."""

    def stay(self, gain_s: float) -> Regret:
        """Return the regret after one more batch, which a move would have made shorter by `gain_s` s."""
        _checked(gain_s, 0.0)
        return replace(self, total_s=max(self.total_s + gain_s, 0.0))

    def due(self, cost_s: float) -> bool:
        """Tell whether staying has cost as much as the move does, in s; never without any regret."""
        _checked(0.0, cost_s)
        return self.total_s > 0.0 and self.total_s >= cost_s


def move_cost(
    moved_bytes_by_link: Mapping[Link, float],
    bandwidth: Mapping[Link, float],
    control_s: float,
    rebuild_s: float,
    refill_s: float,
) -> float:
    """Return what a move costs once, in s: the slowest link's weights + control + rebuild + refill.

    `moved_bytes_by_link` and `bandwidth` give bytes and B/s by link, of whatever name (the pairs of
    `replication.moved_between`, say); links work at the same time, and activations that share them are left
    out. `control_s` are the messages of both barriers, `rebuild_s` is the longest rebuild of a sub-model,
    `refill_s` the time until the pipeline is as full as before. Infinite over a link without bandwidth.

    Source: the terms of FTPipeHD's recovery time, max over nodes of bytes / bandwidth among them.

    >>> move_cost({"a": 100.0, "b": 30.0}, {"a": 50.0, "b": 10.0}, 0.5, 0.25, 1.0)
    4.75
    """
    for once_s in (control_s, rebuild_s, refill_s):
        _checked(0.0, once_s)
    fetch_s = 0.0
    for link, moved in moved_bytes_by_link.items():
        rate = bandwidth.get(link, 0.0)
        if not (0.0 <= moved < math.inf and rate >= 0.0):
            raise PlanningError(f"{moved} B at {rate} B/s over {link!r}: give finite bytes and 0 B/s or more")
        if moved > 0.0:
            fetch_s = max(fetch_s, moved / rate if rate > 0.0 else math.inf)
    return fetch_s + control_s + rebuild_s + refill_s


def _checked(gain_s: float, cost_s: float) -> None:
    if not math.isfinite(gain_s):
        raise PlanningError(f"a gain of {gain_s} s a batch: give a finite number")
    if not cost_s >= 0.0:
        raise PlanningError(f"a cost of {cost_s} s: give 0 s or more, infinite if it cannot be done")
