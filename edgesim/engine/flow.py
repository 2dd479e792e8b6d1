"""A message on its way, as an event that its sender and receiver can wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simpy.events import PENDING, Event

from edgesim.timeline import Tag

if TYPE_CHECKING:
    from edgesim.engine.clock import Clock
    from edgesim.engine.network import Route
    from edgesim.engine.path import Path


QUEUED, STARTUP, BYTES, ENDED = range(4)


class Flow(Event):
    """One message. The event always succeeds, with itself as value: look at `lost`.

    Its life: queued (in a stream, or waiting the route's latency), then on the sender's link alone for the
    start-up's occupancy, then on the whole route, then ended: received or lost.
    """

    __slots__ = (
        "bytes",
        "end_s",
        "lost",
        "path",
        "phase",
        "queued_s",
        "ready_s",
        "route",
        "sent_bytes",
        "source",
        "start_s",
        "stream",
        "tag",
        "target",
    )

    def __init__(self, env: Clock, source: str, target: str, nbytes: float, tag: Tag, route: Route) -> None:
        self.env = env
        self.callbacks = []
        self._value = PENDING
        self._ok = True
        self.source = source
        """Name of the sending device."""
        self.target = target
        """Name of the receiving device."""
        self.bytes = nbytes
        """Size of the message, in B."""
        self.tag = tag
        self.route = route
        self.path: Path | None = None
        """Where its bytes flow now; None: nowhere yet, or ended."""
        self.phase = QUEUED
        self.stream: Any = None
        self.queued_s: float = env._now
        """When it was handed to the network, in s."""
        self.ready_s: float = env._now
        """Earliest start of its bytes: queued plus the latency of the route, in s."""
        self.start_s: float = env._now
        """First use of a link, start-up included, in s."""
        self.end_s = 0.0
        """When it was received or lost, in s; meaningful once it has ended."""
        self.sent_bytes = 0.0
        """Bytes that left the sender, in B."""
        self.lost = False
        """True: it ended without arriving; what was sent of it is lost."""

    @property
    def received_bytes(self) -> float:
        """Bytes that arrived and count, in B: all or nothing."""
        return 0.0 if self.lost else self.sent_bytes

    def describe(self) -> str:
        """Say what it is, for messages about who waits for what."""
        what = f"{self.tag.kind} {self.tag.label}".strip()
        return f"{what or 'message'} from {self.source} to {self.target}"
