"""What is fitted from messages: exact without noise, sound with it, never negative."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.estimate import fit_channel, mean_times_s

SIZES = st.lists(st.floats(1.0, 1e9), min_size=1, max_size=20)


def lasting(sizes, startup_s, rate_Bps):
    return [(size, startup_s + size / rate_Bps) for size in sizes]


@given(SIZES, st.floats(0.0, 10.0), st.floats(1e3, 1e10))
def test_a_known_startup_gives_the_rate_exactly(sizes, startup_s, rate_Bps):
    found = fit_channel(lasting(sizes, startup_s, rate_Bps), startup_s, 12.5e6)
    moving_s = sum(sizes) / rate_Bps
    if moving_s > 1e-4 * len(sizes) * startup_s:  # else nothing can be told of the rate
        for size in (min(sizes), max(sizes)):
            assert found[0] + size / found[1] == pytest.approx(startup_s + size / rate_Bps, rel=1e-6)


@given(st.floats(1e-4, 10.0), st.floats(1e3, 1e10), st.floats(0.0, 10.0), st.floats(1e3, 1e10))
def test_unlike_sizes_give_both_exactly_whatever_was_believed(startup_s, rate_Bps, prior_s, prior_Bps):
    sizes = [share * startup_s * rate_Bps for share in (0.5, 1.0, 3.0, 0.7)]
    found = fit_channel(lasting(sizes, startup_s, rate_Bps), prior_s, prior_Bps)
    assert found == pytest.approx((startup_s, rate_Bps), rel=1e-9)


def test_like_sizes_keep_the_startup_that_was_believed():
    messages = lasting([100, 110, 120], startup_s=2.0, rate_Bps=10.0)
    startup_s, rate_Bps = fit_channel(messages, 1.0, 1.0)
    assert startup_s == 1.0
    assert rate_Bps == pytest.approx(330 / (6.0 + 33.0 - 3.0))


def test_two_messages_are_no_evidence_of_a_startup():
    messages = [(400, 40.0), (100, 20.0)]  # the rate fell from 10 to 5 B/s between them
    assert fit_channel(messages, 0.0, 10.0) == (0.0, pytest.approx(500 / 60))


def test_a_change_of_rate_between_messages_is_not_taken_for_a_startup():
    before = lasting([100, 300, 200], startup_s=1.0, rate_Bps=10.0)
    after = lasting([50, 400, 100], startup_s=1.0, rate_Bps=2.5)
    startup_s, rate_Bps = fit_channel(before + after, 1.0, 10.0)
    assert startup_s == 1.0
    assert rate_Bps == pytest.approx(1150 / (60 + 220))


@pytest.mark.parametrize("seed", range(10))
def test_noise_of_a_few_per_mille_moves_the_fit_by_little(seed):
    rng = random.Random(seed)
    exact = lasting([2.0**step for step in range(10, 20)], startup_s=0.01, rate_Bps=1e6)
    noisy = [(size, time_s * rng.uniform(0.997, 1.003)) for size, time_s in exact]
    assert fit_channel(noisy, 0.0, 1.0) == pytest.approx((0.01, 1e6), rel=0.02)


def test_nothing_measured_is_the_belief():
    assert fit_channel([], 1.0, 2.0) == (1.0, 2.0)
    assert fit_channel([(0, 1.0), (0, 3.0)], 1.0, 2.0) == (1.0, 2.0)
    assert fit_channel([(10, 0.0), (10, math.inf)], 1.0, 2.0) == (1.0, 2.0)


def test_messages_shorter_than_the_startup_that_was_believed_scale_both():
    assert fit_channel([(10, 2.0)], prior_startup_s=3.0, prior_rate_Bps=10.0) == pytest.approx((1.5, 20.0))
    assert fit_channel([(10, 2.0)], prior_startup_s=3.0, prior_rate_Bps=0.0) == (0.0, 5.0)


def test_a_channel_without_end_has_no_time_for_bytes():
    assert fit_channel([(1, 1.0), (10, 1.0), (100, 1.0)], 1.0, math.inf) == (1.0, math.inf)


@given(
    st.lists(st.tuples(st.floats(0.0, 1e12), st.floats(0.0, 1e6)), max_size=12),
    st.floats(0.0, 1e3),
    st.floats(0.0, 1e12),
)
def test_no_measurement_gives_nonsense(messages, prior_s, prior_Bps):
    startup_s, rate_Bps = fit_channel(messages, prior_s, prior_Bps)
    assert 0.0 <= startup_s < math.inf
    assert rate_Bps >= 0.0


def test_mean_times_of_one_sample_are_that_sample():
    assert mean_times_s([(0.1, 0.2, 0.3)]) == (0.1, 0.2, 0.3)
    assert mean_times_s([(0.1, 0.2), (0.3, 0.6)]) == pytest.approx((0.2, 0.4))
