"""Traces are told in a run's marks, and only those that are in use and change seldom."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgesim
from edgesim.report.iterations import ITERATION

TINY = Path(__file__).parent / "data" / "tiny.yaml"
STEPS = {"values": [["0 s", "5 Mbit/s"], ["1 s", "20 Mbit/s"], ["3 s", "10 Mbit/s"]]}


def marks(**overrides):
    result = edgesim.run(TINY, **{"training__schedule": "sequential", **overrides})
    rows = result.tables.rows("marks", "time_s", "subject", "kind", "label")
    return result, [row for row in rows if row[2] != ITERATION]


@pytest.mark.parametrize("every_event", [False, True])
def test_a_bandwidth_over_time_is_marked_where_it_changes(every_event):
    result, found = marks(
        network__devices={"fast": {"bandwidth": {"down": STEPS, "up": "20 Mbit/s"}}},
        stop={"iterations": 30},
        every_event=every_event,
    )
    assert found == [
        (0.0, "fast.down", "change", "5 Mbit/s"),
        (1.0, "fast.down", "restore", "20 Mbit/s"),
        (3.0, "fast.down", "change", "10 Mbit/s"),
    ]
    times = [time_s for (time_s,) in result.tables.rows("marks", "time_s")]
    assert times == sorted(times)
    link = result.summary["links"]["fast.down"]
    assert link["changes"] == [[0.0, 625e3], [1.0, 2.5e6], [3.0, 1.25e6]]
    assert (link["least_Bps"], link["most_Bps"]) == (625e3, 2.5e6)
    assert "while fast.down has 10 Mbit/s" in result.explain()


def test_an_availability_over_time_is_marked_and_what_nobody_uses_is_not():
    half = {"values": [["0 s", 1.0], ["1 s", 0.5], ["2 s", 1.0]]}
    devices = [
        {"name": "server", "speed": 4},
        {"name": "fast", "speed": 1, "availability": half},
        {"name": "idle", "speed": 1, "availability": half},
    ]
    training = {"method": "parameter-server", "server": "server", "workers": ["fast"]}
    training["schedule"] = "sequential"
    _, found = marks(devices=devices, training=training, stop={"iterations": 30})
    assert found == [(1.0, "fast", "slow", "to 0.5 of its speed"), (2.0, "fast", "restore", "speed")]


def test_a_trace_that_changes_often_is_told_by_its_range_alone():
    often = {"values": [["0 s", "20 Mbit/s"], ["1 ms", "5 Mbit/s"]], "repeat": "2 ms"}
    result, found = marks(network__devices={"fast": {"bandwidth": {"down": often, "up": "20 Mbit/s"}}})
    assert found == []
    assert "The bandwidth of fast.down varies between 5 Mbit/s and 20 Mbit/s." in result.explain()
    assert "changes" not in result.summary["links"]["fast.down"]
