"""Who did what in a stretch of time: unions of intervals per device, traffic per link."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edgesim.report.tables import Tables
from edgesim.timeline import ROUTE_JOIN

Intervals = list[tuple[float, float]]
"""Disjoint half-open intervals in rising order, in s."""


@dataclass(frozen=True, slots=True)
class Activity:
    """When one device computed and when data went in and out of it."""

    compute: Intervals = field(default_factory=list)
    into: Intervals = field(default_factory=list)
    out: Intervals = field(default_factory=list)

    @property
    def transfer(self) -> Intervals:
        """When data went in or out."""
        return union([*self.into, *self.out])

    @property
    def end_s(self) -> float:
        """When it last computed or sent; minus infinity if it did neither."""
        return max((part[-1][1] for part in (self.compute, self.out) if part), default=-math.inf)


def union(intervals: Iterable[tuple[float, float]]) -> Intervals:
    """Return the union of intervals as disjoint ones.

    >>> union([(2.0, 3.0), (0.0, 1.0), (0.5, 1.5)])
    [(0.0, 1.5), (2.0, 3.0)]
    """
    joined: Intervals = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def length(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the sum of the lengths, in s."""
    return math.fsum(end - start for start, end in intervals)


def common(one: Intervals, other: Intervals) -> Intervals:
    """Return where both hold.

    >>> common([(0.0, 2.0)], [(1.0, 3.0), (4.0, 5.0)])
    [(1.0, 2.0)]
    """
    found: Intervals = []
    i = j = 0
    while i < len(one) and j < len(other):
        start, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if start < end:
            found.append((start, end))
        if one[i][1] <= other[j][1]:
            i += 1
        else:
            j += 1
    return found


def outside(inner: Intervals, other: Intervals) -> Intervals:
    """Return where `inner` holds and `other` does not.

    >>> outside([(0.0, 4.0)], [(1.0, 2.0), (3.0, 5.0)])
    [(0.0, 1.0), (2.0, 3.0)]
    """
    found: Intervals = []
    for start, end in inner:
        at = start
        for begin, finish in common([(start, end)], other):
            if begin > at:
                found.append((at, begin))
            at = finish
        if end > at:
            found.append((at, end))
    return found


def activities(tables: Tables, start_s: float, end_s: float) -> dict[str, Activity]:
    """Return what each device did in [start, end), clipped to it, devices in order of first appearance."""
    computing: dict[str, Intervals] = {}
    into: dict[str, Intervals] = {}
    out: dict[str, Intervals] = {}
    inside = tables.between(start_s, end_s)
    for device, first, last in inside.rows("spans", "device", "start_s", "end_s"):
        computing.setdefault(device, []).append((max(first, start_s), min(last, end_s)))
    for source, target, first, last in inside.rows("transfers", "source", "target", "start_s", "end_s"):
        clipped = (max(first, start_s), min(last, end_s))
        out.setdefault(source, []).append(clipped)
        into.setdefault(target, []).append(clipped)
    return {
        name: Activity(union(computing.get(name, ())), union(into.get(name, ())), union(out.get(name, ())))
        for name in {**computing, **out, **into}
    }


def hidden_share(activity: Iterable[Activity]) -> float | None:
    """Return the share of the devices' transfer time in which they computed; None without transfers."""
    chosen = list(activity)
    transfer = math.fsum(length(one.transfer) for one in chosen)
    hidden = math.fsum(length(common(one.transfer, one.compute)) for one in chosen)
    return hidden / transfer if transfer > 0.0 else None


def link_bytes(tables: Tables, during: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return the bytes each link carried in disjoint intervals, a message spread evenly over its time."""
    parts: dict[str, list[float]] = {}
    if not during:
        return {}
    wanted = list(during)
    touching = tables.between(wanted[0][0], wanted[-1][1])
    for start, end, sent, route in touching.rows("transfers", "start_s", "end_s", "sent_bytes", "route"):
        if end <= start:
            continue
        inside = length(common([(start, end)], wanted)) / (end - start)
        for link in route.split(ROUTE_JOIN) if inside else ():
            parts.setdefault(link, []).append(sent * inside)
    return {link: math.fsum(amounts) for link, amounts in parts.items()}
