"""dynacomm-overlap: synchronous training without the barrier between the phases, its messages by search.

Legend: L layers, M messages, G the time to send all bytes without start-ups, dt a start-up.

A message should be small, since a byte is pulled no sooner than the last byte of its message has been pushed
and a more urgent message waits for the one on the link; and large, since it costs a start-up. The search
starts from plans that are good in one regime each, keeps the best on the cost model of `overlap_model`, and
improves them step by step. It is deterministic: its budget is counted in messages, not in seconds.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from edgesim.plan import QueuePlan
from edgesim.planning import bounds
from edgesim.planning.cost import Costs
from edgesim.planning.critical import critical
from edgesim.planning.overlap_model import Tables, period_of, phased_period_s, tables
from edgesim.planning.overlap_seeds import MOST_MESSAGES, Borders, Plan, phased, phased_cuts, seeds

WORK = 300_000
"""Messages that the climbs may look at: each plan that they try costs as many as it has."""
OVERHEAD = 12
"""What trying a plan costs beside its messages, in messages."""
SHAKING = 60_000
"""Messages that it may look at to get away from where no single step helps."""
MOST_SHAKES = 100
"""Times that it tries to."""
CLOSE = 1e-4
"""Share by which a plan may miss the lower bound and be good enough."""
WORTH = 2e-7
"""Share of the period that a message less is worth: among equals, the fewest messages."""
CLIMBS = 3
"""Best seeds that are improved."""


def search(costs: Costs) -> QueuePlan:
    """Return messages for both directions: the plan of least period that the search comes across.

    Seeds: DynaComm's optimal cuts of both phases, one message, one a layer, equal messages around the best
    count sqrt(G / dt), small layers merged and big ones cut to about one size. The best are improved by local
    search: merge two neighbours, split a message, move a border, let the message that blocks the critical one
    end when that one can go; first with the same borders for both directions, then each direction of its own.
    Where no step helps some borders are thrown anew, by dice that always fall alike. It ends within `CLOSE`
    of the lower bound `bounds.pipelined_s`, or after `WORK` and `SHAKING`.

    Without the barrier the same cuts can be slower than with it, by the rest of a long pull that is on the
    link when the first layers' could go. In full duplex the search undoes that: by cutting the long pull to
    end just then, or by making it need a byte of the push below it. Trying all borders of small models shows
    a least period that misses DynaComm's with the barrier by the time of one byte at most: messages end at
    whole bytes. On a half-duplex link pulls also delay pushes, and nothing is promised. Raises
    `PlanningError` for costs that cannot be planned from.

    >>> found = search(Costs((16,), (4,), (0.0,), (0.0,), 1.0, 1.0, pull_startup_s=1.0, push_startup_s=1.0))
    >>> found.push_borders, found.period_s
    ((4, 8, 12, 16), 25.0)
    """
    model = tables(costs)
    rival_s = phased_period_s(costs, *phased_cuts(costs))
    judge = _Judge(model, min(bounds.pipelined_s(costs) * (1.0 + CLOSE), rival_s))
    for plan in seeds(costs, model):
        judge.cost(plan)
    best = judge.leaders(CLIMBS, alike=True)
    for number, plan in enumerate(best, 1):
        judge.limit = WORK * number // (2 * len(best))
        _climb(judge, plan, together=True)
    judge.limit = WORK
    for plan in dict.fromkeys([*judge.leaders(2), *phased(costs, model)[:2]]):
        _climb(judge, plan, together=False)
    judge.limit = judge.work + SHAKING
    _shake(judge)
    return judge.choice(rival_s)


class _Judge:
    """What plans cost, each worked out once."""

    def __init__(self, model: Tables, goal_s: float) -> None:
        self.model = model
        self.goal_s = goal_s
        self.best: Plan = ((), ())
        self.work = 0
        self.limit: float = math.inf
        self._costs: dict[Plan, float] = {}
        self._least = math.inf

    def cost(self, plan: Plan) -> float:
        """Return the period of a plan, in s, with a little on top for each message."""
        known = self._costs.get(plan)
        self.work += OVERHEAD
        if known is None:
            count = len(plan[0]) + len(plan[1])
            self.work += count
            known = self._costs[plan] = period_of(self.model, *plan) * (1.0 + WORTH * count)
            if known < self._least:
                self.best, self._least = plan, known
        return known

    def leaders(self, count: int, *, alike: bool = False) -> list[Plan]:
        """Return the best plans so far, best first; `alike`: of those with the same borders both ways."""
        plans = [plan for plan in self._costs if plan[0] == plan[1] or not alike]
        return sorted(plans, key=self._costs.__getitem__)[:count]

    def done(self) -> bool:
        """Return whether the work is spent, or the goal is reached."""
        return self.work >= self.limit or self._least <= self.goal_s

    def choice(self, rival_s: float) -> QueuePlan:
        """Return the best plan; if it saves messages at a period longer than the rival's, the shortest."""
        best = self.best
        if period_of(self.model, *best) > rival_s:
            best = min(self._costs, key=lambda plan: period_of(self.model, *plan))
        return QueuePlan(
            push_borders=best[0],
            pull_borders=best[1],
            period_s=period_of(self.model, *best),
            method="dynacomm-overlap",
        )


# --- local search ---------------------------------------------------------------------------------------


def _climb(judge: _Judge, plan: Plan, *, together: bool) -> None:
    """Improve a plan until nothing helps or the judge is done; what was tried stays with the judge."""
    here = judge.cost(plan)
    improved = True
    while improved and not judge.done():
        improved = False
        for other in _neighbours(judge.model, plan, together=together):
            if judge.done():
                return
            cost = judge.cost(other)
            if cost < here:
                plan, here, improved = other, cost, True
                break


def _shake(judge: _Judge) -> None:
    """Climb again and again from the best plan with some borders elsewhere, until the judge is done."""
    dice = random.Random(0)
    while not judge.done():
        judge.work += SHAKING // MOST_SHAKES
        pushes, pulls = judge.best
        _climb(judge, (_shaken(dice, pushes), _shaken(dice, pulls)), together=False)


def _shaken(dice: random.Random, borders: Borders) -> Borders:
    """Return borders of which about three are moved, dropped or new."""
    total = borders[-1]
    kept = [border for border in borders[:-1] if dice.random() * len(borders) > 1.5]
    new = [dice.randrange(1, total) for _ in range(dice.randrange(3))] if total > 1 else []
    return tuple(sorted({*kept, *new, total}))


def _neighbours(model: Tables, plan: Plan, *, together: bool) -> Iterator[Plan]:
    """Yield plans one step away that touch what the period hangs on."""
    pushes, pulls, push_cuts, pull_cuts = critical(model, *plan)
    if together:
        for borders in _steps(model, plan[0], sorted({*pushes, *pulls}), push_cuts + pull_cuts):
            yield borders, borders
    else:
        for borders in _steps(model, plan[1], pulls, pull_cuts):
            yield plan[0], borders
        for borders in _steps(model, plan[0], pushes, push_cuts):
            yield borders, plan[1]


def _steps(model: Tables, borders: Borders, numbers: Sequence[int], cuts: Sequence[int]) -> Iterator[Borders]:
    """Yield borders with one more, one less or one elsewhere, at the messages of these numbers."""
    room = len(borders) < MOST_MESSAGES
    for cut in cuts:
        if room and cut not in borders:
            yield tuple(sorted((*borders, cut)))
    for number in numbers:
        low = borders[number - 1] if number else 0
        high = borders[number]
        for cut in _inside(model, low, high):
            if room:
                yield (*borders[:number], cut, *borders[number:])
            if number:
                yield (*borders[: number - 1], cut, *borders[number:])
            if number < len(borders) - 1:
                yield (*borders[:number], cut, *borders[number + 1 :])
        if number:
            yield (*borders[: number - 1], *borders[number:])
        if number < len(borders) - 1:
            yield (*borders[:number], *borders[number + 1 :])


def _inside(model: Tables, low: int, high: int) -> Iterator[int]:
    """Yield offsets within a message: its middle and quarters, and the layer ends next to its own."""
    ends = model.ends
    first, last = bisect_right(ends, low), bisect_left(ends, high) - 1
    size = high - low
    layers = (ends[first], ends[last]) if first <= last else ()
    for cut in dict.fromkeys((low + size // 2, low + size // 8, high - size // 8, *layers)):
        if low < cut < high:
            yield cut
