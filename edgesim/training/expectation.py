"""What a worker can expect before a run: its layer times and its channels, and the plans made from them.

Legend: N workers, L layers, S servers. A planner sees only what a real system could know at the start:
declared capacities, the rates and speeds that hold at time 0, its own layer times. Latency that holds no link
is kept apart from the start-up that does: messages sent back to back hide the one and pay the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgesim.cluster import Cluster, Device
from edgesim.errors import EdgesimError
from edgesim.plan import Segmentation
from edgesim.planning import bounds
from edgesim.planning.cost import Costs
from edgesim.planning.segmentation import plan, plan_backward
from edgesim.planning.sharing import crowded, fair_rates
from edgesim.timeseries import at_start
from edgesim.training.config import Config
from edgesim.training.parts import Placement
from edgesim.workload import LayerTimer

Plans = dict[str, tuple[Segmentation, Segmentation]]
"""By worker: its forward (pull) and backward (push) segments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way between a worker and one of its servers, in one direction."""

    route: tuple[str, ...]
    """Names of the links that it crosses."""
    share: float
    """Share of the bytes that take it; those of all ways add up to 1."""
    latency_s: float
    """What a message waits without holding a link, in s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One direction between a worker and its servers, seen as one channel."""

    ways: tuple[Way, ...]
    """One for each server; S of them."""
    rate_Bps: float
    """Rate it can expect, of all ways together, in B/s."""
    startup_s: float
    """Start-up of a message that holds the link, in s."""
    latency_s: float
    """What a message waits without holding a link, in s."""

    @property
    def route(self) -> tuple[str, ...]:
        """Names of the links that it crosses, each once."""
        return tuple(dict.fromkeys(link for way in self.ways for link in way.route))

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
    """Time of each layer backward, compression included, in s; L numbers."""
    pull: Channel
    """From the servers."""
    push: Channel
    """To the servers."""
    push_ratio: float = 1.0
    """Bytes pushed for each byte of gradient."""

    @property
    def pull_s(self) -> list[float]:
        """Time to pull each layer, start-ups apart, in s; L numbers."""
        return self.pull.times_s(self.sizes)

    @property
    def push_s(self) -> list[float]:
        """Time to push each layer's gradients, start-ups apart, in s; L numbers."""
        return self.push.times_s([size * self.push_ratio for size in self.sizes])

    def planned(self, method: str) -> tuple[Segmentation, Segmentation]:
        """Return the segments in which to pull and to push, by a strategy of `planning.segmentation`."""
        back = plan_backward(self.backward_s, self.push_s, self.push.startup_s, method, sizes=self.sizes)
        return plan(self.pull_s, self.forward_s, self.pull.startup_s, method, sizes=self.sizes), back

    def predicted_s(self, plans: tuple[Segmentation, Segmentation]) -> float:
        """Return the time from the start of an iteration to the arrival of the last gradient, in s."""
        return plans[0].makespan_s + self.pull.latency_s + plans[1].makespan_s + self.push.latency_s

    def bounds_s(self) -> tuple[float, float]:
        """Return the least time of pulling and computing forward, and of backward and pushing, in s."""
        ahead = bounds.phased_s(self.pull_s, self.forward_s, self.pull.startup_s)
        back = bounds.phased_s(self.push_s, self.backward_s, self.push.startup_s)
        return ahead + self.pull.latency_s, back + self.push.latency_s

    def costs(self, elements: Sequence[int], update_s: float) -> Costs:
        """Return what a schedule without a barrier plans from."""
        return Costs(
            sizes=self.sizes,
            elements=tuple(elements),
            forward_s=self.forward_s,
            backward_s=self.backward_s,
            pull_Bps=self.pull.rate_Bps,
            push_Bps=self.push.rate_Bps,
            pull_startup_s=self.pull.startup_s,
            push_startup_s=self.push.startup_s,
            pull_latency_s=self.pull.latency_s,
            push_latency_s=self.push.latency_s,
            update_s=update_s,
            duplex=not set(self.pull.route) & set(self.push.route),
            push_ratio=self.push_ratio,
        )


Outlooks = dict[str, Outlook]


def outlooks(cluster: Cluster, placement: Placement, timer: LayerTimer, config: Config) -> Outlooks:
    """Return each worker's outlook as if it were alone. Raises EdgesimError for a pair without a route."""
    sizes = placement.sizes
    times: dict[Device, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    found = {}
    for name in config.workers:
        device = replace(cluster.devices[name], name="")
        if device not in times:  # workers of one kind have one set of times
            times[device] = _times(cluster.devices[name], timer, config, sizes)
        found[name] = Outlook(
            sizes=sizes,
            forward_s=times[device][0],
            backward_s=times[device][1],
            pull=joint_channel(cluster, [(server, name) for server in config.servers], placement),
            push=joint_channel(cluster, [(name, server) for server in config.servers], placement),
            push_ratio=config.push_ratio,
        )
    return found


def _times(
    device: Device, timer: LayerTimer, config: Config, sizes: Sequence[int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the times of the layers forward and backward at the start, compression included, in s."""
    layers = range(len(sizes))
    share = at_start(device.availability)
    ahead = tuple(timer.forward_s(device, layer) / share for layer in layers)
    back = [timer.backward_s(device, layer) for layer in reversed(layers)]
    encode = [config.encode_s(size) for size in sizes]
    back_s = (one + more for one, more in zip(reversed(back), encode, strict=True))
    return ahead, tuple(one / share for one in back_s)


def channel(cluster: Cluster, source: str, target: str) -> Channel:
    """Return what a device can expect of its messages to another. Raises EdgesimError without a route."""
    return _channel(cluster, [(source, target)], [1.0])


def joint_channel(cluster: Cluster, pairs: Sequence[tuple[str, str]], placement: Placement) -> Channel:
    """Return what a worker can expect of its messages from or to its servers, when it alone sends any.

    Raises EdgesimError for a pair without a route.
    """
    total = sum(placement.bytes)
    return _channel(cluster, pairs, [held / total if total else 1.0 for held in placement.bytes])


def _channel(cluster: Cluster, pairs: Sequence[tuple[str, str]], shares: Sequence[float]) -> Channel:
    ways = []
    for (source, target), share in zip(pairs, shares, strict=True):
        route = cluster.route(source, target)
        if route is None:
            raise EdgesimError(f"no route from {source} to {target}: connect them in `network`")
        links = [cluster.links[link] for link in route]
        latency_s = links[0].startup_latency_s + sum(link.latency_s for link in links)
        ways.append(Way(route=route, share=share, latency_s=latency_s))
    capacity = {link: link_capacity_Bps(cluster, link) for way in ways for link in way.route}
    firsts = [cluster.links[way.route[0]] for way in ways]
    return Channel(
        ways=tuple(ways),
        rate_Bps=sum(fair_rates([way.route for way in ways], capacity)),
        startup_s=min(link.occupancy_s for link in firsts),
        latency_s=max(way.latency_s for way in ways),
    )


def link_capacity_Bps(cluster: Cluster, name: str) -> float:
    """Return a link's capacity at the start (its bandwidth, if it starts at nothing), in B/s."""
    link = cluster.links[name]
    return link.bandwidth_Bps * at_start(link.factor)


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
    ways = [way for channel in channels for way in channel.ways]
    capacity = {link: link_capacity_Bps(cluster, link) for way in ways for link in way.route}
    rates = iter(fair_rates([way.route for way in ways], capacity))
    shares = [[next(rates) for _ in channel.ways] for channel in channels]
    used = dict.fromkeys(capacity, 0.0)
    users = dict.fromkeys(capacity, 0)
    for channel, each in zip(channels, shares, strict=True):
        for way, rate in zip(channel.ways, each, strict=True):
            for link in dict.fromkeys(way.route):
                used[link] += rate
                users[link] += 1
    found = []
    for channel, each in zip(channels, shares, strict=True):
        first, rate = channel.ways[0].route[0], each[0]
        share = max(capacity[first] / users[first], capacity[first] - (used[first] - rate))
        startup_s = channel.startup_s * max(capacity[first] / share, 1.0)
        found.append(replace(channel, rate_Bps=sum(each), startup_s=startup_s))
    return found


def contended(cluster: Cluster, alone: Outlooks) -> bool:
    """Tell whether the closed forms do not hold: messages slow each other down, or go in chunks.

    Those of workers do where several use a link that cannot carry them all; those of one worker where it has
    several servers.
    """
    if any(link.sharing == "fifo" for link in cluster.links.values()):
        return True
    users: list[dict[str, float]] = []
    held: set[str] = set()
    for one in alone.values():
        if len(one.pull.ways) > 1:
            return True
        wanted: dict[str, float] = {}
        for channel in (one.pull, one.push):
            if channel.startup_s > 0.0:
                held.add(channel.route[0])
            for link in channel.route:
                wanted[link] = max(wanted.get(link, 0.0), channel.rate_Bps)
        users.append(wanted)
    capacity = {link: link_capacity_Bps(cluster, link) for user in users for link in user}
    return crowded(users, capacity, held)


def entangled(cluster: Cluster, alone: Outlooks, config: Config) -> bool:
    """Tell whether plans must be rehearsed to be judged: messages contend, or servers unpack them in turn."""
    return contended(cluster, alone) or config.decode_s(1.0) > 0.0


def predicted_s(expected: Outlooks, plans: Mapping[str, tuple[Segmentation, Segmentation]]) -> float:
    """Return the time of an iteration without its update, in s: that of the slowest worker."""
    return max(one.predicted_s(plans[name]) for name, one in expected.items())
