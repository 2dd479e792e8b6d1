"""Lower bounds of iterations that hold for whoever took part in them, at the best rates that a run has.

What varies over time (availabilities, bandwidths, changes by events) is taken at its best throughout, so that
no iteration can be shorter, whenever it ran.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from edgesim.cluster import Cluster, Link
from edgesim.events import ChangeLink, Event, Slow
from edgesim.timeseries import Series, constant
from edgesim.training.expectation import Outlooks, channel, iteration_bound_s

Bound = dict[str, float]
"""Lower bounds of an iteration, update included, in s: `workers_s` (the slowest worker alone on its links),
`links_s` (the fullest link), `iteration_s` (the larger of them)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Lower bounds of an iteration with a barrier."""

    cluster: Cluster
    """The network at its best."""
    alone: Outlooks
    """What each worker can expect there, alone."""
    update_s: float
    """Least time of the server's update, in s."""
    fixed: bool = True
    """A layer takes the same time whenever it runs; where it does not, these are no bounds."""
    sped_up: tuple[str, ...] = ()
    """Devices and links that are at times quicker than at the start, in the order of the cluster."""
    _found: dict[frozenset[str], Bound] = field(default_factory=dict, repr=False, compare=False)

    def of(self, workers: Iterable[str]) -> Bound:
        """Return the bounds of an iteration in which the gradients of these workers count, in s."""
        crew = frozenset(workers)
        if crew not in self._found:
            part = {name: one for name, one in self.alone.items() if name in crew}
            found = iteration_bound_s(self.cluster, part)
            found["iteration_s"] = max(found.values())
            self._found[crew] = {name: bound + self.update_s for name, bound in found.items()}
        return self._found[crew]

    @property
    def everybody(self) -> Bound:
        """Bounds of an iteration of all workers, in s."""
        return self.of(self.alone)


def at_best(
    cluster: Cluster, events: Iterable[Event], alone: Outlooks, server: str, update_s: float
) -> Bounds:
    """Return the bounds that follow from what workers know of themselves and can be brought to by events.

    Slow-downs to above 1 (that is, faster) multiply, as they can be on at once.
    """
    speeds, links = _best_speeds(cluster, events), _best_links(cluster, events)
    quickest = replace(cluster, links=links)
    best = {}
    for name, one in alone.items():
        share = _at_start(cluster.devices[name].availability) / speeds[name]
        best[name] = replace(
            one,
            forward_s=tuple(time_s * share for time_s in one.forward_s),
            backward_s=tuple(time_s * share for time_s in one.backward_s),
            pull=channel(quickest, server, name),
            push=channel(quickest, name, server),
        )
    devices = cluster.devices
    quicker = [name for name in speeds if speeds[name] > _at_start(devices[name].availability)]
    quicker += [name for name in links if links[name] is not cluster.links[name]]
    return Bounds(cluster=quickest, alone=best, update_s=update_s / speeds[server], sped_up=tuple(quicker))


def _best_speeds(cluster: Cluster, events: Iterable[Event]) -> dict[str, float]:
    best = {
        name: 1.0 if device.availability is None else max(device.availability.values) or 1.0
        for name, device in cluster.devices.items()
    }
    for event in events:
        if isinstance(event, Slow) and event.to > 1.0:
            best[event.device] *= event.to
    return best


def _best_links(cluster: Cluster, events: Iterable[Event]) -> dict[str, Link]:
    """Return the links at their best; one that is never better than at the start is the cluster's own."""
    best = dict(cluster.links)
    for name, link in cluster.links.items():
        if link.factor is not None and max(link.factor.values) > _at_start(link.factor):
            best[name] = replace(link, factor=constant(max(link.factor.values)))
    for event in events:
        if isinstance(event, ChangeLink):
            link = best[event.link]
            rate, latency_s = event.bandwidth_Bps, event.latency_s
            if rate is not None and rate > link.bandwidth_Bps:
                link = replace(link, bandwidth_Bps=rate)
            if latency_s is not None and latency_s < link.latency_s:
                link = replace(link, latency_s=latency_s)
            best[event.link] = link
    return best


def _at_start(series: Series | None) -> float:
    """Return the rate that a planner takes for that of the start: 1 where it starts at nothing."""
    return 1.0 if series is None else series.at(0.0) or 1.0
