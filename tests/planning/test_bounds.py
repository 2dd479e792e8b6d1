"""Lower bounds never exceed what a schedule reaches, and are met where theory says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.bounds import duplex_s, phased_s
from edgesim.planning.segmentation import SCHEDULES, plan

GOLDEN = [
    ([4, 1, 3, 2], [2, 5, 1, 3], 1, 16),
    ([6, 2, 2, 2, 8], [1, 4, 1, 1, 2], 2, 24),
    ([1] * 8, [2] * 8, 3, 20),
    ([5] * 6, [2] * 6, 1, 33),
]


@st.composite
def iterations(draw):
    layers = draw(st.integers(1, 20))
    times = st.lists(st.floats(0.0, 10.0), min_size=layers, max_size=layers)
    return draw(times), draw(times), draw(times), draw(times), draw(st.floats(0.0, 3.0))


@pytest.mark.parametrize(("pull", "forward", "startup", "bound"), GOLDEN)
def test_golden_bounds(pull, forward, startup, bound):
    assert phased_s(pull, forward, startup) == bound


@given(iterations(), st.sampled_from(list(SCHEDULES)))
def test_no_schedule_beats_the_phased_bound(case, method):
    pull, forward, _, _, startup = case
    assert plan(pull, forward, startup, method).makespan_s >= phased_s(pull, forward, startup)


@given(iterations())
def test_without_start_up_layer_by_layer_meets_the_phased_bound(case):
    pull, forward, *_ = case
    assert plan(pull, forward, 0.0, "layer-by-layer").makespan_s == phased_s(pull, forward, 0.0)


@given(iterations())
def test_the_bounds_are_ordered(case):
    pull, forward, backward, push, startup = case
    phased = phased_s(pull, forward, startup) + phased_s(push, backward, startup)
    full, half = duplex_s(*case), duplex_s(*case, half_duplex=True)
    assert sum(forward) + sum(backward) <= full * (1 + 1e-12) + 1e-12
    assert full <= half
    assert full <= phased * (1 + 1e-12) + 1e-12


def test_duplex_bound_by_hand():
    # Layer 1: 2 + 4 computed after it, max(4, 4) across the link, two start-ups of 1.
    assert duplex_s([4, 1], [1, 1], [2, 2], [4, 1], 1.0) == 12.0
