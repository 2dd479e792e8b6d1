"""What recording the timeline costs: a run without it, with it in memory, and streamed to disk as it goes.

Goal: less than 30 % of the run, in CPU time of all threads. The run is that of `star.py`, which does nothing
but events, so that no other pays more for its rows. The kinds take turns and the fastest of each counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from star import PER_ITERATION, star, worker

from edgesim.engine import Simulation
from edgesim.report.storage import RunDirectory
from edgesim.timeline import Timeline

KINDS = ("without", "memory", "disk")


def once(kind: str, workers: int, activities: int) -> float:
    """Return the CPU time of one run, in s, with everything that its recording needs until it is on disk."""
    iterations = max(1, round(activities / (PER_ITERATION * workers)))
    timeline = None if kind == "without" else Timeline()
    with tempfile.TemporaryDirectory() as folder:
        tick = None
        if kind == "disk" and timeline is not None:
            directory = RunDirectory(Path(folder) / "run", timeline)
            tick = directory.tick
        sim = Simulation(star(workers), timeline=timeline)
        for index in range(workers):
            work_s = 0.5 + ((index * 7919) % 10007) / 10007
            sim.process(worker(sim, f"worker-{index}", iterations, work_s, 1e5))
        began = time.process_time()
        sim.run(tick=tick)
        if kind == "disk":
            directory.flush()
        return time.process_time() - began


def measure(workers: int, activities: int, repeats: int) -> dict[str, Any]:
    """Return a row: the fastest run of each kind, and what recording adds to it."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(repeats):
        for kind in KINDS:
            times[kind].append(once(kind, workers, activities))
    best = {kind: min(runs) for kind, runs in times.items()}
    return {
        "workers": workers,
        "activities": activities,
        **{f"{kind}_s": round(best[kind], 4) for kind in KINDS},
        "cost_memory": round(best["memory"] / best["without"] - 1.0, 3),
        "cost_disk": round(best["disk"] / best["without"] - 1.0, 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="a list of rows on standard output")
    parser.add_argument("--quick", action="store_true", help="fewer activities and repeats")
    chosen = parser.parse_args()
    amount, turns = (126_000, 4) if chosen.quick else (420_000, 5)
    rows = [measure(workers, amount, turns) for workers in (10, 100, 1000)]
    print(json.dumps(rows) if chosen.json else "\n".join(map(str, rows)))
