"""Lower bounds never exceed what a schedule reaches, and are met where theory says so."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.bounds import best_count, duplex_s, phased_s, pipelined_s, round_trip_s
from edgesim.planning.cost import Costs, PlanningError
from edgesim.planning.schedules import PHASED
from edgesim.planning.segmentation import plan

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


@given(iterations(), st.sampled_from(PHASED))
def test_no_schedule_beats_the_phased_bound(case, method):
    pull, forward, _, _, startup = case
    made = plan(pull, forward, startup, method, sizes=[1] * len(pull))
    assert made.makespan_s >= phased_s(pull, forward, startup)


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


def there_and_back(push, pull, push_startup, pull_startup, shares):
    """Time of messages of these shares of the bytes, pushed and pulled in order, each pull after its push."""
    pushed = pulled = 0.0
    for share in shares:
        pushed += push_startup + share * push
        pulled = max(pulled, pushed) + pull_startup + share * pull
    return pulled


@given(st.floats(0.0, 100.0), st.floats(0.0, 10.0))
def test_as_many_equal_messages_as_are_best_meet_the_round_trip(transfer, startup):
    least = round_trip_s(transfer, transfer, startup, startup)
    if transfer > 0.0 and startup > 1e-3:
        count = best_count(transfer, startup)
        equal = there_and_back(transfer, transfer, startup, startup, [1 / count] * count)
        assert least == pytest.approx(equal, rel=1e-9)
        assert least >= (math.sqrt(transfer) + math.sqrt(startup)) ** 2 * (1 - 1e-12)
        others = [transfer / n + n * startup for n in range(1, 3 * count + 3)]
        assert transfer / count + count * startup == min(others)
    else:
        assert least >= transfer + 2 * startup


@given(
    st.floats(0.01, 100.0),
    st.floats(0.01, 100.0),
    st.floats(0.0, 10.0),
    st.floats(0.0, 10.0),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12),
)
def test_no_messages_beat_the_round_trip(push, pull, push_startup, pull_startup, parts):
    shares = [part / sum(parts) for part in parts]
    least = round_trip_s(push, pull, push_startup, pull_startup)
    assert least <= there_and_back(push, pull, push_startup, pull_startup, shares) * (1 + 1e-9)
    assert least >= (max(push, pull) + push_startup + pull_startup) * (1 - 1e-12)


def test_round_trips_of_unlike_directions_by_hand():
    # Three messages, each half of the one before: pulls keep up, and the last is small.
    shares = [4 / 7, 2 / 7, 1 / 7]
    assert round_trip_s(12.0, 6.0, 1.0, 1.0) == pytest.approx(118 / 7)
    assert there_and_back(12.0, 6.0, 1.0, 1.0, shares) == pytest.approx(118 / 7)
    assert round_trip_s(6.0, 12.0, 1.0, 1.0) == pytest.approx(118 / 7)
    assert round_trip_s(1e-9, 1e9, 1.0, 1.0) == pytest.approx(1e9 + 2)
    assert round_trip_s(0.0, 5.0, 1.0, 2.0) == 8.0


def to_costs(case, **more):
    pull, forward, backward, _, startup = case
    sizes = tuple(math.ceil(time * 1000) for time in pull)
    return Costs(sizes, sizes, tuple(forward), tuple(backward), 1000.0, 1000.0, startup, startup, **more)


@given(iterations(), st.booleans())
def test_counting_start_ups_only_raises_the_bound(case, duplex):
    costs = to_costs(case, duplex=duplex)
    sent = [size / 1000.0 for size in costs.sizes]
    simple = duplex_s(sent, costs.forward_s, costs.backward_s, sent, case[-1], half_duplex=not duplex)
    if costs.sizes[0]:
        assert pipelined_s(costs) >= simple * (1 - 1e-12)
    if case[-1] == 0.0:
        assert pipelined_s(costs) <= simple * (1 + 1e-12)


@given(iterations())
def test_latency_is_waited_in_both_directions_where_anything_is_sent(case):
    costs = to_costs(case)._replace(forward_s=(0.0,) * len(case[0]), backward_s=(0.0,) * len(case[0]))
    late = costs._replace(pull_latency_s=1.0, push_latency_s=2.0)
    assert pipelined_s(late) == pytest.approx(pipelined_s(costs) + (3.0 if sum(costs.sizes) else 0.0))


def test_there_is_no_best_count_without_start_ups_or_bytes():
    with pytest.raises(PlanningError, match=r"no best count for 1.0 s of bytes and a start-up of 0.0 s"):
        best_count(1.0, 0.0)
    with pytest.raises(PlanningError, match="give more than 0 s"):
        best_count(0.0, 1.0)
