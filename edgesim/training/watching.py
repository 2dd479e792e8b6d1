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
    """Whoever plans while the training runs."""

    def observe(self, worker: str, seen: Observation) -> None:
        """Take notice of what a worker has measured in an iteration."""
        ...

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Plans | None]:
        """Spend the time of planning; return a worker's plans for an iteration, or None for those it has."""
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

    def end(self, worker: str, now_s: float) -> None:
        """Hand over what a worker has measured in its iteration."""
        notes = self._notes.pop(worker)
        self.scheduler.observe(
            worker,
            Observation(
                pulls=tuple(notes.pulls),
                pushes=tuple(notes.pushes),
                forward_s=tuple(notes.forward_s),
                backward_s=tuple(notes.backward_s),
                start_s=notes.start_s,
                end_s=now_s,
            ),
        )


class _Notes:
    """What one worker has measured so far."""

    def __init__(self, start_s: float, layers: int) -> None:
        self.start_s = start_s
        self.pulls: list[tuple[float, float]] = []
        self.pushes: list[tuple[float, float]] = []
        self.forward_s = [0.0] * layers
        self.backward_s = [0.0] * layers
