"""How long planning takes: the threshold planner beside the O(L^3) program, both phases of one iteration.

    python benchmarks/planning.py [--json] [--quick]

Layer times come from the measured profile of ResNet-152 when one is shipped, else from its layer table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import analytic

from edgesim.planning.segmentation import plan, plan_backward

PROFILES = Path(__file__).parents[1] / "scenarios" / "profiles"
BANDWIDTHS_BPS = (12.5e6, 125e6, 1.25e9)  # 100 Mbit/s, 1 and 10 Gbit/s
STARTUP_S = 1e-3


def layer_times(bandwidth_Bps: float) -> tuple[str, list[float], list[float], list[float]]:
    """Return the source and the transfer, forward and backward times of ResNet-152's layers, in s."""
    path = PROFILES / "resnet-152.json"
    if not path.exists():
        return ("analytic", *analytic.times_s(analytic.resnet152(), bandwidth_Bps=bandwidth_Bps))
    from edgesim.workload_file import load

    layers = load(path).layers
    transfer = [layer.parameter_bytes / bandwidth_Bps for layer in layers]
    return "profile", transfer, [one.forward_s for one in layers], [one.backward_s for one in layers]


def median_s(repeats: int, method: str, times: tuple[list[float], list[float], list[float]]) -> float:
    """Return the median wall time of planning both phases, in s."""
    transfer, forward, backward = times
    walls = []
    for _ in range(repeats):
        start = time.perf_counter()
        plan(transfer, forward, STARTUP_S, method)
        plan_backward(backward, transfer, STARTUP_S, method)
        walls.append(time.perf_counter() - start)
    return statistics.median(walls)


def row(bandwidth_Bps: float, *, quick: bool) -> dict[str, object]:
    source, *times = layer_times(bandwidth_Bps)
    transfer, forward, backward = times
    fast = median_s(50 if quick else 500, "dynacomm", (transfer, forward, backward))
    slow = median_s(1 if quick else 3, "dynacomm-dp", (transfer, forward, backward))
    return {
        "model": "resnet-152",
        "source": source,
        "layers": len(transfer),
        "bandwidth_Mbps": bandwidth_Bps * 8 / 1e6,
        "planner_ms": fast * 1e3,
        "dp_ms": slow * 1e3,
        "ratio": slow / fast,
        "same": plan(transfer, forward, STARTUP_S).makespan_s
        <= plan(transfer, forward, STARTUP_S, "dynacomm-dp").makespan_s * (1 + 1e-12),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, one bandwidth")
    options = parser.parse_args()
    bandwidths = BANDWIDTHS_BPS[1:2] if options.quick else BANDWIDTHS_BPS
    rows = [row(bandwidth, quick=options.quick) for bandwidth in bandwidths]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for one in rows:
        print(
            f"{one['model']} ({one['source']}), {one['layers']} layers, {one['bandwidth_Mbps']:.0f} Mbit/s: "
            f"threshold {one['planner_ms']:.3f} ms, O(L^3) program {one['dp_ms']:.0f} ms, "
            f"{one['ratio']:.0f} times faster"
        )


if __name__ == "__main__":
    main()
