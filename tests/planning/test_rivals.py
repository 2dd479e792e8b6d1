"""Each rival against what its authors say, worked out by hand or by an independent simulation."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning import rivals
from edgesim.planning.cost import PlanningError, makespan_s, phase
from edgesim.planning.schedules import SCHEDULES, Phased

whole = st.integers(0, 9)


@st.composite
def layers(draw, most=12):
    """Transfer and compute times and a start-up: small whole numbers, so that ties are frequent and exact."""
    count = draw(st.integers(1, most))
    times = st.lists(whole, min_size=count, max_size=count)
    return draw(times), draw(times), draw(st.integers(0, 5))


def merged_gradients(push, backward, startup):
    """The rule of Shi et al. as their program runs it: merge, then time all messages anew, layer by layer.

    A merged layer keeps its place with a message of no length. Times are exact fractions. Returns the cuts.
    """
    count = len(push)
    load = [Fraction(time) for time in push]
    length = [Fraction(startup) + time for time in load]
    ready = [Fraction(sum(backward[layer:])) for layer in range(count)]
    merged = set()
    for layer in reversed(range(1, count)):
        starts = {count: Fraction(0)}
        free = Fraction(0)
        for above in reversed(range(layer, count)):
            starts[above] = max(ready[above], free)
            free = starts[above] + length[above]
        if ready[layer - 1] < starts[layer] + startup:
            merged.add(layer)
            load[layer - 1] += load[layer]
            length[layer - 1], length[layer] = startup + load[layer - 1], Fraction(0)
    return tuple(layer for layer in range(1, count + 1) if layer not in merged)


@given(layers())
def test_mg_wfbp_merges_as_a_simulation_of_its_rule_does(case):
    push, backward, startup = case
    assert rivals.mg_wfbp(phase(push, backward, startup, backward=True)) == merged_gradients(*case)


@given(layers())
def test_mg_wfbp_cuts_pulls_as_it_cuts_pushes(case):
    assert rivals.mg_wfbp(phase(*case)) == rivals.mg_wfbp(phase(*case, backward=True))


def test_mg_wfbp_merges_nothing_without_a_start_up_and_a_slow_link():
    assert rivals.mg_wfbp(phase([1, 1, 1], [2, 2, 2], 0)) == (1, 2, 3)


def test_mg_wfbp_merges_all_where_a_start_up_outlasts_every_layer():
    assert rivals.mg_wfbp(phase([1] * 8, [2] * 8, 3)) == (8,)


def test_mg_wfbp_merges_what_waits_for_a_busy_link():
    """Layer 3 is sent from 1 to 11; layers 2 and 1 are both ready by then and go as one."""
    assert rivals.mg_wfbp(phase([1, 1, 9], [1, 3, 1], 1)) == (2, 3)


@pytest.mark.parametrize(
    ("pull", "forward", "startup", "makespans"),
    [
        ([4, 1, 3, 2], [2, 5, 1, 3], 1, (22, 17)),
        ([6, 2, 2, 2, 8], [1, 4, 1, 1, 2], 2, (31, 32)),
        ([1] * 8, [2] * 8, 3, (27, 34)),
        ([5] * 6, [2] * 6, 1, (43, 38)),
    ],
)
def test_the_golden_cases_of_the_two_simple_ones(pull, forward, startup, makespans):
    times = phase(pull, forward, startup)
    simple = rivals.sequential, rivals.layer_by_layer
    assert tuple(makespan_s(times, cut(times)) for cut in simple) == makespans


@given(layers())
def test_tictac_is_layer_by_layer_on_a_chain(case):
    assert rivals.tictac(phase(*case)) == rivals.layer_by_layer(phase(*case))


@given(layers())
def test_ibatch_is_never_worse_than_what_it_could_start_with(case):
    times = phase(*case)
    found = makespan_s(times, rivals.ibatch(times))
    assert found <= makespan_s(times, rivals.sequential(times))


SIZES = [2, 3, 1, 9, 5, 5, 1]


@pytest.mark.parametrize(
    ("capacity", "overfull", "backward", "cuts"),
    [
        # From layer 1 up: 2+3 | 1 | 9 | 5 | 5 | 1 hold at most 5.
        (5, False, False, (2, 3, 4, 5, 6, 7)),
        # From layer 7 down: 1 | 5 | 5 | 9 | 1+3 | 2; 1+5 does not fit, 1+3+2 does not.
        (5, False, True, (1, 3, 4, 5, 6, 7)),
        # From 1 up, closed when 5 are reached: 2+3 | 1+9 | 5 | 5 | 1.
        (5, True, False, (2, 4, 5, 6, 7)),
        # From 7 down: 1+5 | 5 | 9 | 1+3+2.
        (5, True, True, (3, 4, 5, 7)),
        (6, False, False, (3, 4, 5, 7)),
        (6, False, True, (3, 4, 5, 7)),
        (6, True, False, (3, 4, 6, 7)),
        (1, False, True, (1, 2, 3, 4, 5, 6, 7)),
        (1, True, True, (1, 2, 3, 4, 5, 6, 7)),
        (26, False, True, (7,)),
        (26, True, True, (7,)),
        (25, False, False, (6, 7)),
        (25, False, True, (1, 7)),
        (25, True, False, (6, 7)),
        (24, True, True, (1, 7)),
    ],
)
def test_buckets_are_filled_in_the_order_of_sending(capacity, overfull, backward, cuts):
    times = phase([1] * 7, [1] * 7, 1, sizes=SIZES, backward=backward)
    assert rivals.fusion(capacity, overfull=overfull)(times) == cuts


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=12),
    st.integers(1, 30),
    st.booleans(),
    st.booleans(),
)
def test_no_bucket_is_larger_than_it_may_be_nor_could_take_more(sizes, capacity, overfull, backward):
    times = phase([1] * len(sizes), [1] * len(sizes), 1, sizes=sizes, backward=backward)
    cuts = rivals.fusion(capacity, overfull=overfull)(times)
    buckets = [sizes[low:high] for low, high in pairwise((0, *cuts))]
    if backward:
        buckets = [bucket[::-1] for bucket in reversed(buckets)]
    for bucket, following in zip(buckets, [*buckets[1:], None], strict=True):
        if overfull:
            assert sum(bucket[:-1]) < capacity
            assert following is None or sum(bucket) >= capacity
        else:
            assert len(bucket) == 1 or sum(bucket) <= capacity
            assert following is None or sum(bucket) + following[0] > capacity


@pytest.mark.parametrize(
    ("name", "first", "cuts"),
    [
        # 25 MiB are 26,214,400 B: reached by the first layer, or one byte short so that the second joins.
        ("fusion-25mb", 25 * 1024 * 1024, (1, 2)),
        ("fusion-25mb", 25 * 1024 * 1024 - 1, (2,)),
        # 64 MiB are 67,108,864 B: with one byte more they fit no longer.
        ("fusion-64mb", 67_108_863, (2,)),
        ("fusion-64mb", 67_108_864, (1, 2)),
    ],
)
def test_the_megabytes_of_the_originals_are_mebibytes(name, first, cuts):
    schedule = SCHEDULES[name]
    assert isinstance(schedule, Phased)
    assert schedule.cut(phase([1, 1], [1, 1], 1, sizes=[first, 1])) == cuts


def test_buckets_need_sizes_to_be_filled_and_room_to_be_filled_into():
    with pytest.raises(PlanningError, match="buckets of 7 B are filled by bytes: pass sizes="):
        rivals.fusion(7)(phase([1], [1], 1))
    with pytest.raises(PlanningError, match="a bucket of 0 B holds nothing"):
        rivals.fusion(0)


def test_long_chains_are_cut_in_linear_time():
    times = phase([1.0] * 100_000, [2.0] * 100_000, 0.5, sizes=[1] * 100_000)
    assert rivals.mg_wfbp(times)[-1] == 100_000
    assert len(rivals.fusion(10)(times)) == 10_000
    assert math.isfinite(makespan_s(times, rivals.mg_wfbp(times)))
