"""Planning while the training runs: each worker from what it measured, at the price of its own time.

Legend: L layers. A worker's part of an iteration has two phases, pull and forward, and backward and push;
each has a `Track` of its own. What to do about a measurement is a policy of `planning.replan`; here policies
are fed, and what they ask for is computed on the worker's device while that waits for messages: a plan of the
pulls after the backward pass, a plan of the pushes while the first parameters are on their way.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from simpy import Event

from edgesim.cluster import Device
from edgesim.engine import Simulation
from edgesim.engine.device import SimDevice, Task
from edgesim.plan import Segmentation
from edgesim.planning import replan, threshold
from edgesim.planning.cost import makespan_s
from edgesim.planning.estimate import Observation
from edgesim.planning.replan import Policy, Sample, Step, Track
from edgesim.planning.schedules import SCHEDULES, Phased
from edgesim.timeline import Tag
from edgesim.timeseries import at_start
from edgesim.training import watching
from edgesim.training.config import Config
from edgesim.training.expectation import Channel, Outlook, Outlooks, Plans
from edgesim.units import BANDWIDTH, show

PLANNING_S = 1e-6
"""Time of one plan for each layer on the profiled host, in s: `benchmarks/planning.py` measured 0.06 to 0.12
ms for both phases of ResNet-152's 156 layers, 0.2 to 0.4 us a layer; the rest is for fitting, comparing."""
Both = tuple[Segmentation, Segmentation]


class Side:
    """One phase of one worker: what is known of it, and what is asked for but not paid yet."""

    def __init__(self, track: Track, plan: Segmentation, codec_s: Sequence[float]) -> None:
        self.track = track
        self.plan = plan
        """The plan in use."""
        self.asked: Step | None = None
        """What the policy wants; None: nothing."""
        self._task: Task | None = None
        self._codec_s = codec_s
        self._expected_s = track.belief[0].total_s

    def observe(
        self, policy: Policy, messages: Sequence[tuple[float, float]], compute_s: Sequence[float]
    ) -> None:
        """Take a sample, and let the policy see it.

        Messages of one segment to several servers share the time that they take.
        """
        ways = max(len(messages) / len(self.track.cuts), 1.0)
        messages = [(size, time_s / ways) for size, time_s in messages]
        whole_s = with_codec(compute_s, self._codec_s, self._expected_s)
        self.track = replan.see(self.track, messages, whole_s)
        step = policy(self.track)
        self.asked, self._task = (step if step.plannings else None), None
        if self.asked is None:
            self.track = step.track

    def begin(self, device: SimDevice, index: int) -> Task | None:
        """Let the device make what is asked for; return its task, None where there is nothing to do."""
        if self.asked is None or not self.asked.plannings:
            return None
        lost = self._task is not None and self._task.triggered and self._task.left_s > 0.0
        if self._task is None or lost:
            layers = len(self.track.sizes)
            work_s = self.asked.plannings * planning_work_s(device.spec, layers)
            self._task = device.compute(work_s, Tag("plan", "", index, 1, layers))
        return self._task

    def accept(self) -> bool:
        """Take what was asked for, if it is made; tell whether that is a new plan."""
        if self.asked is None:
            return False
        made = self._task is not None and self._task.triggered and self._task.left_s == 0.0
        if self.asked.plannings and not made:
            return False
        before, self.track, self.asked = self.track, self.asked.track, None
        if self.track.cuts == before.cuts:
            return False
        times = replan.phase_of(self.track, self.track.belief[-1])
        cuts = self.track.cuts
        self.plan = Segmentation(cuts=cuts, makespan_s=makespan_s(times, cuts), method=self.plan.method)
        return True


class Scheduler(watching.Scheduler):
    """Plans for workers that do not slow each other down, each for itself."""

    def __init__(self, sim: Simulation, config: Config, expected: Outlooks, plans: Plans) -> None:
        """`expected` is what the plans were made from: what is believed until something was measured."""
        self.sim = sim
        self._policy = replan.POLICIES[config.policy]
        self._sides = {name: _sides(sim, config, name, one, plans[name]) for name, one in expected.items()}
        if config.policy == "min-max":
            for sides in self._sides.values():
                for side in sides:  # like every first plan it is made before the run, and free
                    cuts = replan.ranged(side.track, replan.around(side.track.belief[0]))
                    side.asked = cuts._replace(plannings=0)

    def computed(self, worker: str, index: int, seen: Observation) -> None:
        """Take notice of a worker's pulls and forward pass; plan the next ones while its pushes arrive."""
        ahead = self._sides[worker][0]
        ahead.observe(self._policy, seen.pulls, seen.forward_s)
        ahead.begin(self.sim.device(worker), index)

    def observe(self, worker: str, seen: Observation) -> None:
        """Take notice of a worker's pushes and backward pass."""
        self._sides[worker][1].observe(self._policy, seen.pushes, seen.backward_s)

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Both | None]:
        """Wait until the pulls are planned; return a worker's plans, or None for those it has.

        The pushes are planned while the first parameters are on their way. A crash over planning leaves
        everything as it was: it is asked for again.
        """
        ahead, back = self._sides[worker]
        device = self.sim.device(worker)
        task = ahead.begin(device, index)
        if task is not None:
            yield task
            if task.left_s > 0.0:
                return None
        changed = [self._accept(worker, ahead)]
        if back.begin(device, index) is None:
            changed.append(self._accept(worker, back))
        return (ahead.plan, back.plan) if any(changed) else None

    def push_plan(self, worker: str) -> Segmentation | None:
        """Return a plan of a worker's pushes that was made since `prepare`, or None for the one it has."""
        back = self._sides[worker][1]
        return back.plan if self._accept(worker, back) else None

    def _accept(self, worker: str, side: Side) -> bool:
        """Take what a side asked for, if it is made; write a change of plan on the timeline."""
        count = len(side.plan.cuts)
        if not side.accept():
            return False
        rates = [one.rate_Bps for one in side.track.belief]
        note(self.sim, worker, "push" if side.track.backward else "pull", count, len(side.plan.cuts), rates)
        return True

    @property
    def settled(self) -> bool:
        """Whether more measurements like the last would change nothing."""
        return all(
            side.asked is None and replan.at_rest(side.track, self._policy)
            for sides in self._sides.values()
            for side in sides
        )


def _sides(sim: Simulation, config: Config, name: str, one: Outlook, plans: Both) -> tuple[Side, Side]:
    """Return both phases of a worker as they are believed to be before the run."""
    schedule = config.picked
    assert isinstance(schedule, Phased), f"{config.schedule} has no phases to plan again"
    spec = sim.cluster.devices[name]

    ahead = Track(
        sizes=one.sizes,
        cuts=plans[0].cuts,
        belief=(_believed(one.pull, one.forward_s),),
        cut=schedule.cut,
        planning_s=planning_work_s(spec, len(one.sizes)),
    )
    ahead = replace(ahead, stock=_stock(ahead))
    back = replace(
        ahead,
        cuts=plans[1].cuts,
        belief=(_believed(one.push, one.backward_s),),
        ratio=one.push_ratio,
        backward=True,
    )
    back = replace(back, stock=_stock(back))
    return Side(ahead, plans[0], ()), Side(back, plans[1], codec_s(config, spec, one.sizes))


def _stock(track: Track) -> tuple[tuple[int, ...], ...]:
    """Return plans that may prove good: what each schedule of the table makes of the belief before the run.

    For a schedule of one's own there are none: it is to show what it does.
    """
    if track.cut is not threshold.best_cuts:
        return ()
    times = replan.phase_of(track, track.belief[0])
    plans = [one.cut(times) for one in SCHEDULES.values() if isinstance(one, Phased)]
    return tuple(dict.fromkeys(plans))


def _believed(channel: Channel, compute_s: tuple[float, ...]) -> Sample:
    return Sample(startup_s=channel.startup_s, rate_Bps=channel.rate_Bps, compute_s=compute_s)


def note(
    sim: Simulation, worker: str, phase: str, before: int, after: int, rates_Bps: Sequence[float]
) -> None:
    """Write a change of plan on the timeline: its phase, segments before and after, the rates it is for."""
    if sim.timeline is not None:
        many = f"{before} -> {after}" if before != after else f"{after} other"
        text = f"{phase} {many} segments, {span(rates_Bps)}"
        sim.timeline.mark(sim.now, worker, "plan", text)


def span(rates_Bps: Sequence[float]) -> str:
    """Return rates to three figures in words.

    >>> span([4.7512e6]), span([31.25e6, 125e6])
    ('38 Mbit/s', '250 Mbit/s to 1 Gbit/s')
    """
    shown = (show(float(f"{8 * rate:.3g}") / 8, BANDWIDTH) for rate in (min(rates_Bps), max(rates_Bps)))
    return " to ".join(dict.fromkeys(shown))


def codec_s(config: Config, device: Device, sizes: Sequence[int]) -> tuple[float, ...]:
    """Return how long a worker is expected to compress each layer's gradients, in s; empty: not at all."""
    if config.compression is None or config.compression.encode_Bps is None:
        return ()
    share = at_start(device.availability)
    return tuple(config.encode_s(size) / share for size in sizes)


def with_codec(passes_s: Sequence[float], codec_s: Sequence[float], expected_s: float) -> tuple[float, ...]:
    """Return each layer's time of computing, compressing included, in s.

    Only the passes are measured. A device that is slow over them is as slow over compressing: `codec_s` grows
    as the passes do against what is expected of them, that is `expected_s` less all compressing.

    >>> with_codec([2.0, 4.0], [0.5, 1.0], expected_s=4.5)
    (3.0, 6.0)
    """
    if not codec_s:
        return tuple(passes_s)
    alone_s = expected_s - math.fsum(codec_s)
    pace = math.fsum(passes_s) / alone_s if alone_s > 0.0 else 1.0
    return tuple(one + more * pace for one, more in zip(passes_s, codec_s, strict=True))


def planning_work_s(device: Device, layers: int) -> float:
    """Return what making one plan of a phase takes a device, in s.

    >>> planning_work_s(Device(name="pi", speed=0.5), 64)
    0.000128
    """
    return pace_of(device) * PLANNING_S * layers


def pace_of(device: Device) -> float:
    """Return how long planning takes a device, against the profiled host.

    Where only a datasheet is known, as long: its FLOP/s tell nothing of code that branches at every layer.
    """
    return 1.0 if device.speed is None else 1.0 / device.speed
