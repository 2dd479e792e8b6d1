"""What a segmentation costs: the closed-form makespans of one phase, on prefix sums.

Legend: L layers, M segments. `dt` is the start-up cost of one message; it occupies the link, once a segment.
Model (DynaComm, Cai et al., IEEE JSAC 40(2):611-625, 2022): the link sends the segments back to back, a
segment is usable when all of it has arrived, layers are computed one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from edgesim.errors import EdgesimError


class PlanningError(EdgesimError, ValueError):
    """Input that cannot be planned: says which value is wrong and what is expected."""


class Phase(NamedTuple):
    """One forward phase in prefix sums; a backward phase is the same thing seen backwards in time."""

    transfer: list[float]
    """P(0..L): time to transfer layers 1..l without start-ups, in s; L + 1 numbers from 0."""
    compute: list[float]
    """F(0..L): time to compute layers 1..l, in s; L + 1 numbers from 0."""
    startup: float
    """dt: start-up cost of one message, in s."""
    sizes: tuple[int, ...] | None = None
    """Bytes of each layer; L numbers in forward order. None: not told."""
    backward: bool = False
    """True: gradients are pushed, last layer first; for strategies that fill buckets as they are sent."""

    @property
    def layers(self) -> int:
        """Number of layers, L."""
        return len(self.transfer) - 1


def phase(
    transfer_s: Iterable[float],
    compute_s: Iterable[float],
    startup_s: float,
    *,
    sizes: Iterable[int] | None = None,
    backward: bool = False,
) -> Phase:
    """Check the times of L layers and return their prefix sums.

    Raises `PlanningError` for no layers, unequal lengths, and times that are negative, infinite or NaN.

    >>> phase([4, 1], [2, 5], 1)[:3]
    ([0.0, 4.0, 5.0], [0.0, 2.0, 7.0], 1.0)
    """
    try:
        transfer = list(map(float, transfer_s))
        compute = list(map(float, compute_s))
        startup = float(startup_s)
    except (TypeError, ValueError) as error:
        raise PlanningError(f"times must be numbers in s: {error}") from None
    if not transfer:
        raise PlanningError("no layers: give the times of at least one layer")
    if len(transfer) != len(compute):
        raise PlanningError(
            f"{len(transfer)} transfer times but {len(compute)} compute times: give one of each a layer"
        )
    told = None if sizes is None else tuple(sizes)
    if told is not None and len(told) != len(transfer):
        raise PlanningError(f"{len(told)} sizes but {len(transfer)} transfer times: give one of each a layer")
    sums = Phase(
        list(accumulate(transfer, initial=0.0)),
        list(accumulate(compute, initial=0.0)),
        startup,
        told,
        backward,
    )
    if not sums.transfer[-1] + sums.compute[-1] + len(transfer) * startup < math.inf:
        _complain(transfer, compute, startup)
    if startup < 0.0 or min(transfer) < 0.0 or min(compute) < 0.0:
        _complain(transfer, compute, startup)
    return sums


def _complain(transfer: list[float], compute: list[float], startup: float) -> None:
    """Name the value that is no finite, non-negative time."""
    named = [("start-up time", startup)]
    named += [(f"transfer time of layer {layer}", value) for layer, value in enumerate(transfer, 1)]
    named += [(f"compute time of layer {layer}", value) for layer, value in enumerate(compute, 1)]
    for name, value in named:
        if not 0.0 <= value < math.inf:
            raise PlanningError(f"{name} is {value}: give a finite time in s, 0 or more")
    raise PlanningError("the times add up to infinity: give them in s")


def exposed_s(times: Phase, cuts: Sequence[int]) -> float:
    """Return what computing does not hide of a phase, in s: max over m of m dt + P(k_m) - F(k_{m-1}).

    Every rounding in this expression is monotone, so comparisons between cuts are exact for floats: this
    value, not the makespan, is what the planners compare.
    """
    transfer, compute, startup = times[:3]
    worst = 0.0
    previous = 0
    for count, cut in enumerate(cuts, 1):
        exposed = count * startup + transfer[cut] - compute[previous]
        if exposed > worst:
            worst = exposed
        previous = cut
    return worst


def makespan_s(times: Phase, cuts: Sequence[int]) -> float:
    """Return the duration of a phase: F(L) plus what is exposed, in s.

    For a backward phase pass backward times as compute and push times as transfer: read backwards in time
    it is a forward phase with the same cuts, so both have the same makespan.

    >>> makespan_s(phase([4, 1, 3, 2], [2, 5, 1, 3], 1), (2, 4))
    17.0
    """
    return times.compute[-1] + exposed_s(times, cuts)


class Costs(NamedTuple):
    """What sending and computing one model costs one worker: what strategies without a barrier plan from."""

    sizes: tuple[int, ...]
    """Bytes of each layer's parameters, and of its gradients; L numbers in forward order, as all below."""
    elements: tuple[int, ...]
    """Number of each layer's parameters."""
    forward_s: tuple[float, ...]
    """Time of each layer forward, in s."""
    backward_s: tuple[float, ...]
    """Time of each layer backward, in s."""
    pull_Bps: float
    """Rate from the server, in B/s."""
    push_Bps: float
    """Rate to the server, in B/s."""
    pull_startup_s: float = 0.0
    """Start-up of a message from the server that holds the link, in s."""
    push_startup_s: float = 0.0
    """Start-up of a message to the server that holds the link, in s."""
    pull_latency_s: float = 0.0
    """What a message from the server waits without holding the link, in s."""
    push_latency_s: float = 0.0
    """What a message to the server waits without holding the link, in s."""
    update_s: float = 0.0
    """Time of the server's update of all parameters, in s; that of a message takes its share of the bytes."""
    duplex: bool = True
    """True: pulls and pushes do not share a link."""
    push_ratio: float = 1.0
    """Bytes pushed for each byte of gradient: below 1 with compression."""
