"""The clock: SimPy's environment with one total order and an end-of-instant hook.

Events fire in the order (time, priority, sequence). Before time moves on, everything that changed in the
instant that ends is settled once: rates are recomputed once an instant, however many flows came and went.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any, Protocol

from simpy import Environment
from simpy.events import NORMAL, Event


class Settler(Protocol):
    """Something with work to do at the end of an instant in which it changed."""

    def settle(self) -> None:
        """Bring everything up to date; may schedule events, also at the present instant."""
        ...


class Alarm(Event):
    """A re-usable wake-up: fires its one callback each time it comes up in the queue.

    It may stand in the queue several times; who is woken checks whether anything is due. SimPy clears an
    event's callbacks when it fires, an alarm keeps its own.
    """

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self.env = clock
        self._ok = True
        self._value = None
        self._woken = (lambda _event: wake(),)

    @property
    def callbacks(self) -> Any:
        """Always the same one callback."""
        return self._woken

    @callbacks.setter
    def callbacks(self, value: object) -> None:
        """Ignore that SimPy takes the callbacks away."""

    def at(self, time_s: float, *, background: bool = False) -> None:
        """Fire at an absolute time; a `background` alarm does not keep the simulation alive."""
        clock = self.env
        assert isinstance(clock, Clock)
        if background:
            clock.background += 1
            Alarm(clock, lambda: self._fire_background(clock)).at(time_s)
        else:
            heappush(clock._queue, (time_s, NORMAL, next(clock._eid), self))

    def _fire_background(self, clock: Clock) -> None:
        clock.background -= 1
        self._woken[0](self)


class Clock(Environment):
    """SimPy's environment, with `settle` called on whoever changed before time moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: list[Settler] = []
        """Who must settle before time moves on; whoever changes appends itself, once."""
        self.background = 0
        """Queued events that alone do not keep the simulation alive (future random failures)."""

    def step(self) -> None:
        """Process the next event, settling first if the present instant has no more events."""
        while self.changed and (not self._queue or self._queue[0][0] > self._now):
            self._settle()
        super().step()

    def advance(self, until_s: float = inf, events: int = 1 << 62) -> bool:
        """Process at most so many events up to and including `until_s`; return False when none is left.

        Raises `StopSimulation` when a callback of that name is met, as `Environment.run` does.
        """
        queue = self._queue
        changed = self.changed
        for _ in range(events):
            while changed and (not queue or queue[0][0] > self._now):
                self._settle()
            if len(queue) <= self.background:
                return False
            if queue[0][0] > until_s:
                self._now = until_s
                return False
            self._now, _, _, event = heappop(queue)
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
            for callback in callbacks:
                callback(event)
            if not event._ok and not hasattr(event, "_defused"):
                raise event._value
        return True

    def _settle(self) -> None:
        pending = self.changed[:]
        self.changed.clear()
        for settler in pending:
            settler.settle()


def fire(event: Event) -> None:
    """Process an event of the present instant at once, without a turn through the queue."""
    callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
    for callback in callbacks:
        callback(event)
