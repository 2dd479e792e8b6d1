"""Planning for bandwidth that is known beforehand: each worker before each of its iterations.

The declared course of the links is what a provider, a timetable or a log of yesterday would tell. How fast
the links are on the whole, and how long the layers take, is measured like everywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from simpy import Event

from edgesim.cluster import Cluster, Link
from edgesim.engine import Simulation
from edgesim.plan import Segmentation
from edgesim.planning import forecast
from edgesim.planning.cost import PlanningError
from edgesim.planning.estimate import Observation
from edgesim.planning.replan import MOVED
from edgesim.planning.supply import Supply
from edgesim.timeline import Tag
from edgesim.timeseries import Series
from edgesim.training.config import Config
from edgesim.training.expectation import Channel, Outlook, Outlooks, Plans
from edgesim.training.scheduler import codec_s, planning_work_s, with_codec

PASSES = 8
"""Plans for a constant rate that take as long as one for a course, which searches sums where they add."""
CHANGES = 10_000
"""Changes of rate that one phase is planned for at most; from then on the last rate is taken to hold."""

Both = tuple[Segmentation, Segmentation]


class Foresight:
    """Plans for workers that do not slow each other down, each knowing the course of its links."""

    def __init__(
        self, sim: Simulation, cluster: Cluster, config: Config, alone: Outlooks, plans: Plans
    ) -> None:
        """`cluster` is what is believed of the links, and `alone` what follows for the workers."""
        self.sim = sim
        self._views = {name: _View(cluster, config, name, one, plans[name]) for name, one in alone.items()}

    def observe(self, worker: str, seen: Observation) -> None:
        """Take notice of what a worker has measured in an iteration."""
        self._views[worker].observe(seen)

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Both | None]:
        """Spend the time of planning; return a worker's plans for an iteration, or None for those it has.

        The first plans are made before the run, and free.
        """
        view = self._views[worker]
        if not view.has_news(start_s):
            return None
        if index > 0:
            device, layers = self.sim.device(worker), len(view.forward_s)
            work_s = 2 * PASSES * planning_work_s(device.spec, layers)
            task = device.compute(work_s, Tag("plan", "", index, 1, layers))
            yield task
            if task.left_s > 0.0:
                return None
        return view.planned(self.sim.now)

    @property
    def settled(self) -> bool:
        """Whether nothing changes any more, and the plans are made for that."""
        now = self.sim.now
        return all(view.constant_from(now) and not view.has_news(now) for view in self._views.values())


class _Lane:
    """One direction of one worker, and how fast it is known to be over time."""

    def __init__(self, cluster: Cluster, channel: Channel, sizes: Sequence[int]) -> None:
        self.links: tuple[Link, ...] = tuple(cluster.links[name] for name in channel.route)
        self.sizes = sizes
        self.startup_s = channel.startup_s
        self.latency_s = channel.latency_s
        self.scale = 1.0
        """Measured over declared rate."""

    def rate_Bps(self, time_s: float) -> float:
        """Return the rate at a time, in B/s."""
        rates = (
            link.bandwidth_Bps * (1.0 if link.factor is None else link.factor.at(time_s))
            for link in self.links
        )
        return self.scale * min(rates)

    def next_change_s(self, time_s: float) -> float:
        """Return when the rate may change next, in s; infinite: never."""
        changes = (link.factor.next_change_s(time_s) for link in self.links if link.factor is not None)
        return min((change for change in changes if change is not None), default=math.inf)

    def course(self, start_s: float, spare_s: float) -> Series:
        """Return the rate from a time on, in B/s over s since then.

        It goes on until all layers would have crossed at once, and `spare_s` and all start-ups longer.
        """
        left, end_s = float(sum(self.sizes)), math.inf
        times_s, rates = [0.0], [self.rate_Bps(start_s)]
        now = start_s
        while (change := self.next_change_s(now)) < math.inf and len(times_s) < CHANGES:
            left -= rates[-1] * (change - now)
            if left <= 0.0 and end_s == math.inf:
                end_s = change + spare_s + len(self.sizes) * self.startup_s
            if change >= end_s:
                break
            now = change
            if (rate := self.rate_Bps(now)) != rates[-1] and now - start_s > times_s[-1]:
                times_s.append(now - start_s)
                rates.append(rate)
        return Series(times_s=tuple(times_s), values=tuple(rates))

    def learn(self, messages: Sequence[tuple[float, float]], begins_s: Sequence[float]) -> None:
        """Correct the scale by messages that held the channel from some times on, for their seconds."""
        due = sent = 0.0
        for (size, time_s), begin_s in zip(messages, begins_s, strict=True):
            moving_s = max(time_s - self.startup_s, 0.0)
            supply = Supply(self.course(begin_s + self.startup_s, moving_s))
            due += supply.until(moving_s)
            sent += size
        if due > 0.0 and sent > 0.0 and abs(sent / due - 1.0) > MOVED:
            self.scale *= sent / due


class _View:
    """What one worker knows."""

    def __init__(self, cluster: Cluster, config: Config, name: str, one: Outlook, plans: Both) -> None:
        pushed = [max(round(size * one.push_ratio), min(size, 1)) for size in one.sizes]
        self._ahead = _Lane(cluster, one.pull, one.sizes)
        self._back = _Lane(cluster, one.push, pushed)
        self.forward_s = one.forward_s
        self.backward_s = one.backward_s
        self._codec_s = codec_s(config, cluster.devices[name], one.sizes)
        self._expected_s = math.fsum(one.backward_s)
        self._plans = plans
        self._known: object = None
        """What the plans were made from; None: of something else."""

    def observe(self, seen: Observation) -> None:
        """Learn how long layers take, and how fast the links are on the whole."""
        backward_s = with_codec(seen.backward_s, self._codec_s, self._expected_s)
        pulls_s, pushes_s = self._instants(seen, backward_s)
        whole = len(seen.pulls) == len(self._plans[0].cuts) and len(seen.pushes) == len(self._plans[1].cuts)
        if whole:  # else a crash came between, and nobody knows what was sent when
            self._ahead.learn(seen.pulls, pulls_s)
            self._back.learn(seen.pushes, pushes_s)
        if _moved(self.forward_s, seen.forward_s):
            self.forward_s = seen.forward_s
        if _moved(self.backward_s, backward_s):
            self.backward_s = backward_s

    def _instants(self, seen: Observation, backward_s: Sequence[float]) -> tuple[list[float], list[float]]:
        """Return when each pull and each push began to hold its channel, in s, from their durations."""
        now = seen.start_s + self._ahead.latency_s
        pulls = [now, *(now + sum_s for sum_s in accumulate(time_s for _, time_s in seen.pulls))]
        done = seen.start_s
        for (first, last), end in zip(self._plans[0].segments, pulls[1:], strict=False):
            done = max(done, end) + math.fsum(seen.forward_s[first - 1 : last])
        pushes, free = [], done
        for (first, last), (_, time_s) in zip(reversed(self._plans[1].segments), seen.pushes, strict=False):
            done += math.fsum(backward_s[first - 1 : last])
            pushes.append(max(free, done + self._back.latency_s))
            free = pushes[-1] + time_s
        return pulls[:-1], pushes

    def has_news(self, start_s: float) -> bool:
        """Tell whether an iteration that starts then is not known to be as the plans were made for."""
        return self._outlook(start_s) != self._known

    def planned(self, start_s: float) -> Both | None:
        """Return plans for an iteration that starts then, or None if those in use are as good."""
        try:
            plans = self._made(start_s)
        except PlanningError:  # a link that ends at nothing: what crosses it will wait, however it is cut
            return None
        self._known = self._outlook(start_s, plans)
        if all(one.cuts == known.cuts for one, known in zip(plans, self._plans, strict=True)):
            return None
        self._plans = plans
        return plans

    def constant_from(self, time_s: float) -> bool:
        """Tell whether the links do not change any more."""
        return min(self._ahead.next_change_s(time_s), self._back.next_change_s(time_s)) == math.inf

    def _outlook(self, start_s: float, plans: Both | None = None) -> object:
        """Return all that plans for an iteration that starts then are made from, as a value."""
        ahead_s = (plans or self._plans)[0].makespan_s + self._ahead.latency_s
        courses = [
            lane.course(begin_s + lane.latency_s, math.fsum(compute_s))
            for lane, begin_s, compute_s in (
                (self._ahead, start_s, self.forward_s),
                (self._back, start_s + ahead_s, self.backward_s),
            )
        ]
        return (*courses, self.forward_s, self.backward_s)

    def _made(self, start_s: float) -> Both:
        method = self._plans[0].method
        begin_s = start_s + self._ahead.latency_s
        course = self._ahead.course(begin_s, math.fsum(self.forward_s))
        pull = forecast.plan_forward(self._ahead.sizes, self.forward_s, self._ahead.startup_s, course)
        begin_s += pull.makespan_s + self._back.latency_s
        course = self._back.course(begin_s, math.fsum(self.backward_s))
        push = forecast.plan_backward(self._back.sizes, self.backward_s, self._back.startup_s, course)
        return replace(pull, method=method), replace(push, method=method)


def _moved(known_s: Sequence[float], seen_s: Sequence[float]) -> bool:
    """Tell whether layers take clearly more or less time than was known."""
    known, seen = math.fsum(known_s), math.fsum(seen_s)
    return abs(seen - known) > MOVED * known
