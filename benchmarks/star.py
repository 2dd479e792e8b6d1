"""How fast the engine is: N workers pull and push segments through one shared server link.

Each worker pulls 10 segments, computes once, pushes 10 segments, and so on: 21 activities an iteration, a
process each. `in_step`: all workers compute equally long, so that many activities end at one instant;
otherwise each computes for a time of its own. All begin together; with `--staggered` those not in step do
not, so that hardly any two activities ever end at one instant: the hardest case.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Generator
from typing import Any

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.timeline import Tag, Timeline

SEGMENTS = 10
PER_ITERATION = 2 * SEGMENTS + 1
PULL, COMPUTE, PUSH = Tag("pull"), Tag("forward"), Tag("push")


def star(workers: int) -> Cluster:
    """Return a star of 100 Mbit/s access links around a switch, with the server on 1 Gbit/s."""
    names = ["server", *(f"worker-{index}" for index in range(workers))]
    links: dict[str, Link] = {}
    hops = []
    for name in names:
        rate = 1.25e8 if name == "server" else 1.25e7
        for direction in ("up", "down"):
            link = f"{name}.{direction}"
            links[link] = Link(name=link, bandwidth_Bps=rate)
            ends = (name, "switch") if direction == "up" else ("switch", name)
            hops.append(Hop(source=ends[0], target=ends[1], link=link))
    devices = {name: Device(name=name, speed=1.0) for name in names}
    return Cluster(devices=devices, links=links, hops=tuple(hops))


def worker(
    sim: Simulation, name: str, iterations: int, work_s: float, size: float, begin_s: float = 0.0
) -> Generator[Any, Any, None]:
    """Pull, compute, push, from `begin_s` on."""
    if begin_s:
        yield sim.env.timeout(begin_s)
    network, device = sim.network, sim.device(name)
    for _ in range(iterations):
        for _ in range(SEGMENTS):
            yield network.send("server", name, size, PULL)
        yield device.compute(work_s, COMPUTE)
        for _ in range(SEGMENTS):
            yield network.send(name, "server", size, PUSH)


def measure(
    workers: int, activities: int, *, in_step: bool, record: bool = False, staggered: bool = False
) -> dict[str, Any]:
    """Run one star and return its row."""
    iterations = max(1, round(activities / (PER_ITERATION * workers)))
    timeline = Timeline() if record else None
    sim = Simulation(star(workers), timeline=timeline)
    for index in range(workers):
        work_s = 1.0 if in_step else 0.5 + ((index * 7919) % 10007) / 10007
        begin_s = work_s if staggered and not in_step else 0.0
        sim.process(worker(sim, f"worker-{index}", iterations, work_s, 1e5, begin_s))
    begin = time.perf_counter()
    sim.run()
    wall_s = time.perf_counter() - begin
    done = iterations * PER_ITERATION * workers
    return {
        "workers": workers,
        "in_step": in_step,
        "activities": done,
        "wall_s": wall_s,
        "activities_per_s": done / wall_s,
        "recorded": record,
        "staggered": staggered,
        "simulated_s": sim.now,
    }


def main() -> None:
    """Print one row a star."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no 10,000 workers")
    parser.add_argument("--record", action="store_true", help="record the timeline as a run does")
    parser.add_argument(
        "--staggered", action="store_true", help="workers not in step begin at times of their own"
    )
    options = parser.parse_args()
    sizes = (10, 100, 1000) if options.quick else (10, 100, 1000, 10_000)
    rows = []
    for in_step in (False, True):
        for workers in sizes:
            activities = max(42_000, PER_ITERATION * workers * 2)
            repeats = 2 if options.quick else 3 if workers > 1000 else 5
            runs = [
                measure(
                    workers, activities, in_step=in_step, record=options.record, staggered=options.staggered
                )
                for _ in range(repeats)
            ]
            rows.append(min(runs, key=lambda row: row["wall_s"]))
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'workers':>8} {'in step':>8} {'activities':>11} {'wall s':>8} {'activities/s':>13}")
    for row in rows:
        print(
            f"{row['workers']:>8} {row['in_step']!s:>8} {row['activities']:>11} "
            f"{row['wall_s']:>8.3f} {row['activities_per_s']:>13,.0f}"
        )


if __name__ == "__main__":
    main()
