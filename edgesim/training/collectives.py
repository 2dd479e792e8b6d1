"""All-reduce on the simulated network: a ring or a binary tree of workers that add up a bucket.

A collective begins for all its workers at once and ends for all at once: when the last message has come, or,
broken, when one is lost. A broken one has no result; whoever began it begins it again. Adding takes no time:
it goes at the speed of memory while the bytes come in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from simpy import Event

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.engine.flow import Flow
from edgesim.planning.collective import children, chunk_bytes, parent, ring_steps
from edgesim.timeline import Tag
from edgesim.timeseries import at_start, constant

NO_TAG = Tag("all-reduce")


class Collective(ABC):
    """One all-reduce of one bucket."""

    def __init__(self, sim: Simulation, members: Sequence[str], nbytes: float, tag: Tag = NO_TAG) -> None:
        self.sim = sim
        self.members = tuple(members)
        """Names of N workers; their order makes the ring, or fills the tree row by row from the root."""
        self.bytes = nbytes
        """Size of the bucket, in B."""
        self.tag = tag
        """What its messages are for; a tree calls them `reduce` and `broadcast`."""
        self.broken = False
        """True: a message was lost; nothing was added up."""
        self.ended: Event = sim.env.event()
        """Fires when all workers have the sums, or when it is broken."""
        self._flows: dict[Flow, None] = {}
        self._missing = ring_steps(len(self.members)) * self.fan
        if self._missing:
            self._begin()
        else:
            self.ended.succeed(self)

    @property
    @abstractmethod
    def fan(self) -> int:
        """Messages for each of the 2(N-1) steps."""

    @abstractmethod
    def _begin(self) -> None:
        """Send what waits for nothing."""

    @abstractmethod
    def _go_on(self, flow: Flow) -> None:
        """Send what waited for a message."""

    def abort(self) -> None:
        """Lose every message on its way; nothing happens if it has ended."""
        if self.ended.triggered:
            return
        self.broken = True
        flows, self._flows = self._flows, {}
        for flow in flows:
            self.sim.network.cancel(flow)
        self.ended.succeed(self)

    def _send(self, source: int, target: int, nbytes: float, tag: Tag) -> Flow:
        """Send a message from a place to another."""
        flow = self.sim.network.stream(self.members[source], self.members[target]).send(nbytes, tag)
        self._flows[flow] = None
        assert flow.callbacks is not None
        flow.callbacks.append(
            self._came
        )  # also when it was lost at once: then it fires later in this instant
        return flow

    def _came(self, event: Event) -> None:
        assert isinstance(event, Flow)
        if self._flows.pop(event, self) is self:
            return  # aborted before
        if event.lost:
            self.abort()
            return
        self._missing -= 1
        if self._missing:
            self._go_on(event)
        else:
            self.ended.succeed(self)


class Ring(Collective):
    """Each sends N - 1 chunks of B/N bytes to be added up by the next, then N - 1 that are whole.

    A worker sends its k-th message when it has the k-1-st of the one before it: no step waits for all.
    """

    @property
    def fan(self) -> int:
        """A message a worker."""
        return len(self.members)

    def _begin(self) -> None:
        self._steps: dict[Flow, tuple[int, int]] = {}
        for place in range(len(self.members)):
            self._step(place, 0)

    def _step(self, place: int, step: int) -> None:
        """Let a worker send a chunk to the next."""
        count = len(self.members)
        flow = self._send(place, (place + 1) % count, chunk_bytes(self.bytes, count), self.tag)
        self._steps[flow] = (place, step)

    def _go_on(self, flow: Flow) -> None:
        place, step = self._steps.pop(flow)
        if step + 1 < ring_steps(len(self.members)):
            self._step((place + 1) % len(self.members), step + 1)


class Tree(Collective):
    """Sums go up a binary tree, each when those of all children have come; results go down."""

    @property
    def fan(self) -> int:
        """A message a step."""
        return 1

    def _begin(self) -> None:
        count = len(self.members)
        self._below = [len(children(place, count)) for place in range(count)]
        self._down: dict[Flow, int] = {}
        self._up: dict[Flow, int] = {}
        for place in range(count):
            if not self._below[place]:
                self._rise(place)

    def _rise(self, place: int) -> None:
        """Send a sum to the parent, or, from the root, the result to the children."""
        if place:
            flow = self._send(place, parent(place), self.bytes, self.tag._replace(kind="reduce"))
            self._up[flow] = parent(place)
        else:
            self._fall(place)

    def _fall(self, place: int) -> None:
        for child in children(place, len(self.members)):
            flow = self._send(place, child, self.bytes, self.tag._replace(kind="broadcast"))
            self._down[flow] = child

    def _go_on(self, flow: Flow) -> None:
        if flow in self._down:
            self._fall(self._down.pop(flow))
            return
        place = self._up.pop(flow)
        self._below[place] -= 1
        if not self._below[place]:
            self._rise(place)


ALGORITHMS: dict[str, type[Collective]] = {"ring": Ring, "tree": Tree}
"""Every algorithm by name."""


def edges(algorithm: str, members: Sequence[str]) -> list[tuple[str, str]]:
    """Return who sends to whom, as (source, target), each pair once.

    A ring: from each to the next; a tree: from each but the root to its parent, then from each parent down.

    >>> edges("ring", ["a", "b", "c"])
    [('a', 'b'), ('b', 'c'), ('c', 'a')]
    >>> edges("tree", ["a", "b", "c"])
    [('b', 'a'), ('c', 'a'), ('a', 'b'), ('a', 'c')]
    """
    count = len(members)
    if count < 2:
        return []
    if algorithm == "ring":
        return [(members[place], members[(place + 1) % count]) for place in range(count)]
    up = [(members[place], members[parent(place)]) for place in range(1, count)]
    return up + [(target, source) for source, target in up]


def rehearse(cluster: Cluster, algorithm: str, members: Sequence[str], nbytes: float) -> float:
    """Simulate an all-reduce of a bucket alone on an undisturbed network; return its time, in s."""
    sim = Simulation(cluster)
    collective = ALGORITHMS[algorithm](sim, members, nbytes)
    sim.run(stop=collective.ended)
    return sim.now


def undisturbed(cluster: Cluster, routes: Sequence[Sequence[str]]) -> Cluster:
    """Return the links of some routes alone, each at its rate at the start (in full, if that is nothing)."""
    links = {}
    for name in {link: None for route in routes for link in route}:
        link = cluster.links[name]
        factor = None if link.factor is None else constant(at_start(link.factor))
        links[name] = replace(link, factor=factor)
    hops = tuple(hop for hop in cluster.hops if hop.link in links)
    return Cluster(devices=cluster.devices, links=links, hops=hops)
