"""How long partitions take to plan, and what the exact one gains over FTPipeHD's on MobileNetV2.

    python benchmarks/partition.py [--json] [--quick]

Planning: median wall time beside the limit that is set for it. Gain: fleets of 3 to 8 devices, the central
one of capacity 1, the others drawn from 1 to 10, in the order in which they are drawn; period of the paper's
plan over that of the exact one, both by the exact formula. Layer times are those of the authors' log, 505 s
an epoch of 469 batches of 128, by the layers' share of the operations.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

from edgesim.planning.partition import plan, predicted

MMAC = (0.221, 0.205, 0.596, 0.525, 0.316, 0.224, 0.224, 0.154, 0.210, 0.210)
MMAC += (0.210, 0.260, 0.463, 0.463, 0.319, 0.316, 0.316, 0.469, 0.410, 0.013)
OUTPUTS = (8192, 4096, 1536, 1536, 512, 512, 512, 256, 256, 256)
OUTPUTS += (256, 384, 384, 384, 160, 160, 160, 320, 1280, 10)
BATCH = 128
BATCH_S = 505 / 469
LAYER_S = [BATCH_S * one / sum(MMAC) for one in MMAC]
BYTES = [4 * BATCH * one for one in OUTPUTS]
BANDWIDTHS_MBPS = (10, 25, 50)


def fleet(rng: random.Random, devices: int) -> list[float]:
    """Return capacities: the central node's 1, the others' with evenly spread logarithms."""
    return [1.0, *(10.0 ** rng.random() for _ in range(devices - 1))]


def time_row(
    what: str, method: str, layers: int, devices: int, limit_ms: float | None, repeats: int
) -> dict[str, object]:
    rng = random.Random(layers * devices)
    layer_s = LAYER_S if layers == len(MMAC) else [rng.random() for _ in range(layers)]
    output = BYTES if layers == len(MMAC) else [1e5 * rng.random() for _ in range(layers)]
    capacity, walls = fleet(rng, devices), []
    for _ in range(repeats):
        start = time.perf_counter()
        plan(layer_s, output, 25e6 / 8, capacity, method)
        walls.append(time.perf_counter() - start)
    wall_ms = statistics.median(walls) * 1e3
    return {
        "what": what,
        "method": method,
        "layers": layers,
        "devices": devices,
        "wall_ms": wall_ms,
        "limit_ms": limit_ms,
        "within": None if limit_ms is None else wall_ms <= limit_ms,
    }


def gain_row(bandwidth_Mbps: float, devices: int, fleets: int) -> dict[str, object]:
    rng = random.Random(devices)
    gains, left_out, middle = [], 0, 0
    for _ in range(fleets):
        costs = LAYER_S, BYTES, bandwidth_Mbps * 1e6 / 8, fleet(rng, devices)
        best = plan(*costs, "exact")
        gains.append(predicted(plan(*costs), *costs) / best.period_s - 1.0)
        left_out += len(best.order) < devices
        slowest = max(best.order, key=lambda device: costs[3][device])
        middle += slowest not in (best.order[0], best.order[-1])
    return {
        "what": "gain",
        "bandwidth_Mbps": bandwidth_Mbps,
        "devices": devices,
        "fleets": fleets,
        "least": min(gains),
        "median": statistics.median(gains),
        "largest": max(gains),
        "above_1_percent": sum(gain > 0.01 for gain in gains) / fleets,
        "above_10_percent": sum(gain > 0.1 for gain in gains) / fleets,
        "devices_left_out": left_out / fleets,
        "slowest_in_the_middle": middle / fleets,
    }


def rows(*, quick: bool) -> list[dict[str, object]]:
    repeats = 3 if quick else 20
    made = [
        time_row("the paper's program", "ftpipehd", 150, 16, 50.0, repeats),
        time_row("exact", "exact", 20, 8, 1000.0, repeats),
        time_row("exact", "exact", 20, 12, None, 1),
    ]
    for bandwidth in BANDWIDTHS_MBPS:
        for devices in (3,) if quick else (3, 4, 5, 8):
            made.append(gain_row(bandwidth, devices, 20 if quick else 200))
    return made


def line(row: dict[str, object]) -> str:
    if row["what"] != "gain":
        limit = "no limit" if row["limit_ms"] is None else f"limit {row['limit_ms']:.0f} ms"
        return "{what}: {layers} layers, {devices} devices in {wall_ms:.1f} ms, ".format(**row) + limit
    return (
        "gain at {bandwidth_Mbps} Mbit/s, {devices} devices, {fleets} fleets: {least:.0%} to {largest:.0%}, "
        "median {median:.0%}; above 1 % in {above_1_percent:.0%}, above 10 % in {above_10_percent:.0%}; "
        "devices left out in {devices_left_out:.0%}, slowest in the middle in {slowest_in_the_middle:.0%}"
    ).format(**row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer repeats and fleets, three devices")
    options = parser.parse_args()
    made = rows(quick=options.quick)
    print(json.dumps(made, indent=1) if options.json else "\n".join(map(line, made)))


if __name__ == "__main__":
    main()
