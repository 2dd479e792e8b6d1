"""Lower bounds: of the workers that took part, at the best rates that a run has."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesim.experiment import run

BASE = """
version: 1
name: bounds
workload: {profile: %s}
devices:
  - {name: server, preset: workstation}
  - {name: w, count: 2, preset: jetson-nano}
  - {name: slow, preset: raspberry-pi-3b-plus}
network: {topology: star, bandwidth: 100 Mbit/s, latency: 1 ms, devices: {slow: {bandwidth: 5 Mbit/s}}}
training: {method: parameter-server, server: server, schedule: dynacomm}
events: %s
stop: {iterations: %d}
"""


def bounds(tmp_path, profile, events, iterations):
    path = tmp_path / "scenario.yaml"
    path.write_text(BASE % (profile, events, iterations))
    return run(path).summary["bounds"]


@pytest.fixture
def profile():
    return Path(__file__).parents[2] / "scenarios" / "profiles" / "mobilenetv2-32.json"


def test_the_bound_is_that_of_the_workers_that_are_left(tmp_path, profile):
    everybody = bounds(tmp_path, profile, "[]", 2)
    fewer = bounds(tmp_path, profile, "[{at: 50 s, device: slow, crash: {}}]", 8)
    assert fewer["iteration_s"] < everybody["iteration_s"] / 2
    assert 1.0 <= fewer["ratio"] < 2.0
    assert everybody["note"] == ""
    assert fewer["note"] == "for the devices that took part"


@pytest.mark.parametrize(
    ("event", "who"),
    [
        ("{at: 1 s, device: slow, slow: {to: 4}}", "slow"),
        ("{at: 1 s, link: slow.up, change: {bandwidth: 1 Gbit/s}}", "slow.up"),
        ("{at: 1 s, link: slow.down, change: {latency: 0 s}}", "slow.down"),
    ],
)
def test_what_becomes_faster_counts_at_its_best(tmp_path, profile, event, who):
    found = bounds(tmp_path, profile, f"[{event}]", 4)
    assert found["ratio"] >= 1.0
    assert found["note"] == f"at the best rates of {who}"


def test_everything_faster_is_still_bounded(tmp_path, profile):
    events = ", ".join(
        [
            "{at: 0.001 s, device: slow, slow: {to: 8}}",
            "{at: 0.001 s, device: w-1, slow: {to: 8}}",
            "{at: 0.001 s, device: w-2, slow: {to: 8}}",
            "{at: 0.001 s, link: slow.up, change: {bandwidth: 1 Gbit/s}}",
            "{at: 0.001 s, link: slow.down, change: {bandwidth: 1 Gbit/s}}",
        ]
    )
    assert 1.0 <= bounds(tmp_path, profile, f"[{events}]", 4)["ratio"] < 2.0
