"""A worker that trains without a server: it computes gradients, and updates its parameters by the sums."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from simpy import AnyOf, Event

from edgesim.engine import Simulation
from edgesim.timeline import Tag
from edgesim.training.peer_round import Round
from edgesim.workload import LayerTimer

if TYPE_CHECKING:
    from edgesim.training.peers import Group

Process = Generator[Event, Any, Any]


class Peer:
    """One worker: it computes its gradients, and updates its parameters by the sums."""

    def __init__(
        self,
        sim: Simulation,
        group: Group,
        name: str,
        timer: LayerTimer,
        *,
        update_s: float,
        memory_bytes: float,
    ) -> None:
        self.sim = sim
        self.group = group
        self.name = name
        self.device = sim.device(name)
        self.timer = timer
        self.update_s = update_s
        self.memory_bytes = memory_bytes
        self.crash: Event | None = None
        """Fires at the crash that ends this stay in memory; None: not in memory yet."""
        self.step = 0
        """Layer passes done, 0 to 2L."""

    def live(self) -> Process:
        """Take part in every iteration that counts on this worker, until it is gone for good."""
        opening = self.group.opening
        while self.name not in self.group.gone:
            current: Round = yield opening
            opening = current.after
            if self.name in current.members:
                yield from self._compute(current)
                yield from self._update(current)

    def _lost_memory(self) -> bool:
        return self.crash is None or self.crash.triggered

    def _come_up(self) -> Process:
        """Wait until the device is up, and hold its memory."""
        while not self.device.up:
            yield self.device.next_return()
        if self._lost_memory():
            self.device.allocate(self.memory_bytes, "parameters, gradients and activations")
            self.crash = self.device.next_crash()

    def _compute(self, current: Round) -> Process:
        """Give the gradients of an iteration until the sums are there, or see it go on without them."""
        self.step = 0
        while current.awaits(self.name):
            if self._lost_memory():
                yield from self._come_up()
                self.step = self.step if self.group.resumes else 0
                current.report(self.name, self.group.buckets.ready[self.step])
            elif self.name in self.group.behind:
                yield from self._fetch(current)
            elif self.step < 2 * self.group.buckets.layers:
                yield from self._pass(current)
            else:
                assert self.crash is not None
                yield AnyOf(self.sim.env, [current.summed, self.crash])

    def _pass(self, current: Round) -> Process:
        """Compute one layer, forward or backward."""
        layers, step = self.group.buckets.layers, self.step
        ahead = step < layers
        layer = step if ahead else 2 * layers - step - 1
        work_s = (self.timer.forward_s if ahead else self.timer.backward_s)(self.device.spec, layer)
        kind = "forward" if ahead else "backward"
        task = self.device.compute(work_s, Tag(kind, str(layer + 1), current.index, layer + 1, layer + 1))
        yield task
        if task.left_s > 0.0:
            return
        self.step += 1
        ready = self.group.buckets.ready
        if ready[self.step] > ready[step] and not self._lost_memory():
            current.report(self.name, ready[self.step])

    def _update(self, current: Round) -> Process:
        """Update the parameters by the sums; once more if a crash comes over it.

        One that was dropped over it is asked again if all others crash before they have updated.
        """
        while self.name in current.members and current.summed.triggered and not current.closed.triggered:
            if self.name not in current.updating:
                yield AnyOf(self.sim.env, [current.closed, self.group.news()])
            elif self._lost_memory():
                yield from self._come_up()
            elif self.update_s == 0.0:
                return self.group.updated(self.name, current)
            else:
                tag = Tag("update", "", current.index, 1, self.group.buckets.layers)
                task = self.device.compute(self.update_s, tag)
                yield task
                if task.left_s == 0.0 and self.name in current.updating:
                    return self.group.updated(self.name, current)
        return None

    def _fetch(self, current: Round) -> Process:
        """Get the parameters from the nearest worker before that has them.

        Where nobody has them, wait for the last update; if there is none to wait for, keep one's own.
        """
        group, source = self.group, self.group.source(self.name)
        before = group.before
        if (
            before is not None
            and not before.closed.triggered
            and (source is None or source in before.updating)
        ):
            yield group.news()
        elif source is None:
            del group.behind[self.name]
        else:
            layers = group.buckets.layers
            tag = Tag("pull", f"1-{layers}", current.index, 1, layers)
            flow = self.sim.network.stream(source, self.name).send(group.buckets.bytes, tag)
            yield flow
            if not flow.lost:
                group.behind.pop(self.name, None)
            elif not self._lost_memory():
                group.prune()
