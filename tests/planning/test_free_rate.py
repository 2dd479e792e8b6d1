"""Copies that cost nothing fit between the activations; those that block come at the least cost."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.cost import PlanningError
from edgesim.planning.free_rate import best_every, free_every, spare_bytes, turns

POSITIVE = st.floats(1e-3, 1e3)


@given(st.floats(1.0, 1e8), POSITIVE, st.floats(0.0, 1e7))
def test_a_link_carries_boundaries_and_spare_bytes_and_no_more(bandwidth, period, boundary):
    half = spare_bytes(bandwidth, period, boundary)
    full = spare_bytes(bandwidth, period, boundary, "full")
    assert 0.0 <= half <= full
    if half:
        assert half + 2 * boundary == pytest.approx(bandwidth * period)
    if full:
        assert full + boundary == pytest.approx(bandwidth * period)


def test_mobilenets_second_stage_is_copied_every_few_batches_instead_of_every_hundred():
    """0.476 s a batch of 128 in the authors' logs; 384 elements a sample cross after layer 13."""
    spare = spare_bytes(20e6 / 8, 0.476, 4 * 128 * 384)
    assert spare == 1_190_000 - 393_216
    assert math.ceil(free_every(4 * 487_040, spare)) == 3


@given(st.just(0.0) | st.floats(1e-3, 1e6), st.just(0.0) | st.floats(1e-3, 1e6))
def test_complete_copies_at_the_free_rate_use_up_what_is_spare(weights, spare):
    every = free_every(weights, spare)
    if spare == 0.0 < weights:
        assert every == math.inf
    else:
        assert every * spare == pytest.approx(weights)


def overhead(every, copy_s, rate, share, period_s):
    """Share of time lost, by definition: copies, and half an interval of work a failure."""
    return copy_s / (every * period_s) + rate * share * every * period_s / 2


@given(POSITIVE, st.floats(1e-6, 1e-2), st.floats(0.01, 1.0), POSITIVE, st.floats(0.1, 10.0))
def test_no_other_interval_costs_less(copy_s, rate, share, period_s, factor):
    best = best_every(copy_s, rate, share, period_s)
    least = overhead(best, copy_s, rate, share, period_s)
    assert least <= overhead(best * factor, copy_s, rate, share, period_s) * (1 + 1e-9)
    assert least == pytest.approx(math.sqrt(2 * copy_s * rate * share))


def test_copies_are_pointless_without_failures_and_free_without_a_price():
    assert best_every(1.0, 0.0, 1.0, 1.0) == best_every(1.0, 1.0, 0.0, 1.0) == math.inf
    assert best_every(0.0, 1.0, 1.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: spare_bytes(0.0, 1.0, 1.0), "bandwidth of 0.0 B/s"),
        (lambda: spare_bytes(1.0, -1.0, 1.0), "period of -1.0 s"),
        (lambda: spare_bytes(1.0, 1.0, math.nan), "boundary of nan B"),
        (lambda: free_every(-1.0, 1.0), "weights of -1.0 B"),
        (lambda: best_every(1.0, -1.0, 1.0, 1.0), "failure rate of -1.0 1/s"),
        (lambda: best_every(1.0, 1.0, math.inf, 1.0), "redo share of inf"),
        (lambda: best_every(1.0, 1.0, 1.0, 0.0), "period of 0.0 s"),
        (lambda: turns([1], [1, 1], -1), "budget of -1 B"),
        (lambda: turns([1], [1, 1], 1, 1), "turn 1 among 1 layers"),
    ],
)
def test_numbers_without_meaning_are_refused(call, said):
    with pytest.raises(PlanningError, match=said):
        call()


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=8),
    st.lists(st.integers(0, 60), min_size=1, max_size=40),
)
def test_turns_go_round_and_spend_what_they_are_given(sizes, budgets):
    """Every layer goes once before any goes again; bytes paid = bytes sent + carry, or a round is full."""
    layers = range(len(sizes))
    start, carry, given_bytes, sent = 0, 0, 0, []
    for budget in budgets:
        turn = turns(layers, sizes, budget + carry, start)
        assert len(turn.layers) == len(set(turn.layers))
        used = sum(sizes[layer] for layer in turn.layers)
        if len(turn.layers) < len(sizes):
            assert used + turn.carry_bytes == budget + carry
            assert turn.carry_bytes < sizes[turn.start]
        else:
            assert turn.carry_bytes == 0
            assert used <= budget + carry
        sent += turn.layers
        start, carry, given_bytes = turn.start, turn.carry_bytes, given_bytes + budget
    assert sent == [number % len(sizes) for number in range(len(sent))]
    assert sum(sizes[layer] for layer in sent) + carry <= given_bytes


def test_a_steady_budget_gives_complete_copies_at_the_free_rate():
    sizes, spare, start, carry, copied = [100, 30, 70], 10, 0, 0.0, 0
    for _ in range(2000):
        layers, carry, start = turns(range(3), sizes, spare + carry, start)
        copied += len(layers)
    assert copied / 3 == 2000 / free_every(sum(sizes), spare)


def test_a_stage_without_layers_copies_nothing():
    assert turns([], [1, 2], 10).layers == ()
