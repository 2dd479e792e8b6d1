"""Capacities are ratios of times of the same layers, and follow the latest batches."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.capacity import Measured, capacity, due
from edgesim.planning.cost import PlanningError

TIMES = st.floats(1e-6, 1e6)


@given(TIMES, st.floats(0.01, 100.0))
def test_a_device_so_many_times_as_slow_has_that_capacity(central_s, slower):
    assert capacity(central_s * slower, central_s) == pytest.approx(slower)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_times_that_tell_no_capacity_are_refused(bad):
    with pytest.raises(PlanningError, match="measured time"):
        capacity(bad, 1.0)
    with pytest.raises(PlanningError, match="central node's time"):
        capacity(1.0, bad)


@given(st.lists(TIMES, max_size=30), st.integers(1, 12))
def test_the_mean_is_that_of_the_latest_batches(times, window):
    measured = Measured(window=window)
    for time in times:
        measured = measured.add(time)
    latest = times[-window:]
    assert measured.count == len(latest)
    if latest:
        assert measured.mean_s == pytest.approx(sum(latest) / len(latest))
    else:
        assert math.isnan(measured.mean_s)


def test_a_change_of_speed_is_forgotten_after_a_window():
    measured = Measured(window=3)
    for time in (1.0, 1.0, 1.0, 5.0, 5.0, 5.0):
        measured = measured.add(time)
    assert measured.mean_s == 5.0


def test_measurements_without_meaning_are_refused():
    with pytest.raises(PlanningError, match="window of 0"):
        Measured(window=0)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(PlanningError, match="a batch of"):
            Measured().add(bad)


@given(st.integers(1, 50), st.integers(1, 50))
def test_looks_come_first_and_then_at_an_even_distance(first, every):
    looks = [batch for batch in range(1, 500) if due(batch, first, every)]
    assert looks == list(range(first, 500, every))


def test_looks_that_never_come_are_refused():
    with pytest.raises(PlanningError, match="every 0"):
        due(10, 10, 0)
