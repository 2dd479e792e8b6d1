"""What a worker can expect before a run: its layer times and its channels, and the plans made from them.

Legend: N workers, L layers. A planner sees only what a real system could know at the start: declared
capacities, the rates and speeds that hold at time 0, its own layer times. Latency that holds no link is
kept apart from the start-up that does: messages sent back to back hide the one and pay the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgesim.cluster import Cluster, Device
from edgesim.errors import EdgesimError
from edgesim.plan import Segmentation
from edgesim.planning import bounds
from edgesim.planning.segmentation import plan, plan_backward
from edgesim.planning.sharing import fair_rates
from edgesim.workload import LayerTimer, Workload

Plans = dict[str, tuple[Segmentation, Segmentation]]
"""By worker: its forward (pull) and backward (push) segments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One direction between a worker and its server."""

    route: tuple[str, ...]
    """Names of the links that it crosses."""
    rate_Bps: float
    """Rate it can expect, in B/s."""
    startup_s: float
    """Start-up of a message that holds the link, in s."""
    latency_s: float
    """What a message waits without holding a link, in s."""

    def times_s(self, sizes: Sequence[float]) -> list[float]:
        """Return how long messages of these sizes in B take, start-ups apart, in s."""
        return [size / self.rate_Bps for size in sizes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What one worker knows of itself."""

    sizes: tuple[int, ...]
    """Bytes of each layer's parameters, and of its gradients, in B; L numbers."""
    forward_s: tuple[float, ...]
    """Time of each layer forward, in s; L numbers."""
    backward_s: tuple[float, ...]
    """Time of each layer backward, in s; L numbers."""
    pull: Channel
    """From the server."""
    push: Channel
    """To the server."""

    def planned(self, method: str) -> tuple[Segmentation, Segmentation]:
        """Return the segments in which to pull and to push, by a strategy of `planning.segmentation`."""
        pull_s, push_s = self.pull.times_s(self.sizes), self.push.times_s(self.sizes)
        return (
            plan(pull_s, self.forward_s, self.pull.startup_s, method),
            plan_backward(self.backward_s, push_s, self.push.startup_s, method),
        )

    def predicted_s(self, plans: tuple[Segmentation, Segmentation]) -> float:
        """Return the time from the start of an iteration to the arrival of the last gradient, in s."""
        return plans[0].makespan_s + self.pull.latency_s + plans[1].makespan_s + self.push.latency_s

    def bounds_s(self) -> tuple[float, float]:
        """Return the least time of pulling and computing forward, and of backward and pushing, in s."""
        ahead = bounds.phased_s(self.pull.times_s(self.sizes), self.forward_s, self.pull.startup_s)
        back = bounds.phased_s(self.push.times_s(self.sizes), self.backward_s, self.push.startup_s)
        return ahead + self.pull.latency_s, back + self.push.latency_s


Outlooks = dict[str, Outlook]


def outlooks(
    cluster: Cluster, workload: Workload, timer: LayerTimer, server: str, workers: Sequence[str]
) -> Outlooks:
    """Return each worker's outlook as if it were alone. Raises EdgesimError for a pair without a route."""
    sizes = tuple(layer.parameter_bytes for layer in workload.layers)
    layers = range(len(sizes))
    times: dict[Device, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    found = {}
    for name in workers:
        device = replace(cluster.devices[name], name="")
        if device not in times:  # workers of one kind have one set of times
            ahead = tuple(timer.forward_s(cluster.devices[name], layer) for layer in layers)
            back = [timer.backward_s(cluster.devices[name], layer) for layer in reversed(layers)]
            share = 1.0 if device.availability is None else device.availability.at(0.0) or 1.0
            times[device] = (
                tuple(one / share for one in ahead),
                tuple(one / share for one in reversed(back)),
            )
        found[name] = Outlook(
            sizes=sizes,
            forward_s=times[device][0],
            backward_s=times[device][1],
            pull=channel(cluster, server, name),
            push=channel(cluster, name, server),
        )
    return found


def channel(cluster: Cluster, source: str, target: str) -> Channel:
    """Return what a device can expect of its messages to another. Raises EdgesimError without a route."""
    route = cluster.route(source, target)
    if route is None:
        raise EdgesimError(f"no route from {source} to {target}: connect them in `network`")
    links = [cluster.links[link] for link in route]
    return Channel(
        route=route,
        rate_Bps=min(_capacity(cluster, link) for link in route),
        startup_s=links[0].occupancy_s,
        latency_s=links[0].startup_latency_s + sum(link.latency_s for link in links),
    )


def _capacity(cluster: Cluster, name: str) -> float:
    """Return a link's capacity at the start (its bandwidth, if it starts at nothing), in B/s."""
    link = cluster.links[name]
    return link.bandwidth_Bps * ((link.factor.at(0.0) or 1.0) if link.factor is not None else 1.0)


def shared(cluster: Cluster, alone: Outlooks) -> Outlooks:
    """Return what the workers can expect when all pull at once, and all push at once.

    Rates are max-min fair shares of the links: equal workers need max(bytes / own link, N bytes / server
    link). A start-up holds the sender's link at the share that is left there.
    """
    pulls = _share(cluster, [one.pull for one in alone.values()])
    pushes = _share(cluster, [one.push for one in alone.values()])
    return {
        name: replace(one, pull=pull, push=push)
        for (name, one), pull, push in zip(alone.items(), pulls, pushes, strict=True)
    }


def _share(cluster: Cluster, channels: list[Channel]) -> list[Channel]:
    capacity = {link: _capacity(cluster, link) for channel in channels for link in channel.route}
    rates = fair_rates([channel.route for channel in channels], capacity)
    used = dict.fromkeys(capacity, 0.0)
    users = dict.fromkeys(capacity, 0)
    for channel, rate in zip(channels, rates, strict=True):
        for link in dict.fromkeys(channel.route):
            used[link] += rate
            users[link] += 1
    shared_channels = []
    for channel, rate in zip(channels, rates, strict=True):
        first = channel.route[0]
        share = max(capacity[first] / users[first], capacity[first] - (used[first] - rate))
        startup_s = channel.startup_s * max(capacity[first] / share, 1.0)
        shared_channels.append(replace(channel, rate_Bps=rate, startup_s=startup_s))
    return shared_channels


def contended(cluster: Cluster, alone: Outlooks) -> bool:
    """Tell whether the closed forms do not hold: workers slow each other down, or messages go in chunks.

    Workers do where several use a link that cannot carry them all.
    """
    if any(link.sharing == "fifo" for link in cluster.links.values()):
        return True
    demand: dict[str, float] = {}
    users: dict[str, int] = {}
    held: dict[str, bool] = {}
    for one in alone.values():
        wanted: dict[str, float] = {}
        for channel in (one.pull, one.push):
            held[channel.route[0]] = held.get(channel.route[0], False) or channel.startup_s > 0.0
            for link in channel.route:
                wanted[link] = max(wanted.get(link, 0.0), channel.rate_Bps)
        for link, rate in wanted.items():
            demand[link] = demand.get(link, 0.0) + rate
            users[link] = users.get(link, 0) + 1
    return any(
        count > 1 and (held.get(link, False) or demand[link] > _capacity(cluster, link))
        for link, count in users.items()
    )


def iteration_bound_s(cluster: Cluster, alone: Outlooks) -> dict[str, float]:
    """Return lower bounds of the time of an iteration of some workers without its update, in s.

    `workers_s`: the slowest worker, alone on its links, by any segmentation. `links_s`: the fullest link,
    which must carry every worker's messages; before them the least time until a gradient is there, after them
    the least time that is left when the last parameters have come. No schedule with a barrier between
    iterations can beat either.
    """
    ends = {name: one.bounds_s() for name, one in alone.items()}
    head = min(ends[name][0] + one.backward_s[-1] for name, one in alone.items())
    tail = min(one.forward_s[-1] + ends[name][1] for name, one in alone.items())
    bytes_pulled: dict[str, int] = {}
    bytes_pushed: dict[str, int] = {}
    for one in alone.values():
        for channel, total in ((one.pull, bytes_pulled), (one.push, bytes_pushed)):
            for link in dict.fromkeys(channel.route):
                total[link] = total.get(link, 0) + sum(one.sizes)
    links = [0.0]
    for link in {**bytes_pulled, **bytes_pushed}:
        pulled, pushed = bytes_pulled.get(link, 0), bytes_pushed.get(link, 0)
        around = (tail if not pushed else 0.0) + (head if not pulled else 0.0)
        links.append((pulled + pushed) / _capacity(cluster, link) + around)
    return {"workers_s": max(ahead + back for ahead, back in ends.values()), "links_s": max(links)}


def predicted_s(expected: Outlooks, plans: Mapping[str, tuple[Segmentation, Segmentation]]) -> float:
    """Return the time of an iteration without its update, in s: that of the slowest worker."""
    return max(one.predicted_s(plans[name]) for name, one in expected.items())
