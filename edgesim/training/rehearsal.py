"""Choosing among plans by rehearsing one iteration on a private, undisturbed copy of the network.

Where workers contend for a link, how long a message takes depends on what the others send. The planners' cost
model knows no others; so the plans that it proposes for several views of the link are tried out before the
run, and the best is taken. A rehearsal knows what the system knows at the start (`expectation`): declared
capacities and layer times. It knows nothing of faults, changes and traces to come.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from math import inf
from typing import Any

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.plan import Segmentation
from edgesim.planning.segmentation import SCHEDULES, plan, plan_backward
from edgesim.timeseries import Series, constant
from edgesim.training.expectation import Outlook, Outlooks, Plans, shared

REFINEMENTS = 3
"""How often the best plans are improved with the rates that their rehearsal has shown."""

Spans = dict[str, tuple[list[float], list[float]]]
"""By worker: how long each of its pull and push segments held its channel, in s, forward order."""

Cuts = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def choose(cluster: Cluster, server: str, alone: Outlooks, method: str) -> tuple[Plans, float]:
    """Return the plans of the shortest rehearsed iteration, and its time without the update, in s.

    Candidates: `method` with shared rates, with rates as if alone, every other schedule, and refinements of
    the best by the rates observed. The first of equals wins, so `method` itself where nothing is better.
    """
    best: Plans = {}
    best_s = inf
    seen: Spans = {}
    network = _undisturbed(cluster, server, alone)
    tried: dict[Cuts, None] = {}
    for plans in _candidates(cluster, alone, method):
        if (cuts := _cuts(plans)) in tried:
            continue
        tried[cuts] = None
        time_s, spans = rehearse(network, server, alone, plans, best_s)
        if time_s < best_s:
            best, best_s, seen = plans, time_s, spans
    for _ in range(REFINEMENTS):
        refined = {name: _refined(one, best[name], seen[name], method) for name, one in alone.items()}
        if _cuts(refined) in tried:
            break
        time_s, spans = rehearse(network, server, alone, refined, best_s)
        if time_s >= best_s:
            break
        best, best_s, seen = refined, time_s, spans
    return best, best_s


def _cuts(plans: Plans) -> Cuts:
    return tuple((forward.cuts, backward.cuts) for forward, backward in plans.values())


def _candidates(cluster: Cluster, alone: Outlooks, method: str) -> Iterator[Plans]:
    together = shared(cluster, alone)
    for name in (method, *(name for name in SCHEDULES if name != method)):
        yield {worker: one.planned(name) for worker, one in together.items()}
    yield {worker: one.planned(method) for worker, one in alone.items()}


def _refined(
    one: Outlook,
    plans: tuple[Segmentation, Segmentation],
    spans: tuple[list[float], list[float]],
    method: str,
) -> tuple[Segmentation, Segmentation]:
    """Return new plans from the rates that a worker's messages had."""
    pull_s = _observed(one.sizes, plans[0], spans[0], one.pull.startup_s)
    push_s = _observed(one.sizes, plans[1], spans[1], one.push.startup_s)
    return (
        plan(pull_s, one.forward_s, one.pull.startup_s, method),
        plan_backward(one.backward_s, push_s, one.push.startup_s, method),
    )


def _observed(
    sizes: tuple[int, ...], segments: Segmentation, spans: list[float], startup_s: float
) -> list[float]:
    """Return each layer's transfer time: its share of its segment's time on the channel, in s."""
    times: list[float] = []
    for (first, last), span in zip(segments.segments, spans, strict=True):
        total = sum(sizes[first - 1 : last])
        per_byte = max(span - startup_s, 0.0) / total if total else 0.0
        times += [size * per_byte for size in sizes[first - 1 : last]]
    return times


def _undisturbed(cluster: Cluster, server: str, alone: Outlooks) -> Cluster:
    """Return the part of a cluster that matters, every link at the rate it has at the start."""
    used = {link: None for one in alone.values() for link in (*one.pull.route, *one.push.route)}
    links = {
        name: replace(cluster.links[name], factor=_at_start(cluster.links[name].factor)) for name in used
    }
    return Cluster(
        devices={name: cluster.devices[name] for name in (server, *alone)},
        links=links,
        hops=tuple(hop for hop in cluster.hops if hop.link in used),
    )


def _at_start(factor: Series | None) -> Series | None:
    return None if factor is None else constant(factor.at(0.0) or 1.0)


def rehearse(
    cluster: Cluster, server: str, alone: Outlooks, plans: Plans, limit_s: float = inf
) -> tuple[float, Spans]:
    """Simulate one iteration of all workers; return its time without the update, in s, and the spans seen.

    The time is infinite if the iteration takes longer than the limit.
    """
    sim = Simulation(cluster)
    spans: Spans = {name: ([], []) for name in alone}
    workers = [
        sim.process(_iteration(sim, server, name, one, plans[name], spans[name]), name=f"{name} rehearsal")
        for name, one in alone.items()
    ]
    while sim.env.advance(limit_s):
        pass
    ends: list[Any] = [inf if worker.is_alive else worker.value for worker in workers]
    return max(ends), spans


def _iteration(
    sim: Simulation,
    server: str,
    name: str,
    one: Outlook,
    plans: tuple[Segmentation, Segmentation],
    spans: tuple[list[float], list[float]],
) -> Generator[Any, Any, float]:
    """Pull and compute forward, then compute backward and push, segment by segment; return the end, in s."""
    down, up = sim.network.stream(server, name), sim.network.stream(name, server)
    ahead, back = plans[0].segments, tuple(reversed(plans[1].segments))
    flows = [down.send(sum(one.sizes[first - 1 : last])) for first, last in ahead]
    for flow, (first, last) in zip(flows, ahead, strict=True):
        yield flow
        yield from _compute(sim, one.forward_s[first - 1 : last])
    spans[0].extend(flow.end_s - flow.start_s for flow in flows)
    flows = []
    for first, last in back:
        yield from _compute(sim, reversed(one.backward_s[first - 1 : last]))
        flows.append(up.send(sum(one.sizes[first - 1 : last])))
    for flow in flows:
        yield flow
    spans[1].extend(flow.end_s - flow.start_s for flow in reversed(flows))
    return sim.now


def _compute(sim: Simulation, times_s: Iterable[float]) -> Generator[Any, Any, None]:
    """Spend the times of some layers; queues make it matter that instants are the same to the last bit."""
    if sim.network.chunked:
        for time_s in times_s:
            yield sim.env.timeout(time_s)
    else:
        yield sim.env.timeout(sum(times_s))
