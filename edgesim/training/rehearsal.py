"""Choosing among plans by rehearsing them on a private, undisturbed copy of the network.

Where workers contend for a link, how long a message takes depends on what the others send. The planners' cost
model knows no others; so the plans that it proposes for several views of the link are tried out before the
run, and the best is taken. A rehearsal knows what the system knows at the start (`expectation`): declared
capacities and layer times. It knows nothing of faults, changes and traces to come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from edgesim.cluster import Cluster, Device
from edgesim.engine import Simulation
from edgesim.plan import QueuePlan, Segmentation
from edgesim.planning.schedules import PHASED, is_built_in
from edgesim.planning.segmentation import plan, plan_backward
from edgesim.timeline import Timeline
from edgesim.timeseries import Series, at_start, constant
from edgesim.training.config import Config
from edgesim.training.crew import hire
from edgesim.training.expectation import Outlook, Outlooks, Plans, shared
from edgesim.training.parts import Placement

REFINEMENTS = 3
"""How often the best plans are improved with the rates that their rehearsal has shown."""
SETTLING = 4
"""Iterations rehearsed of a schedule without a barrier; the last one counts as the steady one."""

MOST_STEPS = 200_000
"""Most layers and messages in the rehearsal of a prediction, of all workers together."""

Spans = dict[str, tuple[list[float], list[float]]]
"""By worker: how long each of its pull and push segments held its channel, in s, forward order."""

Cuts = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


class OutlookTimer:
    """Takes the layers' times from what each worker expects."""

    def __init__(self, alone: Outlooks) -> None:
        self._alone = alone

    def forward_s(self, device: Device, layer: int) -> float:
        """Return the time of a layer forward, in s."""
        return self._alone[device.name].forward_s[layer]

    def backward_s(self, device: Device, layer: int) -> float:
        """Return the time of a layer backward, compression included, in s."""
        return self._alone[device.name].backward_s[layer]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where rehearsals take place: the part of a cluster that matters, as it is at the start."""

    cluster: Cluster
    placement: Placement
    alone: Outlooks
    """What each worker expects there, alone."""
    config: Config
    """How to train, but for iterations and crashes."""

    def phased(self, plans: Plans, limit_s: float = inf) -> tuple[float, Spans]:
        """Return the time of one iteration with these plans, without the update, in s, and the spans seen.

        The time is infinite if the iteration takes longer than the limit.
        """
        timeline = Timeline()
        ends = self._run(plans, 1, limit_s, timeline, 0.0)
        return (ends[0] if ends else inf), _spans(plans, timeline)

    def queued(
        self, queue: QueuePlan, update_s: float, iterations: int, limit_s: float = inf
    ) -> tuple[float, float]:
        """Return the steady time between iterations with this plan, and the time of so many, in s.

        The first iterations are rehearsed, the others are like the last of them. Both times are infinite if
        those take longer than the limit, in s.
        """
        ends = self._run(queue, SETTLING, limit_s, Timeline(), update_s)
        if len(ends) < SETTLING:
            return inf, inf
        period_s = ends[-1] - ends[-2]
        more = iterations - SETTLING
        return period_s, ends[-1] + more * period_s if more > 0 else ends[iterations - 1]

    def _run(
        self, plans: Plans | QueuePlan, iterations: int, limit_s: float, timeline: Timeline, update_s: float
    ) -> list[float]:
        """Return when each iteration ended, in s; fewer if the limit came first."""
        sim = Simulation(self.cluster, timeline=timeline)
        config = replace(self.config, iterations=iterations)
        updates = [update_s * share / (sum(self.placement.bytes) or 1) for share in self.placement.bytes]
        hire(sim, self.placement, OutlookTimer(self.alone), config, plans, update_s=updates)
        while sim.clock.advance(limit_s):
            pass
        return [row[0] for row in timeline.marks if row[2] == "iteration"]


def stage(cluster: Cluster, placement: Placement, alone: Outlooks, config: Config) -> Stage:
    """Return the stage for rehearsing a training."""
    channels = [channel for one in alone.values() for channel in (one.pull, one.push)]
    used = {link: None for channel in channels for link in channel.route}
    links = {
        name: replace(cluster.links[name], factor=_at_start(cluster.links[name].factor)) for name in used
    }
    part = Cluster(
        devices={name: Device(name=name, speed=1.0) for name in (*config.servers, *alone)},
        links=links,
        hops=tuple(hop for hop in cluster.hops if hop.link in used),
    )
    packing = config.compression
    if packing is not None:  # the outlook's backward times hold the compressing
        packing = replace(packing, encode_Bps=None)
    return Stage(
        part,
        placement,
        alone,
        replace(config, compression=packing, on_crash="wait", synchronization="bsp", staleness=0),
    )


def rehearsable(plans: Plans) -> bool:
    """Tell whether an iteration with these plans is short enough to be rehearsed for a prediction."""
    steps = (2 * ahead.cuts[-1] + len(ahead.cuts) + len(back.cuts) for ahead, back in plans.values())
    return sum(steps) <= MOST_STEPS


def choose(scene: Stage, method: str) -> tuple[Plans, float]:
    """Return the plans of the shortest rehearsed iteration, and its time without the update, in s.

    Candidates: `method` with shared rates, with rates as if alone, every other schedule of edgesim (unless
    the method is a user's own: then what it does is to be seen), and refinements of the best by the rates
    observed. The first of equals wins, so `method` itself where nothing is better.
    """
    best: Plans = {}
    best_s = inf
    seen: Spans = {}
    tried: dict[Cuts, None] = {}
    for plans in _candidates(scene, method):
        if (cuts := _cuts(plans)) in tried:
            continue
        tried[cuts] = None
        time_s, spans = scene.phased(plans, best_s)
        if time_s < best_s:
            best, best_s, seen = plans, time_s, spans
    for _ in range(REFINEMENTS):
        refined = {name: _refined(one, best[name], seen[name], method) for name, one in scene.alone.items()}
        if _cuts(refined) in tried:
            break
        time_s, spans = scene.phased(refined, best_s)
        if time_s >= best_s:
            break
        best, best_s, seen = refined, time_s, spans
    return best, best_s


def _cuts(plans: Plans) -> Cuts:
    return tuple((forward.cuts, backward.cuts) for forward, backward in plans.values())


def _candidates(scene: Stage, method: str) -> Iterator[Plans]:
    together = shared(scene.cluster, scene.alone)
    rivals = [name for name in PHASED if name != method] if is_built_in(method) else []
    for name in (method, *rivals):
        yield {worker: one.planned(name) for worker, one in together.items()}
    yield {worker: one.planned(method) for worker, one in scene.alone.items()}


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
        plan(pull_s, one.forward_s, one.pull.startup_s, method, sizes=one.sizes),
        plan_backward(one.backward_s, push_s, one.push.startup_s, method, sizes=one.sizes),
    )


def _observed(
    sizes: Sequence[int], segments: Segmentation, spans: list[float], startup_s: float
) -> list[float]:
    """Return each layer's transfer time: its share of its segment's time on the channel, in s."""
    times: list[float] = []
    for (first, last), span in zip(segments.segments, spans, strict=True):
        total = sum(sizes[first - 1 : last])
        per_byte = max(span - startup_s, 0.0) / total if total else 0.0
        times += [size * per_byte for size in sizes[first - 1 : last]]
    return times


def _spans(plans: Plans, timeline: Timeline) -> Spans:
    """Return how long the messages of each segment took; of several servers, the longest."""
    places: dict[tuple[str, str, int], int] = {}
    found: Spans = {}
    for name, both in plans.items():
        found[name] = ([0.0] * len(both[0].cuts), [0.0] * len(both[1].cuts))
        for kind, one in zip(("pull", "push"), both, strict=True):
            for index, (first, last) in enumerate(one.segments):
                places.update(dict.fromkeys([(name, kind, layer) for layer in range(first, last + 1)], index))
    for row in timeline.transfers:
        source, target, tag, start_s, end_s = row[0], row[1], row[2], row[8], row[9]
        name, phase = (target, 0) if tag.kind == "pull" else (source, 1)
        index = places[name, tag.kind, tag.first]
        found[name][phase][index] = max(found[name][phase][index], end_s - start_s)
    return found


def _at_start(factor: Series | None) -> Series | None:
    return None if factor is None else constant(at_start(factor))
