"""How to divide a model into the stages of a pipeline, by name of the method.

Legend: L layers, N devices, device 0 the central node. All methods are told the same; what each of them looks
at, and what it means by the period, is said with it in `METHODS`. `predicted` measures them all by one rule,
the exact steady period of `pipeline_period.steady_period`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from edgesim.plan import Partition
from edgesim.planning import own, partition_exact, partition_paper
from edgesim.planning.cost import PlanningError
from edgesim.planning.partition_problem import Memory, Problem, Rates, memory_of, problem
from edgesim.planning.pipeline_period import sound_windows, steady_period

__all__ = ["METHODS", "Method", "Partition", "pick", "plan", "predicted", "steady_period"]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to divide a model."""

    make: Callable[[Problem], Partition]
    """From all that is known to the partition."""
    doc: str
    """What it does, in a line."""


METHODS: dict[str, Method] = {
    "ftpipehd": Method(
        partition_paper.ftpipehd, "least bottleneck of stages and links, capacities known (the default)"
    ),
    "equal-time": Method(partition_paper.equal_time, "the same while all devices count as alike"),
    "equal-layers": Method(partition_paper.equal_layers, "as many layers for each device"),
    "pipedream": Method(
        partition_paper.pipedream, "least bottleneck on equal machines behind the slowest link's rate"
    ),
    "single": Method(partition_paper.single, "everything on the first device"),
    "exact": Method(
        partition_exact.exact, "least exact period over order, memory, and devices that may be left out"
    ),
}
"""Every method by name."""


def pick(name: str) -> Method:
    """Return the method of a name.

    >>> pick("single").doc
    'everything on the first device'
    >>> pick("exakt")
    Traceback (most recent call last):
    edgesim.planning.cost.PlanningError: unknown partition 'exakt', did you mean 'exact'?; known: ...
    """
    if name not in METHODS:
        known = tuple(METHODS)
        raise PlanningError(f"unknown partition {name!r}{own.hint(name, known)}; known: {', '.join(known)}")
    return METHODS[name]


def plan(
    layer_s: Iterable[float],
    output_bytes: Iterable[float],
    bandwidth: Rates,
    capacity: Iterable[float],
    method: str = "ftpipehd",
    *,
    memory: Iterable[float | None] | None = None,
    weights: Iterable[float] | None = None,
    activations: Iterable[float] | None = None,
    versions: int | None = None,
    held: int | None = None,
    extra: float = 1.0,
    replicas: bool = False,
    latency_s: float = 0.0,
    first: int | None = 0,
    optional: bool = True,
) -> Partition:
    """Return the partition of L layers over N devices by a method of `METHODS`.

    `layer_s`: L times, forward and backward of a batch on the central node, in s. `output_bytes`: L numbers,
    what crosses a cut behind the layer one way, in B; the last does not matter. `bandwidth`, in B/s: one
    rate; N - 1 rates between consecutive devices, of which those that lie apart get the least in between; or
    an N x N matrix, row sends to column, its diagonal without effect. `capacity`: N times relative to the
    central node's, larger is slower.

    `memory`: N limits in B, None for enough, with `weights` and `activations`, L numbers in B each. Stage s
    holds (`versions` + `extra`) times its weights and `held` times its activations, both K_s = S - s unless
    given; with `replicas` also the weights of the stage before, and the first stage those of the last.
    `exact` plans by it; another method that breaks it is an error.

    Only `exact` looks at `latency_s` (one way, in s), at `optional` (whether devices may be left out), and
    chooses an order, in which stage 0 is device `first` (None: any); all others use every device in the order
    given but `single`, which takes `first`.

    Raises `PlanningError` for values that are no times, rates or bytes, lengths that do not match, fewer
    layers than devices where each needs one, and where nothing fits the memory.

    >>> plan([1.0, 4.0, 2.0], [10, 10, 10], 100, [1.0, 2.0])
    Partition(points=(1,), order=(0, 1), period_s=5.0, method='ftpipehd')
    """
    chosen = pick(method)
    given = problem(
        layer_s, output_bytes, bandwidth, capacity, latency_s=latency_s, first=first, optional=optional
    )
    holds = None
    if memory is None and (weights is not None or activations is not None):
        raise PlanningError("weights or activations without memory: give the limits, N numbers in B or None")
    if memory is not None:
        checked = memory_of(memory, weights, activations, given.layers, given.devices)
        holds = replace(checked, versions=versions, held=held, extra=extra, replicas=replicas)
    made = chosen.make(replace(given, memory=holds))
    return _fitting(made, holds)


def predicted(
    partition: Partition,
    layer_s: Iterable[float],
    output_bytes: Iterable[float],
    bandwidth: Rates,
    capacity: Iterable[float],
    windows: Sequence[int] | None = None,
    latency_s: float = 0.0,
) -> float:
    """Return the exact steady period of any partition under strict 1F1B, in s: one measure for all methods.

    Arguments as of `plan`; `windows` and assumptions as of `steady_period`.

    >>> costs = [1.0, 4.0, 2.0], [200, 200, 200], 100, [1.0, 2.0]
    >>> made = plan(*costs)
    >>> made.period_s, predicted(made, *costs)
    (5.0, 6.5)
    """
    given = problem(layer_s, output_bytes, bandwidth, capacity, latency_s=latency_s)
    if partition.points and partition.points[-1] >= given.layers - 1:
        raise PlanningError(f"points {partition.points} do not divide {given.layers} layers: plan for these")
    if not set(partition.order) <= set(range(given.devices)):
        raise PlanningError(f"order {partition.order} is not one of {given.devices} devices: plan for these")
    return given.exact_s(partition, sound_windows(windows, len(partition.order)))


def _fitting(made: Partition, holds: Memory | None) -> Partition:
    """Return a partition that fits the memory, or say what does not."""
    lacks = holds.lacking(made) if holds else ""
    if lacks:
        raise PlanningError(
            f"the partition of {made.method} does not fit: {lacks}; give more memory or use method 'exact'"
        )
    return made
