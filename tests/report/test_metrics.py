"""The summary against numbers worked out by hand, and the audit against broken runs."""

import dataclasses
import json

import pytest

from edgesim.cluster import Cluster, Device, Link
from edgesim.report.audit import contradictions
from edgesim.report.facts import DeviceFacts, LinkFacts, RunFacts
from edgesim.report.iterations import iteration_times, typical
from edgesim.report.metrics import assumed, bounds, busy_from_spans, summary
from edgesim.report.tables import Tables
from edgesim.timeline import Tag, Timeline
from tests.report.synthetic import facts, star, timeline

WANTED = {
    "scenario", "seed", "versions", "fingerprint", "complete", "simulated_s", "iterations", "iteration_s",
    "bytes_sent", "bytes_received", "bytes_lost", "devices", "links", "bounds", "assumed", "wall_s",
}  # fmt: skip


def hand_made():
    """Two iterations of one worker that crashes for 2 s in the first: 10 s, then 4 s."""
    made = Timeline()
    tag = Tag("pull", "1-2", 0, 1, 2)
    made.transfers.append(("server", "pi", tag, 100, 40.0, 30.0, 10.0, 0.0, 0.0, 2.0, "pi.down"))
    made.transfers.append(("server", "pi", tag, 100, 100.0, 100.0, 0.0, 4.0, 4.0, 6.0, "pi.down"))
    made.spans.append(("pi", tag._replace(kind="forward"), 6.0, 9.0, 3.0, 0.0))
    made.mark(2.0, "pi", "crash")
    made.mark(4.0, "pi", "return")
    made.mark(10.0, "server", "iteration", "0")
    made.spans.append(("pi", tag._replace(kind="forward", iteration=1), 11.0, 14.0, 3.0, 0.0))
    made.mark(14.0, "server", "iteration", "1")
    cluster = Cluster(
        devices={
            "server": Device(name="server", speed=1.0),
            "pi": Device(name="pi", speed=1.0, busy_W=6.0, idle_W=2.0),
        },
        links={"pi.down": Link(name="pi.down", bandwidth_Bps=100.0)},
        hops=(),
    )
    counted = RunFacts(
        scenario="hand",
        server="server",
        simulated_s=14.0,
        devices={"pi": DeviceFacts(busy_s=6.0, down_s=2.0, peak_memory_bytes=77.0), "server": DeviceFacts()},
        links={"pi.down": LinkFacts(carried_bytes=140.0, capacity_bytes=1400.0)},
        bounds={"compute": 3.0, "network": 2.0},
    )
    return Tables.of(made), cluster, counted


def test_summary_by_hand():
    tables, cluster, counted = hand_made()
    found = summary(tables, cluster, counted)
    assert found.keys() >= WANTED
    assert found["iteration_s"] == {"mean": 7.0, "median": 7.0, "p95": 10.0, "steady": 4.0}
    assert found["devices"]["pi"] == {
        "busy_s": 6.0,
        "waiting_s": 6.0,
        "down_s": 2.0,
        "energy_J": 6.0 * 6.0 + 2.0 * 6.0,
        "peak_memory_bytes": 77.0,
    }
    assert found["devices"]["server"]["energy_J"] is None
    assert found["devices"]["server"]["waiting_s"] == 14.0
    link = {"utilisation": 0.1, "bytes": 140.0, "bandwidth_Bps": 100.0, "mean_Bps": 100.0, "startup_s": 0.0}
    assert found["links"]["pi.down"] == link
    assert (found["bytes_sent"], found["bytes_received"], found["bytes_lost"]) == (140.0, 130.0, 10.0)
    assert found["bounds"]["iteration_s"] == 3.0
    assert found["bounds"]["ratio"] == 4.0 / 3.0
    assert found["messages"] == 2
    assert found["overlap"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert contradictions(tables, counted) == []


def test_typical_iteration_is_after_the_warm_up_and_without_faults():
    made = timeline(2, iterations=6)
    ends = [row[0] for row in made.marks]
    made.mark(ends[4] + 0.1, "pi-1", "slow", "0.5")
    one = typical(Tables.of(made), "server")
    assert (one.number, one.start_s, one.end_s) == (4, ends[3], ends[4])
    made.mark(ends[3] + 0.1, "pi-1", "slow", "0.5")
    made.mark(ends[2] + 0.1, "pi-1", "slow", "0.5")
    assert typical(Tables.of(made), "server").number == 5
    assert typical(Tables.of(Timeline())) is None


def test_no_iteration_is_none_not_zero():
    times = iteration_times([])
    assert times == {
        "iterations": 0,
        "iteration_s": {"mean": None, "median": None, "p95": None, "steady": None},
    }
    found = summary(Tables.of(Timeline()), star(1), RunFacts(bounds={"compute": 1.0}))
    assert found["bounds"] == {"iteration_s": 1.0, "ratio": None, "reasons": {"compute": 1.0}, "note": ""}
    assert found["links"]["pi-1.up"]["utilisation"] == 0.0
    assert found["explanation"].startswith("No iteration ended")


def test_p95_is_the_nearest_rank():
    ends = [float(sum(range(n + 1))) for n in range(1, 101)]
    assert iteration_times(ends)["iteration_s"]["p95"] == 95.0


def test_assumed_names_a_preset_once():
    devices = [Device(name=f"pi-{i}", speed=1.0, preset="pi", assumed=("busy_W",)) for i in range(3)]
    odd = Device(name="odd", speed=1.0, assumed=("memory_bytes",))
    assert assumed([*devices, odd], ["latency", "pi.busy_W"]) == ["pi.busy_W", "odd.memory_bytes", "latency"]


def test_busy_of_spans_agrees_with_the_engine():
    made, cluster = timeline(5, crash=True), star(5)
    counted = facts(made, cluster)
    found = busy_from_spans(Tables.of(made))
    for name, device in counted.devices.items():
        assert found[name] == pytest.approx(device.busy_s, rel=1e-12)
    assert contradictions(Tables.of(made), counted) == []


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda made, counted: made.spans.append(made.spans[-1]), "while one ran"),
        (
            lambda made, counted: made.transfers.append(
                (*made.transfers[0][:3], 10, 10.0, 3.0, 3.0, *[0.0] * 3, "pi-1.up")
            ),
            "message",
        ),
        (lambda made, counted: counted.update(simulated_s=0.1), "was busy"),
        (lambda made, counted: counted.update(links={"x": LinkFacts(carried_bytes=9.0)}), "link x carried"),
        (lambda made, counted: counted.update(devices={"pi-1": DeviceFacts(busy_s=9e-3)}), "spans add up"),
        (lambda made, counted: counted.update(devices={"server": DeviceFacts(busy_s=0.5)}), "spans add up"),
    ],
)
def test_audit_finds_what_cannot_be_true(break_it, words):
    made = timeline(2, iterations=1)
    change = {}
    break_it(made, change)
    counted = dataclasses.replace(facts(made, star(2)), **change)
    assert any(words in line for line in contradictions(Tables.of(made), counted))


def test_a_figure_that_the_run_was_below_is_no_bound():
    found = bounds(RunFacts(bounds={"compute": 3.0}), 2.0)
    assert (found["iteration_s"], found["ratio"]) == (None, None)
    assert "no bound is known" in found["note"]
    assert bounds(RunFacts(bounds={"compute": 3.0}, bound_s=1.0), 2.0)["ratio"] == 2.0
    assert bounds(RunFacts(bound_note="live"), 2.0) == {
        "iteration_s": None,
        "ratio": None,
        "reasons": {},
        "note": "live",
    }
