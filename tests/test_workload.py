"""A workload made of another: for batches of another size, or with layers merged into blocks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgesim
from edgesim import workload_file
from edgesim.cluster import Device
from edgesim.workload import Layer, ProfileTimer, Workload, merged, rebatched

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


MOBILENET_ENDS = [1, *range(3, 52, 3), 52, 53]
MOBILENET = [  # parameters, MMAC, output elements of one sample: the paper's 20 layers of MobileNetV2
    (928, 0.221, 8192), (896, 0.205, 4096), (5136, 0.596, 1536), (8832, 0.525, 1536), (10000, 0.316, 512),
    (14848, 0.224, 512), (14848, 0.224, 512), (21056, 0.154, 256), (54272, 0.210, 256), (54272, 0.210, 256),
    (54272, 0.210, 256), (66624, 0.260, 384), (118272, 0.463, 384), (118272, 0.463, 384),
    (155264, 0.319, 160), (320000, 0.316, 160), (320000, 0.316, 160), (473920, 0.469, 320),
    (412160, 0.410, 1280), (12810, 0.013, 10),
]  # fmt: skip


def test_the_layers_of_mobilenetv2_merge_to_the_twenty_of_ftpipehd() -> None:
    whole = workload_file.load(ROOT / "scenarios" / "profiles" / "mobilenetv2-32.json")
    blocks = merged(whole, MOBILENET_ENDS)
    for block, (parameters, mmac, elements) in zip(blocks.layers, MOBILENET, strict=True):
        assert block.parameters == parameters
        assert block.forward_flop / 2 / 128 / 1e6 == pytest.approx(mmac, abs=6e-4)
        assert block.output_bytes == block.crossing == elements * 4 * 128
    assert sum(block.parameters for block in blocks.layers) == 2_236_682
    assert blocks.layers[1].members == tuple(layer.name for layer in whole.layers[1:3])
    assert (blocks.layers[0], blocks.layers[1].kind) == (whole.layers[0], "Block")


def layers_of(draw: st.DrawFn) -> Workload:
    time, size = st.floats(0, 1e3), st.integers(0, 10**12)
    layers = tuple(
        Layer(
            name=f"l{index}", kind="Linear", forward_s=draw(time), backward_s=draw(time),
            forward_flop=draw(time), backward_flop=draw(time), parameters=draw(size),
            parameter_bytes=draw(size), output_bytes=draw(size), activation_bytes=draw(size),
            traffic_bytes=draw(time), forward_spread=draw(st.floats(0, 1)), free=draw(st.booleans()),
            cut_bytes=draw(st.none() | size),
        )
        for index in range(draw(st.integers(1, 8)))
    )  # fmt: skip
    return Workload(
        model="m", batch_size=2, input_shape=(1,), dtype="float32", layers=layers, step_s=3.0, input_bytes=5
    )


@given(st.data())
def test_merging_keeps_every_total(data: st.DataObject) -> None:
    whole = layers_of(data.draw)
    count = len(whole.layers)
    inner = st.sets(st.integers(1, count - 1)) if count > 1 else st.just(set())
    ends = [*sorted(data.draw(inner)), count]
    blocks = merged(whole, ends)
    assert blocks.memory_bytes() == whole.memory_bytes()
    assert (blocks.step_s, blocks.parameter_bytes) == (whole.step_s, whole.parameter_bytes)
    assert [block.crossing for block in blocks.layers] == [whole.layers[end - 1].crossing for end in ends]
    assert [name for block in blocks.layers for name in block.members] == [item.name for item in whole.layers]
    for key in ("forward_s", "backward_s", "forward_flop", "backward_flop", "traffic_bytes"):
        totals = [math.fsum(getattr(item, key) for item in each.layers) for each in (blocks, whole)]
        assert totals[0] == pytest.approx(totals[1], rel=1e-12)
    for block, first, end in zip(blocks.layers, [0, *ends], ends, strict=False):
        spreads = [item.forward_spread for item in whole.layers[first:end]]
        assert block.forward_spread <= max(spreads) * (1 + 1e-12)
        assert block.free == all(item.free for item in whole.layers[first:end])
    assert merged(blocks, range(1, len(ends) + 1)).layers == blocks.layers


def test_spreads_of_a_block_are_those_of_independent_times() -> None:
    whole = workload_file.load(PROFILE)
    pair = tuple(
        replace(layer, forward_s=seconds, forward_spread=spread)
        for layer, seconds, spread in zip(whole.layers[:2], (3.0, 1.0), (0.1, 0.4), strict=True)
    )
    block = merged(replace(whole, layers=pair), [2]).layers[0]
    assert block.forward_spread == pytest.approx(0.5 / 4.0, rel=1e-12)


@pytest.mark.parametrize("ends", [[], [0, 58], [57], [59], [3, 3, 58], [5, 3, 58], [58, 3], [-1, 58]])
def test_ends_that_are_no_blocks(ends: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"rise from at least 1 to 58, got \[{str(ends)[1:-1]}\]"):
        merged(workload_file.load(PROFILE), ends)


def test_what_crosses_a_cut_grows_with_the_batch() -> None:
    whole = workload_file.load(PROFILE)
    known = replace(whole.layers[0], output_bytes=64, cut_bytes=96)
    unknown = replace(known, cut_bytes=None)
    assert (known.crossing, unknown.crossing) == (96, 64)
    twice = rebatched(replace(whole, layers=(known, unknown)), 2 * whole.batch_size)
    assert [layer.cut_bytes for layer in twice.layers] == [192, None]
    assert [layer.crossing for layer in twice.layers] == [192, 128]
