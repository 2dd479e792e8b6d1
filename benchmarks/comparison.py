"""How long a whole comparison takes: ResNet-152 on 64 workers, 100 iterations, by every schedule there is.

    python benchmarks/comparison.py [--json] [--quick] [--pictures] [--every-event] [--out DIR]

What `edgesim compare` does, with files: simulate each schedule until its iterations repeat, write the rows of
all of them, summarise, rank. `simulated` counts the iterations that were simulated event by event; the last
row is the sum. Pictures are left out unless asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import edgesim
from edgesim.planning.schedules import SCHEDULES

PROFILE = Path(__file__).parents[1] / "scenarios" / "profiles" / "resnet-152.json"
WORKERS, ITERATIONS = 64, 100


def scenario(workers: int, iterations: int) -> edgesim.Scenario:
    """Return a star of like workers with 1 Gbit/s each, and a server with ten times that."""
    return edgesim.Scenario(
        version=1,
        name="comparison",
        seed=1,
        workload={"profile": str(PROFILE)},
        devices=[
            {"name": "server", "preset": "workstation"},
            {"name": "worker", "count": workers, "preset": "jetson-nano", "memory": "16 GiB"},
        ],
        network={
            "topology": "star",
            "bandwidth": "1 Gbit/s",
            "latency": "1 ms",
            "startup": {"occupancy": "0.1 ms"},
            "devices": {"server": {"bandwidth": "10 Gbit/s"}},
        },
        training={"method": "parameter-server", "server": "server"},
        stop={"iterations": iterations},
    )


class Watch:
    """Notes when each run of a comparison was first heard of, and tells on standard error."""

    def __init__(self, quiet: bool) -> None:
        self.began = self._told = time.perf_counter()
        self.first: dict[str, float] = {}
        self._quiet = quiet

    def __call__(self, stage: str, fraction: float | None = None) -> None:
        now = time.perf_counter()
        new = stage not in self.first
        self.first.setdefault(stage, now)
        if not self._quiet and (new or now - self._told > 2.0):
            self._told = now
            share = "" if fraction is None else f" {fraction:.0%}"
            print(f"{now - self.began:6.1f} s  {stage}{share}", file=sys.stderr, flush=True)


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Compare all schedules and return a row for each, and one for all."""
    workers, iterations = (4, 20) if options.quick else (WORKERS, ITERATIONS)
    names = list(SCHEDULES)[:3] if options.quick else list(SCHEDULES)
    watch = Watch(quiet=options.json)
    found = edgesim.compare(
        scenario(workers, iterations),
        {"training.schedule": names},
        out=folder,
        progress=watch,
        pictures=options.pictures,
        every_event=options.every_event,
    )
    total_s = time.perf_counter() - watch.began
    starts = [time_s for stage, time_s in watch.first.items() if stage.endswith(f" of {len(names)})")]
    ends = [*starts[1:], watch.began + total_s]
    rows = [_row(run, end - start) for run, start, end in zip(found, starts, ends, strict=True)]
    figures = ("messages", "simulated")
    return [
        *rows,
        {"schedule": "all", "wall_s": total_s} | {key: sum(row[key] for row in rows) for key in figures},
    ]


def _row(run: Any, wall_s: float) -> dict[str, Any]:
    if run.result is None:
        raise SystemExit(f"{run.axes}: {run.error}")
    summary = run.result.summary
    return {
        "schedule": run.axes["training.schedule"],
        "wall_s": wall_s,
        "messages": summary["messages"],
        "simulated": summary["iterations"] - summary["repeated"]["iterations"],
        "iteration_s": summary["iteration_s"]["steady"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--quick", action="store_true", help="four workers, 20 iterations, three schedules")
    parser.add_argument("--pictures", action="store_true", help="draw timelines and traces too")
    parser.add_argument("--every-event", action="store_true", help="simulate every iteration: hours")
    parser.add_argument("--out", type=Path, help="keep what is written there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, options.out or Path(folder))
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'schedule':>18} {'wall s':>8} {'messages':>12} {'simulated':>9} {'iteration s':>11}")
    for row in rows:
        steady = f"{row['iteration_s']:>11.4f}" if "iteration_s" in row else ""
        counts = f"{row['messages']:>12,} {row['simulated']:>9}"
        print(f"{row['schedule']:>18} {row['wall_s']:>8.1f} {counts} {steady}")


if __name__ == "__main__":
    main()
