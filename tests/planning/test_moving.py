"""A move is made where it pays, and never at more than twice the price of the best one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.cost import PlanningError
from edgesim.planning.moving import Move, Regret, move_cost, worth
from edgesim.planning.replication import Fetch, moved_between

GAINS = st.floats(1e-3, 100.0)
COSTS = st.floats(0.0, 1e3)


@given(GAINS | st.floats(-10.0, 0.0), COSTS, st.integers(0, 500))
def test_a_move_is_worth_it_iff_training_ends_sooner(gain, cost, horizon):
    slow, fast = 200.0, 200.0 - gain
    if abs(horizon * gain - cost) > 1e-6:  # else rounding decides
        assert worth(gain, cost, horizon) == (cost + horizon * fast < horizon * slow)


@given(GAINS, COSTS)
def test_a_move_pays_right_after_its_break_even(gain, cost):
    batches = Move(gain_s=gain, cost_s=cost).pays_after
    assert worth(gain, cost, batches * 1.001 + 1e-9)
    assert not worth(gain, cost, batches * 0.999)


def test_a_move_that_gains_nothing_never_pays():
    assert Move(gain_s=0.0, cost_s=0.0).pays_after == Move(gain_s=-1.0, cost_s=0.0).pays_after == math.inf
    assert not worth(0.0, 0.0, math.inf)
    assert not worth(-1.0, 0.0, 10)
    assert worth(1.0, 10.0, math.inf)


def trained_s(gains, cost):
    """Time beyond that of the better partition, by the protocol of `Regret`: look before each batch."""
    regret, spent = Regret(), 0.0
    for gain in gains:
        regret = regret.stay(gain)
        if regret.due(cost):
            return spent + cost
        spent += gain
    return spent


def best_single_switch_s(gains, cost):
    """By brute force over the batch before which to move, or none."""
    return min([sum(gains), *[sum(gains[:batch]) + cost for batch in range(len(gains))]])


@given(GAINS, COSTS, st.integers(1, 300))
def test_after_one_permanent_change_regret_costs_at_most_twice_the_best(gain, cost, horizon):
    gains = [gain] * horizon
    assert trained_s(gains, cost) <= 2 * best_single_switch_s(gains, cost) * (1 + 1e-9)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=60), COSTS)
def test_so_it_does_when_the_gain_of_the_better_partition_varies(gains, cost):
    assert trained_s(gains, cost) <= 2 * best_single_switch_s(gains, cost) * (1 + 1e-9)


def test_the_bound_is_reached_when_training_ends_right_after_the_move():
    gains = [1 / 64] * 640
    assert trained_s(gains, 10.0) == 2 * best_single_switch_s(gains, 10.0) - 1 / 64


def test_a_change_that_comes_and_goes_does_not_add_up():
    regret = Regret()
    for _ in range(1000):
        regret = regret.stay(1.0).stay(-1.0)
    assert regret.total_s == 0.0
    assert not regret.due(0.0)


def test_times_when_staying_was_right_are_no_credit_for_later():
    assert Regret().stay(-100.0).stay(1.0).due(1.0)


def test_a_free_move_is_made_at_once_and_an_impossible_one_never():
    assert Regret().stay(1e-9).due(0.0)
    assert not Regret().stay(1e9).due(math.inf)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.0, 1e6)), st.floats(1.0, 1e6), st.floats(0.0, 10.0)
)
def test_the_slowest_link_and_what_comes_after_make_the_cost(moved, rate, once):
    cost = move_cost(moved, dict.fromkeys("abcd", rate), once, 2 * once, 3 * once)
    assert cost == pytest.approx(max(moved.values(), default=0.0) / rate + 6 * once)


def test_weights_of_fetches_move_at_the_bandwidth_between_their_devices():
    fetches = [
        Fetch(target="a", source="hub", layers=(0,), kind="owner"),
        Fetch(target="b", source="b", layers=(1,), kind="own-chain"),
    ]
    assert move_cost(moved_between(fetches, [50, 10]), {("hub", "a"): 10.0}, 0.0, 0.0, 0.0) == 5.0
    assert move_cost(moved_between(fetches, [50, 10]), {}, 0.0, 0.0, 0.0) == math.inf


@pytest.mark.parametrize(
    "call",
    [
        lambda: Move(gain_s=math.nan, cost_s=1.0),
        lambda: Move(gain_s=1.0, cost_s=-1.0),
        lambda: worth(1.0, 1.0, -1),
        lambda: worth(1.0, math.nan, 1),
        lambda: Regret().stay(math.inf),
        lambda: Regret().due(-1.0),
        lambda: move_cost({"a": -1.0}, {"a": 1.0}, 0.0, 0.0, 0.0),
        lambda: move_cost({}, {}, -1.0, 0.0, 0.0),
    ],
)
def test_numbers_without_meaning_are_refused(call):
    with pytest.raises(PlanningError):
        call()
