"""What crosses the network: which bytes of which layers go between a worker and which server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from edgesim.plan import Message, Segmentation
from edgesim.planning.sharding import shards
from edgesim.workload import Workload


class Part(NamedTuple):
    """Bytes of some layers that one server holds, sent as one message."""

    host: int
    """0-based server."""
    first: int
    """First of the layers, 1-based."""
    last: int
    """Last of the layers, 1-based."""
    bytes: int
    """Size of the parameters, and of their gradients, in B."""
    label: str
    """Layers, for pictures."""
    needed_by: tuple[int, ...] = ()
    """0-based layers that it holds bytes of."""


class Segment(NamedTuple):
    """Layers that cross the network together: one message for each server that holds some of them."""

    first: int
    last: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Which server holds which layer."""

    sizes: tuple[int, ...]
    """Bytes of each layer, in B; L numbers."""
    hosts: tuple[int, ...]
    """0-based server of each layer; L numbers."""
    servers: int
    """Number of servers, S."""

    @property
    def bytes(self) -> tuple[int, ...]:
        """Bytes that each server holds, in B; S numbers."""
        held = [0] * self.servers
        for host, size in zip(self.hosts, self.sizes, strict=True):
            held[host] += size
        return tuple(held)

    def segments(self, plan: Segmentation) -> tuple[Segment, ...]:
        """Return the segments of a plan, in forward order."""
        return tuple(
            Segment(first, last, self._split(first, self.sizes[first - 1 : last], _label(first, last)))
            for first, last in plan.segments
        )

    def parts(self, messages: Sequence[Message]) -> tuple[tuple[Part, ...], ...]:
        """Return, for each message of a queue plan in forward order, what goes to or from each server.

        Several messages of one layer are its slices: their labels are numbered.
        """
        starts = (0, *accumulate(self.sizes))
        made: list[tuple[Part, ...]] = []
        slices: dict[int, int] = {}
        for one in messages:
            layers = range(one.first, one.last + 1)
            inside = [min(one.high, starts[layer]) - max(one.low, starts[layer - 1]) for layer in layers]
            label = _label(one.first, one.last)
            if len(inside) == 1 and inside[0] < self.sizes[one.first - 1]:
                slices[one.first] = slices.get(one.first, 0) + 1
                label = f"{label}.{slices[one.first]}"
            made.append(self._split(one.first, inside, label))
        return tuple(made)

    def _split(self, first: int, inside: Sequence[int], label: str) -> tuple[Part, ...]:
        """Return a message for each server that holds some of the layers from `first` on; bytes of each."""
        by_host: dict[int, list[int]] = {}
        for layer in range(first, first + len(inside)):
            by_host.setdefault(self.hosts[layer - 1], []).append(layer)
        return tuple(
            Part(
                host,
                layers[0],
                layers[-1],
                sum(inside[layer - first] for layer in layers),
                label,
                tuple(layer - 1 for layer in layers),
            )
            for host, layers in sorted(by_host.items())
        )


def placement(workload: Workload, servers: int) -> Placement:
    """Return which of some servers holds which layer of a workload: their bytes are about equal."""
    sizes = tuple(layer.parameter_bytes for layer in workload.layers)
    return Placement(sizes=sizes, hosts=shards(sizes, servers), servers=servers)


def _label(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
