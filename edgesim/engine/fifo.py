"""Messages in chunks through queues, where a link of the network is first-in-first-out.

Real queues do not share fairly: who has more chunks waiting gets more of the link. A message puts chunks into
the queue of its first link until a window is in flight, and one more for each that arrives. Every link of the
route serves a chunk at a time (store and forward): a `fifo` link in the order of arrival, a `fair` one the
messages in turn. The start-up's occupancy stands in the first queue like a chunk. The window bounds what
queues, not the rate over a long way: acknowledgements are instant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from edgesim.engine.clock import Alarm, Clock
from edgesim.engine.flow import BYTES, ENDED, Flow
from edgesim.engine.linkstate import LinkState

CHUNK_BYTES = 8192.0
"""Size of a chunk, in B: what a sender writes to its socket at a time."""
WINDOW_BYTES = 131_072.0
"""Bytes of one message in flight, in B: twice a socket buffer of 64 KiB."""


class Convoy:
    """A message as chunks on their way."""

    __slots__ = ("arrived", "flow", "left", "links", "sent")

    def __init__(self, flow: Flow, links: list[FifoLink]) -> None:
        self.flow = flow
        self.links = links
        self.left = flow.bytes
        """Bytes not yet in any queue."""
        self.sent = 0.0
        """Bytes that have crossed the first link."""
        self.arrived = 0.0
        """Bytes that have crossed them all."""

    @property
    def over(self) -> bool:
        """True when the message has ended; its chunks still queued are worth nothing."""
        return self.flow.phase == ENDED

    def inject(self) -> None:
        """Queue chunks on the first link as far as the window allows."""
        while self.left > 0.0:
            size = min(CHUNK_BYTES, self.left)
            if self.flow.bytes - self.left - self.arrived + size > max(WINDOW_BYTES, size):
                return
            self.left -= size
            self.links[0].push(self, 0, size, 0.0)


Entry = tuple[Convoy, int, float, float]
"""A chunk in a queue: its message, which link of the route this is, B, and s that it holds the link."""


class FifoLink:
    """The queue, or the queues, of one link."""

    __slots__ = (
        "_alarm",
        "_carrier",
        "_current",
        "_fair",
        "_finish_s",
        "_left",
        "_queues",
        "_since_s",
        "state",
    )

    def __init__(self, state: LinkState, carrier: FifoCarrier) -> None:
        self.state = state
        self._carrier = carrier
        self._fair = state.link.sharing == "fair"
        self._queues: dict[Convoy | None, deque[Entry]] = {}
        """Chunks in order of arrival: one queue for all, or, where the link is fair, one a message."""
        self._current: Entry | None = None
        self._left = 0.0
        self._since_s = 0.0
        self._finish_s = inf
        self._alarm = Alarm(carrier.clock, self._ring)
        state.queue = self

    def push(self, convoy: Convoy, hop: int, size: float, hold_s: float) -> None:
        """Queue a chunk of `size` B, or, with size 0, a hold of the link for `hold_s` s."""
        key = convoy if self._fair else None
        self._queues.setdefault(key, deque()).append((convoy, hop, size, hold_s))
        if self._current is None:
            self._next()

    @property
    def busy(self) -> bool:
        """True while a chunk is served."""
        return self._current is not None

    def retime(self) -> None:
        """Go on with the chunk in service at the link's new capacity."""
        if self._current is not None and self._current[2] > 0.0:
            now = self._carrier.clock.now
            self._left = max(self._left - self._rate * (now - self._since_s), 0.0)
            self._serve(now)

    @property
    def _rate(self) -> float:
        return self.state.pipe.capacity

    def _next(self) -> None:
        while self._queues:
            entry = self._take()
            if not entry[0].over:
                self._current = entry
                self._left = entry[2]
                self.state.follow()
                self._serve(self._carrier.clock.now)
                return
        self._current = None

    def _take(self) -> Entry:
        """Take the next chunk of the queue whose turn it is; that queue is last in turn then."""
        key = next(iter(self._queues))
        queue = self._queues.pop(key)
        entry = queue.popleft()
        if queue:
            self._queues[key] = queue
        return entry

    def _serve(self, now: float) -> None:
        assert self._current is not None
        _, _, size, hold_s = self._current
        self._since_s = now
        if size > 0.0:
            self._finish_s = now + self._left / self._rate if self._rate > 0.0 else inf
        else:
            self._finish_s = now + hold_s
        if self._finish_s < inf:
            self._alarm.at(self._finish_s)

    def _ring(self) -> None:
        if self._current is None or self._carrier.clock.now < self._finish_s:
            return
        convoy, hop, size, _ = self._current
        self._finish_s = inf
        self._next()
        if not convoy.over:
            self.state.served_bytes += size
            self._carrier.passed(convoy, hop, size)


class FifoCarrier:
    """Carries the messages of a network that has a first-in-first-out link."""

    def __init__(self, clock: Clock, arrived: Callable[[Flow], None]) -> None:
        self.clock = clock
        self._arrived = arrived
        self._links: dict[LinkState, FifoLink] = {}
        self._convoys: dict[Flow, Convoy] = {}

    def start(self, flow: Flow) -> None:
        """Take a message over: its start-up first, if it has any."""
        flow.phase = BYTES
        flow.start_s = self.clock.now
        convoy = self._convoys[flow] = Convoy(flow, [self._link(state) for state in flow.route.links])
        if flow.route.occupancy_s > 0.0:
            flow.route.links[0].startup_s += flow.route.occupancy_s
            convoy.links[0].push(convoy, 0, 0.0, flow.route.occupancy_s)
        else:
            self._begin(convoy)

    def lose(self, flow: Flow) -> float:
        """Forget a message; return the bytes that had not left its sender."""
        convoy = self._convoys.pop(flow, None)
        return flow.bytes - convoy.sent if convoy else flow.bytes

    def flows(self) -> list[Flow]:
        """Return the messages on their way."""
        return list(self._convoys)

    def passed(self, convoy: Convoy, hop: int, size: float) -> None:
        """Send a chunk that has crossed one link on to the next."""
        flow = convoy.flow
        if size == 0.0:
            self._begin(convoy)
            return
        if hop == 0:
            convoy.sent += size
            if convoy.sent >= flow.bytes and flow.stream is not None:
                stream, flow.stream = flow.stream, None
                stream._ended(flow)
        if hop + 1 < len(convoy.links):
            convoy.links[hop + 1].push(convoy, hop + 1, size, 0.0)
            return
        convoy.arrived += size
        if convoy.arrived >= flow.bytes:
            del self._convoys[flow]
            self._arrived(flow)
        else:
            convoy.inject()

    def _begin(self, convoy: Convoy) -> None:
        if convoy.flow.bytes > 0.0:
            convoy.inject()
        else:
            del self._convoys[convoy.flow]
            self._arrived(convoy.flow)

    def _link(self, state: LinkState) -> FifoLink:
        if state not in self._links:
            self._links[state] = FifoLink(state, self)
        return self._links[state]
