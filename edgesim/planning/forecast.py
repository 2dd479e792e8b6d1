"""The best segmentation of a phase that starts at a known time on a link whose rate to come is known.

Legend: L layers; S(l) the bytes of layers 1..l; F(l), B(l) the times to compute them forward, backward; R(t)
the bytes that the link can carry until t; dt the start-up of a message. A message that has the link at t
holds it for dt without carrying bytes, then at the rate of the moment: b bytes are over when R has grown by b
since t + dt. What starts sooner is never over later, so of all ways to a cut only the earliest matters.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import accumulate, pairwise
from typing import NamedTuple

from edgesim.plan import Segmentation
from edgesim.planning.cost import PlanningError, phase
from edgesim.planning.supply import Supply
from edgesim.timeseries import Series

METHOD = "forecast"


PRECISION = 1e-13
"""Share of the time at which a phase ends below which two budgets are one: beyond it is rounding."""


def plan_forward(
    sizes: Iterable[int],
    forward_s: Iterable[float],
    startup_s: float,
    rate: Series,
    start_s: float = 0.0,
    *,
    base_Bps: float = 1.0,
) -> Segmentation:
    """Return the segments in which to pull L layers from `start_s` on, if the rate is as forecast.

    `rate` is in B/s, or a factor of `base_Bps`. The makespan is optimal. For a budget of exposed time theta a
    message from cut k must be over by theta + F(k), a number of bytes on R: a binary search tells how far it
    may reach. Of the messages that may reach a cut, the one that lost the fewest bytes to start-ups is over
    first. So a test is O(L log L + L log steps). Theta is bisected, snapping to the cost of the cuts found
    and to the next value that changes anything. At last messages are merged where that costs nothing. Raises
    `PlanningError` for times that are none, and for a link that never carries everything.

    >>> half = Series(times_s=(0.0, 10.0), values=(1.0, 0.5))
    >>> plan_forward([4, 1, 3, 2], [2, 5, 1, 3], 1, half)
    Segmentation(cuts=(2, 4), makespan_s=18.0, method='forecast')
    """
    run = _run(sizes, forward_s, startup_s, rate, start_s, base_Bps)
    cuts: tuple[int, ...] = (run.layers,)
    low, high = _least_exposed_s(run), _exposed_s(run, cuts)
    least_gap = PRECISION * (start_s + high + run.compute[-1])
    theta = low
    while low < high:
        found, following = _within(run, theta)
        if found and (cost := _exposed_s(run, found)) < high:
            cuts, high = found, cost
        elif found:
            high = theta
        else:
            low = following
        theta = low + (high - low) / 2
        if high - low <= least_gap:
            break
    cuts = _merged(run, cuts, _exposed_s)
    return Segmentation(cuts=cuts, makespan_s=run.compute[-1] + _exposed_s(run, cuts), method=METHOD)


def plan_backward(
    sizes: Iterable[int],
    backward_s: Iterable[float],
    startup_s: float,
    rate: Series,
    start_s: float = 0.0,
    *,
    base_Bps: float = 1.0,
) -> Segmentation:
    """Return the segments in which to push L layers while computing L..1 from `start_s` on.

    As `plan_forward`, with `backward_s` and the cuts in forward order. The earliest end at each cut, from the
    top down, is optimal: E(lo) = least over hi > lo of what max(E(hi), ready(lo)) leads to. The messages that
    find the link free at ready(lo) should carry the least; of the others the one that is ahead on R is best.
    O(L^2) comparisons, O(L log steps) on the trace.

    >>> half = Series(times_s=(0.0, 7.0), values=(1.0, 0.5))
    >>> plan_backward([4, 1, 3, 2], [2, 5, 1, 3], 1, half)
    Segmentation(cuts=(2, 4), makespan_s=24.0, method='forecast')
    """
    run = _run(sizes, backward_s, startup_s, rate, start_s, base_Bps)
    layers, total = run.layers, run.compute[-1]
    ends = [math.inf] * layers + [start_s]
    ahead = [math.inf] * layers + [run.supply.until(start_s + run.startup) + run.bytes[layers]]
    above = [layers] * (layers + 1)
    tops = [layers]  # cuts that are done, from the top; their ends rise
    free = 0
    for low in run.cuts_down:
        ready = start_s + total - run.compute[low]
        while free + 1 < len(tops) and ends[tops[free + 1]] <= ready:
            free += 1
        choices = [tops[free]]
        if low == 0:
            choices = tops
        elif free + 1 < len(tops):
            choices.append(min(tops[free + 1 :], key=ahead.__getitem__))
        for high in choices:
            end = run.over(max(ends[high], ready), run.bytes[high] - run.bytes[low])
            if end < ends[low]:
                ends[low], above[low] = end, high
        tops.append(low)
        ahead[low] = run.supply.until(ends[low] + run.startup) + run.bytes[low]
    cuts = _merged(run, _upwards(above, layers), _sent_s)
    return Segmentation(cuts=cuts, makespan_s=_sent_s(run, cuts), method=METHOD)


def outcome(
    sizes: Iterable[int],
    compute_s: Iterable[float],
    startup_s: float,
    rate: Series,
    cuts: tuple[int, ...],
    start_s: float = 0.0,
    *,
    backward: bool = False,
    base_Bps: float = 1.0,
) -> tuple[float, float]:
    """Return the makespan of some cuts, and one that no cuts are below, in s.

    Arguments are those of `plan_forward`, or of `plan_backward`. Both are infinite on a link that never
    carries everything. O(L log steps).

    >>> half = Series(times_s=(0.0, 10.0), values=(1.0, 0.5))
    >>> [outcome([4, 1, 3, 2], [2, 5, 1, 3], 1, half, cuts) for cuts in ((4,), (2, 4))]
    [(23.0, 16.0), (18.0, 16.0)]
    """
    try:
        run = _run(sizes, compute_s, startup_s, rate, start_s, base_Bps)
    except PlanningError:
        return math.inf, math.inf
    if backward:
        return _sent_s(run, cuts), _least_sent_s(run)
    return run.compute[-1] + _exposed_s(run, cuts), run.compute[-1] + _least_exposed_s(run)


class _Run(NamedTuple):
    """One phase on one link."""

    bytes: list[int]
    """S(0..L), in B."""
    compute: list[float]
    """F(0..L) or B(0..L), in s."""
    startup: float
    """dt, in s."""
    supply: Supply
    """R."""
    start_s: float
    """When it begins, in s."""

    @property
    def layers(self) -> int:
        """Number of layers, L."""
        return len(self.bytes) - 1

    def over(self, time_s: float, nbytes: int) -> float:
        """Return when a message is over that has the link at a time."""
        begin = time_s + self.startup
        return max(begin, self.supply.time_of(self.supply.until(begin) + nbytes)) if nbytes else begin

    @property
    def cuts_down(self) -> list[int]:
        """Cuts worth considering, from the top: a layer without bytes goes with the ones before it."""
        sums = self.bytes
        return [cut for cut in range(self.layers - 1, -1, -1) if not cut or sums[cut + 1] > sums[cut]]


def _run(
    sizes: Iterable[int],
    compute_s: Iterable[float],
    startup_s: float,
    rate: Series,
    start_s: float,
    base_Bps: float,
) -> _Run:
    told = list(sizes)
    times = phase(told, compute_s, startup_s)
    if not 0.0 <= start_s < math.inf:
        raise PlanningError(f"a phase that starts at {start_s} s: give a time of 0 s or more")
    run = _Run(
        list(accumulate(told, initial=0)), times.compute, times.startup, Supply(rate, base_Bps), start_s
    )
    if run.over(start_s, run.bytes[-1]) == math.inf:
        raise PlanningError(
            f"{run.bytes[-1]} B from {start_s} s on never arrive: the forecast rate ends at 0 B/s; "
            "give a rate above 0 at its end, or a period"
        )
    return run


def _exposed_s(run: _Run, cuts: tuple[int, ...]) -> float:
    """Return what computing does not hide, in s: the largest arrival less F of the cut before."""
    worst, now, previous = 0.0, run.start_s, 0
    for cut in cuts:
        now = run.over(now, run.bytes[cut] - run.bytes[previous])
        worst = max(worst, now - run.start_s - run.compute[previous])
        previous = cut
    return worst


def _sent_s(run: _Run, cuts: tuple[int, ...]) -> float:
    """Return when the last message of a backward phase is over, from its start, in s."""
    now, total = run.start_s, run.compute[-1]
    for low, high in reversed([*pairwise((0, *cuts))]):
        ready = run.start_s + total - run.compute[low]
        now = run.over(max(now, ready), run.bytes[high] - run.bytes[low])
    return now - run.start_s


def _merged(
    run: _Run, cuts: tuple[int, ...], cost_s: Callable[[_Run, tuple[int, ...]], float]
) -> tuple[int, ...]:
    """Return the cuts without those that save nothing. O(M^2 log steps) a round for M cuts; mostly two."""
    least = cost_s(run, cuts)
    before = 0
    while len(cuts) != before:
        before = len(cuts)
        for cut in cuts[:-1]:
            fewer = tuple(other for other in cuts if other != cut)
            if cost_s(run, fewer) <= least:
                cuts = fewer
    return cuts


def _least_exposed_s(run: _Run) -> float:
    """Return a bound: layer l cannot be computed before layers 1..l have come in one message."""
    begin = run.start_s + run.startup
    sent = run.supply.until(begin)
    arrivals = (max(begin, run.supply.time_of(sent + total)) for total in run.bytes[1:])
    return max([0.0, *[end - run.start_s - done for end, done in zip(arrivals, run.compute, strict=False)]])


def _least_sent_s(run: _Run) -> float:
    """Return a bound: layers 1..l are sent when the backward pass of layer l is over, or later."""
    total = run.compute[-1]
    ends = (run.over(run.start_s + total - run.compute[cut], run.bytes[cut + 1]) for cut in range(run.layers))
    return max(ends) - run.start_s


def _within(run: _Run, theta: float) -> tuple[tuple[int, ...], float]:
    """Return cuts that expose at most theta s, or none, and the least budget that could change that."""
    sums, supply, layers = run.bytes, run.supply, run.layers
    ends = [run.start_s] + [math.inf] * layers
    below = [0] * (layers + 1)
    open_: list[tuple[float, int, float, int]] = []
    following = math.inf
    previous = 0
    for cut in [*reversed(run.cuts_down), layers][1:]:
        begin = ends[previous] + run.startup
        lost = supply.until(begin) - sums[previous]
        due = run.start_s + theta + run.compute[previous]
        reach = bisect_right(sums, supply.until(due) - lost) - 1 if begin <= due else 0
        if reach < layers:
            beyond = max(begin, supply.time_of(lost + sums[max(reach, previous) + 1]))
            following = min(following, beyond - run.start_s - run.compute[previous])
        heappush(open_, (lost, previous, begin, reach))
        while open_ and open_[0][3] < cut:
            heappop(open_)
        if not open_:
            return (), max(following, math.nextafter(theta, math.inf))
        lost, below[cut], begin, _ = open_[0]
        ends[cut] = max(begin, supply.time_of(lost + sums[cut]))
        previous = cut
    return _downwards(below, layers), following


def _downwards(below: list[int], layers: int) -> tuple[int, ...]:
    cuts = [layers]
    while below[cuts[-1]]:
        cuts.append(below[cuts[-1]])
    return tuple(reversed(cuts))


def _upwards(above: list[int], layers: int) -> tuple[int, ...]:
    cuts = [above[0]]
    while cuts[-1] < layers:
        cuts.append(above[cuts[-1]])
    return tuple(cuts)
