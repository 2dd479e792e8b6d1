"""What measurements say of links that workers share: the belief whose rehearsal explains them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.planning.estimate import Observation
from edgesim.planning.replan import AGREE
from edgesim.planning.robust import FACTORS
from edgesim.training.crew import hire
from edgesim.training.expectation import Outlooks, Plans, joint_channel, link_capacity_Bps
from edgesim.training.rehearsal import OutlookTimer, Stage, choose
from edgesim.training.watching import Scheduler, Watcher

CORRECTIONS = 8
"""How often the belief is corrected in one way before measurements count as not explained by it."""
DAMPING = 0.5
"""Power of each correction but the first: workers who meet less often on a link gain more than it did."""

Seen = Mapping[str, Observation]
"""By worker: what it measured, or is expected to measure, in one iteration."""
Pace = dict[tuple[str, str], float]
"""By worker and `pull`, `push`, `forward` or `backward`: time expected over time measured."""


class _Recorder(Scheduler):
    """Keeps what the workers of a rehearsal measure."""

    def __init__(self) -> None:
        self.seen: dict[str, Observation] = {}

    def observe(self, worker: str, seen: Observation) -> None:
        self.seen[worker] = seen


def expected(scene: Stage, plans: Plans) -> Seen:
    """Return what workers with these plans would measure if all is as believed."""
    recorder, sim = _Recorder(), Simulation(scene.cluster)
    watcher = Watcher(recorder, len(scene.placement.sizes))
    config = replace(scene.config, iterations=1)
    free = [0.0] * len(config.servers)
    hire(sim, scene.placement, OutlookTimer(scene.alone), config, plans, update_s=free, watcher=watcher)
    while sim.clock.advance(math.inf):
        pass
    return recorder.seen


def pace(belief: Seen, seen: Seen) -> Pace:
    """Return how much faster each worker's messages and layers were than expected; 1: as expected."""
    found: Pace = {}
    for worker, one in seen.items():
        known = belief[worker]
        found[worker, "pull"] = over(held_s(known.pulls), held_s(one.pulls))
        found[worker, "push"] = over(held_s(known.pushes), held_s(one.pushes))
        found[worker, "forward"] = over(math.fsum(known.forward_s), math.fsum(one.forward_s))
        found[worker, "backward"] = over(math.fsum(known.backward_s), math.fsum(one.backward_s))
    return found


def corrected(scene: Stage, plans: Plans, seen: Seen) -> tuple[Stage | None, int]:
    """Return the belief that explains what was measured with some plans, or None if none was found.

    And how many iterations were rehearsed for it.

    Devices are as measured. A link that several workers use carries as much more or less as they all got
    together; a worker's own link is faster by what came over it beyond that change, and no faster than what
    came where it fell behind. The rehearsal of the same plans checks it, and what it leaves unexplained is
    corrected again. If that leads nowhere all links are tried as faster or slower alike.
    """
    alone = {
        name: replace(one, forward_s=seen[name].forward_s, backward_s=seen[name].backward_s)
        for name, one in scene.alone.items()
    }
    scene = replace(scene, alone=alone)
    for factors in (_by_use, _uniform):
        trial = scene
        for count in range(CORRECTIONS):
            belief = expected(trial, plans)
            if still(pace(belief, seen)):
                return trial, count + 1 + (CORRECTIONS if factors is _uniform else 0)
            step = 1.0 if count == 0 else DAMPING
            found = {name: factor**step for name, factor in factors(trial, belief, seen).items()}
            trial = on_cluster(trial, _scaled(trial.cluster, found))
    return None, 2 * CORRECTIONS


def _uniform(scene: Stage, belief: Seen, seen: Seen) -> dict[str, float]:
    """Return how much faster each link is if all are by the same factor."""
    was, now = _rates(belief, scene.alone), _rates(seen, scene.alone)
    factor = statistics.median(over(now[key], was[key]) for key in now)
    return dict.fromkeys(scene.cluster.links, factor)


def _by_use(scene: Stage, belief: Seen, seen: Seen) -> dict[str, float]:
    """Return how much faster each link is, by what came over it."""
    users: dict[str, list[tuple[str, str]]] = {}
    for name, one in scene.alone.items():
        for kind, way in (("pull", one.pull), ("push", one.push)):
            for link in way.route:
                users.setdefault(link, []).append((name, kind))
    was, now = _rates(belief, scene.alone), _rates(seen, scene.alone)
    shared = {link for link, some in users.items() if len({name for name, _ in some}) > 1}
    factors = {
        link: over(sum(now[key] for key in users[link]), sum(was[key] for key in users[link]))
        for link in shared
    }
    own = {}
    for link in users.keys() - shared:
        rate = link_capacity_Bps(scene.cluster, link)
        own[link] = max(_own(rate, key, users, factors, was, now) for key in users[link])
    return factors | own


def _own(
    rate: float,
    key: tuple[str, str],
    users: Mapping[str, Sequence[tuple[str, str]]],
    factors: Mapping[str, float],
    was: Mapping[tuple[str, str], float],
    now: Mapping[tuple[str, str], float],
) -> float:
    """Return how much faster than `rate` B/s a link is that one worker uses alone."""
    due = was[key] * min((factors[link] for link in factors if key in users[link]), default=1.0)
    if now[key] > due * (1.0 + AGREE):
        return max(over(now[key], due), now[key] / rate)
    if now[key] * (1.0 + AGREE) < due or now[key] > rate:
        return now[key] / rate
    return 1.0


def _rates(seen: Seen, alone: Outlooks) -> dict[tuple[str, str], float]:
    """Return the mean rate of each worker's messages, start-ups apart, in B/s."""
    found = {}
    for name, one in seen.items():
        for kind, messages, way in (
            ("pull", one.pulls, alone[name].pull),
            ("push", one.pushes, alone[name].push),
        ):
            known = (way.startup_s, way.rate_Bps)
            startup_s = min([way.startup_s, *(time_s for _, time_s in messages)])
            sent, moving_s = sum(size for size, _ in messages), held_s(messages) - len(messages) * startup_s
            found[name, kind] = sent / moving_s if moving_s > 0.0 else known[1]
    return found


def on_cluster(scene: Stage, cluster: Cluster) -> Stage:
    """Return a stage with other links."""
    servers, placement = scene.config.servers, scene.placement
    alone = {
        name: replace(
            one,
            pull=joint_channel(cluster, [(server, name) for server in servers], placement),
            push=joint_channel(cluster, [(name, server) for server in servers], placement),
        )
        for name, one in scene.alone.items()
    }
    return replace(scene, cluster=cluster, alone=alone)


def for_range(scene: Stage, method: str) -> Plans:
    """Return the plans of least worst regret over the believed bandwidth times `FACTORS`.

    Candidates are the plans chosen for each of them; all are rehearsed on all.
    """
    links = scene.cluster.links
    scenes = [on_cluster(scene, _scaled(scene.cluster, dict.fromkeys(links, factor))) for factor in FACTORS]
    chosen = [choose(one, method) for one in scenes]
    worst = [
        max(over(one.phased(plans)[0], best_s) for one, (_, best_s) in zip(scenes, chosen, strict=True))
        for plans, _ in chosen
    ]
    return chosen[worst.index(min(worst))][0]


def _scaled(cluster: Cluster, factors: Mapping[str, float]) -> Cluster:
    links = {
        name: replace(one, bandwidth_Bps=one.bandwidth_Bps * factors.get(name, 1.0))
        for name, one in cluster.links.items()
    }
    return replace(cluster, links=links)


def held_s(messages: Sequence[tuple[float, float]]) -> float:
    """Return how long messages held their channel, in s."""
    return math.fsum(time_s for _, time_s in messages)


def over(one: float, other: float) -> float:
    """Return a ratio of times or rates; 1 where there is nothing to compare."""
    return one / other if one > 0.0 and other > 0.0 else 1.0


def still(found: Pace) -> bool:
    """Tell whether everything was as expected."""
    return all(1.0 / (1.0 + AGREE) <= one <= 1.0 + AGREE for one in found.values())
