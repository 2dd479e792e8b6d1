"""Planning while the training runs: each worker from what it measured, at the price of its own time.

Legend: L layers. A worker's part of an iteration has two phases, pull and forward, and backward and push;
each has a `Track` of its own. What to do about a measurement is a policy of `planning.replan`; here policies
are fed, and what they ask for is spent on the worker's device before its next pull.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from simpy import Event

from edgesim.cluster import Device
from edgesim.engine import Simulation
from edgesim.plan import Segmentation
from edgesim.planning import replan
from edgesim.planning.cost import makespan_s
from edgesim.planning.estimate import Observation
from edgesim.planning.replan import Policy, Sample, Step, Track
from edgesim.planning.schedules import Phased
from edgesim.timeline import Tag
from edgesim.training.config import Config
from edgesim.training.expectation import Channel, Outlook, Outlooks, Plans

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
        self.asked = step if step.plannings else None
        if self.asked is None:
            self.track = step.track

    def accept(self) -> bool:
        """Take what was asked for; tell whether that is a new plan."""
        if self.asked is None:
            return False
        before, self.track, self.asked = self.track, self.asked.track, None
        if self.track.cuts == before.cuts:
            return False
        times = replan.phase_of(self.track, self.track.belief[-1])
        cuts = self.track.cuts
        self.plan = Segmentation(cuts=cuts, makespan_s=makespan_s(times, cuts), method=self.plan.method)
        return True


class Scheduler:
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

    def observe(self, worker: str, seen: Observation) -> None:
        """Take notice of what a worker has measured in an iteration."""
        ahead, back = self._sides[worker]
        ahead.observe(self._policy, seen.pulls, seen.forward_s)
        back.observe(self._policy, seen.pushes, seen.backward_s)

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Both | None]:
        """Spend the time of planning; return a worker's plans for an iteration, or None for those it has.

        A crash over it leaves everything as it was: it is asked for again.
        """
        sides = self._sides[worker]
        if all(side.asked is None for side in sides):
            return None
        device, layers = self.sim.device(worker), len(sides[0].track.sizes)
        plannings = sum(side.asked.plannings for side in sides if side.asked is not None)
        if plannings:
            work_s = plannings * planning_work_s(device.spec, layers)
            task = device.compute(work_s, Tag("plan", "", index, 1, layers))
            yield task
            if task.left_s > 0.0:
                return None
        changed = [side.accept() for side in sides]
        return (sides[0].plan, sides[1].plan) if any(changed) else None

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
    back = replace(
        ahead,
        cuts=plans[1].cuts,
        belief=(_believed(one.push, one.backward_s),),
        ratio=one.push_ratio,
        backward=True,
    )
    return Side(ahead, plans[0], ()), Side(back, plans[1], codec_s(config, spec, one.sizes))


def _believed(channel: Channel, compute_s: tuple[float, ...]) -> Sample:
    return Sample(startup_s=channel.startup_s, rate_Bps=channel.rate_Bps, compute_s=compute_s)


def codec_s(config: Config, device: Device, sizes: Sequence[int]) -> tuple[float, ...]:
    """Return how long a worker is expected to compress each layer's gradients, in s; empty: not at all."""
    if config.compression is None or config.compression.encode_Bps is None:
        return ()
    share = 1.0 if device.availability is None else device.availability.at(0.0) or 1.0
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
