"""Parallel intervals on lanes, so that no two of one lane overlap."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush


def assign(intervals: Sequence[tuple[float, float]]) -> list[int]:
    """Return the lane of each half-open interval [start, end), as few lanes as possible, lowest first.

    Greedy by start with the lowest free lane: as many lanes as intervals hold at once, which is optimal
    for interval graphs (Kleinberg and Tardos, Algorithm Design, 4.1). O(n log n).

    >>> assign([(0.0, 2.0), (1.0, 3.0), (2.0, 4.0)])
    [0, 1, 0]
    """
    lanes = [0] * len(intervals)
    running: list[tuple[float, int]] = []
    free: list[int] = []
    used = 0
    for index in sorted(range(len(intervals)), key=lambda i: intervals[i]):
        start, end = intervals[index]
        while running and running[0][0] <= start:
            heappush(free, heappop(running)[1])
        if free:
            lane = heappop(free)
        else:
            lane, used = used, used + 1
        lanes[index] = lane
        heappush(running, (end, lane))
    return lanes
