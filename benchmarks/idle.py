"""What a device costs that does nothing: seconds and bytes to load a scenario with 100,000 of them.

Goal: under 10 s, and under 4 kB a device. `load` reads and checks the file; `build` makes the cluster, a
simulation, and starts two workers that train on one server; `run` simulates two iterations of them in memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from edgesim import experiment, scenario
from edgesim.engine import Simulation
from edgesim.experiment import training, workloads
from edgesim.scenario import build
from edgesim.workload import ProfileTimer

PROFILE = Path(__file__).resolve().parent.parent / "tests" / "data" / "two-layers.json"
TEXT = """
name: idle
workload: {{profile: {profile}}}
devices:
  - {{name: server, speed: 1}}
  - {{name: worker, count: 2, speed: 0.5}}
  - name: idle
    count: {count}
    preset: raspberry-pi-4
    availability: {{values: [[0 s, 1.0], [10 s, 0.5]], repeat: 20 s}}
network: {{topology: star, bandwidth: 50 Mbit/s, latency: 5 ms}}
training: {{method: parameter-server, server: server, workers: [worker]}}
stop: {{iterations: 2}}
"""


def measure(count: int) -> dict[str, Any]:
    """Load, build and run a star with so many idle devices; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "idle.yaml"
        file.write_text(TEXT.format(profile=PROFILE.as_posix(), count=count))
        scenario.load(file.with_name("idle.yaml"))  # whatever is imported or cached once a process
        gc.collect()
        before, began = resident_bytes(), time.perf_counter()
        stated = scenario.load(file)
        loaded = time.perf_counter()
        cluster = build.cluster(stated)
        sim = Simulation(cluster, seed=stated.seed, events=build.events(stated))
        resolved = workloads.Workloads(workloads.silent)
        workload = resolved.workload(stated)
        training.start(stated, sim, workload, ProfileTimer(workload))
        built, size = time.perf_counter(), resident_bytes() - before
        experiment.run(stated)
        ran = time.perf_counter()
    return {
        "idle_devices": count,
        "load_s": round(loaded - began, 4),
        "build_s": round(built - loaded, 4),
        "run_s": round(ran - built, 4),
        "bytes_per_device": round(size / count),
    }


def resident_bytes() -> int:
    """Return the memory that this process holds now, in B (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="a list of rows on standard output")
    parser.add_argument("--quick", action="store_true", help="10,000 devices instead of 100,000")
    chosen = parser.parse_args()
    row = measure(10_000 if chosen.quick else 100_000)
    print(json.dumps([row]) if chosen.json else row)
