"""A workload for batches of another size: what grows with the batch and what does not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import edgesim
from edgesim import workload_file
from edgesim.cluster import Device
from edgesim.workload import ProfileTimer, rebatched

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "scenarios" / "profiles" / "googlenet.json"
ABACUS = Device(name="", compute_flops=5e12, memory_bandwidth_Bps=math.inf)


def test_half_the_batch_computes_half_as_long_and_sends_as_much() -> None:
    whole = workload_file.load(PROFILE)
    half = rebatched(whole, whole.batch_size // 2)
    full, other = ProfileTimer(whole), ProfileTimer(half)
    for layer in range(len(whole.layers)):
        assert other.forward_s(ABACUS, layer) == pytest.approx(full.forward_s(ABACUS, layer) / 2, rel=1e-12)
        assert other.backward_s(ABACUS, layer) == pytest.approx(full.backward_s(ABACUS, layer) / 2, rel=1e-12)
    assert half.parameter_bytes == whole.parameter_bytes
    assert half.optimizer_s == whole.optimizer_s
    kept = 2 * whole.parameter_bytes
    assert half.memory_bytes() - kept == (whole.memory_bytes() - kept) // 2
    assert half.doubts == whole.doubts


def test_there_and_back_is_the_same_but_for_where_it_comes_from() -> None:
    whole = workload_file.load(PROFILE)
    back = rebatched(rebatched(whole, 64), 32)
    assert replace(back, provenance=whole.provenance) == whole
    assert back.provenance["batch"] == "32, scaled from a profile of batches of 64"


def test_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        rebatched(workload_file.load(PROFILE), 0)


def test_a_scenario_asks_for_another_batch_than_its_profile() -> None:
    def computed_s(batch_size: int) -> float:
        stated = edgesim.Scenario(
            name="batch",
            workload={"profile": str(PROFILE), "batch_size": batch_size},
            devices=[{"name": "server", "speed": 1}, {"name": "worker", "compute": "5 TFLOP/s"}],
            network={"topology": "star", "bandwidth": "10 Gbit/s"},
            training={"method": "parameter-server", "server": "server"},
            stop={"iterations": 1},
        )
        spans = edgesim.run(stated).spans
        return float(spans[spans.device == "worker"].work_s.sum())

    assert computed_s(16) == pytest.approx(computed_s(32) / 2, rel=1e-12)
