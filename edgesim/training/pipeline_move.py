"""Layers that move to other devices: everybody takes what it lacks, and all change over at once.

Two phases. Prepare: each device ends the pass that it is in, and takes the layers that it lacks from who has
them. When all have said so, commit: each builds the model of its new stage; when all have said so, the next
term begins. Batches in flight are not waited for: the central node sends them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simpy import AllOf, AnyOf, Event

from edgesim.planning.replication import Fetch
from edgesim.timeline import Tag
from edgesim.training.pipeline_facts import Phases
from edgesim.training.pipeline_term import Setup
from edgesim.training.pipeline_weights import Copy

if TYPE_CHECKING:
    from edgesim.training.pipeline_line import Line

Process = Generator[Event, Any, Any]
PARKED = "layers that move in"
TRIES = 3
"""Times that a transfer whose both ends are up is tried."""


class Interrupted(Exception):
    """A device that takes part in a change has failed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be done."""

    setup: Setup
    """The stages to come."""
    first: int
    """Batch that they begin with."""
    fetches: tuple[Fetch, ...]
    """Who takes which layers from whom."""
    copies: Mapping[int, Copy]
    """Copy that a layer is restored from, by layer; a layer that is not here is live somewhere."""
    sizes: Mapping[Fetch, float]
    """Bytes of each fetch, in B."""

    @property
    def moved_bytes(self) -> float:
        """Bytes that cross the network, in B."""
        return sum(size for fetch, size in self.sizes.items() if not fetch.local)


class Mover:
    """Carries out one change."""

    def __init__(self, line: Line, change: Change, lives: Mapping[str, int], *, freeze: bool = True) -> None:
        self.line = line
        self.env = line.sim.env
        self.change = change
        self.lives = lives
        """Stay in memory of everybody who takes part, as known when the change was planned."""
        self.members = tuple(lives)
        self.others = tuple(name for name in lives if name != line.config.central)
        self._off = False
        self._broken = False
        """Whether something cannot be brought for want of a way."""
        self._freeze = freeze
        """Whether the stages of those who take part stop."""
        self._frozen = {name: self.env.event() for name in lives}
        self.stopped: Event = AllOf(self.env, list(self._frozen.values()))
        """Fires when everybody has ended its last pass."""

    def carry_out(self, phases: Phases) -> Process:
        """Prepare, then commit, told as phases. Raises `Interrupted` if someone has failed meanwhile."""
        try:
            yield from self.prepare()
            phases.enter("commit")
            yield from self.commit()
        except Interrupted:
            phases.leave()
            raise
        finally:
            self.release()

    def prepare(self) -> Process:
        """Let everybody stop and take what it lacks. Raises `Interrupted` if someone has failed meanwhile."""
        yield from self._wait(self.line.calls.told(self.members, self._launch))

    def commit(self) -> Process:
        """Let everybody change over. Raises `Interrupted` if someone has failed meanwhile."""
        yield from self._wait(self.line.calls.told(self.members, self._rebuild))

    def release(self) -> None:
        """Give back the memory of parked layers, and heed nothing that is still on its way."""
        self._off = True
        for name in self.members:
            self.line.nodes[name].give(PARKED)

    def _wait(self, done: Event) -> Process:
        """Wait for an event; look every now and then whether those who take part are still there."""
        detection = self.line.config.detection
        while not done.triggered:
            timeout = self.env.timeout(detection.probe_timeout_s)
            yield AnyOf(self.env, [done, timeout])
            if not timeout.processed:
                return
            answers = yield from self.line.calls.probe(
                self.others, self.line.central.probe_timeout_s, parallel=detection.policy == "adaptive"
            )
            if self._broken or any(answers.get(name) != self.lives[name] for name in self.others):
                raise Interrupted

    def _launch(self, name: str, reply: Callable[[], None]) -> None:
        if self._off:
            return
        if self._freeze:
            self.line.freeze()
        self.line.sim.process(self._prepared(name, reply), name=f"{name} prepare")

    def _prepared(self, name: str, reply: Callable[[], None]) -> Process:
        """Stop a device's stages, take what it lacks, say so."""
        node = self.line.nodes[name]
        stages = list(node.stages) if self._freeze else []
        for stage in stages:
            stage.stop()
        for stage in stages:
            if not stage.idle.triggered:
                yield stage.idle
        self._frozen[name].succeed()
        brought = [
            self.line.sim.process(self._bring(fetch), name=f"{name} fetch")
            for fetch in self.change.fetches
            if fetch.target == name and not fetch.local
        ]
        complete = True
        for process in brought:
            arrived = yield process
            complete = complete and arrived
        if complete and node.life == self.lives[name]:
            reply()

    def _bring(self, fetch: Fetch) -> Process:
        """Bring layers from one device to another; return whether they arrived."""
        source, target = self.line.nodes[fetch.source], self.line.nodes[fetch.target]
        if not self._frozen[fetch.source].triggered:
            yield self._frozen[fetch.source]
        first, last = fetch.layers[0] + 1, fetch.layers[-1] + 1
        size = self.change.sizes[fetch]
        for _ in range(TRIES):
            if source.life != self.lives[fetch.source] or target.life != self.lives[fetch.target]:
                return False
            tag = Tag("fetch", f"{first}-{last}", self.change.first, first, last)
            flow = self.line.sim.network.send(fetch.source, fetch.target, size, tag)
            yield flow
            if not flow.lost:
                target.hold(size, PARKED)
                return True
        self._broken = True
        return False

    def _rebuild(self, name: str, reply: Callable[[], None]) -> None:
        if self._off:
            return
        self.line.sim.process(self._rebuilt(name, reply), name=f"{name} rebuild")

    def _rebuilt(self, name: str, reply: Callable[[], None]) -> Process:
        work_s = self.line.config.rebuild_s
        if work_s > 0.0:
            task = self.line.nodes[name].device.compute(work_s, Tag("rebuild", "", self.change.first))
            yield task
            if task.left_s > 0.0:
                return
        if self.line.nodes[name].life == self.lives[name]:
            reply()


def sizes_of(line: Line, fetches: Sequence[Fetch], copies: Mapping[int, Copy]) -> dict[Fetch, float]:
    """Return the bytes of each fetch: weights, and the optimizer's state where that goes along, in B."""
    config = line.config
    carried = config.optimizer_state if config.repartition.momentum == "carry" else 0.0
    kept = config.optimizer_state if config.replication.optimizer else 0.0
    found = {}
    for fetch in fetches:
        per_byte = 1.0 + (kept if fetch.held != "live" else carried)
        size = per_byte * line.costs.parameter_bytes(range(fetch.layers[0], fetch.layers[-1] + 1))
        found[fetch] = float(math.ceil(size))
    return found
