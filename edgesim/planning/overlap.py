"""dynacomm-overlap: synchronous training without the barrier between the phases, its messages by search.

Legend: L layers, M messages, G the time to send all bytes without start-ups, dt a start-up.

A message should be small, since a byte is pulled no sooner than the last byte of its message has been pushed
and a more urgent message waits for the one on the link; and large, since it costs a start-up. The search
starts from plans that are good in one regime each, keeps the best on the cost model of `overlap_model`, and
improves them step by step. It is deterministic: its budget is counted in messages, not in seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain

from edgesim.plan import QueuePlan
from edgesim.planning import bounds, threshold
from edgesim.planning.cost import Costs, phase
from edgesim.planning.critical import critical
from edgesim.planning.overlap_model import Tables, period_of, phased_period_s, tables

Borders = tuple[int, ...]
Plan = tuple[Borders, Borders]
"""Borders of the pushes and of the pulls, in B."""

MOST_MESSAGES = 512
"""Of one direction. Without start-ups more are better, by less and less: 512 equal ones come within 0.2 %."""
WORK = 300_000
"""Messages that the search may look at: each plan that it tries costs as many as it has."""
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
    It ends within `CLOSE` of the lower bound `bounds.pipelined_s`, where nothing helps, or after `WORK`.

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
    rival_s = phased_period_s(costs, *_cuts(costs))
    judge = _Judge(model, min(bounds.pipelined_s(costs) * (1.0 + CLOSE), rival_s))
    for plan in _seeds(costs, model):
        judge.cost(plan)
    seeds = judge.leaders(CLIMBS, alike=True)
    for number, plan in enumerate(seeds, 1):
        judge.limit = WORK * number // (2 * len(seeds))
        _climb(judge, plan, together=True)
    judge.limit = WORK
    for plan in dict.fromkeys([*judge.leaders(2), *_phased(costs, model)[:2]]):
        _climb(judge, plan, together=False)
    return judge.choice(rival_s)


class _Judge:
    """What plans cost, each worked out once."""

    def __init__(self, model: Tables, goal_s: float) -> None:
        self.model = model
        self.goal_s = goal_s
        self.work = 0
        self.limit: float = math.inf
        self._costs: dict[Plan, float] = {}
        self._least = math.inf

    def cost(self, plan: Plan) -> float:
        """Return the period of a plan, in s, with a little on top for each message."""
        known = self._costs.get(plan)
        if known is None:
            count = len(plan[0]) + len(plan[1])
            self.work += count
            known = self._costs[plan] = period_of(self.model, *plan) * (1.0 + WORTH * count)
            self._least = min(self._least, known)
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
        best = self.leaders(1)[0]
        if period_of(self.model, *best) > rival_s:
            best = min(self._costs, key=lambda plan: period_of(self.model, *plan))
        return QueuePlan(
            push_borders=best[0],
            pull_borders=best[1],
            period_s=period_of(self.model, *best),
            method="dynacomm-overlap",
        )


# --- seeds ----------------------------------------------------------------------------------------------


def _seeds(costs: Costs, model: Tables) -> Iterator[Plan]:
    ends = [end for end in dict.fromkeys(model.ends) if end]
    total = ends[-1]
    yield from _phased(costs, model)
    yield (total,), (total,)
    if len(ends) <= MOST_MESSAGES:
        yield tuple(ends), tuple(ends)
    for borders in chain(_equal(model, total), _about(ends)):
        yield borders, borders


def _cuts(costs: Costs) -> Plan:
    """Return DynaComm's optimal cuts of both phases, pushes first, in layers."""
    push_s = [size * costs.push_ratio / costs.push_Bps for size in costs.sizes]
    pull_s = [size / costs.pull_Bps for size in costs.sizes]
    return (
        threshold.best_cuts(phase(push_s, costs.backward_s, costs.push_startup_s)),
        threshold.best_cuts(phase(pull_s, costs.forward_s, costs.pull_startup_s)),
    )


def _phased(costs: Costs, model: Tables) -> list[Plan]:
    """Return DynaComm's optimal cuts of the phases; the same where a pull needs a byte of the push below it.

    That byte keeps a pull from taking the link just before the one below it can go. Then each for both ways.
    """
    pushes, pulls = (
        tuple(end for end in dict.fromkeys(model.ends[cut - 1] for cut in cuts) if end)
        for cuts in _cuts(costs)
    )
    later = tuple(min(end + 1, pushes[-1]) for end in pushes)
    return [(pushes, pulls), (tuple(dict.fromkeys(later)), pulls), (pushes, pushes), (pulls, pulls)]


def _equal(model: Tables, total: int) -> Iterator[Borders]:
    """Yield equal messages, from a third to four times the best count."""
    startup_s = max(model.push[0], model.pull[0])
    per_byte_s = max(model.push[1], model.pull[1])
    best = bounds.best_count(total * per_byte_s, startup_s) if startup_s > 0.0 else MOST_MESSAGES
    most = min(MOST_MESSAGES, total)
    counts = (min(max(round(best * 1.2**step), 1), most) for step in range(-6, 9))
    for count in dict.fromkeys(counts):
        yield tuple(total * part // count for part in range(1, count + 1))


def _about(ends: Sequence[int]) -> Iterator[Borders]:
    """Yield messages of about one size, for sizes from all down to a 512th."""
    size = float(ends[-1])
    while size * MOST_MESSAGES >= ends[-1] and size >= 1.0:
        borders = _packed(ends, size)
        if len(borders) <= MOST_MESSAGES:
            yield borders
        size /= 1.2


def _packed(ends: Sequence[int], size: float) -> Borders:
    """Return borders that merge layers up to a size and cut larger ones into equal slices of at most that."""
    borders = [0]
    last = 0
    for end in ends:
        if end - borders[-1] > size and last > borders[-1]:
            borders.append(last)
        if (over := end - borders[-1]) > size:
            start, count = borders[-1], math.ceil(over / size)
            borders += [start + over * part // count for part in range(1, count + 1)]
        last = end
    borders += [ends[-1]]
    return tuple(dict.fromkeys(borders[1:]))


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
    for cut in cuts:
        if cut not in borders:
            yield tuple(sorted((*borders, cut)))
    for number in numbers:
        low = borders[number - 1] if number else 0
        high = borders[number]
        for cut in _inside(model, low, high):
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
