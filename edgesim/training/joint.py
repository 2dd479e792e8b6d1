"""Planning while the training runs where workers share links: for all of them together, by rehearsal.

There no worker can tell from its own messages alone what another plan would bring. But what it measured can
be compared with what the rehearsal of its plan had expected: the ratio says which links and devices are not
as believed. The belief is corrected until its rehearsal explains the measurements; on the corrected belief
plans are chosen as before the run. The lead server does that beside its work, and they hold for all workers
from the first iteration that opens after it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator
from dataclasses import replace
from typing import Any, NamedTuple

from simpy import Event

from edgesim.engine import Simulation
from edgesim.plan import Segmentation
from edgesim.planning.estimate import Observation
from edgesim.planning.replan import HOLD
from edgesim.timeline import Tag
from edgesim.training import watching
from edgesim.training.config import Config
from edgesim.training.correction import Pace, Seen, corrected, expected, for_range, on_cluster, pace, still
from edgesim.training.expectation import Plans
from edgesim.training.rehearsal import Stage, choose
from edgesim.training.scheduler import codec_s, pace_of, span, with_codec

CANDIDATES = 12
"""Iterations rehearsed to choose plans: every schedule with a barrier, own rates, refinements, the kept."""
CREWS = 8
"""Sets of workers for which is remembered what they should measure: with faults at random there are many."""
PASS_S, MESSAGE_S = 10e-6, 75e-6
"""Time to rehearse one layer's pass and one message on the profiled host, in s: measured with 16 workers of
ResNet-152 behind one server link: 4,992 passes took 0.42 s with as many messages, 0.045 s with 32."""
Both = tuple[Segmentation, Segmentation]


class Choice(NamedTuple):
    """What planning for all workers came to."""

    scene: Stage
    """What is believed from now on."""
    plans: Plans
    """By worker: its plans from now on."""
    seen: Seen | None
    """What these will measure; None: what a rehearsal says."""


class JointScheduler(watching.Scheduler):
    """Plans for workers that contend for links, all at once."""

    def __init__(self, sim: Simulation, config: Config, scene: Stage, plans: Plans) -> None:
        """`scene` is what the plans were chosen on: what is believed until something was measured."""
        self.sim = sim
        self._config = config
        self._scene = scene
        self._plans = plans
        self._held: dict[str, Both] = dict(plans)
        self._hold = 1 if config.policy == "last-sample" else HOLD
        self._expected: dict[frozenset[str], Seen] = {}
        self._began: set[str] = set()
        self._seen: dict[str, Observation] = {}
        self._paces: list[Pace] = []
        self._measured = False
        self._planning = False
        self._ready: Choice | None = None
        self._index = -1
        self._codec_s = {
            name: codec_s(config, sim.cluster.devices[name], one.sizes) for name, one in scene.alone.items()
        }
        self._backward_s = {name: math.fsum(one.backward_s) for name, one in scene.alone.items()}
        if config.policy == "min-max":  # like every first plan it is made before the run, and free
            self._ready = Choice(scene, for_range(scene, config.schedule), None)

    def observe(self, worker: str, seen: Observation) -> None:
        """Take notice of what a worker has measured in an iteration."""
        whole_s = with_codec(seen.backward_s, self._codec_s[worker], self._backward_s[worker])
        self._seen[worker] = replace(seen, backward_s=whole_s)

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Both | None]:
        """Return a worker's plans for an iteration, or None for those it has; all workers change together."""
        if index != self._index:
            self._index = index
            self._open()
        self._began.add(worker)
        yield from ()  # nobody waits: the server plans beside its work
        plans = self._plans[worker]
        if plans == self._held[worker]:
            return None
        self._held[worker] = plans
        return plans

    @property
    def settled(self) -> bool:
        """Whether more measurements like the last would change nothing."""
        if self._planning or self._ready is not None:
            return False
        return self._config.policy == "min-max" or (bool(self._paces) and still(self._paces[-1]))

    def _open(self) -> None:
        """Begin an iteration: take plans that are ready, or see whether there is need of some."""
        began, self._began = self._began, set()
        seen, self._seen = self._seen, {}
        if self._ready is not None:
            self._take(self._ready)
        elif self._planning or self._config.policy == "min-max":
            return
        elif seen and set(seen) == began:
            crew = frozenset(seen)
            if crew not in self._expected:
                if len(self._expected) >= CREWS:
                    self._expected.clear()
                self._expected[crew] = expected(among(self._scene, crew), among_plans(self._plans, crew))
            self._paces = [*self._paces, pace(self._expected[crew], seen)][-HOLD:]
            if self._contradicted():
                self._planning = True
                self.sim.process(self._plan(seen), name="planning for all workers")
            self._measured = True
        else:
            self._paces = []  # somebody left in the middle: such an iteration says nothing of the links

    def _take(self, ready: Choice) -> None:
        """Go over to plans that were made."""
        before, self._plans, self._ready = self._plans, ready.plans, None
        self._scene = ready.scene
        self._expected = {} if ready.seen is None else {frozenset(ready.seen): ready.seen}
        self._paces = []
        note_all(self.sim, self._config.servers[0], before, ready)

    def _contradicted(self) -> bool:
        """Tell whether what was measured counts, and is not what was expected."""
        last = self._paces[-1]
        held = self._paces[-self._hold :]
        counts = not self._measured or (
            len(held) == self._hold
            and all(
                one.keys() == last.keys() and still({key: one[key] / last[key] for key in one})
                for one in held
            )
        )
        return counts and not still(last)

    def _plan(self, seen: Seen) -> Generator[Event, Any, None]:
        """Choose plans on the corrected belief, at the lead server's expense."""
        found, rehearsals = self._chosen(seen)
        device = self.sim.device(self._config.servers[0])
        messages = sum(len(one.cuts) for plans in self._plans.values() for one in plans)
        passes = 2 * len(self._scene.placement.sizes) * len(self._plans)
        work_s = pace_of(device.spec) * (PASS_S * passes + MESSAGE_S * messages)
        for _ in range(rehearsals):  # one by one: an update waits for one of them at most
            task = device.compute(work_s, Tag("plan", "", self._index))
            yield task
            if task.left_s > 0.0:
                self._planning = False
                return
        self._ready = found
        self._planning = False

    def _chosen(self, seen: Seen) -> tuple[Choice, int]:
        """Return the corrected belief and the best plans on it for those who took part.

        And how many iterations were rehearsed for it. What is not explained is taken as it is.
        """
        crew = frozenset(seen)
        own = among_plans(self._plans, crew)
        scene, rehearsals = corrected(among(self._scene, crew), own, seen)
        if scene is None:
            return Choice(self._scene, self._plans, seen), rehearsals
        kept_s, _ = scene.phased(own)
        plans, time_s = choose(scene, self._config.schedule)
        best = plans if time_s < kept_s else own
        whole = replace(self._scene, alone=self._scene.alone | scene.alone)
        return Choice(on_cluster(whole, scene.cluster), self._plans | best, None), rehearsals + CANDIDATES


def among(scene: Stage, crew: Collection[str]) -> Stage:
    """Return a stage on which only some of the workers train."""
    if len(crew) == len(scene.alone):
        return scene
    alone = {name: one for name, one in scene.alone.items() if name in crew}
    return replace(scene, alone=alone, config=replace(scene.config, workers=tuple(alone)))


def among_plans(plans: Plans, crew: Collection[str]) -> Plans:
    """Return the plans of some workers."""
    return {name: both for name, both in plans.items() if name in crew}


def note_all(sim: Simulation, server: str, before: Plans, ready: Choice) -> None:
    """Write a change of the workers' plans on the timeline of the server that made them."""
    count = sum(
        any(one.cuts != old.cuts for one, old in zip(both, before[name], strict=True))
        for name, both in ready.plans.items()
    )
    if sim.timeline is None or not count:
        return
    rates = [way.rate_Bps for one in ready.scene.alone.values() for way in (one.pull, one.push)]
    workers = f"{count} of {len(before)} workers"
    sim.timeline.mark(sim.now, server, "plan", f"{workers} cut anew, {span(rates)}")
