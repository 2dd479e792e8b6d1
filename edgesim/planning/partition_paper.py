"""Partitions of the literature: devices in their order, and in all methods but `single` each with a stage.

Legend: L layers, N devices = S stages, stage s on device s. T(i, j) is the time of layers i..j on the central
node, D_i the bytes behind layer i, C_s the capacity of device s, B_s the rate of the link behind it.

FTPipeHD (Chen et al., arXiv 2110.02781): dp[j][s] = min over i of max(dp[i][s-1], 2 D_i / B_{s-1},
C_s T(i+1, j)), the least bottleneck of layers 0..j on stages 0..s. Of equal bottlenecks the first i is taken,
from the last stage to the first. O(S L^2), in S steps on L x L arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgesim.plan import Partition
from edgesim.planning.cost import PlanningError
from edgesim.planning.partition_problem import Array, Problem, span_sums


def ftpipehd(given: Problem) -> Partition:
    """Return the paper's partition: least bottleneck of stages and links, capacities known."""
    return _bottleneck("ftpipehd", given, given.capacity_N, _round_trips(given))


def equal_time(given: Problem) -> Partition:
    """Return FTPipeHD's first plan: its program while all devices count as alike; so does the period."""
    return _bottleneck("equal-time", given, np.ones(given.devices), _round_trips(given))


def pipedream(given: Problem) -> Partition:
    """Return PipeDream's straight pipeline, for equal machines behind one rate: the slowest link's.

    A(j, m) = min over i of max(A(i, m-1), 2 a_i / B, T(i+1, j)) (Narayanan et al., SOSP 2019, with m' = 1
    machine a stage: no stage is run by several).
    """
    slowest = given.rate_NN[~np.eye(given.devices, dtype=bool)].min(initial=np.inf)
    alike = np.full(given.devices - 1, slowest)
    return _bottleneck(
        "pipedream", given, np.ones(given.devices), 2.0 * given.bytes_L[:, None] / alike[None, :]
    )


def equal_layers(given: Problem) -> Partition:
    """Return as many layers for each, the first devices one more where it does not come out even."""
    _enough("equal-layers", given)
    base, more = divmod(given.layers, given.devices)
    sizes = [base + (device < more) for device in range(given.devices)]
    return _believed(given, "equal-layers", (np.cumsum(sizes)[:-1] - 1).tolist(), range(given.devices))


def single(given: Problem) -> Partition:
    """Return everything on the first device."""
    return _believed(given, "single", [], [given.first or 0])


def _believed(given: Problem, method: str, points: Sequence[int], order: Sequence[int]) -> Partition:
    made = Partition(points=tuple(points), order=tuple(order), period_s=0.0, method=method)
    return Partition(points=made.points, order=made.order, period_s=given.believed_s(made), method=method)


def _round_trips(given: Problem) -> Array:
    """Return the time of D_l both ways over the link behind device s, (L, N - 1), in s."""
    rate = given.rate_NN
    per_byte = 1.0 / rate.diagonal(1) + 1.0 / rate.diagonal(-1)
    round_trips: Array = given.bytes_L[:, None] * per_byte[None, :]
    return round_trips


def _enough(method: str, given: Problem) -> None:
    if given.layers < given.devices:
        raise PlanningError(
            f"{given.layers} layers on {given.devices} devices: {method} gives each device at least one; "
            f"use method 'exact', which may leave devices out, or at most {given.layers} devices"
        )


def _bottleneck(method: str, given: Problem, capacity_N: Array, link_LN: Array) -> Partition:
    """Return the partition of least max(stage time, link time) with stage s on device s."""
    _enough(method, given)
    layers, work = given.layers, span_sums(given.sums_L, np.inf)  # [i, j]: layers i..j
    best = capacity_N[0] * work[0]
    choice: list[Array] = []
    for stage in range(1, given.devices):
        before = np.maximum(best[:-1], link_LN[:-1, stage - 1])
        cost = np.maximum(before[:, None], capacity_N[stage] * work[1:])  # [i, j]: cut behind layer i
        picked = cost.argmin(axis=0)
        choice.append(picked)
        best = cost[picked, np.arange(layers)]
    points = [layers - 1]
    for picked in reversed(choice):
        points.insert(0, int(picked[points[0]]))
    return Partition(
        points=tuple(points[:-1]),
        order=tuple(range(given.devices)),
        period_s=float(best[-1]),
        method=method,
    )
