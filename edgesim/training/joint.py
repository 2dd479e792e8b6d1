"""Planning while the training runs where workers share links: for all of them together, by rehearsal.

There no worker can tell from its own messages alone what another plan would bring. But what it measured can
be compared with what the rehearsal of its plan had expected: the ratio says which links and devices are not
as believed. The belief is corrected until its rehearsal explains the measurements; on the corrected belief
plans are chosen as before the run. The lead server does that beside its work, and they hold for all workers
from the first iteration that opens after it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from simpy import Event

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.plan import Segmentation
from edgesim.planning.estimate import Observation
from edgesim.planning.replan import AGREE, HOLD
from edgesim.planning.robust import FACTORS
from edgesim.timeline import Tag
from edgesim.training.config import Config
from edgesim.training.crew import hire
from edgesim.training.expectation import Outlooks, Plans, joint_channel, link_capacity_Bps
from edgesim.training.rehearsal import OutlookTimer, Stage, choose
from edgesim.training.scheduler import codec_s, with_codec
from edgesim.training.watching import Watcher
from edgesim.workload import device_time_s

REHEARSALS = 16
"""Iterations rehearsed for one choice of plans: every schedule, refinements, corrections of the belief."""
MESSAGE_S = 10e-6
"""Time to rehearse one message on the profiled host, in s: `benchmarks/star.py`, some 1e5 events a second."""
MESSAGE_FLOP = 1e4
"""Operations to rehearse one message where only a datasheet is known: what takes 10 us at 1 GFLOP/s."""
CORRECTIONS = 4
"""How often the belief is corrected by one set of measurements before they count as not explained."""

Seen = Mapping[str, Observation]
"""By worker: what it measured, or is expected to measure, in one iteration."""
Pace = dict[tuple[str, str], float]
"""By worker and `pull`, `push`, `forward` or `backward`: time expected over time measured."""
Both = tuple[Segmentation, Segmentation]


class JointScheduler:
    """Plans for workers that contend for links, all at once."""

    def __init__(self, sim: Simulation, config: Config, scene: Stage, plans: Plans) -> None:
        """`scene` is what the plans were chosen on: what is believed until something was measured."""
        self.sim = sim
        self._config = config
        self._scene = scene
        self._plans = plans
        self._held: dict[str, Both] = dict(plans)
        self._hold = 1 if config.policy == "last-sample" else HOLD
        self._expected: Seen | None = None
        self._seen: dict[str, Observation] = {}
        self._paces: list[Pace] = []
        self._measured = False
        self._planning = False
        self._ready: tuple[Stage, Plans, Seen | None] | None = None
        self._index = -1
        self._codec_s = {
            name: codec_s(config, sim.cluster.devices[name], one.sizes) for name, one in scene.alone.items()
        }
        self._backward_s = {name: math.fsum(one.backward_s) for name, one in scene.alone.items()}
        if config.policy == "min-max":  # like every first plan it is made before the run, and free
            self._ready = (scene, for_range(scene, config.schedule), None)

    def observe(self, worker: str, seen: Observation) -> None:
        """Take notice of what a worker has measured in an iteration."""
        whole_s = with_codec(seen.backward_s, self._codec_s[worker], self._backward_s[worker])
        self._seen[worker] = replace(seen, backward_s=whole_s)

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Both | None]:
        """Return a worker's plans for an iteration, or None for those it has; all workers change together."""
        if index != self._index:
            self._index = index
            self._open()
        yield from ()  # nobody waits: the server plans beside its work
        plans = self._plans[worker]
        if plans == self._held[worker]:
            return None
        self._held[worker] = plans
        return plans

    @property
    def settled(self) -> bool:
        """Whether more measurements like the last would change nothing."""
        waiting = self._planning or self._ready is not None
        return not waiting and bool(self._paces) and _still(self._paces[-1])

    def _open(self) -> None:
        """Begin an iteration: take plans that are ready, or see whether there is need of some."""
        seen, self._seen = self._seen, {}
        if self._ready is not None:
            (self._scene, self._plans, self._expected), self._ready = self._ready, None
            self._paces = []
        elif self._planning or self._config.policy == "min-max":
            return
        elif set(seen) == set(self._plans):
            if self._expected is None:
                self._expected = expected(self._scene, self._plans)
            self._paces = [*self._paces, pace(self._expected, seen)][-HOLD:]
            if self._contradicted():
                self._planning = True
                self.sim.process(self._plan(seen), name="planning for all workers")
            self._measured = True
        else:
            self._paces = []  # somebody was away: such an iteration says nothing of the links

    def _contradicted(self) -> bool:
        """Tell whether what was measured counts, and is not what was expected."""
        last = self._paces[-1]
        held = self._paces[-self._hold :]
        counts = not self._measured or (
            len(held) == self._hold
            and all(_still({key: one[key] / last[key] for key in one}) for one in held)
        )
        return counts and not _still(last)

    def _plan(self, seen: Seen) -> Generator[Event, Any, None]:
        """Choose plans on the corrected belief, at the lead server's expense."""
        device = self.sim.device(self._config.servers[0])
        count = sum(len(one.cuts) for plans in self._plans.values() for one in plans)
        work_s = device_time_s(device.spec, MESSAGE_S * count, MESSAGE_FLOP * count, 0.0)
        for _ in range(REHEARSALS):  # one by one: an update waits for one of them at most
            task = device.compute(work_s, Tag("plan", "", self._index))
            yield task
            if task.left_s > 0.0:
                self._planning = False
                return
        self._ready = self._chosen(seen)
        self._planning = False

    def _chosen(self, seen: Seen) -> tuple[Stage, Plans, Seen | None]:
        """Return the corrected belief, the best plans on it, and what these are expected to measure."""
        scene = corrected(self._scene, self._plans, seen)
        if scene is None:
            return self._scene, self._plans, seen
        kept_s, _ = scene.phased(self._plans)
        plans, time_s = choose(scene, self._config.schedule)
        return (scene, plans, None) if time_s < kept_s else (scene, self._plans, None)


# --- belief and measurement -----------------------------------------------------------------------------


class _Recorder:
    """Keeps what the workers of a rehearsal measure."""

    def __init__(self) -> None:
        self.seen: dict[str, Observation] = {}

    def observe(self, worker: str, seen: Observation) -> None:
        self.seen[worker] = seen

    def prepare(self, worker: str, index: int, start_s: float) -> Generator[Event, Any, Both | None]:
        yield from ()
        return None


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
        found[worker, "pull"] = _over(_held_s(known.pulls), _held_s(one.pulls))
        found[worker, "push"] = _over(_held_s(known.pushes), _held_s(one.pushes))
        found[worker, "forward"] = _over(math.fsum(known.forward_s), math.fsum(one.forward_s))
        found[worker, "backward"] = _over(math.fsum(known.backward_s), math.fsum(one.backward_s))
    return found


def corrected(scene: Stage, plans: Plans, seen: Seen) -> Stage | None:
    """Return the belief that explains what was measured with some plans, or None if none was found.

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
    for relinked in (_relinked, _uniform):
        trial = scene
        for _ in range(CORRECTIONS):
            belief = expected(trial, plans)
            if _still(pace(belief, seen)):
                return trial
            trial = on_cluster(trial, relinked(trial, belief, seen))
    return None


def _uniform(scene: Stage, belief: Seen, seen: Seen) -> Cluster:
    """Return the cluster with all links faster by as much as all messages together were."""
    was, now = _rates(belief, scene.alone), _rates(seen, scene.alone)
    return _scaled(scene.cluster, _over(sum(now.values()), sum(was.values())))


def _relinked(scene: Stage, belief: Seen, seen: Seen) -> Cluster:
    """Return the cluster with links as fast as measurements ask for."""
    users: dict[str, list[tuple[str, str]]] = {}
    for name, one in scene.alone.items():
        for kind, way in (("pull", one.pull), ("push", one.push)):
            for link in way.route:
                users.setdefault(link, []).append((name, kind))
    was, now = _rates(belief, scene.alone), _rates(seen, scene.alone)
    shared = {link for link, some in users.items() if len({name for name, _ in some}) > 1}
    factors = {
        link: _over(sum(now[key] for key in users[link]), sum(was[key] for key in users[link]))
        for link in shared
    }
    links = dict(scene.cluster.links)
    for link, some in users.items():
        factor = factors.get(link, 0.0)
        if link not in shared:
            rate = link_capacity_Bps(scene.cluster, link)
            factor = max(_own(rate, key, users, factors, was, now) for key in some)
        links[link] = replace(links[link], bandwidth_Bps=links[link].bandwidth_Bps * factor)
    return replace(scene.cluster, links=links)


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
        return max(_over(now[key], due), now[key] / rate)
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
            sent, moving_s = sum(size for size, _ in messages), _held_s(messages) - len(messages) * startup_s
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
    scenes = [on_cluster(scene, _scaled(scene.cluster, factor)) for factor in FACTORS]
    chosen = [choose(one, method) for one in scenes]
    worst = [
        max(_over(one.phased(plans)[0], best_s) for one, (_, best_s) in zip(scenes, chosen, strict=True))
        for plans, _ in chosen
    ]
    return chosen[worst.index(min(worst))][0]


def _scaled(cluster: Cluster, factor: float) -> Cluster:
    links = {
        name: replace(one, bandwidth_Bps=one.bandwidth_Bps * factor) for name, one in cluster.links.items()
    }
    return replace(cluster, links=links)


def _held_s(messages: Sequence[tuple[float, float]]) -> float:
    """Return how long messages held their channel, in s."""
    return math.fsum(time_s for _, time_s in messages)


def _over(one: float, other: float) -> float:
    """Return a ratio of times or rates; 1 where there is nothing to compare."""
    return one / other if one > 0.0 and other > 0.0 else 1.0


def _still(found: Pace) -> bool:
    """Tell whether everything was as expected."""
    return all(1.0 / (1.0 + AGREE) <= one <= 1.0 + AGREE for one in found.values())
