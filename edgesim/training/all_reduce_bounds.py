"""Lower bounds of iterations of all-reduce, for whoever took part, at the best rates that a run has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf

from edgesim.cluster import Cluster
from edgesim.events import Event
from edgesim.planning.collective import (
    Affine,
    Edge,
    children,
    least_end_s,
    ready_s,
    ring_s,
    ring_steps,
    tree_bound,
)
from edgesim.timeseries import at_start
from edgesim.training.bounds import Bound, best_links, best_speeds
from edgesim.training.collectives import edges
from edgesim.training.expectation import Channel, channel, link_capacity_Bps
from edgesim.training.passes import Passes


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerBounds:
    """Lower bounds of an iteration in which some workers add up their gradients.

    They hold for iterations that follow each other without a crash in an update: one that a crash prolongs
    at its end can leave the next one, of which others have computed a part meanwhile, shorter than this.
    """

    cluster: Cluster
    """The network at its best."""
    algorithm: str
    """`ring` or `tree`."""
    sizes: tuple[int, ...]
    """Bytes of each layer's gradients, in B; L numbers."""
    alone: Mapping[str, Passes]
    """What each worker computes, at its best; N workers in declared order."""
    sped_up: tuple[str, ...] = ()
    """Devices and links that are at times quicker than at the start, in the order of the cluster."""
    _found: dict[frozenset[str], Bound] = field(default_factory=dict, repr=False, compare=False)

    def of(self, workers: Iterable[str]) -> Bound:
        """Return the bounds of an iteration in which the gradients of these workers count, in s.

        `workers_s`: the slowest worker's update and passes, and what is left to add up at each of its layers
        by any buckets, over edges of which only those of a tree's siblings share links. `links_s`: the
        fullest link, which carries nothing before every worker has the gradients of the last layer.
        """
        crew = frozenset(workers)
        if crew not in self._found:
            self._found[crew] = self._bound([name for name in self.alone if name in crew])
        return self._found[crew]

    @property
    def everybody(self) -> Bound:
        """Bounds of an iteration of all workers, in s."""
        return self.of(self.alone)

    def _bound(self, crew: list[str]) -> Bound:
        passes = [self.alone[name] for name in crew]
        ready = ready_s(
            [one.update_s for one in passes],
            [one.forward_s for one in passes],
            [one.backward_s for one in passes],
        )
        ways = [channel(self.cluster, source, target) for source, target in edges(self.algorithm, crew)]
        costs = [Edge(way.rate_Bps, way.startup_s, way.latency_s) for way in ways]
        if self.algorithm == "ring":
            least_s = least_end_s(ready, self.sizes, lambda nbytes: ring_s(nbytes, costs))
        else:
            line = self._tree(crew, ways, costs)
            least_s = least_end_s(ready, self.sizes, lambda nbytes: line.startup_s + line.byte_s * nbytes)
        each = float(sum(self.sizes))
        if self.algorithm == "ring":
            each *= ring_steps(len(crew)) / len(crew)
        carried: dict[str, float] = {}
        for way in ways:
            for link in dict.fromkeys(way.route):
                carried[link] = carried.get(link, 0.0) + each
        full = [ready[-2] + total / link_capacity_Bps(self.cluster, link) for link, total in carried.items()]
        found = {"workers_s": least_s, "links_s": max(full, default=0.0)}
        return {**found, "iteration_s": max(found.values())}

    def _tree(self, crew: list[str], ways: list[Channel], costs: list[Edge]) -> Affine:
        """Return a line below the times of a tree; `ways` leads up from all but the root, then down."""
        half = len(ways) // 2
        shared: tuple[list[float], list[float]] = ([], [])
        for place in range(len(crew)):
            below = children(place, len(crew))
            for rates, first in zip(shared, (0, half), strict=True):
                routes = [frozenset(ways[first + child - 1].route) for child in below]
                both = frozenset.intersection(*routes) if routes else frozenset()
                rates.append(min((link_capacity_Bps(self.cluster, link) for link in both), default=inf))
        return tree_bound(float(sum(self.sizes)), costs[:half], costs[half:], *shared)


def at_best(
    cluster: Cluster,
    events: Iterable[Event],
    algorithm: str,
    sizes: tuple[int, ...],
    passes: Mapping[str, Passes],
) -> PeerBounds:
    """Return the bounds that follow from the workers' times and can be brought to by events."""
    events = tuple(events)
    speeds, links = best_speeds(cluster, events), best_links(cluster, events)
    devices = cluster.devices
    quicker = [name for name in speeds if speeds[name] > at_start(devices[name].availability)]
    quicker += [name for name in links if links[name] is not cluster.links[name]]
    return PeerBounds(
        cluster=replace(cluster, links=links),
        algorithm=algorithm,
        sizes=sizes,
        alone={
            name: one.scaled(at_start(devices[name].availability) / speeds[name])
            for name, one in passes.items()
        },
        sped_up=tuple(quicker),
    )
