"""What a partition is planned from, checked once, and what any partition costs by it.

Legend: L layers, N devices, S stages; C_i the time of device i relative to the central node's, larger is
slower; D_l the bytes that cross a cut behind layer l, one way; B[a, b] the rate from device a to b.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgesim.plan import Partition
from edgesim.planning.cost import PlanningError
from edgesim.planning.pipeline_period import interval_period_s

Array: TypeAlias = npt.NDArray[np.float64]
Rates: TypeAlias = float | Sequence[float] | Sequence[Sequence[float]] | Array


def span_sums(sums: Array, none: float) -> Array:
    """Return the sums of items i..j, [i, j], from L + 1 prefix sums; `none` where j < i.

    >>> span_sums(np.array([0.0, 1.0, 3.0]), math.inf).tolist()
    [[1.0, 3.0], [inf, 2.0]]
    """
    spans = sums[None, 1:] - sums[:-1, None]
    spans[np.tril_indices(len(spans), -1)] = none
    return np.asarray(spans)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the stages of a pipeline hold, and how much the devices have."""

    limit_N: Array
    """Memory of each device, in B; inf: enough."""
    weights_L: Array
    """Parameters of each layer, in B."""
    activations_L: Array
    """What one batch in flight holds of each layer from its forward to its backward pass, in B."""
    versions: int | None = None
    """Versions of the weights that a stage holds; None: one for each batch of its window, K_s."""
    held: int | None = None
    """Batches whose activations a stage holds; None: K_s."""
    extra: float = 1.0
    """Further bytes for each byte of weights: 1 for gradients, 1 more with momentum."""
    replicas: bool = False
    """Whether a stage also holds a copy of the weights of the stage before, and the first of the last."""

    def stage_bytes(self, first: int, last: int, window: int) -> float:
        """Return what 0-based layers first..last hold under a window, without a replica, in B."""
        versions = window if self.versions is None else self.versions
        held = window if self.held is None else self.held
        weights, activations = self.weights_LL[first, last], self.activations_LL[first, last]
        return float((versions + self.extra) * weights + held * activations)

    @cached_property
    def weights_LL(self) -> Array:
        """Parameters of layers first..last, [first, last], in B; 0 where there are none."""
        return span_sums(np.cumsum([0.0, *self.weights_L]), 0.0)

    @cached_property
    def activations_LL(self) -> Array:
        """Activations of layers first..last, likewise, in B."""
        return span_sums(np.cumsum([0.0, *self.activations_L]), 0.0)

    def fits_NLL(self, window: int) -> npt.NDArray[np.bool_]:
        """Return whether a device holds layers first..last under a window, [device, first, last]."""
        versions = window if self.versions is None else self.versions
        held = window if self.held is None else self.held
        bytes_LL = (versions + self.extra) * self.weights_LL + held * self.activations_LL
        return np.asarray(bytes_LL[None] <= self.limit_N[:, None, None])

    def bytes_S(self, partition: Partition) -> tuple[float, ...]:
        """Return what each stage of a partition holds with K_s = S - s, replica included, in B."""
        stages = partition.stages(len(self.weights_L))
        own = [self.stage_bytes(one[0], one[-1], len(stages) - s) for s, one in enumerate(stages)]
        if not self.replicas or len(stages) == 1:
            return tuple(own)
        weights = [float(self.weights_LL[one[0], one[-1]]) for one in stages]
        return tuple(one + weights[s - 1] for s, one in enumerate(own))

    def lacking(self, partition: Partition) -> str:
        """Return what a partition lacks in words, nothing if it fits."""
        for stage, (held, device) in enumerate(zip(self.bytes_S(partition), partition.order, strict=True)):
            if held > self.limit_N[device]:
                return f"stage {stage} holds {held:.4g} B, device {device} has {self.limit_N[device]:.4g} B"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Everything that a planner of partitions may look at."""

    sums_L: Array
    """Prefix sums of the layers' times on the central node, in s; L + 1 numbers from 0."""
    bytes_L: Array
    """D_l, in B."""
    rate_NN: Array
    """B, row sends to column, in B/s."""
    capacity_N: Array
    """C_i."""
    latency_s: float = 0.0
    """What a message waits without holding the link, one way, in s; known to the exact model only."""
    memory: Memory | None = None
    """None: enough everywhere."""
    first: int | None = 0
    """Device that has to be stage 0; None: any. For planners that choose the order."""
    optional: bool = True
    """Whether planners that choose the order may leave devices out."""

    @property
    def layers(self) -> int:
        """Number of layers, L."""
        return len(self.bytes_L)

    @property
    def devices(self) -> int:
        """Number of devices, N."""
        return len(self.capacity_N)

    def stage_s(self, partition: Partition) -> list[float]:
        """Return the times of the stages, forward and backward, in s."""
        work = [self.sums_L[one[-1] + 1] - self.sums_L[one[0]] for one in partition.stages(self.layers)]
        return [float(self.capacity_N[d] * w) for d, w in zip(partition.order, work, strict=True)]

    def ways_s(self, partition: Partition) -> list[tuple[float, float]]:
        """Return how long a batch holds each link behind a stage, (forward, backward), in s."""
        rate, order = self.rate_NN, partition.order
        return [
            (float(self.bytes_L[p] / rate[a, b]), float(self.bytes_L[p] / rate[b, a]))
            for p, a, b in zip(partition.points, order, order[1:], strict=False)
        ]

    def believed_s(self, partition: Partition) -> float:
        """Return the period in the cost model of the paper, max(stage time, 2 D / B), in s."""
        return max([*self.stage_s(partition), *(sum(way) for way in self.ways_s(partition))])

    def exact_s(self, partition: Partition, windows: Sequence[int] | None = None) -> float:
        """Return the exact period of strict 1F1B with sound windows, K_s = S - s without, in s."""
        ways, count = self.ways_s(partition), len(partition.order)
        round_s = [forward + backward + 2.0 * self.latency_s for forward, backward in ways]
        one_way = max((max(way) for way in ways), default=0.0)
        chosen = list(range(count, 0, -1) if windows is None else windows)
        return interval_period_s(self.stage_s(partition), round_s, one_way, chosen)


def problem(
    layer_s: Iterable[float],
    output_bytes: Iterable[float],
    bandwidth: Rates,
    capacity: Iterable[float],
    *,
    latency_s: float = 0.0,
    memory: Memory | None = None,
    first: int | None = 0,
    optional: bool = True,
) -> Problem:
    """Check what a partition is planned from; arguments as of `partition.plan`, errors too.

    >>> problem([1, 2], [8, 8], 4, [1, 1]).rate_NN[0].tolist()
    [inf, 4.0]
    """
    layers = _numbers("time of layer", layer_s, "a finite time in s, 0 or more", 0.0)
    outputs = _numbers("output of layer", output_bytes, "bytes, 0 or more", 0.0)
    devices = _numbers("capacity of device", capacity, "a time relative to the central node, above 0")
    if len(outputs) != len(layers):
        raise PlanningError(f"{len(layers)} layers but {len(outputs)} outputs: give one of each a layer")
    if not 0.0 <= latency_s < math.inf:
        raise PlanningError(f"latency is {latency_s}: give a finite time in s, 0 or more")
    if first is not None and not 0 <= first < len(devices):
        raise PlanningError(f"first is device {first}: there are 0 to {len(devices) - 1}")
    rates = _rates(bandwidth, len(devices))
    with np.errstate(over="ignore"):
        longest = layers.sum() * devices.max() + 2.0 * (outputs / rates.min() + latency_s).sum()
    if not longest < math.inf:
        raise PlanningError("the times of layers and links add up to infinity: give s, B and B/s")
    return Problem(
        sums_L=np.concatenate(([0.0], np.cumsum(layers))),
        bytes_L=outputs,
        rate_NN=rates,
        capacity_N=devices,
        latency_s=float(latency_s),
        memory=memory,
        first=first,
        optional=optional,
    )


def memory_of(
    limits: Iterable[float | None],
    weights: Iterable[float] | None,
    activations: Iterable[float] | None,
    layers: int,
    devices: int,
) -> Memory:
    """Check limits of memory in B, None for enough, and what L layers hold; nothing without figures.

    >>> memory_of([10, None], [1, 2, 3], None, 3, 2).stage_bytes(1, 2, window=2)
    15.0
    """
    limit = _numbers(
        "memory of device",
        (math.inf if one is None else one for one in limits),
        "bytes, 0 or more",
        0.0,
        math.inf,
    )
    if weights is None and activations is None:
        raise PlanningError("memory without weights or activations: give what the layers hold, L bytes each")
    nothing = [0.0] * layers
    held = _numbers("weights of layer", nothing if weights is None else weights, "bytes, 0 or more", 0.0)
    active = _numbers(
        "activations of layer", nothing if activations is None else activations, "bytes, 0 or more", 0.0
    )
    for what, values, due in [
        ("memory limits", limit, devices),
        ("weights", held, layers),
        ("activations", active, layers),
    ]:
        if len(values) != due:
            raise PlanningError(f"{len(values)} {what}: give {due}")
    return Memory(limit_N=limit, weights_L=held, activations_L=active)


def _numbers(
    what: str, given: Iterable[float], due: str, least: float | None = None, most: float | None = None
) -> Array:
    """Return finite numbers of at least `least`, or above 0; with `most`, up to it and itself."""
    try:
        values = np.array([float(value) for value in given])
    except (TypeError, ValueError) as error:
        raise PlanningError(f"{what}: {error}; give {due}") from None
    if not len(values):
        raise PlanningError(f"no {what}: give at least one")
    good = (values > 0.0) if least is None else (values >= least)
    good &= (values < math.inf) if most is None else (values <= most)
    if not good.all():
        index = int(np.argmin(good))
        raise PlanningError(f"{what} {index} is {values[index]}: give {due}")
    return values


def _rates(given: Rates, devices: int) -> Array:
    """Return the rate from each device to each, in B/s, from one rate, a chain of them, or a matrix."""
    try:
        rates = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PlanningError(f"bandwidth: {error}; give rates in B/s") from None
    forms = f"one rate, {devices - 1} between consecutive devices, or a {devices} x {devices} matrix"
    if rates.shape == (devices - 1,):
        full = np.full((devices, devices), math.inf)
        for a in range(devices):
            full[a, a + 1 :] = full[a + 1 :, a] = np.minimum.accumulate(rates[a:])
    elif rates.ndim == 0:
        full = np.full((devices, devices), float(rates))
    elif rates.shape == (devices, devices):
        full = rates.copy()
    else:
        raise PlanningError(f"bandwidth has shape {rates.shape}: give {forms}")
    np.fill_diagonal(full, math.inf)
    if not (full > 0.0).all():
        a, b = np.argwhere(~(full > 0.0))[0].tolist()
        raise PlanningError(f"bandwidth from device {a} to {b} is {full[a, b]}: give a rate in B/s above 0")
    return full
