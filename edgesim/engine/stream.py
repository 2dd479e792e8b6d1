"""Channels from one device to another: one message at a time, the most urgent one next."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from edgesim.engine.flow import ENDED, Flow
from edgesim.timeline import Tag

if TYPE_CHECKING:
    from edgesim.engine.network import Network

NO_TAG = Tag("message")


class Stream:
    """A channel: one message at a time, the next when the last byte of the one before is out.

    Messages go in the order in which they were sent, or by rank where they have one; a message that has begun
    is never interrupted. Latency is paid by every message but overlaps with the messages before it, so a
    backlog flows back to back.
    """

    __slots__ = (
        "_ahead",
        "_current",
        "_going",
        "_handed_bytes",
        "_network",
        "_queue",
        "_sent",
        "credit_bytes",
        "source",
        "target",
    )

    def __init__(self, network: Network, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.credit_bytes = 0.0
        """Most bytes that are on their way or next in turn, so that nothing overtakes them any more, in B;
        one message always may be."""
        self._network = network
        self._queue: list[tuple[float, int, Flow]] = []
        self._ahead: deque[Flow] = deque()
        self._handed_bytes = 0.0
        self._current: Flow | None = None
        self._going = False
        self._sent = 0

    def send(self, nbytes: float, tag: Tag = NO_TAG, rank: float = 0.0) -> Flow:
        """Queue a message of `nbytes` B, before all of a higher rank; return the event of its end."""
        flow = self._network._make(self.source, self.target, nbytes, tag)
        flow.stream = self
        if self._current is None:
            self._handed_bytes += nbytes
            self._begin(flow)
        else:
            self._sent += 1
            heappush(self._queue, (rank, self._sent, flow))
            if self.credit_bytes > 0.0:
                self._hand_over()
        return flow

    def _begin(self, flow: Flow) -> None:
        self._current = flow
        if flow.route.outdated:
            flow.route = self._network._find_route(self.source, self.target)
        self._network._send_with_care(flow)

    def _hand_over(self) -> None:
        """Take the most urgent messages out of the queue, as far as the credit allows."""
        queue = self._queue
        while queue and self._handed_bytes + queue[0][2].bytes <= self.credit_bytes:
            flow = heappop(queue)[2]
            if flow.phase != ENDED:
                self._handed_bytes += flow.bytes
                self._ahead.append(flow)

    def _ended(self, flow: Flow) -> None:
        """Go on when the message on its way has ended; one that waited just drops out."""
        if flow is not self._current:
            return
        self._current = None
        self._handed_bytes -= flow.bytes
        if (self._ahead or self._queue) and not self._going:
            self._go_on()

    def _go_on(self) -> None:
        """Begin the next message; those that end at once, lost or empty, are passed in a loop."""
        self._going = True
        while self._current is None and (self._ahead or self._queue):
            if self.credit_bytes > 0.0:
                self._hand_over()
            handed = bool(self._ahead)
            flow = self._ahead.popleft() if handed else heappop(self._queue)[2]
            if flow.phase == ENDED:
                self._handed_bytes -= flow.bytes if handed else 0.0
                continue
            if not handed:
                self._handed_bytes += flow.bytes
            self._begin(flow)
        self._going = False

    def _clear(self) -> None:
        """Lose what is queued and what is on its way."""
        waiting = [*self._ahead, *(flow for _, _, flow in sorted(self._queue, key=lambda one: one[:2]))]
        self._ahead.clear()
        self._queue.clear()
        current, self._current, self._handed_bytes = self._current, None, 0.0
        if current is not None:
            waiting.insert(0, current)
        for flow in waiting:
            self._network.cancel(flow)
