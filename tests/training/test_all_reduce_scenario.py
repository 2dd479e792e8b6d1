"""All-reduce from a scenario to its report, and the figures that its page gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgesim import compare, run
from edgesim.errors import ScenarioError
from edgesim.report.faults import contributors, incomplete
from edgesim.report.iterations import server_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "all-reduce.md"
BASE = """
version: 1
name: all-reduce
workload: {profile: %s}
devices:
  - {name: server, preset: workstation}
  - {name: w, count: %d, preset: jetson-nano}
network:
  topology: star
  bandwidth: 100 Mbit/s
  latency: %s
  startup: {occupancy: 1 ms}
  devices: {server: {bandwidth: %s}}
training: {workers: [w], %s}
events: %s
stop: {iterations: %d}
"""
RING = "method: all-reduce, algorithm: ring"
TREE = "method: all-reduce, algorithm: tree"
SERVER = "method: parameter-server, server: server"


@pytest.fixture
def train(tmp_path):
    def one(
        training,
        *,
        profile="mobilenetv2-32",
        workers=4,
        latency="1 ms",
        server="1 Gbit/s",
        events="[]",
        iterations=4,
        **options,
    ):
        profile = ROOT / "scenarios" / "profiles" / f"{profile}.json"
        path = tmp_path / "scenario.yaml"
        path.write_text(BASE % (profile, workers, latency, server, training, events, iterations))
        return run(path, **options)

    return one


def test_a_run_without_a_server_is_told_and_drawn(train, tmp_path):
    result = train(RING, out=tmp_path / "run", iterations=3)
    assert result.summary["server"] is None
    assert server_of(result.tables, {}) is None  # nor where a killed run left no word of it
    assert result.summary["iterations"] == 3
    assert result.summary["bounds"]["ratio"] >= 1.0
    assert result.summary["predicted_s"] == pytest.approx(result.summary["iteration_s"]["steady"])
    assert "adding up gradients over w-" in result.summary["explanation"]
    assert "server" not in result.summary["explanation"]
    assert {"timeline.png", "trace.json.gz"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_the_straggler_is_who_has_its_gradients_last(train):
    slowed = "[{at: 0 s, device: w-3, slow: {to: 0.2}}]"
    assert train(RING, events=slowed).summary["explanation"].count("w-3 is the straggler") == 1


@pytest.mark.parametrize("training", [RING, TREE])
def test_who_was_dropped_did_not_contribute(train, training):
    result = train(
        f"{training}, on_crash: drop", events="[{at: 1 s, device: w-2, crash: {for: 0.5 s}}]", iterations=5
    )
    crews = contributors(result.tables)
    first = next(number for number, crew in crews.items() if "w-2" not in crew)
    assert crews[first] == {"w-1", "w-3", "w-4"}
    assert crews[4] == {"w-1", "w-2", "w-3", "w-4"}
    assert incomplete(result.tables, result.summary) in (1, 2)
    assert result.summary["bytes_sent"] == pytest.approx(
        result.summary["bytes_received"] + result.summary["bytes_lost"]
    )


def test_ring_tree_and_server_can_be_compared(train, tmp_path):
    train(RING)
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        scenario.read_text()
        + "compare: {training.algorithm: [ring, tree], training.schedule: [sequential, dynacomm]}\n"
    )
    steady = compare(scenario, pictures=False).table["iteration_s.steady"]
    assert steady.idxmin() == 1


@pytest.mark.parametrize(
    ("training", "says"),
    [
        (f"{RING}, schedule: p3", "all-reduce takes one with a barrier"),
        (f"{RING}, server: server", "server"),
    ],
)
def test_what_does_not_go_with_it_is_refused(train, training, says):
    with pytest.raises(ScenarioError, match=says):
        train(training)


def test_too_little_memory_is_said_before_the_run(train, tmp_path):
    train(RING)
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(scenario.read_text().replace("preset: jetson-nano", "speed: 1, memory: 100 MB"))
    with pytest.raises(ScenarioError, match=r"devices\[w\].memory"):
        run(scenario)


def rows(heading):
    """Return the cells of a table of the page, below a row that begins so."""
    lines = PAGE.read_text("utf-8").split(f"| {heading} |", 1)[1].splitlines()[2:]
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


KINDS = [
    (SERVER, "100 Mbit/s"),
    (SERVER, "1 Gbit/s"),
    (SERVER, "10 Gbit/s"),
    (RING, "1 Gbit/s"),
    (TREE, "1 Gbit/s"),
]


@pytest.mark.parametrize("row", [1, 2])
def test_the_page_gives_what_is_measured_by_workers(train, row):
    workers, *cells = rows("workers")[row]
    for cell, (training, server) in zip(cells, KINDS, strict=True):
        steady_s = train(training, workers=int(workers), server=server).summary["iteration_s"]["steady"]
        assert cell == f"{steady_s:.2f}"


@pytest.mark.parametrize("row", [0, 2])
def test_the_page_gives_what_is_measured_by_latency(train, row):
    latency, *cells = rows("latency")[row]
    for cell, (training, server) in zip(cells, KINDS[1:], strict=True):
        result = train(training, profile="lenet", workers=16, latency=latency, server=server)
        assert cell == f"{result.summary['iteration_s']['steady'] * 1e3:.0f}"


def test_the_settings_of_the_page_are_those_of_the_scenario():
    from edgesim.scenario.training_section import AllReduce

    named = re.findall(r"^\| `([a-z_]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert named == [name for name in AllReduce.model_fields if name != "method"]


def test_a_run_that_has_become_steady_is_written_to_its_end_as_if_simulated(train):
    later = "[{at: 1000 h, link: w-1.up, change: {bandwidth: 1 Mbit/s}}]"
    cut, whole = train(RING, iterations=40), train(RING, iterations=40, events=later)
    assert cut.summary["repeated"]["iterations"] > 30
    assert whole.summary["repeated"]["iterations"] == 0
    for table in ("spans", "transfers", "marks"):
        assert getattr(cut.tables, table).num_rows == getattr(whole.tables, table).num_rows
    assert cut.summary["simulated_s"] == pytest.approx(whole.summary["simulated_s"], rel=1e-9)


def test_where_a_worker_is_ahead_at_the_end_of_iterations_all_are_simulated(train):
    """Its first layers would be written for an iteration that never comes."""
    slowed = "[{at: 0 s, device: w-3, slow: {to: 0.5}}]"
    assert train(RING, iterations=12, events=slowed).summary["repeated"]["iterations"] == 0
