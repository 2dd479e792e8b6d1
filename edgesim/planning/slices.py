"""Schedules without a barrier that slice layers: equal slices of one layer each, sent by priority.

A layer may be worth several messages, so that a more urgent one need not wait for the whole of it. Pushes and
pulls have the same borders: a slice can be pulled as soon as every worker's push of it has been added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from edgesim.plan import QueuePlan
from edgesim.planning.cost import Costs, PlanningError

Splitter = Callable[[Costs], QueuePlan]
"""From what sending and computing costs one worker to the messages, common to all workers."""


def sliced(elements: int, credit_elements: float = 0.0, *, method: str = "sliced") -> Splitter:
    """Return the strategy that cuts each layer into equal slices of at most so many elements.

    A layer of n elements makes ceil(n / elements) slices whose sizes differ by at most one element.
    `credit_elements` of them, in bytes at the model's mean size of an element, may be handed to the network
    ahead; with 0 a queue sends one slice at a time. `method` names the plan. Raises `PlanningError` for
    slices of less than one element, a credit below 0 and, when it plans, a model without bytes.

    >>> costs = Costs((16, 40), (4, 10), (1.0, 1.0), (1.0, 1.0), 1.0, 1.0)
    >>> sliced(4)(costs).push_borders
    (16, 28, 40, 56)
    """
    if elements < 1:
        raise PlanningError(f"slices of {elements} elements hold nothing: give 1 or more")
    if not credit_elements >= 0.0:
        raise PlanningError(f"credit for {credit_elements} elements: give 0 (one at a time) or more")

    def split(costs: Costs) -> QueuePlan:
        """Return equal slices of each layer, lowest layer first."""
        borders = _borders(costs, elements)
        credit_bytes = credit_elements * sum(costs.sizes) / max(sum(costs.elements), 1)
        return QueuePlan(push_borders=borders, pull_borders=borders, credit_bytes=credit_bytes, method=method)

    return split


def _borders(costs: Costs, elements: int) -> tuple[int, ...]:
    """Return the offsets behind each slice, in B."""
    if len(costs.sizes) != len(costs.elements):
        raise PlanningError(
            f"{len(costs.sizes)} sizes but {len(costs.elements)} counts of elements: give one of each a layer"
        )
    if not sum(costs.sizes):
        raise PlanningError("no layer has bytes to send: give the sizes of the layers in B")
    starts = accumulate(costs.sizes, initial=0)
    ends = (
        start + end
        for start, size, count in zip(starts, costs.sizes, costs.elements, strict=False)
        for end in _ends(size, count, elements)
    )
    return tuple(dict.fromkeys(end for end in ends if end))


def _ends(size: int, count: int, elements: int) -> Iterator[int]:
    """Return where the slices of one layer of `size` B end, as even as whole elements allow."""
    slices = max(-(-count // elements), 1)
    for index in range(1, slices + 1):
        yield size if index == slices else (index * count // slices) * size // count


p3: Splitter = sliced(40_000, method="p3")
"""P3 (Jayarajan et al., MLSys 2019): slices of at most 40,000 elements, the default of its artefact and of
MXNet's `MXNET_KVSTORE_SLICE_THRESHOLD`; one at a time, the lowest layer first."""

bytescheduler: Splitter = sliced(1_000_000, 4_000_000, method="bytescheduler")
"""ByteScheduler (Peng et al., SOSP 2019): partitions of at most 1M parameters, at most 4M on their way:
the defaults of its program (`BYTESCHEDULER_PARTITION`, `BYTESCHEDULER_CREDIT`). It can also tune them by
Bayesian optimisation while it trains, which is left out."""
