"""Plausible parameter-server timelines, made without the engine."""

from __future__ import annotations

import random

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.report.facts import DeviceFacts, LinkFacts, RunFacts
from edgesim.timeline import Tag, Timeline


def star(workers: int, bandwidth_Bps: float = 12.5e6) -> Cluster:
    names = ["server", *(f"pi-{i}" for i in range(1, workers + 1))]
    devices = {
        name: Device(name=name, speed=1.0, busy_W=6.0, idle_W=2.0, preset="pi", assumed=("busy_W",))
        for name in names
    }
    links = {
        f"{name}.{way}": Link(
            name=f"{name}.{way}", bandwidth_Bps=bandwidth_Bps * (8 if name == "server" else 1)
        )
        for name in names
        for way in ("up", "down")
    }
    hops = [Hop(source=name, target="switch", link=f"{name}.up") for name in names]
    hops += [Hop(source="switch", target=name, link=f"{name}.down") for name in names]
    return Cluster(devices=devices, links=links, hops=tuple(hops))


def timeline(
    workers: int,
    iterations: int = 4,
    segments: int = 3,
    *,
    seed: int = 0,
    scale_s: float = 1.0,
    crash: bool = False,
    parallel: int = 1,
) -> Timeline:
    """Each worker pulls its segments, runs them as they come, and pushes each segment as it is done."""
    luck = random.Random(seed)
    speeds = [0.5 + luck.random() for _ in range(workers)]
    made = Timeline()
    start = 0.0
    for iteration in range(iterations):
        ends, spans, transfers = [], [], []
        for index, speed in enumerate(speeds):
            name = f"pi-{index + 1}"
            work = scale_s / segments / speed
            ends.append(_worker(name, iteration, start, work, segments, parallel, spans, transfers))
        done = max(ends)
        if crash and iteration == 1:
            made.mark(start + 0.3 * scale_s, "pi-1", "crash")
            made.mark(done + 0.2 * scale_s, "pi-1", "return")
            done += 0.2 * scale_s
        spans.append(
            ("server", Tag("update", "", iteration), done, done + 0.05 * scale_s, 0.05 * scale_s, 0.0)
        )
        made.spans.extend(sorted(spans, key=lambda row: row[3]))
        made.transfers.extend(sorted(transfers, key=lambda row: row[9]))
        start = done + 0.05 * scale_s
        made.mark(start, "server", "iteration", str(iteration))
        made.update(start, "server", iteration, workers, 0)
    return made


def _worker(name, iteration, start, work, segments, parallel, spans, transfers):
    ready, free = start, start
    for segment in range(segments):
        tag = Tag("pull", f"{4 * segment + 1}-{4 * segment + 4}", iteration, 4 * segment + 1, 4 * segment + 4)
        for _ in range(parallel):
            end = ready + 0.6 * work
            route = f"server.up; {name}.down"
            transfers.append(("server", name, tag, 100000, 1e5, 1e5, 0.0, start, ready, end, route))
        ready = end
        free = max(free, ready)
        spans.append((name, tag._replace(kind="forward"), free, free + 0.4 * work, 0.4 * work, 0.0))
        free += 0.4 * work
    pushed = free
    for segment in reversed(range(segments)):
        tag = Tag(
            "backward", f"{4 * segment + 1}-{4 * segment + 4}", iteration, 4 * segment + 1, 4 * segment + 4
        )
        spans.append((name, tag, free, free + 0.8 * work, 0.8 * work, 0.0))
        free += 0.8 * work
        pushed = max(pushed, free)
        push = tag._replace(kind="push")
        route = f"{name}.up; server.down"
        transfers.append(
            (name, "server", push, 100000, 1e5, 1e5, 0.0, free, pushed, pushed + 0.5 * work, route)
        )
        pushed += 0.5 * work
    return pushed


def facts(made: Timeline, cluster: Cluster, **more) -> RunFacts:
    """What an engine would have counted for such a timeline."""
    end = max([row[0] for row in made.marks] + [row[3] for row in made.spans])
    busy: dict[str, list[float]] = {}
    for row in made.spans:
        busy.setdefault(row[0], []).append(row[3] - row[2])
    carried = dict.fromkeys(cluster.links, 0.0)
    for row in made.transfers:
        for link in row[10].split("; "):
            carried[link] += row[4]
    return RunFacts(
        scenario="synthetic",
        seed=7,
        server="server",
        simulated_s=end,
        wall_s=0.5,
        devices={name: DeviceFacts(busy_s=sum(busy.get(name, [0.0]))) for name in cluster.devices},
        links={
            name: LinkFacts(carried_bytes=carried[name], capacity_bytes=link.bandwidth_Bps * end)
            for name, link in cluster.links.items()
        },
        **{"bounds": {"compute": 1.0}, "predicted_s": 1.5, **more},
    )
