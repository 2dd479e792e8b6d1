"""What a worker measures of its own iteration, handed to whoever plans the next one."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

from simpy import Event

from edgesim.engine.flow import Flow
from edgesim.plan import Segmentation
from edgesim.planning.estimate import Observation

Plans = tuple[Segmentation, Segmentation]


class Scheduler(Protocol):
    """Whoever plans while the training runs.

    Four moments of an iteration are told to it: `prepare` before the first pull, `push_plan` before the
    backward pass, `computed` after it, and `observe` when all pushes have arrived. A device computes one task
    at a time; so planning that begins in `computed`, or as `prepare` ends, runs while the device would wait
    for messages, and delays what comes after only if it takes longer than that.
    """

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Plans | None]:
        """Wait until planning is over; return a worker's plans for an iteration, or None for those it has."""
        yield from ()
        return None

    def push_plan(self, worker: str) -> Segmentation | None:
        """Return a plan of a worker's pushes that was made since `prepare`, or None for the one it has."""
        return None

    def computed(self, worker: str, index: int, seen: Observation) -> None:
        """Take notice of what a worker has measured until now, the end of its backward pass."""
        return

    def observe(self, worker: str, seen: Observation) -> None:
        """Take notice of what a worker has measured in an iteration."""
        ...


class Watcher:
    """Collects the measurements of every worker, an iteration at a time.

    A message's time is the one that it held the channel: from its first use of a link to its end.
    """

    def __init__(self, scheduler: Scheduler, layers: int) -> None:
        self.scheduler = scheduler
        self._layers = layers
        self._notes: dict[str, _Notes] = {}

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Plans | None]:
        """Ask for a worker's plans for an iteration."""
        return self.scheduler.prepare(worker, index, start_s)

    def begin(self, worker: str, now_s: float) -> None:
        """Forget what was begun; an iteration begins."""
        self._notes[worker] = _Notes(now_s, self._layers)

    def pulled(self, worker: str, flow: Flow) -> None:
        """Note a message from a server."""
        self._notes[worker].pulls.append((flow.bytes, flow.end_s - flow.start_s))

    def pushed(self, worker: str, flow: Flow) -> None:
        """Note a message to a server."""
        self._notes[worker].pushes.append((flow.bytes, flow.end_s - flow.start_s))

    def forward(self, worker: str, layer: int, time_s: float) -> None:
        """Note the forward pass of a layer, 0-based."""
        self._notes[worker].forward_s[layer] = time_s

    def backward(self, worker: str, layer: int, time_s: float) -> None:
        """Note the backward pass of a layer, 0-based."""
        self._notes[worker].backward_s[layer] = time_s

    def push_plan(self, worker: str) -> Segmentation | None:
        """Ask for a new plan of a worker's pushes; its backward pass begins."""
        return self.scheduler.push_plan(worker)

    def computed(self, worker: str, index: int, now_s: float) -> None:
        """Hand over what a worker has measured until the end of its backward pass; once an iteration."""
        notes = self._notes[worker]
        if not notes.computed:
            notes.computed = True
            self.scheduler.computed(worker, index, notes.until(now_s))

    def end(self, worker: str, now_s: float) -> None:
        """Hand over what a worker has measured in its iteration."""
        self.scheduler.observe(worker, self._notes.pop(worker).until(now_s))


class _Notes:
    """What one worker has measured so far."""

    def __init__(self, start_s: float, layers: int) -> None:
        self.start_s = start_s
        self.pulls: list[tuple[float, float]] = []
        self.pushes: list[tuple[float, float]] = []
        self.forward_s = [0.0] * layers
        self.backward_s = [0.0] * layers
        self.computed = False
        """True: the backward pass is over, and that was told."""

    def until(self, now_s: float) -> Observation:
        """Return what was measured until now."""
        return Observation(
            pulls=tuple(self.pulls),
            pushes=tuple(self.pushes),
            forward_s=tuple(self.forward_s),
            backward_s=tuple(self.backward_s),
            start_s=self.start_s,
            end_s=now_s,
        )
