"""A message on its way, as an event that its sender and receiver can wait for."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from simpy.events import PENDING, Event

from edgesim.timeline import Tag

if TYPE_CHECKING:
    from edgesim.engine.clock import Clock
    from edgesim.engine.network import Route, Stream
    from edgesim.engine.path import Path


QUEUED, STARTUP, BYTES, ENDED = range(4)


class Flow(Event):
    """One message. The event always succeeds, with itself as value: look at `lost`.

    Its life: queued (in a stream, or waiting the route's latency), then on the sender's link alone for the
    start-up's occupancy, then on the whole route, then ended: received or lost.
    """

    _ok = True
    phase = QUEUED
    path: Path | None = None
    """Where its bytes flow now; None: nowhere yet, or ended."""
    stream: Stream | None = None
    """The stream it belongs to, if any."""
    start_s = inf
    """First use of a link, start-up included, in s; inf: not yet."""
    end_s = inf
    """When it was received or lost, in s; inf: not yet."""
    sent_bytes = 0.0
    """Bytes that left the sender, in B."""
    lost = False
    """True: it ended without arriving; what was sent of it is lost."""

    def __init__(self, env: Clock, nbytes: float, tag: Tag, route: Route) -> None:
        self.env = env
        self.callbacks = []
        self.bytes = nbytes
        """Size of the message, in B."""
        self.tag = tag
        self.route = route
        self.queued_s = env._now
        """When it was handed to the network, in s."""

    @property
    def _value(self) -> Any:
        """The event's value, itself; not stored, or every message would be a cycle for the collector."""
        return self if self.phase == ENDED else PENDING

    @property
    def source(self) -> str:
        """Name of the sending device."""
        return self.route.source

    @property
    def target(self) -> str:
        """Name of the receiving device."""
        return self.route.target

    @property
    def received_bytes(self) -> float:
        """Bytes that arrived and count, in B: all or nothing."""
        return 0.0 if self.lost else self.sent_bytes

    def describe(self) -> str:
        """Say what it is, for messages about who waits for what."""
        what = f"{self.tag.kind} {self.tag.label}".strip()
        return f"{what or 'message'} from {self.source} to {self.target}"
