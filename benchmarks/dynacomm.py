"""DynaComm against its phased rivals on the simulated network, and against what its planner predicted.

    python benchmarks/dynacomm.py [--json] [--quick]

Models: the profiles shipped for the DynaComm CNNs, and VGG-19 and ResNet-152 from their layer tables. Three
networks: `alone` (one worker), `cables` (four unlike workers, a cable each: no contention), and `uplink`
(eight unlike workers on one server uplink). `to_rival`: iteration over that of the best rival; at most 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import analytic

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.planning.schedules import PHASED
from edgesim.training.parameter_server import Config, start
from edgesim.workload import Layer, ProfileTimer, Workload
from edgesim.workload_file import load

PROFILES = Path(__file__).parents[1] / "scenarios" / "profiles"
NAMES = ("vgg-19", "googlenet", "inception-v4", "resnet-152")
BANDWIDTHS_MBPS = (10, 100, 1000, 10_000)
SPEEDS = (1.0, 0.5, 0.25, 0.7, 1.5, 0.3, 0.9, 0.6)
SHARES = (1.0, 2.0, 0.5, 1.0, 0.7, 4.0, 1.0, 0.3)
STARTUP_S, LATENCY_S = 1e-3, 2e-3


def workloads() -> Iterator[tuple[str, Workload]]:
    """Yield the shipped profiles, and the models of the layer tables on 1 TFLOP/s."""
    for name in NAMES:
        path = PROFILES / f"{name}.json"
        if path.exists():
            yield name, load(path)
    for name, table in analytic.MODELS.items():
        yield f"{name} (analytic)", from_table(name, table())


def from_table(name: str, table: analytic.Table) -> Workload:
    _, forward, backward = analytic.times_s(table, flops=1e12)
    layers = tuple(
        Layer(
            name=str(number),
            kind="Conv2d",
            forward_s=ahead,
            backward_s=back,
            forward_flop=0.0,
            backward_flop=0.0,
            parameters=parameters,
            parameter_bytes=parameters * analytic.BYTES,
            output_bytes=0,
            activation_bytes=0,
        )
        for number, ((parameters, _), ahead, back) in enumerate(zip(table, forward, backward, strict=True))
    )
    step_s = sum(forward) + sum(backward)
    shape, parts = (3, 224, 224), {"layers": layers, "step_s": step_s, "optimizer_s": 0.02}
    return Workload(model=name, batch_size=32, input_shape=shape, dtype="float32", **parts)


def network(kind: str, bandwidth_Bps: float) -> Cluster:
    """Return workers on cables of their own, or on a star whose server link is the narrow one."""
    count = {"alone": 1, "cables": 4, "uplink": 8}[kind]
    devices = {"server": Device(name="server", speed=2.0)}
    links: dict[str, Link] = {}
    hops: list[Hop] = []

    def access(name: str, rate: float, middle: str) -> None:
        for way, source, target in (("up", name, middle), ("down", middle, name)):
            link = f"{name}.{way}"
            links[link] = Link(name=link, bandwidth_Bps=rate, occupancy_s=STARTUP_S, latency_s=LATENCY_S / 2)
            hops.append(Hop(source=source, target=target, link=link))

    if kind == "uplink":
        access("server", 4 * bandwidth_Bps, "switch")
    for number in range(count):
        name = f"worker-{number + 1}"
        devices[name] = Device(name=name, speed=SPEEDS[number])
        access(name, bandwidth_Bps * SHARES[number], "switch" if kind == "uplink" else "server")
    return Cluster(devices=devices, links=links, hops=tuple(hops))


def measure(workload: Workload, kind: str, bandwidth_Mbps: float, schedule: str) -> dict[str, Any]:
    """Simulate three iterations and return one row."""
    cluster = network(kind, bandwidth_Mbps * 1e6 / 8)
    sim = Simulation(cluster)
    workers = tuple(name for name in cluster.devices if name != "server")
    config = Config(servers=("server",), workers=workers, schedule=schedule, iterations=3)
    run = start(sim, workload, ProfileTimer(workload), config)
    sim.run(stop=run.done)
    iteration_s = sim.now / 3
    bound_s = run.bounds.everybody["iteration_s"]
    return {
        "network": kind,
        "bandwidth_Mbps": bandwidth_Mbps,
        "schedule": schedule,
        "iteration_s": iteration_s,
        "predicted_s": run.predicted_s,
        "prediction_error": iteration_s / run.predicted_s - 1.0,
        "to_bound": iteration_s / bound_s,
        "segments": [max(len(plans[phase].cuts) for plans in run.plans.values()) for phase in (0, 1)],
    }


def compare(name: str, workload: Workload, kind: str, bandwidth_Mbps: float) -> list[dict[str, Any]]:
    """Return a row for each schedule, each with its ratio to the best rival."""
    rows = [measure(workload, kind, bandwidth_Mbps, schedule) for schedule in PHASED]
    best = min(row["iteration_s"] for row in rows if row["schedule"] != "dynacomm")
    return [{"model": name, **row, "to_rival": row["iteration_s"] / best} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--quick", action="store_true", help="the last model and two bandwidths only")
    options = parser.parse_args()
    models = list(workloads())[-1:] if options.quick else list(workloads())
    bandwidths = BANDWIDTHS_MBPS[1:3] if options.quick else BANDWIDTHS_MBPS
    rows = [
        row
        for name, workload in models
        for kind in ("alone", "cables", "uplink")
        for bandwidth in bandwidths
        for row in compare(name, workload, kind, bandwidth)
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        report(rows)


def report(rows: list[dict[str, Any]]) -> None:
    """Print a line for each model, network and bandwidth, and the two verdicts."""
    for at in range(0, len(rows), len(PHASED)):
        group = rows[at : at + len(PHASED)]
        times = ", ".join(f"{row['schedule']} {row['iteration_s']:.4g}" for row in group)
        where = f"{group[0]['model']}, {group[0]['network']}, {group[0]['bandwidth_Mbps']} Mbit/s"
        print(f"{where}: {times} s; dynacomm {group[-1]['to_rival']:.4f} of the best rival")
    own = [row for row in rows if row["schedule"] == "dynacomm"]
    free = [row for row in rows if row["network"] != "uplink"]
    print(f"dynacomm over the best rival, worst: {max(row['to_rival'] for row in own):.6f}")
    error = max(abs(row["prediction_error"]) for row in free)
    print(f"largest error of prediction without contention: {error:.2e}")


if __name__ == "__main__":
    main()
