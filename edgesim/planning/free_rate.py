"""How often weights can be copied: for nothing, in the gaps between activations, or at the least cost.

In a steady period of T seconds a link of B bytes/s carries B*T bytes; the boundary needs D of them for the
activations that go down and D for the gradients that come back. What is left copies weights for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from edgesim.planning.cost import PlanningError

Duplex = Literal["half", "full"]


def spare_bytes(
    bandwidth_Bps: float, period_s: float, boundary_bytes: float, duplex: Duplex = "half"
) -> float:
    """Return the bytes that a link between two stages idles a batch, in B, 0 or more.

    `boundary_bytes` is D, one way. On a `half` duplex link both ways share: B*T - 2D. On a `full` duplex link
    each way has its own bandwidth and carries D: B*T - D, in each direction (a chain replica goes down only).
    Exact for a pipeline that runs at the period; the copies must yield to activations, or they delay them.

    >>> spare_bytes(100.0, 2.0, 30.0), spare_bytes(100.0, 2.0, 30.0, "full"), spare_bytes(100.0, 2.0, 150.0)
    (140.0, 170.0, 0.0)
    """
    _positive("bandwidth", bandwidth_Bps, "B/s")
    _positive("period", period_s, "s")
    _not_negative("boundary", boundary_bytes, "B")
    ways = 2 if duplex == "half" else 1
    return max(bandwidth_Bps * period_s - ways * boundary_bytes, 0.0)


def free_every(weights_bytes: float, spare: float) -> float:
    """Return the fewest batches between two complete copies that cost nothing; infinite if nothing is spare.

    Any R_c of at least this many is free. It need not be whole: layers go round-robin, `turns`; below 1 the
    link could carry a copy of every version and still idle. `weights_bytes` is all that is copied, with the
    optimizer's state if that goes along; `spare` is what `spare_bytes` says.

    >>> free_every(6_776_616, 2_000_000), free_every(1, 0)
    (3.388308, inf)
    """
    _not_negative("weights", weights_bytes, "B")
    _not_negative("spare", spare, "B")
    if weights_bytes == 0.0:
        return 0.0
    return weights_bytes / spare if spare > 0.0 else math.inf


def best_every(copy_s: float, failure_rate_per_s: float, redo_share: float, period_s: float) -> float:
    """Return the batches between copies that cost least when copies block: R* = sqrt(2 delta/(lambda phi))/T.

    `copy_s` is delta, the time that training stands still for one copy, in s; `failure_rate_per_s` is lambda,
    failures a second (1 / mean time between failures); `redo_share` is phi, seconds of work lost or done
    again for each second since the last copy: 1 if everybody goes back to it, less if only the failed
    stage's updates are lost; `period_s` is T. R* minimises delta/(R T) + lambda phi R T/2: copies against
    half an interval lost a failure, where failures are rare (lambda R T << 1). Infinite where copies are not
    worth having (no failures, or nothing to redo), 0 where they are free.

    Source: Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974.

    >>> best_every(copy_s=2.0, failure_rate_per_s=1 / 3600, redo_share=1.0, period_s=0.5)
    240.0
    """
    _not_negative("copy", copy_s, "s")
    _not_negative("failure rate", failure_rate_per_s, "1/s")
    _not_negative("redo share", redo_share, "s of every s")
    _positive("period", period_s, "s")
    risk = failure_rate_per_s * redo_share
    return math.sqrt(2.0 * copy_s / risk) / period_s if risk > 0.0 else math.inf


class Turn(NamedTuple):
    """What is copied after one batch."""

    layers: tuple[int, ...]
    """0-based layers whose bytes are all paid for, in the order in which they go; each once at most."""
    carry_bytes: float
    """Budget saved towards the next layer, in B: less than it needs."""
    start: int
    """Place in `layers` at which the next batch begins."""


def turns(layers: Sequence[int], layer_bytes: Sequence[float], budget_bytes: float, start: int = 0) -> Turn:
    """Return which layers of a stage are copied after this batch, round-robin, within a budget.

    `layer_bytes` has L numbers; `budget_bytes` is what this batch spares and what the last one carried;
    `start` is where that one stopped, a place in `layers`. A layer larger than one batch's budget is saved
    for over several; after a whole round nothing is carried: a link that idles saves nothing. O(layers).

    >>> turns([7, 8, 9], [0] * 7 + [5, 4, 8], 10)
    Turn(layers=(7, 8), carry_bytes=1, start=2)
    >>> turns([7, 8, 9], [0] * 7 + [5, 4, 8], 10 + 1, 2)
    Turn(layers=(9,), carry_bytes=3, start=0)
    """
    _not_negative("budget", budget_bytes, "B")
    count = len(layers)
    if not 0 <= start < max(count, 1):
        raise PlanningError(f"turn {start} among {count} layers: give where the last batch stopped")
    order = [layers[(start + number) % count] for number in range(count)]
    left = budget_bytes
    for number, layer in enumerate(order):
        if layer_bytes[layer] > left:
            return Turn(tuple(order[:number]), left, (start + number) % count)
        left -= layer_bytes[layer]
    return Turn(tuple(order), 0.0, start)


def _positive(name: str, value: float, unit: str) -> None:
    if not value > 0.0:
        raise PlanningError(f"a {name} of {value} {unit}: give more than 0")


def _not_negative(name: str, value: float, unit: str) -> None:
    if not 0.0 <= value < math.inf:
        raise PlanningError(f"a {name} of {value} {unit}: give a finite number, 0 or more")
