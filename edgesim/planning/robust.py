"""One common plan for unlike workers, or for a bandwidth that is not known: the least worst case, exactly.

Legend: L layers, S scenarios (phases with the same layers); P, F a scenario's prefix sums of transfer and
compute, dt its start-up; T_s(cuts) its makespan, T_s* the least.

What scenario s asks of cuts within a value v is the threshold of `threshold`: every message m from k to k'
keeps (m dt_s + P_s(k') - F_s(k) + F_s(L)) / w_s <= v. The farthest k' that all scenarios allow never shrinks
when k grows, so the greedy that goes there is exact for the worst case over the scenarios as it is for one:
cuts within v exist if and only if it comes to L. With w_s = T_s* the value is the regret, with w_s = 1 the
makespan. Every rounding in the expression is monotone, so the test is exact for floats too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edgesim.planning import threshold
from edgesim.planning.cost import Phase, PlanningError, makespan_s

FACTORS = (0.5, 1.0, 2.0)
"""Bandwidths to be ready for, as shares of the one believed: half of it, itself, and twice as much."""


def plan_min_max(phases: Sequence[Phase], *, relative: bool = True) -> tuple[int, ...]:
    """Return the cuts whose worst case over all scenarios is least.

    The worst case is the largest regret T_s(cuts) / T_s* - 1, or with `relative=False` the largest makespan.
    Exact; see `worst_regret` for what it comes to. Bisects the value between that of no cuts at all and that
    of the best plan made for one scenario, snapping to values at which something changes, as `threshold`
    does; a test is O(S L). Raises `PlanningError` for no scenarios and for scenarios of unlike models.

    >>> from edgesim.planning.cost import phase
    >>> slow, fast = phase([6] * 4, [2] * 4, 1), phase([1.5] * 4, [2] * 4, 1)
    >>> plan_min_max([slow]), plan_min_max([fast]), plan_min_max([slow, fast])
    ((3, 4), (2, 4), (2, 3, 4))
    """
    own = [threshold.best_cuts(one) for one in checked(phases)]
    weights = [makespan_s(one, cuts) if relative else 1.0 for one, cuts in zip(phases, own, strict=True)]
    views = [(one, weight) for one, weight in zip(phases, weights, strict=True) if weight > 0.0]
    if not views:
        return own[0]
    best = min(own, key=lambda cuts: _worst(views, cuts))
    high = _worst(views, best)
    low = max(_value(*view, view[0].startup + p - f) for view in views for p, f in _first_steps(view[0]))
    value = low
    while low < high:
        cuts, following = _frontier(views, value)
        if cuts and cuts[-1] == own[0][-1]:
            best, high = cuts, min(_worst(views, cuts), high)
        else:
            low = following
        value = low + (high - low) / 2
        if not low < value < high:
            value = low
    return best


def worst_regret(phases: Sequence[Phase], cuts: Sequence[int]) -> float:
    """Return by how much cuts miss the optimum in the worst scenario, as a share of it.

    >>> from edgesim.planning.cost import phase
    >>> worst_regret([phase([5] * 6, [2] * 6, 1)], (6,))
    0.22857142857142865
    """
    worst = 0.0
    for one in checked(phases):
        best = makespan_s(one, threshold.best_cuts(one))
        if best > 0.0:
            worst = max(worst, makespan_s(one, cuts) / best - 1.0)
    return worst


def scaled(times: Phase, factor: float) -> Phase:
    """Return a phase as it is with `factor` times the bandwidth.

    Raises `PlanningError` for a factor that is not above 0.

    >>> from edgesim.planning.cost import phase
    >>> scaled(phase([4, 1], [2, 5], 1), 2.0).transfer
    [0.0, 2.0, 2.5]
    """
    if not 0.0 < factor < math.inf:
        raise PlanningError(f"a bandwidth times {factor}: give a factor above 0")
    return times._replace(transfer=[time_s / factor for time_s in times.transfer])


def scenarios(times: Phase, factors: Iterable[float] = FACTORS) -> list[Phase]:
    """Return a phase as it is under several bandwidths, each a factor of the one it was made for."""
    return [scaled(times, factor) for factor in factors]


def checked(phases: Sequence[Phase]) -> Sequence[Phase]:
    """Return the scenarios if they are of one model."""
    if not phases:
        raise PlanningError("no scenarios: give at least one phase")
    if len({one.layers for one in phases}) > 1:
        raise PlanningError(f"scenarios of {[one.layers for one in phases]} layers: give phases of one model")
    return phases


def _first_steps(times: Phase) -> Iterable[tuple[float, float]]:
    return zip(times.transfer[1:], times.compute, strict=False)


def _value(times: Phase, weight: float, exposed: float) -> float:
    """Return what exposing so much is worth in one scenario."""
    return (max(exposed, 0.0) + times.compute[-1]) / weight


def _worst(views: Sequence[tuple[Phase, float]], cuts: Sequence[int]) -> float:
    return max(makespan_s(one, cuts) / weight for one, weight in views)


def _frontier(views: Sequence[tuple[Phase, float]], value: float) -> tuple[tuple[int, ...], float]:
    """Return the greedy's cuts within a value, and the least value that would change them."""
    layers = views[0][0].layers
    cuts: list[int] = []
    following = math.inf
    here = 0
    while here < layers:
        count = len(cuts) + 1
        reached = min(_reach(view, count, here, value) for view in views)
        if reached < layers:
            steps = (
                _value(*view, count * view[0].startup + view[0].transfer[reached + 1] - view[0].compute[here])
                for view in views
            )
            following = min(following, max(steps))
        if reached == here:
            break
        cuts.append(reached)
        here = reached
    return tuple(cuts), following


def _reach(view: tuple[Phase, float], count: int, here: int, value: float) -> int:
    """Return the farthest cut that one scenario allows the `count`-th message from a cut."""
    transfer, compute, startup = view[0][:3]
    layers, total, weight = len(transfer) - 1, compute[-1], view[1]
    offset, done = count * startup, compute[here]
    reached = here
    while reached < layers and (max(offset + transfer[reached + 1] - done, 0.0) + total) / weight <= value:
        reached += 1
    return reached
