"""Pipes and paths: what `pool` computes rates for. Sizes in B, rates in B/s.

`served` is a path's virtual time: bytes given to each of its flows so far; a flow that joins with `size` to
go ends when `served` has grown by `size`.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesim.engine.pool import Pool

_sequence = count()


class Pipe:
    """One capacity that paths cross."""

    __slots__ = ("capacity", "name", "on_first", "paths")

    def __init__(self, name: str, capacity: float) -> None:
        self.name = name
        self.capacity = capacity
        self.paths: dict[Path, None] = {}
        self.on_first: Callable[[], None] | None = None
        """Called when a pipe gets its first path: a varying capacity is followed only in use."""


class Path:
    """All flows over one set of pipes; they have one rate."""

    __slots__ = (
        "cap",
        "cap_beside",
        "count",
        "flow",
        "key",
        "offset",
        "order",
        "pipes",
        "pool",
        "rate",
        "refit",
        "rest",
        "served",
        "since",
        "state",
        "target",
        "version",
    )

    def __init__(self, pipes: tuple[Pipe, ...], order: int) -> None:
        self.pipes = pipes
        self.order = order
        self.count = 0
        """Number of flows."""
        self.flow: Any = None
        """The flow that ends first."""
        self.target = inf
        """The value of `served` at which it ends."""
        self.rest: list[tuple[float, int, Any]] = []
        """A heap of the others: most paths have one flow, and no need of it."""
        self.served = 0.0
        self.since = 0.0
        self.rate = 0.0
        self.offset = 0.0
        self.key: float | None = None
        self.state = 0
        self.pool: Pool | None = None
        self.cap = inf
        self.cap_beside: Pipe | None = None
        self.refit = False
        self.version = 0

    def push(self, target: float, flow: Any) -> None:
        """Add a flow that ends when `served` reaches `target`."""
        if not self.count:
            self.target, self.flow = target, flow
        elif target < self.target:
            heappush(self.rest, (self.target, next(_sequence), self.flow))
            self.target, self.flow = target, flow
        else:
            heappush(self.rest, (target, next(_sequence), flow))
        self.count += 1

    def pop(self) -> Any:
        """Take out the flow that ends first."""
        flow = self.flow
        self.count -= 1
        if self.rest:
            self.target, _, self.flow = heappop(self.rest)
        else:
            self.flow = None
        return flow

    def take_out(self, flow: Any) -> float:
        """Remove a flow; return the bytes it had to go. `served` must be up to date."""
        if flow is self.flow:
            target = self.target
            self.pop()
            return max(target - self.served, 0.0)
        for index, entry in enumerate(self.rest):
            if entry[2] is flow:
                del self.rest[index]
                heapify(self.rest)
                self.count -= 1
                return max(entry[0] - self.served, 0.0)
        raise ValueError("the flow is not on this path")

    def left(self, flow: Any, now: float) -> float:
        """Return the bytes that a flow has to go."""
        served = self.served
        if self.pool is not None:
            served = self.pool.served_to(self, now)
        targets = [self.target] if flow is self.flow else [t for t, _, other in self.rest if other is flow]
        return max(targets[0] - served, 0.0)

    def flows(self) -> list[Any]:
        """Return all flows, in no particular but a fixed order."""
        return [self.flow, *(entry[2] for entry in self.rest)] if self.count else []

    def cap_without(self, hub: Pipe) -> float:
        """Return the least capacity on the path beside `hub`, in B/s."""
        if self.cap_beside is not hub:
            self.cap_beside = hub
            self.cap = min((pipe.capacity for pipe in self.pipes if pipe is not hub), default=inf)
        return self.cap
