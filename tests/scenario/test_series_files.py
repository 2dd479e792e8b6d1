# ruff: noqa: E501 - messages are compared whole
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.scenario import series_files
from edgesim.scenario.series_files import SeriesError
from edgesim.timeseries import Series

Wrong = Callable[..., list[str]]
Changed = Callable[..., str]


def test_csv() -> None:
    lines = ["# trace", "time_s, share", "", "0, 1", "2.5,0.5"]
    assert series_files.csv(lines) == Series(times_s=(0.0, 2.5), values=(1.0, 0.5))
    assert series_files.csv(lines, repeat_s=4.0).period_s == 4.0


def test_a_first_value_holds_from_the_start() -> None:
    assert series_files.csv(["5,1", "6,2"]) == Series(times_s=(0.0, 5.0, 6.0), values=(1.0, 1.0, 2.0))


def test_pensieve_by_hand() -> None:
    series = series_files.pensieve(["3.0\t8.0", "4.0\t0.0", "6.0 16"])
    assert series == Series(times_s=(0.0, 1.0, 3.0), values=(1e6, 0.0, 2e6), period_s=5.0)


def test_simgrid_by_hand() -> None:
    assert series_files.simgrid(["0 1.0", "11.0 0.5"]).period_s is None
    assert series_files.simgrid(["0 1.0", "11.0 0.5", "LOOPAFTER 9.0"]).period_s == 20.0


def test_mahimahi_by_hand() -> None:
    series = series_files.mahimahi(["0", "1", "1", "2", "5"], window_s=0.002)
    assert series.times_s == (0.0, 0.002, 0.004)
    assert series.values == pytest.approx((4 * 1500 / 0.002, 0.0, 1500 / 0.001))
    assert series.period_s == 0.005


@settings(deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=200).map(sorted), st.integers(1, 3000))
def test_mahimahi_carries_every_packet(stamps: list[int], window_ms: int) -> None:
    if stamps[-1] == 0:
        stamps.append(1)
    series = series_files.mahimahi([str(stamp) for stamp in stamps], window_s=window_ms / 1e3)
    assert series.period_s is not None
    ends = (*series.times_s[1:], series.period_s)
    carried = sum(v * (b - a) for v, a, b in zip(series.values, series.times_s, ends, strict=True))
    assert carried == pytest.approx(1500 * len(stamps))


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("csv", "", "1: has no values; write a time and a value in each line"),
        ("csv", "0,1\n1", "2: must have 2 columns, a time and a value, got '1'"),
        ("csv", "0,1\n1,x", "2: a value must be a number of 0 or more, got 'x'"),
        ("csv", "0,1\n1,nan", "2: a value must be a number of 0 or more, got 'nan'"),
        ("csv", "0,1\n1,-1", "2: a value must be a number of 0 or more, got '-1'"),
        ("csv", "0,1\n2,1\n1,1", "3: times must rise, got 1 s after 2 s"),
        ("csv", "0,1\n200,1", "2: repeats after 100 s, before its last time 200 s"),
        ("mahimahi", "1\nx", "2: must be a whole number of milliseconds, got 'x'"),
        ("mahimahi", "5\n4", "2: milliseconds must not fall, got 4 after 5"),
        ("mahimahi", "0\n0", "1: a trace needs a millisecond above 0; write one packet time a line"),
        ("mahimahi", "999999999999", "1: 1000000000 windows of 1 s; use a longer window"),
        ("pensieve", "0 1", "1: a trace needs two lines or more; write `time_s Mbit/s` in each"),
        (
            "simgrid",
            "LOOPAFTER 0\n0 1",
            "1: LOOPAFTER must be more than 0, got 0; leave it out to hold the last value",
        ),
        ("simgrid", "LOOPAFTER\n0 1", "1: a time must be a number of 0 or more, got ''"),
    ],
)
def test_says_what_is_wrong(form: str, text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(SeriesError) as caught:
        series_files.read(path, form, repeat_s=100.0 if form == "csv" else None)
    assert str(caught.value) == f"{path}:{said}"


@settings(deadline=None)
@given(
    st.sampled_from(["csv", "mahimahi", "pensieve", "simgrid"]),
    st.text(max_size=60) | st.from_regex(r"([0-9]{1,3}[ ,][0-9]{1,3}\n){0,5}"),
)
def test_any_text_is_read_or_refused(form: str, text: str) -> None:
    try:
        series = series_files.READERS[form](text.splitlines())
    except SeriesError:
        return
    assert all(value >= 0 for value in series.values)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("{file: none.csv, unit: 1 B/s}", "9:21 network.bandwidth.file: "),
        (
            "{file: a.csv}",
            "9:3 network.bandwidth.unit: is missing: what does a value of 1 mean? write for example `unit: 1 Mbit/s`",
        ),
        (
            "{file: a.csv, unit: 1 B/s, window: 1 s}",
            "9:41 network.bandwidth.window: has no effect: only a mahimahi file counts packets; remove it",
        ),
        (
            "{file: a.csv, format: pensieve, unit: 1 B/s}",
            "9:46 network.bandwidth.unit: has no effect: a pensieve file has a unit of its own; remove it",
        ),
        (
            "{file: a.csv, format: mahimahi, repeat: 9 s}",
            "9:46 network.bandwidth.repeat: has no effect: a mahimahi file says itself how it repeats; remove it",
        ),
        (
            "{file: a.csv, format: cvs}",
            "9:36 network.bandwidth.format: unknown value, got 'cvs'; did you mean 'csv'?",
        ),
        (
            "{file: zero.csv, unit: 1 B/s}",
            "9:21 network.bandwidth.file: is always 0; at some time it must be more",
        ),
        (
            "{file: ends.csv, unit: 1 B/s}",
            "9:21 network.bandwidth.file: is 0 for ever from its last time on; give `repeat` or a last value above 0",
        ),
        ("{file: ends.csv, unit: 1 B/s, repeat: 1 s}", "9:21 network.bandwidth.file: "),
    ],
)
def test_in_a_scenario(wrong: Wrong, changed: Changed, tmp_path: Path, declared: str, said: str) -> None:
    (tmp_path / "a.csv").write_text("0,1\n5,2\n")
    (tmp_path / "zero.csv").write_text("0,0\n")
    (tmp_path / "ends.csv").write_text("0,1\n5,0\n")
    (found,) = wrong(changed(("bandwidth: 50 Mbit/s", f"bandwidth: {declared}")), tmp_path)
    assert found.startswith(said)
