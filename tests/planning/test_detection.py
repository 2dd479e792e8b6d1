"""Timers that hardly ever cry wolf, and follow what the pipeline does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.cost import PlanningError
from edgesim.planning.detection import GAIN, LEAST_SHARE, Adaptive, Timer, pick

TIMES = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30)


def after(detector, times):
    for time in times:
        detector = detector.seen(float(time))
    return detector


def false_alarms(detector, times):
    """Share of round trips that a timer would have declared overdue before they came back."""
    alarms = 0
    for time in times:
        alarms += time > detector.timeout_s(1.0)
        detector = detector.seen(float(time))
    return alarms / len(times)


def noise(share, count=10_000):
    return np.random.default_rng(4).normal(1.0, share, count).clip(0.05)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.2])
def test_noise_raises_hardly_a_false_alarm(share):
    assert false_alarms(Adaptive(z=6.0), noise(share)) <= 2e-4


def test_fewer_standard_deviations_raise_more_false_alarms():
    rates = [false_alarms(Adaptive(z=z), noise(0.2)) for z in (1.0, 2.0, 3.0, 6.0)]
    assert rates == sorted(rates, reverse=True)
    assert 0.1 < rates[0] < 0.25
    assert 0.01 < rates[1] < 0.08
    assert rates[2] < 0.02


def test_where_noise_is_strong_the_fixed_timer_cries_wolf_and_the_adaptive_one_waits():
    heavy = np.random.default_rng(4).lognormal(0.0, 0.5, 10_000)
    assert false_alarms(Timer(factor=2.0), heavy) > 0.03
    assert false_alarms(Adaptive(z=6.0), heavy) < 0.005


def test_where_noise_is_weak_the_adaptive_timer_is_the_faster_one():
    times = noise(0.02, 200)
    assert after(Adaptive(), times).timeout_s(1.0) < 0.75 * after(Timer(), times).timeout_s(1.0)


@pytest.mark.parametrize(("before", "now"), [(1.0, 3.0), (3.0, 1.0)])
def test_after_a_change_of_level_only_the_new_one_counts(before, now):
    changed = after(Adaptive(), [before] * 200 + [now] * 80)
    fresh = after(Adaptive(), [now] * 200)
    assert changed.timeout_s(1.0) == pytest.approx(fresh.timeout_s(1.0), rel=0.02)


def test_slow_drift_raises_no_alarm():
    assert false_alarms(Adaptive(), np.linspace(1.0, 10.0, 300)) == 0.0


@given(TIMES)
def test_the_timer_takes_the_mean_of_all(times):
    assert after(Timer(factor=2.0), times).timeout_s(5.0) == pytest.approx(2.0 * np.mean(times))


@given(TIMES)
def test_mean_and_variance_are_those_of_the_weights(times):
    """By definition: weight g (1-g)^age, what is left of all weight on the first."""
    detector = after(Adaptive(), times)
    ages = np.arange(len(times))[::-1]
    weights = GAIN * (1 - GAIN) ** ages
    weights[0] = (1 - GAIN) ** ages[0]
    mean = np.average(times, weights=weights)
    spread = np.average((np.array(times) - mean) ** 2, weights=weights)
    caution = (times[0] / 2) ** 2 * (1 - GAIN) ** ages[0]
    assert detector.mean_s == pytest.approx(mean)
    assert detector.variance_s2 == pytest.approx(spread + caution)


@given(TIMES, st.floats(1.01, 5.0), st.floats(1.01, 5.0), st.floats(0.1, 100.0))
def test_timeouts_grow_with_patience_and_with_the_unit_of_time(times, one, other, unit):
    low, high = sorted((one, other))
    for less, more in ((Timer(factor=low), Timer(factor=high)), (Adaptive(z=low), Adaptive(z=high))):
        assert less.timeout_s(1.0) <= more.timeout_s(1.0)
        assert less.timeout_s(1.0) <= less.timeout_s(2.0)
        assert after(less, times).timeout_s(1.0) <= after(more, times).timeout_s(1.0)
        scaled = after(less, [time * unit for time in times])
        assert scaled.timeout_s(1.0) == pytest.approx(unit * after(less, times).timeout_s(1.0))


@given(TIMES)
def test_the_adaptive_timer_is_never_within_its_least_deviation(times):
    detector = after(Adaptive(z=6.0), times)
    assert detector.timeout_s(1.0) >= detector.mean_s * (1 + 6.0 * LEAST_SHARE) * (1 - 1e-12)


def test_before_any_round_trip_the_prediction_counts_and_then_no_longer():
    for detector, expected in ((Timer(factor=2.0), 10.0), (Adaptive(z=6.0), 20.0)):
        assert detector.timeout_s(5.0) == expected
        seen = detector.seen(1.0)
        assert seen.timeout_s(5.0) == seen.timeout_s(50.0) == expected / 5.0


def test_names_and_numbers_without_meaning_are_refused():
    assert (pick("timer", 3.0, 4.0), pick("adaptive", 3.0, 4.0)) == (Timer(factor=3.0), Adaptive(z=4.0))
    for call in (
        lambda: pick("guess"),
        lambda: Timer(factor=1.0),
        lambda: Adaptive(z=0.0),
        lambda: Timer().seen(-1.0),
        lambda: Adaptive().seen(math.nan),
        lambda: Timer().timeout_s(math.inf),
    ):
        with pytest.raises(PlanningError):
            call()
