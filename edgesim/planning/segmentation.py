"""How to cut a model into segments that are pulled and pushed one after the other, by name of the strategy.

Legend: L layers. Pulling a model and computing it forward is one phase; computing it backward and pushing the
gradients is another. The aggregation barrier of synchronous training lies between them, so each is planned
alone. Read backwards in time, a backward phase is a forward phase with the same cuts and the same makespan:
one planner serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgesim.plan import Segmentation
from edgesim.planning import dp, threshold
from edgesim.planning.cost import Phase, PlanningError, exposed_s, makespan_s, phase

Strategy = Callable[[Phase], tuple[int, ...]]
"""From the times of a phase to its cuts, 1-based last layer of each segment."""


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
    `dynacomm` is optimal under the model of `cost`; the others are rivals, see `SCHEDULES`. Raises
    `PlanningError` (a `ValueError`) for input that is no list of times, or an unknown method.

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
    cuts = _pick(method)(times)
    return Segmentation(cuts=cuts, makespan_s=makespan_s(times, cuts), method=method)


def sequential(times: Phase) -> tuple[int, ...]:
    """Return one segment: all of the model, then all of the computing (the plain parameter server)."""
    return (times.layers,)


def layer_by_layer(times: Phase) -> tuple[int, ...]:
    """Return a segment a layer (wait-free back-propagation; Poseidon, Zhang et al., USENIX ATC 2017)."""
    return tuple(range(1, times.layers + 1))


def ibatch(times: Phase) -> tuple[int, ...]:
    """Return greedily batched segments: our reconstruction of iBatch (Wang et al., AAAI 2019).

    The published rule is not given in full. Here: for every first cut, take again and again the farthest next
    cut whose transfer is hidden by the computing already received; if there is none, a single layer; keep the
    best of these L runs. Gradients are batched in the same way, mirrored in time (iPart, IEEE TPDS 2021).
    O(L^2).
    """
    runs = (_greedy_run(times, first) for first in range(1, times.layers + 1))
    return min(runs, key=lambda cuts: exposed_s(times, cuts))


def _greedy_run(times: Phase, first: int) -> tuple[int, ...]:
    transfer, compute, startup = times[:3]
    cuts = [first]
    done = startup + transfer[first] + compute[first]
    while cuts[-1] < times.layers:
        here = cuts[-1]
        arrival = (len(cuts) + 1) * startup
        cut = here + 1
        while cut < times.layers and arrival + transfer[cut + 1] <= done:
            cut += 1
        done = max(done, arrival + transfer[cut]) + compute[cut] - compute[here]
        cuts.append(cut)
    return tuple(cuts)


SCHEDULES: dict[str, Strategy] = {
    "dynacomm": threshold.best_cuts,
    "sequential": sequential,
    "layer-by-layer": layer_by_layer,
    "ibatch": ibatch,
}
"""Every strategy by name."""

ORACLES: dict[str, Strategy] = {"dynacomm-dp": dp.best_cuts}
"""Slow strategies for checks and benchmarks, known to `plan` too but no schedule to train with."""


def _pick(method: str) -> Strategy:
    strategy = SCHEDULES.get(method) or ORACLES.get(method)
    if strategy is None:
        raise PlanningError(f"unknown schedule {method!r}{_hint(method)}; known: {', '.join(SCHEDULES)}")
    return strategy


def _hint(method: object) -> str:
    from difflib import get_close_matches  # only a misspelt name pays for loading it

    close = get_close_matches(str(method), SCHEDULES, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
