"""The exact partition: against all contiguous partitions over all orders of all devices."""

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.errors import EdgesimError
from edgesim.planning.partition import plan, predicted
from edgesim.planning.pipeline_period import period_bounds

MMAC = [0.221, 0.205, 0.596, 0.525, 0.316, 0.224, 0.224, 0.154, 0.210, 0.210]
MMAC += [0.210, 0.260, 0.463, 0.463, 0.319, 0.316, 0.316, 0.469, 0.410, 0.013]
OUTPUTS = [8192, 4096, 1536, 1536, 512, 512, 512, 256, 256, 256]
OUTPUTS += [256, 384, 384, 384, 160, 160, 160, 320, 1280, 10]
"""MobileNetV2 at 3 x 32 x 32: millions of multiply-accumulates, elements of the output, a sample."""
LAYER_S = [0.84 * one / 6.12 for one in MMAC]
BYTES = [4 * 128 * one for one in OUTPUTS]


def spans(points, layers):
    firsts = [0, *(point + 1 for point in points)]
    return [range(a, b) for a, b in zip(firsts, [*firsts[1:], layers], strict=True)]


def exact_period(points, order, case):
    """The formula of the steady period as it stands."""
    layer, output, rates, capacity = (
        case["layer_s"],
        case["output_bytes"],
        case["bandwidth"],
        case["capacity"],
    )
    stages = spans(points, len(layer))
    t = [capacity[d] * sum(layer[one] for one in span) for d, span in zip(order, stages, strict=True)]
    ways = [
        way
        for p, a, b in zip(points, order, order[1:], strict=False)
        for way in [(output[p] / rates[a][b], output[p] / rates[b][a])]
    ]
    c = [sum(way) + 2 * case.get("latency_s", 0.0) for way in ways]
    return max(
        [max(way) for way in ways]
        + [(sum(t[s : r + 1]) + sum(c[s:r])) / (r - s + 1) for s in range(len(t)) for r in range(s, len(t))]
    )


def fits(points, order, case):
    """K_s versions and gradients, K_s activations, a copy of the stage before, of the last for the first."""
    if case.get("memory") is None:
        return True
    stages = spans(points, len(case["layer_s"]))
    weights = [sum(case["weights"][one] for one in span) for span in stages]
    active = [sum(case["activations"][one] for one in span) for span in stages]
    for s, device in enumerate(order):
        window = len(order) - s
        copied = weights[s - 1] if case.get("replicas") and len(order) > 1 else 0
        if (window + 1) * weights[s] + window * active[s] + copied > case["memory"][device]:
            return False
    return True


def everything(case):
    """(period, points, order) of every partition that may be, by brute force."""
    layers, devices = len(case["layer_s"]), len(case["capacity"])
    for count in range(1 if case.get("optional", True) else devices, min(layers, devices) + 1):
        for order in itertools.permutations(range(devices), count):
            if case.get("first", 0) in (None, order[0]):
                for points in itertools.combinations(range(layers - 1), count - 1):
                    if fits(points, order, case):
                        yield exact_period(points, order, case), points, order


def random_case(rng):
    """Unlike devices and directions; memory, copies, latency and free choices in part of the cases."""
    devices, layers = rng.randint(1, 4), rng.randint(1, 6)
    scale, slowest = rng.choice([0.1, 1.0, 5.0]), rng.choice([0.05, 0.5])
    case = {
        "layer_s": [rng.uniform(0.1, 1.0) for _ in range(layers)],
        "output_bytes": [rng.uniform(0.0, scale) for _ in range(layers)],
        "bandwidth": [[rng.uniform(slowest, 3.0) for _ in range(devices)] for _ in range(devices)],
        "capacity": [1.0, *(rng.uniform(0.3, 6.0) for _ in range(devices - 1))],
        "latency_s": rng.choice([0.0, 0.2]),
        "first": rng.choice([0, None, devices - 1]),
        "optional": layers < devices or rng.random() < 0.8,
    }
    if rng.random() < 0.7:
        case["weights"] = [rng.randint(1, 9) for _ in range(layers)]
        case["activations"] = [rng.randint(0, 9) for _ in range(layers)]
        case["memory"] = [rng.randint(5, 40 + 8 * layers) for _ in range(devices)]
        case["replicas"] = rng.random() < 0.6
    return case


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_best_of_all_partitions_over_all_orders(seed):
    rng = random.Random(seed)
    seen = Counter()
    for _ in range(100):
        case = random_case(rng)
        least = min(everything(case), default=None)
        seen["memory", "memory" in case] += 1
        if least is None:
            seen["nothing fits"] += 1
            with pytest.raises(EdgesimError, match="no plan fits the memory"):
                plan(**case, method="exact")
            continue
        made = plan(**case, method="exact")
        assert made.period_s == pytest.approx(least[0], rel=2e-9)
        assert made.period_s == pytest.approx(exact_period(made.points, made.order, case), rel=1e-12)
        assert fits(made.points, made.order, case)
        assert len(set(made.order)) == len(made.order)
        seen["another order"] += made.order != tuple(sorted(made.order))
        seen["left out"] += len(made.order) < len(case["capacity"])
    assert all(seen[what] > 4 for what in ["nothing fits", "another order", "left out", ("memory", True)])


@pytest.mark.parametrize("seed", range(2))
def test_copies_that_bind_change_the_plan(seed):
    """Cases in which the best plan without copies does not hold them, so that the search has to go on."""
    rng = random.Random(1000 + seed)
    bound = 0
    for _ in range(150):
        case = random_case(rng) | {"optional": True}
        if "memory" not in case:
            continue
        copies = min(everything(case | {"replicas": True}), default=None)
        without = min(everything(case | {"replicas": False}), default=None)
        if copies is None or copies[0] <= without[0] * (1 + 1e-6):
            continue
        bound += 1
        made = plan(**(case | {"replicas": True}), method="exact")
        assert made.period_s == pytest.approx(copies[0], rel=2e-9)
    assert bound > 4


def twin_case(rng):
    """Devices of which some are alike, behind rates that are partly alike."""
    devices, layers = rng.randint(2, 4), rng.randint(2, 6)
    rates = [[rng.choice([1.0, 2.0]) for _ in range(devices)] for _ in range(devices)]
    if rng.random() < 0.6:
        rates = [[1.5] * devices for _ in range(devices)]
    return {
        "layer_s": [rng.choice([0.5, 1.0, 2.0]) for _ in range(layers)],
        "output_bytes": [rng.choice([0.0, 0.5, 1.0]) for _ in range(layers)],
        "bandwidth": rates,
        "capacity": [1.0, *(rng.choice([1.0, 2.0]) for _ in range(devices - 1))],
        "first": rng.choice([0, None, devices - 1]),
        "weights": [rng.randint(1, 4) for _ in range(layers)],
        "activations": [rng.randint(0, 4) for _ in range(layers)],
        "memory": [rng.choice([15, 25]) for _ in range(devices)],
        "replicas": True,
    }


@pytest.mark.parametrize("seed", range(2))
def test_devices_that_are_alike_do_not_hide_the_best(seed):
    rng = random.Random(2000 + seed)
    planned = 0
    for _ in range(100):
        case = twin_case(rng)
        found = sorted(everything(case))
        if not found:
            continue
        planned += 1
        made = plan(**case, method="exact")
        assert made.period_s == pytest.approx(found[0][0], rel=2e-9)
        best = [order for period, _, order in found if period <= found[0][0] * (1 + 1e-9)]
        fewest = min(map(len, best))
        assert sorted(made.order) == list(min(sorted(one) for one in best if len(one) == fewest))
    assert planned > 40


def test_it_is_never_slower_than_the_paper():
    rng = random.Random(5)
    faster = 0
    for _ in range(150):
        devices, layers = rng.randint(1, 5), rng.randint(5, 12)
        costs = (
            [rng.uniform(0.01, 1.0) for _ in range(layers)],
            [rng.uniform(0.0, 2.0) for _ in range(layers)],
            [rng.uniform(0.5, 5.0) for _ in range(devices - 1)],
            [1.0, *(rng.uniform(0.5, 10.0) for _ in range(devices - 1))],
        )
        best = plan(*costs, "exact").period_s
        for method in ["ftpipehd", "equal-time", "equal-layers", "pipedream", "single"]:
            other = predicted(plan(*costs, method), *costs)
            assert best <= other * (1 + 1e-9)
            faster += method == "ftpipehd" and best < other * 0.99
        assert best >= period_bounds(costs[0], costs[3]).period_s * (1 - 1e-9)
    assert faster > 30


@given(st.integers(0, 2**32), st.floats(1.1, 10.0))
def test_more_of_anything_never_hurts(seed, factor):
    """True of the optimum over everything, other than of a heuristic."""
    case = random_case(random.Random(seed)) | {"optional": True}
    for key in ("memory", "weights", "activations", "replicas"):
        case.pop(key, None)
    best = plan(**case, method="exact").period_s
    faster_links = case | {"bandwidth": [[rate * factor for rate in row] for row in case["bandwidth"]]}
    faster = case | {"capacity": [c / factor for c in case["capacity"]]}
    any_first = case | {"first": None}
    for better in (faster_links, faster, any_first):
        assert plan(**better, method="exact").period_s <= best * (1 + 1e-8)


@given(st.integers(0, 2**32), st.floats(1e-3, 1e3))
def test_the_unit_of_time_does_not_matter(seed, unit):
    case = random_case(random.Random(seed))
    for key in ("memory", "weights", "activations", "replicas"):
        case.pop(key, None)
    other = case | {
        "layer_s": [one * unit for one in case["layer_s"]],
        "bandwidth": [[rate / unit for rate in row] for row in case["bandwidth"]],
        "latency_s": case["latency_s"] * unit,
    }
    here, there = plan(**case, method="exact"), plan(**other, method="exact")
    assert there.period_s == pytest.approx(here.period_s * unit, rel=4e-9)


def test_the_slow_device_belongs_in_the_middle_with_one_layer():
    """MobileNetV2 over 10 Mbit/s, two equal devices and one 10 times slower: 22 % faster than the paper's."""
    costs = LAYER_S, BYTES, 10e6 / 8, [1.0, 1.0, 10.0]
    made, paper = plan(*costs, "exact"), plan(*costs)
    assert (made.points, made.order) == ((7, 8), (0, 2, 1))
    assert paper.points == (9, 17)
    assert predicted(paper, *costs) / made.period_s > 1.15


def test_a_device_that_is_too_slow_is_left_out():
    costs = [1.0, 1.0], [1.0, 1.0], 1e3, [1.0, 9.0]
    assert plan(*costs, "exact").order == (0,)
    assert plan(*costs, "exact", optional=False).order == (0, 1)
    assert plan(*costs, "exact", optional=False).period_s == 9.0


def test_the_central_node_is_first_unless_told_otherwise():
    # The fast device 1 would best have all of it, but the data are on device 0.
    costs = [1.0] * 4, [1.0] * 4, 1e9, [1.0, 0.01]
    assert plan(*costs, "exact").order == (0, 1)
    assert plan(*costs, "exact", first=None).order == (1,)
    assert plan(*costs, "exact", first=1).order == (1,)
    assert plan(*costs, "exact", first=1, optional=False).order == (1, 0)


def test_of_equally_good_plans_that_with_the_fewest_and_lowest_devices_is_taken():
    # The layer of 6 bounds the period: one other device is enough, and device 1 is the lowest.
    costs = [6.0, 1.0, 1.0, 1.0], [0.0] * 4, 1.0, [1.0] * 4
    assert plan(*costs, "exact").order == (0, 1)
    assert plan(*costs, "exact").points == (0,)
    # Any cut will do: the fewest layers in front.
    easy = [0.0, 0.0, 6.0, 6.0, 0.0], [0.0] * 5, 1.0, [1.0] * 3
    assert plan(*easy, "exact").points == (2,)
    assert plan([0.0] * 3, [0.0] * 3, 1.0, [1.0] * 2, "exact").order == (0,)


def test_two_runs_give_the_same_plan():
    case = random_case(random.Random(12))
    assert plan(**case, method="exact") == plan(**case, method="exact")


def test_layers_too_few_for_all_devices():
    made = plan([1.0, 1.0], [0.0, 0.0], 1.0, [1.0] * 5, "exact")
    assert made.order == (0, 1)
    with pytest.raises(
        EdgesimError, match=r"2 layers on 5 devices: each needs one; allow devices to be left out"
    ):
        plan([1.0, 1.0], [0.0, 0.0], 1.0, [1.0] * 5, "exact", optional=False)


def test_too_many_devices_are_told():
    with pytest.raises(EdgesimError, match=r"13 devices: exact plans for 12 at most; .* ftpipehd"):
        plan([1.0] * 13, [0.0] * 13, 1.0, [1.0] * 13, "exact")


def test_no_plan_that_fits_is_told_with_figures():
    told = (
        r"no plan fits the memory: all layers on one device hold 120 B, the devices have 20, inf B; give more"
    )
    with pytest.raises(EdgesimError, match=told):
        plan(
            [1.0, 1.0],
            [0.0, 0.0],
            1.0,
            [1.0, 1.0],
            "exact",
            memory=[20, None],
            weights=[30, 20],
            activations=[10, 10],
        )
    with pytest.raises(EdgesimError, match="copies of a neighbour's weights included"):
        plan([1.0, 1.0], [0.0] * 2, 1.0, [1.0, 1.0], "exact", memory=[5, 5], weights=[2, 2], replicas=True)


def test_memory_of_stages_in_front_counts_their_windows():
    costs = [1.0] * 4, [0.0] * 4, 1.0, [1.0, 1.0, 1.0]
    limits = {"memory": [8, 8, 8], "weights": [1] * 4, "activations": [2] * 4}
    with pytest.raises(EdgesimError, match="does not fit: stage 0"):
        plan(*costs, "equal-layers", **limits)
    # A layer takes 4 B alone, 7 B with one behind it, 10 B with two: nothing but two stages of one would fit.
    with pytest.raises(EdgesimError, match="no plan fits"):
        plan(*costs, "exact", **limits)
    assert plan(*costs, "exact", memory=[10, 8, 8], weights=[1] * 4, activations=[2] * 4).points == (0, 1)
    free = {"versions": 1, "held": 1, "extra": 0.0}
    assert plan(*costs, "exact", **(limits | {"memory": [6, 6, 6]}), **free).period_s == 2.0


def test_a_direction_of_a_link_that_binds_is_avoided():
    # To device 1 7 bytes take 0 + 6 s, to device 2 3.5 s each way: less in all, but 6 s a batch by itself.
    rates = [[math.inf, math.inf, 2.0], [7 / 6, math.inf, 1e-3], [2.0, 1e-3, math.inf]]
    made = plan([1.0, 9.0], [7.0, 0.0], rates, [1.0, 0.1, 0.1], "exact")
    assert made.order == (0, 2)
    assert made.period_s == pytest.approx((1.0 + 0.9 + 7.0) / 2)
    alone = plan([1.0, 9.0], [7.0, 0.0], [row[:2] for row in rates[:2]], [1.0, 0.1], "exact")
    assert alone.period_s == pytest.approx(6.0)


def test_a_rate_of_one_direction_bounds_the_plan():
    # Gradients come back at 0.1 B/s: 10 s for a byte, more than everything on one device.
    rates = [[math.inf, 1e9], [0.1, math.inf]]
    assert plan([4.0, 4.0], [1.0, 0.0], rates, [1.0, 1.0], "exact").order == (0,)
    assert plan([4.0, 4.0], [1.0, 0.0], rates, [1.0, 1.0], "exact", optional=False).period_s == 10.0
