"""Planning for bandwidth that is known beforehand: each worker before each phase of its iterations.

The declared course of the links is what a provider, a timetable or a log of yesterday would tell. How fast
the links are on the whole, and how long the layers take, is measured like everywhere else. As everywhere the
device plans while it waits for messages: here for the time at which the phase is expected to begin.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

from simpy import Event

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.engine.device import SimDevice, Task
from edgesim.plan import Segmentation
from edgesim.planning import forecast
from edgesim.planning.cost import PlanningError
from edgesim.planning.estimate import Observation
from edgesim.planning.replan import MOVED
from edgesim.timeline import Tag
from edgesim.timeseries import Series
from edgesim.training import watching
from edgesim.training.config import Config
from edgesim.training.course import Lane
from edgesim.training.expectation import Outlook, Outlooks, Plans
from edgesim.training.scheduler import codec_s, note, planning_work_s, with_codec

PASSES = 8
"""Plans for a constant rate that take as long as one for a course, which searches sums where they add."""

Both = tuple[Segmentation, Segmentation]


class Foresight(watching.Scheduler):
    """Plans for workers that do not slow each other down, each knowing the course of its links."""

    def __init__(
        self, sim: Simulation, cluster: Cluster, config: Config, alone: Outlooks, plans: Plans
    ) -> None:
        """`cluster` is what is believed of the links, and `alone` what follows for the workers."""
        self.sim = sim
        self._views = {name: _View(cluster, config, name, one, plans[name]) for name, one in alone.items()}

    def computed(self, worker: str, index: int, seen: Observation) -> None:
        """Take notice of a worker's passes and pulls; plan the next pulls while its pushes arrive."""
        view = self._views[worker]
        view.learn_pulls(seen)
        next_s = view.next_start_s(seen.end_s)
        view.ahead.begin(self.sim.device(worker), index, next_s, next_s - seen.end_s)

    def observe(self, worker: str, seen: Observation) -> None:
        """Take notice of a worker's pushes."""
        self._views[worker].learn_pushes(seen)

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Both | None]:
        """Wait until the pulls are planned; return a worker's plans, or None for those it has.

        The first plans are made before the run, and free. Later the pushes are planned while the first
        parameters are on their way.
        """
        view, device = self._views[worker], self.sim.device(worker)
        ahead, back = view.ahead, view.back
        if index == 0:
            ahead.plan_for(start_s)
            changed = self._accept(worker, ahead)
            back.plan_for(view.pulled_s(start_s))
            return view.plans if self._accept(worker, back) or changed else None
        view.started(start_s)
        changed = yield from self._finish(worker, ahead)
        if ahead.begin(device, index, self.sim.now, 0.0):
            changed = (yield from self._finish(worker, ahead)) or changed
        now = self.sim.now
        back.begin(device, index, view.pulled_s(now), ahead.first_s(now))
        return view.plans if changed else None

    def push_plan(self, worker: str) -> Segmentation | None:
        """Return a plan of a worker's pushes that was made since `prepare`, or None for the one it has."""
        back = self._views[worker].back
        return back.plan if self._accept(worker, back) else None

    def _finish(self, worker: str, half: _Half) -> Generator[Event, Any, bool]:
        """Wait until a phase is planned; tell whether its plan is new."""
        if half.task is not None:
            yield half.task
        return self._accept(worker, half)

    def _accept(self, worker: str, half: _Half) -> bool:
        before = half.plan
        if not half.accept():
            return False
        kind = "push" if half.backward else "pull"
        note(self.sim, worker, kind, len(before.cuts), len(half.plan.cuts), half.rates_Bps)
        return True

    @property
    def settled(self) -> bool:
        """Whether nothing changes any more, and the plans are made for that."""
        now = self.sim.now
        return all(half.at_rest(now) for view in self._views.values() for half in (view.ahead, view.back))


class _Outlook(NamedTuple):
    """What the plan of a phase is made from."""

    course: Series
    """Rate of the channel from the beginning on, in B/s."""
    compute_s: tuple[float, ...]
    """Time of each layer, in s."""


class _Half:
    """One phase of one worker: its plan, what that was made for, and one that is being made."""

    def __init__(
        self, lane: Lane, compute_s: tuple[float, ...], plan: Segmentation, *, backward: bool
    ) -> None:
        self.lane = lane
        self.compute_s = compute_s
        self.plan = plan
        self.backward = backward
        self.rates_Bps: tuple[float, ...] = ()
        """Rates that the plan in use was made for, in B/s."""
        self.task: Task | None = None
        """Planning on the device; None: none."""
        self._made: Segmentation | None = None
        self._known: _Outlook | None = None
        self._slack_s = 0.0

    def begin(self, device: SimDevice, index: int, begin_s: float, idle_s: float) -> bool:
        """Let the device plan a phase that is expected to begin then, if that is worth its time.

        The first `idle_s` of it cost nothing. For what is beyond, the plan in use must be farther from the
        lower bound than the last best plan was, by more than that takes.
        """
        self.task = self._made = None
        if begin_s == math.inf or (ahead := self._outlook(begin_s)) == self._known:
            return False
        self._known = ahead
        kept_s, least_s = self._outcome(ahead, self.plan)
        work_s = PASSES * planning_work_s(device.spec, len(self.compute_s))
        beyond_s = work_s - idle_s
        gain_s = kept_s - least_s - (self._slack_s if beyond_s > 0.0 else 0.0)
        if not gain_s > max(beyond_s, 0.0) + forecast.PRECISION * kept_s:
            return False
        self._plan(ahead)
        layers = len(self.compute_s)
        self.task = device.compute(work_s, Tag("plan", "", index, 1, layers))
        return True

    def plan_for(self, begin_s: float) -> None:
        """Plan a phase that begins then, before the run."""
        if begin_s < math.inf:
            self._known = self._outlook(begin_s)
            self._plan(self._known)

    def accept(self) -> bool:
        """Take the plan that was made, if it is done; tell whether it is new."""
        if self.task is not None and not (self.task.triggered and self.task.left_s == 0.0):
            if self.task.triggered:  # lost in a crash
                self.task = self._made = self._known = None
            return False
        made, self.task, self._made = self._made, None, None
        if made is None:
            return False
        self.plan = made
        return True

    def takes_s(self, begin_s: float) -> float:
        """Return how long the plan in use takes from then on, in s."""
        return self._outcome(self._outlook(begin_s), self.plan)[0]

    def first_s(self, begin_s: float) -> float:
        """Return how long the first message of the plan in use takes from then on, in s."""
        lane, sent = self.lane, sum(self.lane.sizes[: self.plan.cuts[0]])
        course = lane.course(begin_s + lane.latency_s, 0.0)
        first = forecast.outcome((sent,), (0.0,), lane.startup_s, course, (1,))
        return lane.latency_s + first[0]

    def at_rest(self, now_s: float) -> bool:
        """Tell whether the channel does not change any more, and the plan was made for that."""
        return self.lane.next_change_s(now_s) == math.inf and self._outlook(now_s) == self._known

    def _outlook(self, begin_s: float) -> _Outlook:
        course = self.lane.course(begin_s + self.lane.latency_s, math.fsum(self.compute_s))
        return _Outlook(course, self.compute_s)

    def _outcome(self, ahead: _Outlook, plan: Segmentation) -> tuple[float, float]:
        """Return how long a plan takes and what none is below, latency included, in s."""
        lane = self.lane
        found = forecast.outcome(
            lane.sizes, ahead.compute_s, lane.startup_s, ahead.course, plan.cuts, backward=self.backward
        )
        return found[0] + lane.latency_s, found[1] + lane.latency_s

    def _plan(self, ahead: _Outlook) -> None:
        lane = self.lane
        planner = forecast.plan_backward if self.backward else forecast.plan_forward
        try:
            made = planner(lane.sizes, ahead.compute_s, lane.startup_s, ahead.course)
        except PlanningError:  # a link that ends at nothing: what crosses it will wait, however it is cut
            return
        best_s, least_s = self._outcome(ahead, made)
        self._slack_s = best_s - least_s
        if best_s < self._outcome(ahead, self.plan)[0] * (1.0 - forecast.PRECISION):
            self._made = replace(made, method=self.plan.method)
            self.rates_Bps = ahead.course.values


class _View:
    """What one worker knows."""

    def __init__(self, cluster: Cluster, config: Config, name: str, one: Outlook, plans: Both) -> None:
        pushed = [max(round(size * one.push_ratio), min(size, 1)) for size in one.sizes]
        pulls, pushes = Lane(cluster, one.pull, one.sizes), Lane(cluster, one.push, pushed)
        self.ahead = _Half(pulls, one.forward_s, plans[0], backward=False)
        self.back = _Half(pushes, one.backward_s, plans[1], backward=True)
        self._codec_s = codec_s(config, cluster.devices[name], one.sizes)
        self._expected_s = math.fsum(one.backward_s)
        self._turn_s = 0.0
        self._end_s = self._gap_s = 0.0

    @property
    def plans(self) -> Both:
        """The plans in use."""
        return self.ahead.plan, self.back.plan

    def learn_pulls(self, seen: Observation) -> None:
        """Learn how long layers take, and how fast the parameters come on the whole."""
        ahead, back = self.ahead, self.back
        ends_s = accumulate((time_s for _, time_s in seen.pulls), initial=seen.start_s + ahead.lane.latency_s)
        if len(seen.pulls) == len(ahead.plan.cuts):  # else a crash came between
            ahead.lane.learn(seen.pulls, [*ends_s][:-1])
        backward_s = with_codec(seen.backward_s, self._codec_s, self._expected_s)
        self._turn_s = seen.end_s - math.fsum(backward_s)
        if _moved(ahead.compute_s, seen.forward_s):
            ahead.compute_s = seen.forward_s
        if _moved(back.compute_s, backward_s):
            back.compute_s = backward_s

    def learn_pushes(self, seen: Observation) -> None:
        """Learn how fast the gradients go on the whole."""
        self._end_s = seen.end_s
        back = self.back
        done, free = self._turn_s, 0.0
        begins_s = []
        for (first, last), (_, time_s) in zip(reversed(back.plan.segments), seen.pushes, strict=False):
            done += math.fsum(back.compute_s[first - 1 : last])
            begins_s.append(max(free, done + back.lane.latency_s))
            free = begins_s[-1] + time_s
        if len(seen.pushes) == len(back.plan.cuts):  # else a crash came between
            back.lane.learn(seen.pushes, begins_s)

    def started(self, start_s: float) -> None:
        """Note when an iteration could begin: how long after its own last push."""
        self._gap_s = start_s - self._end_s

    def next_start_s(self, now_s: float) -> float:
        """Return when the next iteration is expected to begin, at the end of a backward pass."""
        return max(self._turn_s + self.back.takes_s(self._turn_s) + self._gap_s, now_s)

    def pulled_s(self, start_s: float) -> float:
        """Return when the backward pass of an iteration that starts then is expected to begin."""
        return start_s + self.ahead.takes_s(start_s)


def _moved(known_s: Sequence[float], seen_s: Sequence[float]) -> bool:
    """Tell whether layers take clearly more or less time than was known."""
    known, seen = math.fsum(known_s), math.fsum(seen_s)
    return abs(seen - known) > MOVED * known
