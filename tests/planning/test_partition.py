"""Partitions of the literature: against brute force, the paper's numbers, and what is told of wrong input."""

import itertools
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.errors import EdgesimError
from edgesim.plan import Partition
from edgesim.planning.partition import METHODS, pick, plan, predicted
from edgesim.planning.partition_problem import memory_of
from edgesim.planning.pipeline_period import ideal_gain, period_bounds, steady_period

MMAC = [0.221, 0.205, 0.596, 0.525, 0.316, 0.224, 0.224, 0.154, 0.210, 0.210]
MMAC += [0.210, 0.260, 0.463, 0.463, 0.319, 0.316, 0.316, 0.469, 0.410, 0.013]
"""Multiply-accumulates of the 20 layers of MobileNetV2 at 3 x 32 x 32, in millions a sample."""

FIXED = ["ftpipehd", "equal-time", "equal-layers", "pipedream"]
times = st.floats(0.01, 10.0)
sizes = st.floats(0.0, 10.0)


def all_points(layers, stages):
    return itertools.combinations(range(layers - 1), stages - 1)


def spans(points, layers):
    firsts = [0, *(point + 1 for point in points)]
    return list(zip(firsts, [*(first - 1 for first in firsts[1:]), layers - 1], strict=True))


def bottleneck(points, layer, output, rates, capacity):
    """max(C_s T, 2 D / B) as it stands."""
    stages = [
        sum(layer[a : b + 1]) * c for (a, b), c in zip(spans(points, len(layer)), capacity, strict=True)
    ]
    return max([*stages, *(2 * output[p] / rate for p, rate in zip(points, rates, strict=True))])


@st.composite
def chains(draw, most=7):
    devices = draw(st.integers(1, 4))
    layers = draw(st.integers(devices, max(most, devices)))
    many = {"min_size": layers, "max_size": layers}
    return (
        draw(st.lists(times, **many)),
        draw(st.lists(sizes, **many)),
        draw(st.lists(times, min_size=devices - 1, max_size=devices - 1)),
        [1.0, *draw(st.lists(times, min_size=devices - 1, max_size=devices - 1))],
    )


@given(chains())
def test_the_program_finds_the_least_bottleneck(case):
    layer, capacity = case[0], case[3]
    made = plan(*case)
    least = min(bottleneck(points, *case) for points in all_points(len(layer), len(capacity)))
    assert made.period_s == pytest.approx(least)
    assert bottleneck(made.points, *case) == pytest.approx(least)
    assert made.order == tuple(range(len(capacity)))


@given(chains())
def test_equal_time_is_the_program_on_equal_devices(case):
    layer, output, rates, capacity = case
    alike = plan(layer, output, rates, [1.0] * len(capacity))
    made = plan(*case, "equal-time")
    assert (made.points, made.period_s) == (alike.points, alike.period_s)


@given(chains())
def test_pipedream_knows_one_rate_and_equal_machines(case):
    layer, output, rates, capacity = case
    slowest = min(rates, default=1.0)
    made = plan(*case, "pipedream")
    alike = plan(layer, output, slowest, [1.0] * len(capacity))
    assert (made.points, made.period_s) == (alike.points, pytest.approx(alike.period_s))


@given(chains(), st.sampled_from(FIXED))
def test_every_device_gets_layers_and_every_layer_a_device(case, method):
    layer, _, _, capacity = case
    made = plan(*case, method)
    assert made.method == method
    assert made.order == tuple(range(len(capacity)))
    stages = made.stages(len(layer))
    assert all(stages)
    assert [one for stage in stages for one in stage] == list(range(len(layer)))


@given(chains(), st.sampled_from(FIXED))
def test_the_exact_period_is_never_below_the_stages_and_the_bounds(case, method):
    layer, output, rates, capacity = case
    made = plan(*case, method)
    exact = predicted(made, *case)
    stages = [
        sum(layer[a : b + 1]) * c for (a, b), c in zip(spans(made.points, len(layer)), capacity, strict=True)
    ]
    links = [2 * output[p] / rate for p, rate in zip(made.points, rates, strict=True)]
    assert exact == pytest.approx(steady_period(stages, links))
    assert exact >= period_bounds(layer, capacity).period_s * (1 - 1e-9)


@pytest.mark.parametrize(
    ("layers", "devices", "points"), [(20, 3, (6, 13)), (7, 2, (3,)), (4, 4, (0, 1, 2)), (9, 1, ())]
)
def test_equal_layers_are_equal_to_one(layers, devices, points):
    made = plan([1.0] * layers, [0.0] * layers, 1.0, [1.0] * devices, "equal-layers")
    assert made.points == points


def test_equal_layers_reports_the_period_of_the_devices_that_there_are():
    assert plan([1.0] * 4, [6.0] * 4, 1.0, [1.0, 20.0], "equal-layers").period_s == 40.0
    assert plan([1.0] * 4, [60.0] * 4, 1.0, [1.0, 20.0], "equal-layers").period_s == 120.0


def test_everything_on_one_device():
    assert plan([1.0, 2.0], [9, 9], 1.0, [1.0, 3.0], "single") == Partition(
        points=(), order=(0,), period_s=3.0, method="single"
    )
    assert plan([1.0, 2.0], [9, 9], 1.0, [1.0, 3.0], "single", first=1).period_s == 9.0


def test_of_equal_bottlenecks_the_earliest_cut_from_the_end_is_taken():
    # Layer 0 takes 6 wherever it is; the others can lie anywhere behind it.
    made = plan([6.0, 1.0, 1.0, 1.0], [0.0] * 4, 1.0, [1.0, 1.0, 1.0])
    assert (made.points, made.period_s) == ((0, 1), 6.0)


@pytest.mark.parametrize(("capacity", "ideal"), [((1, 1, 10), 7.0), ((1, 2, 10), 16 / 3), ((1, 10, 10), 4.0)])
def test_the_gain_over_blind_partitions_comes_near_the_ideal(capacity, ideal):
    """Layers are not divisible: 5.95 to 7.25 where 7.0 is ideal, over the orders of the devices."""
    assert ideal_gain(capacity) == pytest.approx(ideal)
    gains = []
    for order in sorted(set(itertools.permutations(capacity))):
        costs = MMAC, [0.0] * 20, math.inf, order
        gains.append(predicted(plan(*costs, "pipedream"), *costs) / predicted(plan(*costs), *costs))
    if capacity == (1, 1, 10):
        assert min(gains) == pytest.approx(5.95, abs=5e-3)
        assert max(gains) == pytest.approx(7.25, abs=1e-2)
    assert all(0.75 * ideal < gain < 1.1 * ideal for gain in gains)


@pytest.mark.parametrize("order", [(1, 1, 10), (1, 10, 1)])
def test_the_gain_over_the_fast_device_alone_is_small_and_the_blind_pipeline_is_slower_than_it(order):
    """Of layers that are divisible 2.1 times faster, and 10 / 3 times slower."""
    costs = MMAC, [0.0] * 20, math.inf, order
    alone = plan(*costs, "single").period_s
    assert 1.9 < alone / predicted(plan(*costs), *costs) < 2.1
    assert 3.0 < predicted(plan(*costs, "pipedream"), *costs) / alone < 3.6


def test_a_matrix_of_rates_counts_both_directions():
    rates = [[math.inf, 1.0, 9.0], [4.0, math.inf, 2.0], [9.0, 2.0, math.inf]]
    made = plan([1.0] * 3, [8.0, 4.0, 0.0], rates, [1.0] * 3)
    assert made.period_s == 8.0 / 1.0 + 8.0 / 4.0
    assert plan([1.0] * 3, [8.0, 4.0, 0.0], rates, [1.0] * 3, "pipedream").period_s == 16.0


def test_rates_of_a_chain_are_the_least_in_between():
    order = Partition(points=(0,), order=(0, 2), period_s=0.0)
    assert predicted(order, [0.0, 0.0], [6.0, 0.0], [3.0, 2.0], [1.0] * 3) == 3.0


def test_windows_and_latency_count_in_the_exact_period():
    made = Partition(points=(0,), order=(0, 1), period_s=0.0)
    costs = [3.0, 3.0], [2.0, 0.0], 1.0, [1.0, 1.0]
    assert predicted(made, *costs) == 5.0
    assert predicted(made, *costs, latency_s=1.0) == 6.0
    assert predicted(made, *costs, windows=[4, 1]) == 3.0


def test_a_partition_that_is_not_of_this_problem_is_told():
    far = Partition(points=(5,), order=(0, 1), period_s=0.0)
    with pytest.raises(EdgesimError, match=r"points \(5,\).*2 layers"):
        predicted(far, [1.0, 1.0], [1.0, 1.0], 1.0, [1.0, 1.0])
    strange = Partition(points=(0,), order=(0, 2), period_s=0.0)
    with pytest.raises(EdgesimError, match=r"order \(0, 2\).*2 devices"):
        predicted(strange, [1.0, 1.0], [1.0, 1.0], 1.0, [1.0, 1.0])
    made = Partition(points=(0,), order=(0, 1), period_s=0.0)
    with pytest.raises(EdgesimError, match="window of stage 1 is 3"):
        predicted(made, [1.0, 1.0], [1.0, 1.0], 1.0, [1.0, 1.0], windows=[2, 3])


def test_memory_by_hand():
    holds = memory_of([100.0, None], [1, 2, 4], [10, 20, 40], 3, 2)
    assert holds.stage_bytes(1, 2, window=2) == (2 + 1) * 6 + 2 * 60
    made = Partition(points=(0,), order=(0, 1), period_s=0.0)
    assert holds.bytes_S(made) == ((2 + 1) * 1 + 2 * 10, (1 + 1) * 6 + 60)
    assert holds.lacking(made) == ""
    assert holds.lacking(Partition(points=(1,), order=(1, 0), period_s=0.0)) == ""
    back = Partition(points=(0,), order=(1, 0), period_s=0.0)
    assert memory_of([50.0, None], [1, 2, 4], [10, 20, 40], 3, 2).lacking(back) == (
        "stage 1 holds 72 B, device 0 has 50 B"
    )


def test_versions_activations_and_replicas_that_are_held_count():
    from dataclasses import replace

    holds = replace(
        memory_of([None] * 2, [1, 2, 4], [10, 20, 40], 3, 2), versions=2, held=4, extra=2.0, replicas=True
    )
    made = Partition(points=(0,), order=(0, 1), period_s=0.0)
    assert holds.bytes_S(made) == (4 * 1 + 4 * 10 + 6, 4 * 6 + 4 * 60 + 1)
    assert holds.bytes_S(Partition(points=(), order=(0,), period_s=0.0)) == (4 * 7 + 4 * 70,)


def test_a_partition_that_breaks_the_memory_is_told():
    costs = [1.0] * 4, [0.0] * 4, 1.0, [1.0, 1.0]
    assert plan(*costs, memory=[6, 4], weights=[1] * 4).points == (1,)
    with pytest.raises(
        EdgesimError, match=r"ftpipehd does not fit: stage 1 holds 4 B, device 1 has 3.9 B; .*'exact'"
    ):
        plan(*costs, memory=[6, 3.9], weights=[1] * 4)


@pytest.mark.parametrize("method", FIXED)
def test_fewer_layers_than_devices_are_told(method):
    with pytest.raises(EdgesimError, match=r"2 layers on 3 devices: .* method 'exact'.* at most 2 devices"):
        plan([1.0, 1.0], [1.0, 1.0], 1.0, [1.0] * 3, method)


SOUND = {"layer_s": [1.0, 1.0, 1.0], "output_bytes": [1, 1, 1], "bandwidth": 1.0, "capacity": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"layer_s": []}, "no time of layer"),
        ({"layer_s": [1.0, -1.0, 1.0]}, "time of layer 1 is -1.0: give a finite time in s, 0 or more"),
        ({"layer_s": [1.0, math.nan, 1.0]}, "time of layer 1 is nan"),
        ({"layer_s": [1.0, "x", 1.0]}, "time of layer: .*'x'"),
        ({"output_bytes": [1, 1]}, "3 layers but 2 outputs"),
        ({"output_bytes": [1, math.inf, 1]}, "output of layer 1 is inf"),
        ({"capacity": [1.0, 0.0, 1.0]}, "capacity of device 1 is 0.0"),
        ({"capacity": []}, "no capacity of device"),
        ({"bandwidth": 0.0}, "bandwidth from device 0 to 1 is 0.0: give a rate in B/s above 0"),
        ({"bandwidth": [1.0, -1.0]}, "bandwidth from device 0 to 2 is -1.0"),
        ({"bandwidth": [1.0, math.nan]}, "bandwidth from device 0 to 2 is nan"),
        ({"bandwidth": [1.0] * 4}, r"shape \(4,\): give one rate, 2 between consecutive devices, or a 3 x 3"),
        ({"bandwidth": [[1.0], [1.0, 2.0]]}, "give rates in B/s"),
        ({"bandwidth": 1e-300, "output_bytes": [1e300] * 3}, "add up to infinity"),
        ({"latency_s": -1.0}, "latency is -1.0"),
        ({"first": 3}, "first is device 3: there are 0 to 2"),
        ({"method": "ftpipe"}, "unknown partition 'ftpipe', did you mean 'ftpipehd'?"),
        ({"method": "best"}, "unknown partition 'best'; known: ftpipehd, equal-time"),
        ({"memory": [1, 1, 1]}, "memory without weights or activations"),
        ({"memory": [1, 1], "weights": [1, 1, 1]}, "2 memory limits: give 3"),
        ({"memory": [1, 1, -1], "weights": [1, 1, 1]}, "memory of device 2 is -1.0"),
        ({"memory": [1, 1, 1], "weights": [1, 1]}, "2 weights: give 3"),
        ({"memory": [1, 1, 1], "activations": [1, 1]}, "2 activations: give 3"),
        ({"weights": [1, 1, 1]}, "weights or activations without memory"),
    ],
)
def test_what_is_no_problem_is_told(wrong, told):
    with pytest.raises(EdgesimError, match=told):
        plan(**{**SOUND, **wrong})


def test_every_method_has_a_line_and_plans():
    for name, method in METHODS.items():
        assert pick(name) is method
        assert method.doc
        made = plan(**SOUND, method=name)
        assert isinstance(made, Partition)
        assert made.method == name


def test_arrays_are_as_good_as_lists():
    import numpy as np

    listed = plan([1.0, 4.0, 2.0], [10, 10, 10], 100, [1.0, 2.0])
    assert plan(np.array([1.0, 4, 2]), np.full(3, 10), np.full((2, 2), 100), np.array([1, 2])) == listed
    assert all(type(value) is int for value in (*listed.points, *listed.order))
    assert type(listed.period_s) is float


def test_planning_loads_neither_simpy_nor_torch():
    code = "import sys, edgesim.planning.partition; print({'simpy', 'torch', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
