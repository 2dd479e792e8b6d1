"""Slices of layers: exact cover, no slice too large, as even as whole elements allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.plan import messages
from edgesim.planning.cost import Costs, PlanningError
from edgesim.planning.slices import bytescheduler, p3, sliced


def model(elements, width=4):
    """Costs of layers of so many elements of `width` B; times do not matter to slices."""
    none = (0.0,) * len(elements)
    return Costs(tuple(width * count for count in elements), tuple(elements), none, none, 1.0, 1.0)


counts = st.lists(st.integers(0, 500), min_size=1, max_size=8).filter(any)


@given(counts, st.integers(1, 100), st.sampled_from([1, 2, 4, 8]))
def test_slices_are_equal_parts_of_one_layer_each(elements, most, width):
    costs = model(elements, width)
    plan = sliced(most)(costs)
    assert plan.push_borders == plan.pull_borders
    sent = messages(plan.push_borders, costs.sizes)
    assert all(one.first == one.last for one in sent)
    for layer, count in enumerate(elements, 1):
        slices = [one.bytes for one in sent if one.first == layer]
        assert sum(slices) == width * count
        assert all(size % width == 0 for size in slices)
        sizes = [size // width for size in slices]
        assert all(0 < size <= most for size in sizes)
        assert len(sizes) == -(-count // most)
        assert not sizes or max(sizes) - min(sizes) <= 1


def test_p3_sends_forty_thousand_elements_at_a_time_and_nothing_ahead():
    costs = model([40_000, 40_001, 100, 120_000])
    plan = p3(costs)
    sent = messages(plan.push_borders, costs.sizes)
    elements = [(one.first, one.bytes // 4) for one in sent]
    assert elements == [(1, 40_000), (2, 20_000), (2, 20_001), (3, 100), *[(4, 40_000)] * 3]
    assert (plan.credit_bytes, plan.period_s, plan.method) == (0.0, None, "p3")


def test_bytescheduler_sends_partitions_of_a_million_and_four_million_ahead():
    costs = model([2_500_000, 999_999, 1_000_000])
    plan = bytescheduler(costs)
    elements = [(one.first, one.bytes // 4) for one in messages(plan.pull_borders, costs.sizes)]
    assert elements == [(1, 833_333), (1, 833_333), (1, 833_334), (2, 999_999), (3, 1_000_000)]
    assert (plan.credit_bytes, plan.method) == (16e6, "bytescheduler")
    assert bytescheduler(model([10, 10], width=2)).credit_bytes == 8e6


def test_a_layer_without_parameters_has_no_slice():
    plan = sliced(3)(model([0, 4, 0, 0, 2, 0], width=1))
    assert plan.push_borders == (2, 4, 6)


def test_bytes_whose_elements_are_not_told_go_as_one():
    assert sliced(3)(Costs((8, 8), (0, 8), (0.0, 0.0), (0.0, 0.0), 1.0, 1.0)).push_borders == (8, 10, 13, 16)


def test_elements_smaller_than_a_byte_still_make_borders_that_rise():
    plan = sliced(1)(Costs((2,), (4,), (0.0,), (0.0,), 1.0, 1.0))
    assert plan.push_borders == (1, 2)


def test_one_may_ask_for_other_slices():
    plan = sliced(10, 25, method="mine")(model([30]))
    assert (plan.push_borders, plan.credit_bytes, plan.method) == ((40, 80, 120), 100.0, "mine")


def test_what_cannot_be_sliced_is_refused():
    with pytest.raises(PlanningError, match="slices of 0 elements hold nothing"):
        sliced(0)
    with pytest.raises(PlanningError, match=r"credit for -1 elements: give 0"):
        sliced(1, -1)
    with pytest.raises(PlanningError, match="credit for nan elements"):
        sliced(1, float("nan"))
    with pytest.raises(PlanningError, match="no layer has bytes to send"):
        p3(model([0, 0]))
    with pytest.raises(PlanningError, match="2 sizes but 1 counts of elements"):
        p3(Costs((1, 1), (1,), (0.0, 0.0), (0.0, 0.0), 1.0, 1.0))
