"""Ordered channels: messages from one device to another, back to back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from edgesim.engine.flow import Flow
from edgesim.timeline import Tag

if TYPE_CHECKING:
    from edgesim.engine.network import Network

NO_TAG = Tag("message")


class Stream:
    """An ordered channel: one message at a time, the next when the last byte of the one before is out.

    Latency is paid by every message but overlaps with the messages before it, so a backlog flows back to
    back.
    """

    __slots__ = ("_current", "_network", "_queue", "source", "target")

    def __init__(self, network: Network, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self._network = network
        self._queue: deque[Flow] = deque()
        self._current: Flow | None = None

    def send(self, nbytes: float, tag: Tag = NO_TAG) -> Flow:
        """Queue a message of `nbytes` B; return the event of its end."""
        flow = self._network._make(self.source, self.target, nbytes, tag)
        flow.stream = self
        if self._current is None:
            self._begin(flow)
        else:
            self._queue.append(flow)
        return flow

    def _begin(self, flow: Flow) -> None:
        self._current = flow
        if flow.route.outdated:
            flow.route = self._network._find_route(self.source, self.target)
        self._network._send_with_care(flow)

    def _next(self) -> None:
        self._current = None
        if self._queue:
            self._begin(self._queue.popleft())

    def _clear(self) -> None:
        """Lose what is queued and what is on its way."""
        queue, self._queue = self._queue, deque()
        if self._current is not None:
            self._network.cancel(self._current)
        for flow in queue:
            flow.stream = None
            self._network.cancel(flow)
