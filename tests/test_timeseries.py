from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.timeseries import Series, constant


@st.composite
def some_series(draw: st.DrawFn) -> Series:
    steps = draw(st.lists(st.integers(1, 8), max_size=5))
    times = [0.0]
    for step in steps:
        times.append(times[-1] + step / 4)
    values = draw(st.lists(st.floats(0, 10), min_size=len(times), max_size=len(times)))
    period = draw(st.none() | st.integers(1, 8).map(lambda more: times[-1] + more / 4))
    return Series(times_s=tuple(times), values=tuple(values), period_s=period)


@settings(deadline=None)
@given(some_series(), st.integers(0, 200))
def test_nothing_changes_before_the_next_change(series: Series, quarter: int) -> None:
    now = quarter / 4
    change = series.next_change_s(now)
    end = now + 20 if change is None else change
    assert change is None or change > now
    probe = now
    while probe < end:
        assert series.at(probe) == series.at(now)
        probe += 0.125


@settings(deadline=None)
@given(some_series(), st.integers(0, 100))
def test_a_period_later_all_is_the_same(series: Series, quarter: int) -> None:
    if series.period_s is not None:
        assert series.at(quarter / 4) == series.at(quarter / 4 + series.period_s)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 10.0), min_size=1, max_size=5),
    st.floats(0.01, 10.0),
    st.floats(0.0, 1e6),
)
def test_no_change_is_lost_to_rounding(steps: list[float], rest: float, start_s: float) -> None:
    """Going from change to change, each value holds from its own instant on, and none is left out."""
    times = [0.0]
    for step in steps:
        times.append(times[-1] + step)
    values = tuple(float(index) for index in range(len(times)))
    series = Series(times_s=tuple(times), values=values, period_s=times[-1] + rest)
    now, value = start_s, series.at(start_s)
    for _ in range(20):
        change = series.next_change_s(now)
        assert change is not None
        assert now < change < now + 10.1
        now, value = change, (value + 1.0) % len(times)
        assert series.at(now) == value


def test_a_constant_never_changes() -> None:
    assert constant(3.0).at(1e9) == 3.0
    assert constant(3.0).next_change_s(0.0) is None


@pytest.mark.parametrize(
    ("times", "values", "period"),
    [
        ((), (), None),
        ((0.0,), (1.0, 2.0), None),
        ((1.0,), (1.0,), None),
        ((0.0, 0.0), (1.0, 2.0), None),
        ((0.0, 2.0), (1.0, 2.0), 2.0),
    ],
)
def test_refuses(times: tuple[float, ...], values: tuple[float, ...], period: float | None) -> None:
    with pytest.raises(ValueError, match=r"times|period"):
        Series(times_s=times, values=values, period_s=period)
