"""One stage of a pipeline: it computes its passes in their order, each as soon as its input is there."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simpy import Event

from edgesim.engine.device import Task
from edgesim.planning.pipeline_orders import ORDERS, Pass, Span
from edgesim.timeline import Tag
from edgesim.training.pipeline_log import Log
from edgesim.training.pipeline_node import Node
from edgesim.training.pipeline_weights import between, version
from edgesim.workload import MicroBatch

if TYPE_CHECKING:
    from edgesim.training.pipeline_term import Term

Process = Generator[Event, Any, Any]
ACTIVATIONS, WEIGHTS = "activations", "weights, their versions and gradients"
Done = tuple[int, int]
"""The last pass in one direction, as (batch, part); (-1, 0): none."""
NOTHING: Done = (-1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What the former host of a stage had done, that a new one computes again from a copy."""

    first: int
    """Batch to begin with: the version of the copy."""
    forward: Done
    backward: Done
    reads: dict[tuple[int, int], int]
    """Version of the weights of each forward pass."""


class Stage:
    """One stage, on one device, in one term."""

    def __init__(
        self, term: Term, index: int, node: Node, life: int, layers: range, before: Before | None = None
    ) -> None:
        """Take a stage's place; where the device has crashed since, it is lost at once."""
        self.term = term
        self.line = term.line
        self.index = index
        self.node = node
        self.layers = layers
        self.window = term.windows[index]
        self.before = before
        self.life = life
        self.stopped = node.life != life or not node.device.up
        self.idle: Event = self.line.sim.env.event()
        """Fires when it computes nothing any more."""
        self.arrived: set[Pass] = set()
        self.seen: dict[bool, Done] = {True: NOTHING, False: NOTHING}
        """The last activation (True) and gradient (False) that has come in."""
        self.done: dict[bool, Done] = {True: NOTHING, False: NOTHING}
        """The last forward (True) and backward pass that it has computed."""
        self.reads: dict[tuple[int, int], int] = {} if before is None else dict(before.reads)
        """Version of the weights that each forward pass in flight read."""
        self.compute_s: list[float] = []
        """Forward and backward time of each batch since capacities were last looked at, in s."""
        self.log = Log(self)
        self._spent_s: dict[int, float] = {}
        self._wake: Event | None = None
        self._task: Task | None = None
        costs = self.line.costs
        share = 1.0 / self.line.parts
        self._activation_bytes = costs.activation_bytes(layers) * share
        self._sent_bytes = {
            True: math.ceil(costs.crossing_bytes(layers.stop - 1) * share),
            False: math.ceil(costs.crossing_bytes(layers.start - 1) * share),
        }
        self._update_s = costs.update_s(node.device.spec, layers)
        if self.stopped:
            return
        node.stages.append(self)
        node.live.update(layers)
        node.hold(self.line.weight_bytes(index, term), f"{WEIGHTS} ({index})")

    # --- life -------------------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """Batch that it begins with."""
        return self.term.first if self.before is None else self.before.first

    @property
    def replaying(self) -> bool:
        """Whether it still computes again what its former host had done."""
        return self.before is not None and not self.stopped and self.done[False] < self.before.backward

    @property
    def lost(self) -> bool:
        """Whether the device has crashed since it took the stage."""
        return self.life != self.node.life

    @property
    def upcoming(self) -> int:
        """The next batch that it passes backward."""
        batch, part = self.done[False]
        return self.first if batch < 0 else batch + (part == self.line.parts - 1)

    def passes(self) -> Iterator[Pass]:
        """Return what it computes, in order."""
        config = self.line.config
        span = Span(first=self.first, end=config.iterations, parts=self.line.parts)
        return ORDERS[config.execution](span, self.window)

    def run(self) -> Process:
        """Compute until there is nothing left, or it is stopped or lost."""
        for one in self.passes():
            while not self.stopped and not self._there(one):
                self._wake = self.line.sim.env.event()
                yield self._wake
            if self.stopped:
                break
            self._task = self._begin(one)
            yield self._task
            if self._task.left_s > 0.0 or self.life != self.node.life:
                break
            yield from self._end(one, self._task.end_s - self._task.start_s)
        self.stopped = True
        if not self.idle.triggered:
            self.idle.succeed()

    def stop(self) -> None:
        """Let it end before its next pass."""
        self.stopped = True
        self._stir()

    def close(self) -> None:
        """End it now, and give back the memory that it holds."""
        self.stop()
        if self._task is not None and self.life == self.node.life:
            self.node.device.cancel(self._task)
        if self in self.node.stages:
            self.node.stages.remove(self)
            self.node.give(f"{ACTIVATIONS} ({self.index})")
            self.node.give(f"{WEIGHTS} ({self.index})")
            self.log.clear()

    def arrive(self, one: Pass) -> None:
        """Take the input of a pass."""
        place = (one.batch, one.part)
        if place > self.done[one.forward]:
            self.arrived.add(one)
        self.seen[one.forward] = max(self.seen[one.forward], place)
        self._stir()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.triggered:
            self._wake.succeed()

    def _there(self, one: Pass) -> bool:
        """Tell whether the input of a pass is there: data are on the first stage, the loss on the last."""
        at_source = self.index == 0 if one.forward else self.index == self.term.last
        return at_source or one in self.arrived

    # --- computing --------------------------------------------------------------------------------------

    def replays(self, one: Pass) -> bool:
        """Tell whether the former host of the stage had done a pass already."""
        if self.before is None:
            return False
        return (one.batch, one.part) <= (self.before.forward if one.forward else self.before.backward)

    def _begin(self, one: Pass) -> Task:
        self.arrived.discard(one)
        work_s = self.line.costs.pass_s(self.node.device.spec, self.layers, one.forward) / self.line.parts
        kind = ("replay-" if self.replays(one) else "") + ("forward" if one.forward else "backward")
        if one.forward:
            if self.index == 0:
                self.line.central.injected(one)
            self.node.hold(self._activation_bytes, f"{ACTIVATIONS} ({self.index})")
        return self.node.device.compute(work_s, self._tag(kind, one))

    def _tag(self, kind: str, one: Pass) -> Tag:
        label = f"{one.batch}.{one.part}" if self.line.parts > 1 else str(one.batch)
        return Tag(kind, label, one.batch, self.layers.start + 1, self.layers.stop)

    def _end(self, one: Pass, took_s: float) -> Process:
        self.done[one.forward] = (one.batch, one.part)
        self._spent_s[one.batch] = self._spent_s.get(one.batch, 0.0) + took_s
        if one.forward:
            self._read(one)
            if self.index < self.term.last:
                self._send(one)
            return
        self._learn(one)
        self.node.give(f"{ACTIVATIONS} ({self.index})", self._activation_bytes)
        if self.index > 0:
            self._send(one)
        if one.part == self.line.parts - 1:
            self.compute_s.append(self._spent_s.pop(one.batch))
            yield from self._update(one)

    def _read(self, one: Pass) -> None:
        """Note with which weights a forward pass was computed."""
        place = (one.batch, one.part)
        now = self.line.weights.version(self.layers)
        if place not in self.reads:
            self.reads[place] = self.line.reading(self, one, now)
        if self.line.learner is not None:
            asked = self.reads[place]
            old = None if asked >= now and not self.replays(one) else asked
            micro = MicroBatch(one.batch, one.part, self.line.parts)
            self.line.learner.read(micro, self.layers, version=old, replica=self._replica(one.batch))

    def _replica(self, batch: int) -> int:
        return batch % self.window if self.line.replicas else 0

    def _learn(self, one: Pass) -> None:
        if self.line.learner is not None:
            for layers in self.line.weights.due(one.batch, self.layers):
                self.line.learner.learn(MicroBatch(one.batch, one.part, self.line.parts), layers)

    def _send(self, one: Pass) -> None:
        """Send what a pass has made to the next stage, or the one before, unless it is there already."""
        nbytes = self._sent_bytes[one.forward]
        self.log.note(one, nbytes)
        self.send_again(one, nbytes)

    def send_again(self, one: Pass, nbytes: float) -> None:
        """Send once more what the log has of a pass."""
        self.term.send(self, one, nbytes, self._tag("activation" if one.forward else "gradient", one))

    def _update(self, one: Pass) -> Process:
        """Update the weights by a whole batch, unless they hold its update already."""
        if self._update_s > 0.0:
            tag = Tag("update", str(one.batch), one.batch, self.layers.start + 1, self.layers.stop)
            self._task = self.node.device.compute(self._update_s, tag)
            yield self._task
            if self._task.left_s > 0.0 or self.life != self.node.life:
                self.stopped = True
                return
        read = min(self.reads.pop((one.batch, part), version(())) for part in range(self.line.parts))
        runs = self._apply(one.batch, read, again=self.replays(one))
        yield from self._average(one.batch, runs)
        if self.life == self.node.life:
            self.line.updated(self, one.batch)

    def _apply(self, batch: int, read: int, *, again: bool) -> list[range]:
        """Update the layers that do not hold a batch yet; return them."""
        weights = self.line.weights
        runs = weights.due(batch, self.layers)
        stale = between(weights.applied[self.layers.start], read, batch)
        for layers in runs:
            weights.update(batch, layers, self._replica(batch))
        if runs and not again:
            self.line.book(self, batch, 0 if self.line.replicas else stale)
        return runs

    def _average(self, batch: int, runs: list[range]) -> Process:
        """Make the newest version the mean of the latest ones, where that is due.

        It reads them all and writes one, where an update reads two and writes one: (K + 1) / 3 of its time.
        """
        every, count = self.line.config.aggregate_every, self.line.averaged(self)
        if every is None or (batch + 1) % every or count < 2 or not runs:
            return
        if self._update_s > 0.0:
            tag = Tag("aggregate", str(batch), batch, self.layers.start + 1, self.layers.stop)
            self._task = self.node.device.compute(self._update_s * (count + 1) / 3.0, tag)
            yield self._task
            if self._task.left_s > 0.0 or self.life != self.node.life:
                self.stopped = True
                return
        self.line.average(self, runs, count)
