"""A worker that pulls, computes forward and backward, and pushes, phase by phase; whatever crashes.

Legend: L layers; a step is one layer's pass, steps 0..L-1 forward, L..2L-1 backward from layer L to 1.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from simpy import Event

from edgesim.engine import Simulation
from edgesim.engine.flow import Flow
from edgesim.plan import Segmentation
from edgesim.timeline import Tag
from edgesim.training.config import Config
from edgesim.training.member import Member
from edgesim.training.parts import Part, Placement, Segment
from edgesim.training.rounds import Round
from edgesim.training.server import Server
from edgesim.training.watching import Watcher
from edgesim.workload import LayerTimer

Process = Generator[Event, Any, Any]


@dataclass(slots=True)
class Progress:
    """How far a worker is in an iteration; what of it outlives a crash is a matter of policy."""

    pushed: set[tuple[int, int]]
    """Which messages the servers have: segment in the order in which they are sent, and server."""
    received: int = 0
    """Segments that the worker has."""
    step: int = 0
    """Layer passes done, 0 to 2L."""


class Worker(Member[Server]):
    """One worker, with the segments of its plan."""

    def __init__(
        self,
        sim: Simulation,
        server: Server,
        name: str,
        timer: LayerTimer,
        config: Config,
        memory_bytes: float,
        placement: Placement,
        plans: tuple[Segmentation, Segmentation],
        *,
        watcher: Watcher | None = None,
    ) -> None:
        super().__init__(sim, server, name, timer, config, memory_bytes)
        self.placement = placement
        self.watcher = watcher
        """Whom to tell what was measured, and to ask for new plans; None: the plans stay."""
        self.plan(plans)

    def plan(self, plans: tuple[Segmentation, Segmentation]) -> None:
        """Take the segments of the coming iterations."""
        self.pulls: tuple[Segment, ...] = self.placement.segments(plans[0])
        """In forward order."""
        self.pushes: tuple[Segment, ...] = tuple(reversed(self.placement.segments(plans[1])))
        """Top first, as they are sent."""

    def live(self) -> Process:
        """Take part in every iteration that counts on this worker, until it is gone for good."""
        while self.name not in self.server.gone:
            current = yield self.server.next_round(self.name)
            if self.name in current.waiting:
                yield from self._take_part(current)

    def _take_part(self, current: Round) -> Process:
        """Deliver one gradient, or see the iteration go on without it."""
        progress, planned = Progress(set()), self.watcher is None
        while self.name in current.waiting:
            if self.crashed:
                yield from self.come_up()
                if not self.resumes:
                    progress, planned = Progress(set()), self.watcher is None
            elif (host := self.server.host_down()) is not None:
                yield host.device.next_return()
            elif self.server.unreachable(self.name):
                self.server.lose(self.name, "no route left")
            elif not planned:
                planned = yield from self._plan_anew(current, progress)
            else:
                yield from self._forward(current, progress)
                yield from self._backward(current, progress)
                if self._delivered(progress) and self.name in current.waiting:
                    if self.watcher is not None:
                        self.watcher.end(self.name, self.sim.now)
                    current.deliver(self.name)

    def _delivered(self, progress: Progress) -> bool:
        return len(progress.pushed) == sum(len(segment.parts) for segment in self.pushes)

    def _plan_anew(self, current: Round, progress: Progress) -> Process:
        """Ask for new plans at the beginning of an iteration; tell whether nothing crashed over it."""
        assert self.watcher is not None
        if progress.step == 0 and progress.received == 0:
            plans = yield from self.watcher.prepare(self.name, current.index, self.sim.now)
            if plans is not None:
                self.plan(plans)
            self.watcher.begin(self.name, self.sim.now)
        return not self.crashed

    # --- forward ----------------------------------------------------------------------------------------

    def _forward(self, current: Round, progress: Progress) -> Process:
        """Pull what is missing, back to back, and compute each segment's layers when it is there."""
        if progress.step >= self.server.layers:
            return
        had = progress.received
        flows = [[self._pull(part, current.index) for part in segment.parts] for segment in self.pulls[had:]]
        for number, segment in enumerate(self.pulls):
            if number >= had and not (yield from self._received(flows[number - had])):
                break
            if not (yield from self._compute_forward(current, progress, segment.last)):
                break
        for some in flows:
            for flow in some:
                self.sim.network.cancel(flow)
        whole = takewhile(lambda some: not any(flow.lost for flow in some), flows)
        progress.received += sum(1 for _ in whole)

    def _pull(self, part: Part, index: int) -> Flow:
        stream = self.sim.network.stream(self.server.hosts[part.host].name, self.name)
        return stream.send(part.bytes, Tag("pull", part.label, index, part.first, part.last))

    def _received(self, flows: list[Flow]) -> Process:
        """Wait for the messages of a segment; tell whether all have arrived."""
        for flow in flows:
            if (yield flow).lost:
                return False
            if self.watcher is not None:
                self.watcher.pulled(self.name, flow)
        return True

    def _compute_forward(self, current: Round, progress: Progress, upto: int) -> Process:
        """Compute layers forward up to one (1-based); tell whether nothing was lost."""
        while progress.step < upto:
            layer = progress.step
            work_s = self.timer.forward_s(self.device.spec, layer)
            task = self.device.compute(work_s, current.forward_tags[layer])
            yield task
            if task.left_s > 0.0:
                return False
            if self.watcher is not None:
                self.watcher.forward(self.name, layer, task.end_s - task.start_s)
            progress.step += 1
        return True

    # --- backward ---------------------------------------------------------------------------------------

    def _backward(self, current: Round, progress: Progress) -> Process:
        """Compute layers L..1 backward; push each segment when its lowest layer is done."""
        if progress.step < self.server.layers:
            return
        if progress.step == self.server.layers and not progress.pushed:
            self._plan_pushes()
        ways: list[tuple[tuple[int, int], Flow, Part]] = []
        for number, segment in enumerate(self.pushes):
            if not (yield from self._compute_backward(current, progress, segment.first)):
                break
            missing = [part for part in segment.parts if (number, part.host) not in progress.pushed]
            if missing and not (yield from self._encode(current, segment)):
                break
            for part in missing:
                ways.append(((number, part.host), self._push(part, current.index), part))
        if self.watcher is not None and progress.step == 2 * self.server.layers:
            self.watcher.computed(self.name, current.index, self.sim.now)
        yield from self._arrive(current, progress, ways)

    def _plan_pushes(self) -> None:
        """Take a plan of the pushes that was made since the iteration began."""
        plan = None if self.watcher is None else self.watcher.push_plan(self.name)
        if plan is not None:
            self.pushes = tuple(reversed(self.placement.segments(plan)))

    def _push(self, part: Part, index: int) -> Flow:
        stream = self.sim.network.stream(self.name, self.server.hosts[part.host].name)
        size = self.push_bytes(part.bytes)
        return stream.send(size, Tag("push", part.label, index, part.first, part.last))

    def _arrive(
        self, current: Round, progress: Progress, ways: list[tuple[tuple[int, int], Flow, Part]]
    ) -> Process:
        """Wait until the servers have what was pushed, unpacked; note what they have."""
        unpacking = []
        for key, flow, part in ways:
            yield flow
            if flow.lost:
                continue
            progress.pushed.add(key)
            if self.watcher is not None:
                self.watcher.pushed(self.name, flow)
            if (decode_s := self.config.decode_s(part.bytes)) > 0.0:
                unpack = self.server.unpack(part, decode_s, current.index)
                unpacking.append(self.sim.process(unpack, name=f"{self.name} unpacked"))
        yield from unpacking

    def _encode(self, current: Round, segment: Segment) -> Process:
        """Compress a segment's gradients; tell whether nothing was lost."""
        work_s = self.config.encode_s(sum(part.bytes for part in segment.parts))
        if work_s == 0.0:
            return True
        label = segment.parts[0].label
        task = self.device.compute(work_s, Tag("encode", label, current.index, segment.first, segment.last))
        yield task
        return task.left_s == 0.0

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
            if self.watcher is not None:
                self.watcher.backward(self.name, layer, task.end_s - task.start_s)
            progress.step += 1
        return True
