"""A worker of synchronous training: pull, compute forward, compute backward, push; whatever crashes.

Legend: L layers; a step is one layer's pass, steps 0..L-1 forward, L..2L-1 backward from layer L to 1.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from simpy import Event

from edgesim.engine import Simulation
from edgesim.engine.flow import Flow
from edgesim.plan import Segmentation
from edgesim.timeline import Tag
from edgesim.training.rounds import Round
from edgesim.training.server import Server
from edgesim.workload import LayerTimer, Workload

Process = Generator[Event, Any, Any]


class Segment(NamedTuple):
    """Layers that cross the network as one message."""

    first: int
    last: int
    bytes: int
    label: str


def segments(workload: Workload, plan: Segmentation) -> tuple[Segment, ...]:
    """Return the messages of a plan, in forward order."""
    made = []
    for first, last in plan.segments:
        size = sum(layer.parameter_bytes for layer in workload.layers[first - 1 : last])
        made.append(Segment(first, last, size, str(first) if first == last else f"{first}-{last}"))
    return tuple(made)


@dataclass(slots=True)
class Progress:
    """How far a worker is in an iteration; what of it outlives a crash is a matter of policy."""

    pushed: list[bool]
    """Which segments the server has, in the order in which they are sent."""
    received: int = 0
    """Segments that the worker has."""
    step: int = 0
    """Layer passes done, 0 to 2L."""


class Worker:
    """One worker, with the segments of its plan."""

    def __init__(
        self,
        sim: Simulation,
        server: Server,
        name: str,
        timer: LayerTimer,
        pulls: tuple[Segment, ...],
        pushes: tuple[Segment, ...],
        *,
        memory_bytes: float,
        resumes: bool,
    ) -> None:
        self.sim = sim
        self.server = server
        self.name = name
        self.device = sim.device(name)
        self.timer = timer
        self.pulls = pulls
        """In forward order."""
        self.pushes = pushes
        """Top first, as they are sent."""
        self.memory_bytes = memory_bytes
        self.resumes = resumes
        self.crash: Event | None = None
        """Fires at the crash that ends this stay in memory; None: not in memory yet."""

    def live(self) -> Process:
        """Take part in every iteration that counts on this worker, until it is gone for good."""
        while self.name not in self.server.gone:
            current = yield self.server.next_round(self.name)
            if self.name in current.waiting:
                yield from self._take_part(current)

    def _come_up(self) -> Process:
        """Wait until the device is up, and hold its memory."""
        while not self.device.up:
            yield self.device.next_return()
        if self.crash is None or self.crash.triggered:
            self.device.allocate(self.memory_bytes, "parameters, gradients and activations")
            self.crash = self.device.next_crash()

    def _take_part(self, current: Round) -> Process:
        """Deliver one gradient, or see the iteration go on without it."""
        progress = Progress([False] * len(self.pushes))
        while self.name in current.waiting:
            if self.crash is None or self.crash.triggered:
                yield from self._come_up()
                if not self.resumes:
                    progress = Progress([False] * len(self.pushes))
            elif not self.server.device.up:
                yield self.server.device.next_return()
            elif self._unreachable():
                self.server.lose(self.name, "no route left")
            else:
                yield from self._forward(current, progress)
                yield from self._backward(current, progress)
                if all(progress.pushed):
                    current.deliver(self.name)

    def _unreachable(self) -> bool:
        route = self.sim.network.cluster.route
        return route(self.server.name, self.name) is None or route(self.name, self.server.name) is None

    def _forward(self, current: Round, progress: Progress) -> Process:
        """Pull what is missing, back to back, and compute each segment's layers when it is there."""
        if progress.step >= self.server.layers:
            return
        stream = self.sim.network.stream(self.server.name, self.name)
        index = current.index
        had = progress.received
        flows = [
            stream.send(part.bytes, Tag("pull", part.label, index, part.first, part.last))
            for part in self.pulls[had:]
        ]
        for number, part in enumerate(self.pulls):
            if number >= had and (yield flows[number - had]).lost:
                break
            if not (yield from self._compute_forward(current, progress, part.last)):
                break
        for flow in flows:
            self.sim.network.cancel(flow)
        progress.received += sum(1 for _ in takewhile(lambda flow: not flow.lost, flows))

    def _compute_forward(self, current: Round, progress: Progress, upto: int) -> Process:
        """Compute layers forward up to one (1-based); tell whether nothing was lost."""
        while progress.step < upto:
            layer = progress.step
            work_s = self.timer.forward_s(self.device.spec, layer)
            task = self.device.compute(work_s, current.forward_tags[layer])
            yield task
            if task.left_s > 0.0:
                return False
            progress.step += 1
        return True

    def _backward(self, current: Round, progress: Progress) -> Process:
        """Compute layers L..1 backward; push each segment when its lowest layer is done."""
        if progress.step < self.server.layers:
            return
        stream = self.sim.network.stream(self.name, self.server.name)
        index = current.index
        flows: list[tuple[int, Flow]] = []
        for number, part in enumerate(self.pushes):
            if not (yield from self._compute_backward(current, progress, part.first)):
                break
            if not progress.pushed[number]:
                tag = Tag("push", part.label, index, part.first, part.last)
                flows.append((number, stream.send(part.bytes, tag)))
        for number, flow in flows:
            yield flow
            progress.pushed[number] = not flow.lost

    def _compute_backward(self, current: Round, progress: Progress, downto: int) -> Process:
        """Compute layers backward down to one (1-based); tell whether nothing was lost."""
        end = 2 * self.server.layers - downto + 1
        while progress.step < end:
            layer = 2 * self.server.layers - progress.step - 1
            work_s = self.timer.backward_s(self.device.spec, layer)
            task = self.device.compute(work_s, current.backward_tags[layer])
            yield task
            if task.left_s > 0.0:
                return False
            progress.step += 1
        return True
