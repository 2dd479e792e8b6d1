"""How to cut a model into segments that are pulled and pushed one after the other, by name of the strategy.

Legend: L layers. Pulling a model and computing it forward is one phase; computing it backward and pushing the
gradients is another. The aggregation barrier of synchronous training lies between them, so each is planned
alone. Read backwards in time, a backward phase is a forward phase with the same cuts and the same makespan:
one planner serves both.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgesim.plan import Segmentation
from edgesim.planning import dp
from edgesim.planning.cost import Phase, PlanningError, makespan_s, phase
from edgesim.planning.schedules import Phased, pick


def plan(
    pull_s: Iterable[float],
    forward_s: Iterable[float],
    startup_s: float,
    method: str = "dynacomm",
    *,
    sizes: Iterable[int] | None = None,
) -> Segmentation:
    """Return the segments in which to pull L layers while computing them forward.

    `pull_s` and `forward_s` are L times in s, in forward order; `startup_s` is the start-up cost in s that
    every message pays on the link; `sizes`, L numbers of bytes, are for strategies that fill buckets.
    `method` is the name of a phased schedule, or the import path of one's own (`schedules.pick`); `dynacomm`
    is optimal under the model of `cost`, the others are rivals. Raises `PlanningError` (a `ValueError`) for
    input that is no list of times, an unknown method, and one without phases.

    >>> plan([4, 1, 3, 2], [2, 5, 1, 3], startup_s=1)
    Segmentation(cuts=(2, 4), makespan_s=17.0, method='dynacomm')
    >>> plan([4, 1, 3, 2], [2, 5, 1, 3], startup_s=1, method="sequential").makespan_s
    22.0
    """
    return _planned(phase(pull_s, forward_s, startup_s, sizes=sizes), method)


def plan_backward(
    backward_s: Iterable[float],
    push_s: Iterable[float],
    startup_s: float,
    method: str = "dynacomm",
    *,
    sizes: Iterable[int] | None = None,
) -> Segmentation:
    """Return the segments in which to push the gradients of L layers while computing L..1 backward.

    `backward_s` and `push_s` are L times in s, in *forward* order, and so are the cuts: the last segment is
    sent first, when the backward pass of its lowest layer is done. Otherwise as `plan`.

    >>> plan_backward([2, 5, 1, 3], [4, 1, 3, 2], startup_s=1).cuts
    (2, 4)
    """
    return _planned(phase(push_s, backward_s, startup_s, sizes=sizes, backward=True), method)


def _planned(times: Phase, method: str) -> Segmentation:
    schedule = ORACLES.get(method) or pick(method)
    if not isinstance(schedule, Phased):
        raise PlanningError(
            f"schedule {method!r} knows no phases, so it has no cuts: "
            f"edgesim.planning.schedules.pick({method!r}).split(costs) returns its messages"
        )
    cuts = schedule.cut(times)
    return Segmentation(cuts=cuts, makespan_s=makespan_s(times, cuts), method=method)


ORACLES: dict[str, Phased] = {"dynacomm-dp": Phased(dp.best_cuts)}
"""Slow strategies for checks and benchmarks, known to `plan` too but no schedule to train with."""
