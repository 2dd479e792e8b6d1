"""A worker without a barrier: it computes a layer when its parameters are there, and pushes by priority.

Legend: L layers; a step is one layer's pass, steps 0..L-1 forward, L..2L-1 backward from layer L to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from simpy import Event

from edgesim.engine import Simulation
from edgesim.timeline import Tag
from edgesim.training.config import Config
from edgesim.training.hosts import Process
from edgesim.training.member import Member
from edgesim.training.parts import Part
from edgesim.training.queue_server import QueueServer
from edgesim.workload import LayerTimer

NOTHING, UNDERWAY, THERE, LOST = range(4)
"""What has become of a message."""


class QueueWorker(Member[QueueServer]):
    """One worker and its messages."""

    def __init__(
        self,
        sim: Simulation,
        server: QueueServer,
        name: str,
        timer: LayerTimer,
        config: Config,
        memory_bytes: float,
    ) -> None:
        super().__init__(sim, server, name, timer, config, memory_bytes)
        self.wants = -1
        """Version of the parameters that it takes; -1: none."""
        self.step = 0
        """Layer passes done in its iteration, 0 to 2L."""
        self._pulled = bytearray(len(server.pulls))
        self._pushed = bytearray(len(server.pushes))
        self._needs = [0] * server.layers
        self._lacking = list(self._needs)
        for part in server.pulls:
            for layer in part.needed_by:
                self._needs[layer] += 1
        self._released: list[list[int]] = [[] for _ in range(server.layers)]
        for number, part in enumerate(server.pushes):
            self._released[part.first - 1].append(number)
        self._awaited = -1
        self._wake: Event | None = None

    def live(self) -> Process:
        """Compute one iteration after the other, until it is gone for good."""
        turn = yield from self._join()
        while turn is not None:
            if (yield from self._forward(turn)) and (yield from self._backward(turn)):
                turn += 1
                self.step = 0
            else:
                turn = yield from self._recover(turn)

    # --- coming and going -------------------------------------------------------------------------------

    def _join(self) -> Process:
        """Wait for an iteration that counts on this worker; return its number, None if there is none."""
        while self.name not in self.server.gone:
            current = yield self.server.next_round(self.name)
            yield from self.come_up()
            if self.name in current.waiting:
                self._begin_anew(current.index)
                return current.index
        return None

    def come_up(self) -> Process:
        """Wait until the device is up, and hold its memory; look up at its next crash."""
        before = self.crash
        yield from super().come_up()
        if self.crash is not before:
            assert self.crash is not None
            assert self.crash.callbacks is not None
            self.crash.callbacks.append(lambda _event: self.nudge())

    def _begin_anew(self, turn: int) -> None:
        """Begin an iteration with nothing."""
        self.step = 0
        self._pushed = bytearray(len(self._pushed))
        self._expect(turn)

    def _expect(self, version: int) -> None:
        """Take the parameters of a version from now on."""
        self.wants = version
        self._pulled = bytearray(len(self._pulled))
        self._lacking = list(self._needs)
        self.server.request(self)

    def _recover(self, turn: int) -> Process:
        """Go on after a crash; return the iteration to go on with, None if there is none."""
        if self.name in self.server.gone:
            return None
        yield from self.come_up()
        current = self.server.round
        assert current is not None
        if self.server.drops and self.name not in current.waiting:
            return (yield from self._join())
        if self.resumes:
            self.push_again()
            self.server.request(self)
            return turn
        again = current.index if self.name in current.waiting else current.index + 1
        self._begin_anew(again)
        return again

    def nudge(self) -> None:
        """Let the worker look up from waiting for parameters."""
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.succeed()

    @property
    def _stopped(self) -> bool:
        return self.crashed or self.name in self.server.gone

    # --- forward ----------------------------------------------------------------------------------------

    def _forward(self, turn: int) -> Process:
        """Compute each layer when all its parameters are there; tell whether nothing was lost."""
        tags = self.server.tags(turn)[0]
        while self.step < self.server.layers:
            layer = self.step
            while self._lacking[layer] > 0 and not self._stopped:
                self._awaited, self._wake = layer, self.sim.env.event()
                yield self._wake
            if self._stopped:
                return False
            if not (yield from self._compute(self.timer.forward_s(self.device.spec, layer), tags[layer])):
                return False
            self.step += 1
            if self.step == self.server.layers:
                self._pushed = bytearray(len(self._pushed))
                self._expect(turn + 1)
        return True

    def offer(self, version: int, pull: int) -> None:
        """Take a message from a server, if it is wanted and can come."""
        part = self.server.pulls[pull]
        host = self.server.hosts[part.host]
        if version != self.wants or self._pulled[pull] in (UNDERWAY, THERE):
            return
        if not self.device.up or not host.device.up or self.name in self.server.gone:
            return
        self._pulled[pull] = UNDERWAY
        tag = Tag("pull", part.label, version, part.first, part.last)
        flow = self.sim.network.stream(host.name, self.name).send(part.bytes, tag, part.first)
        assert flow.callbacks is not None
        flow.callbacks.append(partial(self._arrived, version, pull))

    def _arrived(self, version: int, pull: int, flow: Any) -> None:
        if version != self.wants or self._pulled[pull] != UNDERWAY:
            return
        if flow.lost:
            self._pulled[pull] = LOST
            self._look_after(self.server.pulls[pull])
            return
        self._pulled[pull] = THERE
        for layer in self.server.pulls[pull].needed_by:
            self._lacking[layer] -= 1
        if self._awaited >= 0 and self._lacking[self._awaited] == 0:
            self.nudge()

    def _look_after(self, part: Part) -> None:
        """Send again what was lost on the way; where its server is down, that is done when it is back."""
        if not self.device.up or not self.server.hosts[part.host].device.up:
            return
        if self.server.unreachable(self.name):
            self.server.lose(self.name, "no route left")
            self.nudge()
        else:
            self.push_again()
            self.server.request(self)

    # --- backward ---------------------------------------------------------------------------------------

    def _backward(self, turn: int) -> Process:
        """Compute layers L..1 backward; push each message when its lowest layer is done."""
        layers = self.server.layers
        tags = self.server.tags(turn)[1]
        while self.step < 2 * layers:
            layer = 2 * layers - self.step - 1
            if not (yield from self._compute(self.timer.backward_s(self.device.spec, layer), tags[layer])):
                return False
            due = [push for push in self._released[layer] if self.server.lacks(self.name, turn, push)]
            if due and not (yield from self._encode(turn, due)):
                return False
            self.step += 1
            for push in due:
                self._push(turn, push)
        return True

    def _compute(self, work_s: float, tag: Tag) -> Process:
        task = self.device.compute(work_s, tag)
        yield task
        return task.left_s == 0.0

    def _encode(self, turn: int, due: Sequence[int]) -> Process:
        """Compress the gradients of some messages; tell whether nothing was lost."""
        parts = [self.server.pushes[push] for push in due]
        work_s = self.config.encode_s(sum(part.bytes for part in parts))
        if work_s == 0.0:
            return True
        first, last = parts[0].first, max(part.last for part in parts)
        label = str(first) if first == last else f"{first}-{last}"
        return (yield from self._compute(work_s, Tag("encode", label, turn, first, last)))

    def _push(self, turn: int, push: int) -> None:
        part = self.server.pushes[push]
        host = self.server.hosts[part.host].name
        self._pushed[push] = UNDERWAY
        size = self.push_bytes(part.bytes)
        tag = Tag("push", part.label, turn, part.first, part.last)
        flow = self.sim.network.stream(self.name, host).send(size, tag, part.first)
        assert flow.callbacks is not None
        flow.callbacks.append(partial(self._reached, turn, push))

    def _reached(self, turn: int, push: int, flow: Any) -> None:
        part = self.server.pushes[push]
        if flow.lost:
            if self._pushed[push] == UNDERWAY:
                self._pushed[push] = LOST
                self._look_after(part)
            return
        self._pushed[push] = THERE
        if (decode_s := self.config.decode_s(part.bytes)) > 0.0:
            self.sim.process(self._unpack(turn, push, decode_s), name=f"{self.name} unpacked")
        else:
            self.server.deliver(self.name, turn, push)

    def _unpack(self, turn: int, push: int, decode_s: float) -> Process:
        yield from self.server.unpack(self.server.pushes[push], decode_s, turn)
        self.server.deliver(self.name, turn, push)

    def push_again(self) -> None:
        """Push again what was lost on the way, to servers that are up."""
        current = self.server.round
        if current is None or not self.device.up:
            return
        for push, state in enumerate(self._pushed):
            there = self.server.hosts[self.server.pushes[push].host].device.up
            if state == LOST and there and self.server.lacks(self.name, current.index, push):
                self._push(current.index, push)
