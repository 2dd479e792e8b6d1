"""How fast a pipeline can go: its exact steady period, the windows it takes, and bounds.

Legend: S stages, N devices, L layers; K_s the window of stage s, batches that it may have forwarded and not
yet taken backward; t_s a stage's time forward and backward of one batch; c_s that of the link behind it, both
ways.

Strict 1F1B: stage s computes F_0 .. F_{K_s-1}, B_0, F_{K_s}, B_1, ... in this order, each as soon as what it
needs has arrived; what it sends does not hold it up, and each direction of a link carries one message at a
time. Then the steady period is the largest ratio of time to batches over the cycles in which an event waits
for its predecessors. The simple ones are: a stage by itself, a direction of a link by itself, and forward
from s to r and back again, after which s starts batch b + K_s - K_r + 1. A cycle that turns more often has
the time and the batches of several of these together, so its ratio is not larger. Hence the formula, and
hence it does not matter how t_s is divided between forward and backward, nor c_s as long as no single
direction binds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edgesim.planning.cost import PlanningError

SLACK = 1e-9
"""Relative rounding that is forgiven where a time is compared with a multiple of the period."""


class Bounds(NamedTuple):
    """What no partition of the layers over the devices can beat, in s."""

    work_s: float
    """All work, shared by all devices by their speed: total time / sum(1 / C)."""
    layer_s: float
    """The longest layer on the fastest device: max layer * min C."""

    @property
    def period_s(self) -> float:
        """The larger of them, in s."""
        return max(self)


def steady_period(
    stage_s: Iterable[float],
    link_s: Iterable[float | tuple[float, float]],
    windows: Iterable[int] | None = None,
    *,
    latency_s: float = 0.0,
) -> float:
    """Return the exact steady time between two batches under strict 1F1B, in s.

    The largest of the one-way times of the links and, over all stage intervals s..r, of
    (sum t_{s..r} + sum c_{s..r-1}) / (K_s - K_r + 1).

    `stage_s` are S times, forward and backward of one batch; `link_s` S - 1 times of the links between them:
    a number is forward and backward together, half of it each way, a pair is (forward, backward). `windows`
    are K_s, S numbers that must not rise; None: K_s = S - s. `latency_s` is waited once each way and does not
    hold the link. O(S^2).

    Assumes constant times, links that nothing else uses, full duplex, and a run long enough that its
    beginning and end do not count. It is the mean over some batches: up to K_0 of them can take turns in
    being longer and shorter. Raises `PlanningError` for times that are negative or infinite, lengths that do
    not match, and windows that rise, which block each other for ever.

    >>> steady_period([3.0, 3.0], [4.0])
    5.0
    >>> steady_period([3.0, 3.0], [4.0], windows=[4, 1])
    3.0
    """
    stages = _times("stage", stage_s)
    ways = _ways(link_s, len(stages))
    _times("latency", [latency_s])
    c = [forward + backward + 2.0 * latency_s for forward, backward in ways]
    one_way = max((max(way) for way in ways), default=0.0)
    return interval_period_s(stages, c, one_way, sound_windows(windows, len(stages)))


def interval_period_s(
    stage_s: Sequence[float], round_s: Sequence[float], one_way_s: float, windows: Sequence[int]
) -> float:
    """Return the steady period of S stages and S - 1 round trips in s, all of them known to be sound.

    `one_way_s` is the longest that a direction of a link is held by one batch, in s.

    >>> interval_period_s([3.0, 3.0], [4.0], 2.0, [2, 1])
    5.0
    """
    longest = one_way_s
    for first in range(len(stage_s)):
        total = 0.0
        for last in range(first, len(stage_s)):
            total += stage_s[last] + (round_s[last - 1] if last > first else 0.0)
            longest = max(longest, total / (windows[first] - windows[last] + 1))
    return longest


def minimal_windows(
    stage_s: Iterable[float],
    link_s: Iterable[float | tuple[float, float]],
    period_s: float,
    *,
    latency_s: float = 0.0,
) -> tuple[int, ...]:
    """Return the smallest windows with which a pipeline attains a period, S numbers that do not rise.

    K_{S-1} = 1 and K_s = max(K_{s+1}, max over r > s of K_r + ceil((sum t_{s..r} + sum c_{s..r-1}) / T) - 1):
    the formula of `steady_period` solved for K_s, from the last stage to the first. Each K_s is the least of
    all windows that attain the period, so one less anywhere is slower, or blocks. A window costs staleness
    K_s - 1, and K_s versions and activations to hold. Arguments as of `steady_period`; O(S^2).

    Raises `PlanningError` where no windows attain the period, because a stage or link alone takes longer.

    >>> minimal_windows([3.0, 3.0], [4.0], period_s=3.0)
    (4, 1)
    >>> minimal_windows([3.0, 3.0], [4.0], period_s=10.0)
    (1, 1)
    """
    stages = _times("stage", stage_s)
    ways = _ways(link_s, len(stages))
    least = _least_s(stages, ways)
    if not least <= period_s * (1.0 + SLACK) or period_s == math.inf:
        raise PlanningError(
            f"no windows attain a period of {period_s} s: a stage or link takes {least} s by itself; "
            "give at least that"
        )
    if period_s == 0.0 and latency_s > 0.0 and ways:
        raise PlanningError("no windows attain a period of 0 s over links with latency: give more than that")
    windows = [1] * len(stages)
    for first in reversed(range(len(stages) - 1)):
        total = stages[first]
        windows[first] = windows[first + 1]
        for last in range(first + 1, len(stages)):
            total += sum(ways[last - 1]) + 2.0 * latency_s + stages[last]
            due = math.ceil(total / period_s * (1.0 - SLACK)) if period_s else 1
            windows[first] = max(windows[first], windows[last] + due - 1)
    return tuple(windows)


def fitting_windows(
    stage_s: Iterable[float],
    link_s: Iterable[float | tuple[float, float]],
    fits: Callable[[tuple[int, ...]], bool],
    *,
    latency_s: float = 0.0,
) -> tuple[int, ...]:
    """Return the windows of least steady period among those that fit, as small as attain it.

    `fits` is asked of S windows, for example whether the memory holds their versions and activations; where
    some fit, all smaller ones have to. Bisects the period, because minimal windows only shrink as it grows.
    Other arguments as of `steady_period`. Raises `PlanningError` if not even one batch in flight fits.

    >>> fitting_windows([3.0, 3.0], [4.0], fits=lambda windows: sum(windows) <= 4)
    (3, 1)
    """
    stages = _times("stage", stage_s)
    ways = _ways(link_s, len(stages))
    best = (1,) * len(stages)
    if not fits(best):
        raise PlanningError(f"no windows fit {len(stages)} stages, not even one batch in flight: use others")
    high = steady_period(stages, ways, best, latency_s=latency_s)
    low = max(_least_s(stages, ways), SLACK * high)  # where only latency takes time, no window is the widest
    widest = minimal_windows(stages, ways, low, latency_s=latency_s)
    if fits(widest):
        return widest
    while high - low > SLACK * high:
        middle = (low + high) / 2.0
        tried = minimal_windows(stages, ways, middle, latency_s=latency_s)
        if fits(tried):
            best, high = tried, min(middle, steady_period(stages, ways, tried, latency_s=latency_s))
        else:
            low = middle
    return best


def period_bounds(layer_s: Iterable[float], capacity: Iterable[float]) -> Bounds:
    """Return what no partition of these layers over these devices can beat.

    `layer_s` are L forward and backward times on the central node, in s; `capacity` N times C relative to it,
    larger is slower. Links are free in both bounds; where devices may stay unused they hold all the more.

    >>> period_bounds([1.0, 4.0, 2.0], [1.0, 2.0])
    Bounds(work_s=4.666666666666667, layer_s=4.0)
    """
    layers = _times("layer", layer_s)
    speeds = _capacities(capacity)
    return Bounds(sum(layers) / sum(1.0 / c for c in speeds), max(layers) * min(speeds))


def gpipe_makespan(
    forward_s: Iterable[float],
    backward_s: Iterable[float],
    link_forward_s: Iterable[float],
    link_backward_s: Iterable[float],
    micro_batches: int,
) -> float:
    """Return how long GPipe takes for a batch of M micro-batches, in s, exactly.

    All forwards, then all backwards, links as serial stages in between: sum f + sum cf + (M - 1) max(f, cf)
    + sum b + sum cb + (M - 1) max(b, cb). `forward_s` and `backward_s` are S times of a micro-batch in s, the
    links' S - 1 each. The update is not included.

    >>> gpipe_makespan([1.0, 2.0], [2.0, 4.0], [0.5], [0.5], 4)
    28.0
    """
    parts = [_times("forward", forward_s), _times("backward", backward_s)]
    links = [_times("link", link_forward_s, least=0), _times("link", link_backward_s, least=0)]
    for own, between in zip(parts, links, strict=True):
        if len(own) != len(parts[0]) or len(between) != len(own) - 1:
            raise PlanningError(
                f"{len(own)} stages, {len(between)} links: give S times of stages, S - 1 of links"
            )
    if micro_batches < 1:
        raise PlanningError(f"{micro_batches} micro-batches: give at least 1")
    again = micro_batches - 1
    return sum(
        sum(own) + sum(between) + again * max(*own, *between, 0.0)
        for own, between in zip(parts, links, strict=True)
    )


def bubble_share(stages: int, micro_batches: int) -> float:
    """Return the share of GPipe's time in which a stage idles, for S equal stages: (S - 1) / (M + S - 1).

    >>> bubble_share(4, 5)
    0.375
    """
    if stages < 1 or micro_batches < 1:
        raise PlanningError(f"{stages} stages, {micro_batches} micro-batches: give at least 1 of each")
    return (stages - 1) / (micro_batches + stages - 1)


def ideal_gain(capacity: Iterable[float]) -> float:
    """Return how much faster a pipeline gets at best by knowing its devices: (C_max / N) * sum(1 / C).

    Layers that can be divided at will and free links: equal shares take C_max / N of the total, shares by
    speed 1 / sum(1 / C). FTPipeHD's 6.8 for three devices, one of them 10 times slower, is 97 % of it.

    >>> round(ideal_gain([1, 1, 10]), 9), round(ideal_gain([1, 2, 10]), 2), round(ideal_gain([1, 10, 10]), 9)
    (7.0, 5.33, 4.0)
    """
    speeds = _capacities(capacity)
    return max(speeds) / len(speeds) * sum(1.0 / c for c in speeds)


def _least_s(stages: list[float], ways: list[tuple[float, float]]) -> float:
    """Return the least period of any windows: the longest stage or direction of a link, in s."""
    return max(max(stages), max((max(way) for way in ways), default=0.0))


def _times(what: str, given: Iterable[float], least: int = 1) -> list[float]:
    """Return times that are finite and not negative, or say which one is not."""
    try:
        times = [float(value) for value in given]
    except (TypeError, ValueError) as error:
        raise PlanningError(f"{what} times must be numbers in s: {error}") from None
    for index, value in enumerate(times):
        if not 0.0 <= value < math.inf:
            raise PlanningError(f"{what} time {index} is {value}: give a finite time in s, 0 or more")
    if len(times) < least:
        raise PlanningError(f"no {what} times: give at least one")
    return times


def _capacities(given: Iterable[float]) -> list[float]:
    speeds = _times("relative device", given)
    for device, value in enumerate(speeds):
        if value <= 0.0:
            raise PlanningError(f"capacity of device {device} is {value}: give a time relative to 1, above 0")
    return speeds


def _ways(link_s: Iterable[float | tuple[float, float]], stages: int) -> list[tuple[float, float]]:
    """Return the (forward, backward) times of the links between S stages."""
    ways = []
    for link in link_s:
        forward, backward = link if isinstance(link, (tuple, list)) else (link / 2.0, link / 2.0)
        ways.append((forward, backward))
    _times("link", (time for way in ways for time in way), least=0)
    if len(ways) != stages - 1:
        raise PlanningError(f"{len(ways)} links between {stages} stages: give {stages - 1}")
    return ways


def sound_windows(given: Iterable[int] | None, stages: int) -> list[int]:
    """Return the windows of S stages, K_s = S - s without any, or say why they do not work.

    >>> sound_windows(None, 3)
    [3, 2, 1]
    """
    windows = list(range(stages, 0, -1) if given is None else given)
    if len(windows) != stages:
        raise PlanningError(f"{len(windows)} windows for {stages} stages: give one a stage")
    for stage, window in enumerate(windows):
        if window < 1:
            raise PlanningError(f"window of stage {stage} is {window}: give at least 1 batch")
        if stage and window > windows[stage - 1]:
            raise PlanningError(
                f"window of stage {stage} is {window}, that of the stage before {windows[stage - 1]}: "
                "they block each other; give windows that do not rise"
            )
    return windows
