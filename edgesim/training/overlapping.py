"""Plans without a barrier, chosen before the run: common to all workers, however unlike they are.

A schedule without a barrier plans from the costs of one worker. Where workers are unlike, contend for links
or have several servers, those of several workers are candidates, and a schedule that adapts rehearses them
and takes the best; if its own way with the barrier is shorter still, it keeps the barrier.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import inf

from edgesim.cluster import Cluster
from edgesim.plan import QueuePlan
from edgesim.planning.overlap_model import period_s
from edgesim.planning.schedules import SCHEDULES, Queued, is_built_in
from edgesim.training.config import Config
from edgesim.training.expectation import Outlook, Outlooks, Plans, entangled, predicted_s, shared
from edgesim.training.parts import Placement
from edgesim.training.rehearsal import SETTLING, Stage, choose, stage

WITH_BARRIER = "dynacomm"
"""The schedule with a barrier that one without must not be slower than."""
MANY = 1000
"""Iterations of a run without a declared number: the first counts for nothing."""
KINDS = 3
"""Most unlike workers whose costs are planned from, the slowest ones."""
REHEARSED_MESSAGES = 60_000
"""Most messages in one rehearsal; a plan of more is believed as the cost model predicts it."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known before the run."""

    cluster: Cluster
    placement: Placement
    alone: Outlooks
    """What each worker expects if it alone sends."""
    config: Config
    elements: tuple[int, ...]
    """Number of each layer's parameters; L numbers."""
    update_s: float
    """Time of the update of all parameters, in s."""

    @property
    def iterations(self) -> int:
        """Iterations that the run is to have, or many."""
        return self.config.iterations or MANY

    @property
    def together(self) -> bool:
        """True: messages of several workers or servers slow each other down, or are unpacked in turn."""
        return entangled(self.cluster, self.alone, self.config)

    @property
    def expected(self) -> Outlooks:
        """What each worker expects when all send."""
        return shared(self.cluster, self.alone) if self.together else self.alone

    @property
    def stage(self) -> Stage:
        """Where plans are rehearsed."""
        return stage(self.cluster, self.placement, self.alone, self.config)


def unbarred(situation: Situation, schedule: Queued) -> tuple[Plans | QueuePlan, float]:
    """Return the messages for all workers, or plans with a barrier, and the period expected, in s."""
    kinds = _kinds(situation.expected)
    plans = [
        _predicted(situation, kinds, schedule.split(one.costs(situation.elements, situation.update_s)))
        for one in (kinds if schedule.adapts else kinds[:1])
    ]
    if not (schedule.adapts and is_built_in(situation.config.schedule)):
        best, best_s = min(plans, key=lambda one: one[1])  # what a user's own schedule does is to be seen
        return _rehearsed(situation, [(best, best_s)])[:2] if situation.together else (best, best_s)
    exact = len(kinds) == 1 and not situation.together
    chosen = [min(plans, key=lambda one: one[1])] if exact else [*plans, *_rivals(situation)]
    best, best_s, total_s = _rehearsed(situation, chosen)
    barred, barred_s = _with_barrier(situation)
    return (best, best_s) if total_s <= barred_s * situation.iterations else (barred, barred_s)


def _kinds(expected: Outlooks) -> list[Outlook]:
    """Return the unlike outlooks, the slowest first."""
    alike = {
        (one.forward_s, one.backward_s, one.pull.rate_Bps, one.push.rate_Bps, one.pull.latency_s): one
        for one in expected.values()
    }
    return sorted(alike.values(), key=lambda one: -sum(one.bounds_s()))[:KINDS]


def _predicted(situation: Situation, kinds: list[Outlook], plan: QueuePlan) -> tuple[QueuePlan, float]:
    """Return a plan with the period that the cost model expects of the slowest worker, in s."""
    costs = [one.costs(situation.elements, situation.update_s) for one in kinds]
    borders = (plan.push_borders, plan.pull_borders, plan.credit_bytes)
    return plan, max(period_s(one, *borders) for one in costs)


def _rehearsed(situation: Situation, plans: list[tuple[QueuePlan, float]]) -> tuple[QueuePlan, float, float]:
    """Return the plan of the shortest run, its period and the time of the run, in s.

    The first plan is believed as the cost model predicts it if it has too many messages, others are left out.
    """
    scene, count = situation.stage, situation.iterations
    best = (plans[0][0], plans[0][1], plans[0][1] * count)
    if _rehearsable(situation, plans[0][0]):
        best = (plans[0][0], inf, inf)
    for plan, expected_s in plans:
        if _rehearsable(situation, plan):
            limit_s = 2.0 * SETTLING * min(best[1], 10.0 * expected_s)
            period_s, total_s = scene.queued(plan, situation.update_s, count, limit_s)
            if total_s < best[2]:
                best = (plan, period_s, total_s)
    return best


def _rehearsable(situation: Situation, plan: QueuePlan) -> bool:
    """Tell whether a rehearsal has few enough messages."""
    messages = len(plan.push_borders) + len(plan.pull_borders)
    return messages * len(situation.alone) * SETTLING <= REHEARSED_MESSAGES


def _rivals(situation: Situation) -> list[tuple[QueuePlan, float]]:
    """Return the other schedules' plans for the slowest worker, as more candidates; fewest messages first."""
    kinds = _kinds(situation.expected)
    costs = kinds[0].costs(situation.elements, situation.update_s)
    rivals = [schedule for schedule in SCHEDULES.values() if isinstance(schedule, Queued)]
    plans = [rival.split(costs) for rival in rivals if not rival.adapts]
    layers = tuple(dict.fromkeys(end for end in accumulate(costs.sizes) if end))
    plans.append(QueuePlan(push_borders=layers, pull_borders=layers, method="layer-by-layer"))
    plans.sort(key=lambda plan: len(plan.push_borders))
    return [_predicted(situation, kinds, plan) for plan in plans]


def _with_barrier(situation: Situation) -> tuple[Plans, float]:
    if situation.together:
        plans, time_s = choose(situation.stage, WITH_BARRIER)
    else:
        plans = {name: one.planned(WITH_BARRIER) for name, one in situation.alone.items()}
        time_s = predicted_s(situation.alone, plans)
    return plans, time_s + situation.update_s
