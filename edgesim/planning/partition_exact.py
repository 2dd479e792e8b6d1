"""The partition of least exact period: over the order of devices, memory, and devices that may be left out.

Legend: L layers, N devices, S stages, K_s = S - s; t_s and c_s as in `pipeline_period`; a set of devices is a
bit mask. Beyond the paper, which keeps the order, uses every device, and hides links behind K_s batches.

A period T is attained iff for all stages s..r sum (t - T) + sum c <= 0. Seen from the front, a row of stages
has the head excess A_s = (t_s - T) + max(0, c_s + A_{s+1}), and T is attained iff no A_s is above 0 and no
direction of a link takes longer than T. A smaller A_{s+1} is never worse, so of all rows that use the same
set of devices, begin with the same device and end the same layers, the least A is enough: a program over
(set, device, layer), from the last stage to the first. How many devices a row has says its K_s, and so its
memory. T is found by bisection, each T that is attained replaced by the exact period of the plan found.

A copy of the weights of the stage before is no property of the row: where copies are held, the program
without them bounds a depth-first search with them, which remembers from where it failed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from edgesim.plan import Partition
from edgesim.planning.cost import PlanningError
from edgesim.planning.partition_problem import Array, Problem, span_sums

TOLERANCE = 1e-9
"""How much shorter than the period found another could still be, relative to it."""
ROUNDING = 1e-12
"""Share of the period by which an excess may be above 0."""
MOST_DEVICES = 12
"""Time and memory double with each further device."""


def exact(given: Problem) -> Partition:
    """Return the partition of least exact period under strict 1F1B with K_s = S - s.

    Of equally good ones that with the fewest devices, then of the lowest devices, then in the lowest order,
    then with the fewest layers in front, the last two decided stage by stage. O(2^N N L (N + L)) for each of
    some 15 periods that are tried.
    """
    if given.devices > MOST_DEVICES:
        raise PlanningError(
            f"{given.devices} devices: exact plans for {MOST_DEVICES} at most; leave some out or use ftpipehd"
        )
    if not given.optional and given.layers < given.devices:
        raise PlanningError(
            f"{given.layers} layers on {given.devices} devices: each needs one; allow devices to be left out"
        )
    search = _Search(given)
    best = search.attained(search.enough_s)
    if best is None:
        raise PlanningError(_nothing_fits(given))
    low, verify = search.least_s, False
    while low < best.period_s * (1.0 - TOLERANCE):
        close = verify and best.period_s - low < 1e-3 * best.period_s
        period = best.period_s * (1.0 - TOLERANCE) if close else (low + best.period_s) / 2.0
        found = search.attained(period)
        low, best = (period, best) if found is None else (low, found)
        verify = not close or found is None
    return search.attained(best.period_s) or best


@dataclass(frozen=True)
class _Search:
    """One problem, and what of it does not depend on the period."""

    given: Problem

    @cached_property
    def stage_KNLL(self) -> Array:
        """Time of layers l..e on device d as the first of K stages, [K - 1, d, l, e], in s.

        inf where there are no layers, or memory lacks.
        """
        given, memory = self.given, self.given.memory
        times = given.capacity_N[:, None, None] * span_sums(given.sums_L, math.inf)
        if memory is None:
            return np.broadcast_to(times, (given.devices, *times.shape))
        windows = range(1, given.devices + 1)
        return np.stack([np.where(memory.fits_NLL(window), times, math.inf) for window in windows])

    @cached_property
    def twins(self) -> tuple[tuple[int, ...], ...]:
        """Devices before each device with which it could change places unnoticed."""
        given, devices = self.given, range(self.given.devices)
        return tuple(
            tuple(a for a in range(b) if given.first not in (a, b) and self._alike(a, b)) for b in devices
        )

    def _alike(self, a: int, b: int) -> bool:
        given = self.given
        swapped = np.arange(given.devices)
        swapped[[a, b]] = b, a
        limits = given.capacity_N if given.memory is None else given.memory.limit_N
        return bool(
            given.capacity_N[a] == given.capacity_N[b]
            and limits[a] == limits[b]
            and (given.rate_NN[swapped][:, swapped] == given.rate_NN).all()
        )

    @cached_property
    def link_NNL(self) -> tuple[Array, Array]:
        """Round trip, latency included, and longest direction behind layer l between devices, in s."""
        one_way = self.given.bytes_L[None, None] / self.given.rate_NN[:, :, None]
        back = one_way.transpose(1, 0, 2)
        return one_way + back + 2.0 * self.given.latency_s, np.maximum(one_way, back)

    @property
    def enough_s(self) -> float:
        """A period that every plan attains, in s."""
        links = self.link_NNL[0][..., :-1].max(axis=(0, 1)).sum()
        return float(self.given.sums_L[-1] * self.given.capacity_N.max() + links) * (1.0 + TOLERANCE)

    @property
    def least_s(self) -> float:
        """A period that no plan beats: all work shared by speed, and the longest layer, in s."""
        sums, capacity = self.given.sums_L, self.given.capacity_N
        return float(max(sums[-1] / (1.0 / capacity).sum(), np.diff(sums).max() * capacity.min()))

    def sets(self) -> Iterator[tuple[int, ...]]:
        """Yield the sets of devices that a plan may use, the preferred ones first; of twins the lower."""
        given = self.given
        for size in range(1 if given.optional else given.devices, min(given.devices, given.layers) + 1):
            for devices in combinations(range(given.devices), size):
                lowest = all(twin in devices for device in devices for twin in self.twins[device])
                if lowest and (given.first is None or given.first in devices):
                    yield devices

    def attained(self, period: float) -> Partition | None:
        """Return the preferred plan that attains a period, with its own; None if there is none."""
        excess = _excess(self, period)
        walk = _Walk(self, excess, period)
        for devices in self.sets():
            mask = sum(1 << device for device in devices)
            for head in devices if self.given.first is None else (self.given.first,):
                if excess[mask, head, 0] < math.inf and not any(twin in devices for twin in self.twins[head]):
                    found = walk.from_head(mask, head)
                    if found is not None:
                        made = replace(found, period_s=self.given.exact_s(found))
                        assert made.period_s <= period * (1.0 + TOLERANCE / 2.0), (made, period)
                        return made
        return None


def _excess(search: _Search, period: float) -> Array:
    """Return the least head excess of a row of stages, [set, its first device, its first layer], in s.

    inf: the row cannot keep the period. Rows of k devices are made from those of k - 1.
    """
    given = search.given
    count, layers = given.devices, given.layers
    excess = np.full((1 << count, count, layers), math.inf)
    round_trip, one_way = search.link_NNL
    link = np.where(one_way <= period * (1.0 + ROUNDING), round_trip, math.inf)[..., :-1]
    for size in range(1, min(count, layers) + 1):
        for head in range(count):
            others = [d for d in range(count) if d != head and (head == given.first or d != given.first)]
            rests = np.array(
                [sum(1 << d for d in rest) for rest in combinations(others, size - 1)], dtype=int
            )
            own_LL = search.stage_KNLL[size - 1, head] - period
            if size == 1:
                row = own_LL[None, :, -1]
            else:
                behind = (link[head][None] + excess[rests][:, :, 1:]).min(axis=1, initial=math.inf)
                row = _joined(own_LL[:, :-1], np.maximum(behind, 0.0))
            row = np.where(row <= period * ROUNDING, row, math.inf)
            excess[rests | 1 << head, head] = row
    return excess


def _joined(own_LL: Array, behind_ML: Array) -> Array:
    """Return the least own[l, e] + behind[m, e] over the last layer e, (M, L); in parts, to bound memory."""
    part = max(1, 2_000_000 // own_LL.size)
    rows = [
        (own_LL[None] + behind_ML[i : i + part, None]).min(axis=2) for i in range(0, len(behind_ML), part)
    ]
    return np.concatenate(rows) if rows else np.empty((0, len(own_LL)))


@dataclass(frozen=True)
class _Walk:
    """From the table of least excess to a plan, front to back, with the copies that stages hold."""

    search: _Search
    excess: Array
    period: float
    failed: dict[tuple[int, int, int], list[tuple[float, float, float]]] = field(default_factory=dict)
    """What was tried in vain of (devices left, device, layer): excess, copy and spare as in `_further`."""

    def from_head(self, mask: int, head: int) -> Partition | None:
        """Return the plan whose stage 0 is on a device, of all those of a set; None if copies do not fit."""
        rest = mask & ~(1 << head)
        if not rest:
            return _partition([], [head])
        for device, last, over in self._next(rest, head, 0, 0.0, 0.0):
            spare = self._spare(rest.bit_count(), head, 0, last)
            found = self._further(rest, device, last + 1, over, self._weights(0, last), spare)
            if found is not None:
                return _partition([last, *found[0]], [head, *found[1]])
        return None

    def _further(
        self,
        mask: int,
        device: int,
        first: int,
        over: float,
        copied: float,
        spare: float,
    ) -> tuple[list[int], list[int]] | None:
        """Return points and devices of the rest, begun by a device with a layer, behind an excess `over`.

        `copied` are the bytes of the stage before; `spare` what stage 0 has left for the copy of the last.
        """
        tried = self.failed.setdefault((mask, device, first), [])
        if any(a <= over and b <= copied and c >= spare for a, b, c in tried):
            return None
        rest = mask & ~(1 << device)
        if not rest:
            end = self.search.given.layers - 1
            if self._weights(first, end) <= spare and copied <= self._spare(0, device, first, end):
                return [], [device]
        for then, last, more in self._next(rest, device, first, over, copied) if rest else ():
            weights = self._weights(first, last)
            found = self._further(rest, then, last + 1, more, weights, spare)
            if found is not None:
                return [last, *found[0]], [device, *found[1]]
        tried.append((over, copied, spare))
        return None

    def _next(
        self, rest: int, device: int, first: int, over: float, copied: float
    ) -> Iterator[tuple[int, int, float]]:
        """Yield (next device, last layer of this stage, excess carried on to the next) that can work out."""
        search, period = self.search, self.period
        stages = rest.bit_count()
        own = search.stage_KNLL[stages, device, first, :-1] - period + over
        for then in range(search.given.devices):
            if rest >> then & 1 and not any(rest >> twin & 1 for twin in search.twins[then]):
                link = search.link_NNL[0][device, then, :-1]
                blocked = search.link_NNL[1][device, then, :-1] > period * (1.0 + ROUNDING)
                behind = np.where(blocked, math.inf, link + self.excess[rest, then, 1:])
                good = own + np.maximum(behind, 0.0) <= 2.0 * ROUNDING * period
                for last in np.flatnonzero(good).tolist():
                    if copied <= self._spare(stages, device, first, last):
                        yield then, last, max(0.0, float(own[last] + link[last]))

    def _weights(self, first: int, last: int) -> float:
        """Return what a copy of layers takes, in B; 0 where none are held."""
        memory = self.search.given.memory
        if memory is None or not memory.replicas:
            return 0.0
        return float(memory.weights_LL[first, last])

    def _spare(self, behind: int, device: int, first: int, last: int) -> float:
        """Return what a device has left beside layers first..last, with so many stages behind it, in B."""
        memory = self.search.given.memory
        if memory is None:
            return math.inf
        return float(memory.limit_N[device] - memory.stage_bytes(first, last, behind + 1))


def _partition(points: list[int], order: list[int]) -> Partition:
    return Partition(points=tuple(points), order=tuple(order), period_s=0.0, method="exact")


def _nothing_fits(given: Problem) -> str:
    """Say that no plan fits, and how much there is."""
    memory = given.memory
    assert memory is not None, "without limits every plan attains some period"
    needed = memory.stage_bytes(0, given.layers - 1, 1)
    copies = ", copies of a neighbour's weights included" if memory.replicas else ""
    return (
        f"no plan fits the memory{copies}: all layers on one device hold {needed:.4g} B, the devices have "
        f"{', '.join(f'{one:.4g}' for one in memory.limit_N)} B; "
        "give more memory or devices, or smaller batches"
    )
