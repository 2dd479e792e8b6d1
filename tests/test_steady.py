"""A run that has become steady is written to its end: the same as if every event had been simulated."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import edgesim
from edgesim.engine import Simulation
from edgesim.experiment import simulate as simulating
from edgesim.experiment import steady, training
from edgesim.planning.schedules import SCHEDULES
from edgesim.report import storage
from edgesim.scenario import build
from edgesim.training.parameter_server import TrainingRun

TINY = Path(__file__).parent / "data" / "tiny.yaml"
CONTENTION = Path(__file__).parents[1] / "scenarios" / "contention.yaml"
MANY = 30
FRAMES = ("spans", "transfers", "marks", "updates")


@pytest.fixture
def booked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Return what will be booked: number and end of each iteration that is taken to repeat."""
    start, calls = training.start, list[tuple[int, float]]()

    def noted(*given: Any, **more: Any) -> TrainingRun:
        run = start(*given, **more)

        def book(index: int, time_s: float) -> None:
            calls.append((index, time_s))
            run.book(index, time_s)

        return replace(run, book=book)

    monkeypatch.setattr(training, "start", noted)
    return calls


def same(one: edgesim.Result, other: edgesim.Result) -> None:
    """Assert that two runs agree row by row, and in every figure to 1e-9.

    The order of rows that end together is left to the rounding of the clock, which decides it.
    """
    for name in FRAMES:
        ours, theirs = (ordered(getattr(run, name)) for run in (one, other))
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9, atol=1e-12)
    found, wanted = (flat(run.summary) for run in (one, other))
    rounding_s = 1e-12 * other.summary["simulated_s"]
    assert found == {key: about(value, rounding_s) for key, value in wanted.items()}


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    exact = [name for name in frame.columns if not name.endswith(("_s", "bytes"))]
    times = [name for name in ("start_s", "end_s") if name in frame.columns]
    return frame.sort_values([*exact, *times], ignore_index=True)


def about(value: Any, rounding_s: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=rounding_s) if isinstance(value, float) else value


def flat(summary: dict[str, Any]) -> dict[str, Any]:
    flattened: dict[str, Any] = edgesim.comparison.flatten(summary)
    return {
        key: value
        for key, value in flattened.items()
        if key not in ("wall_s", "fingerprint", "explanation") and not key.startswith("repeated.")
    }


def both(scenario: Any, **overrides: Any) -> tuple[edgesim.Result, edgesim.Result]:
    return (
        edgesim.run(scenario, **overrides),
        edgesim.run(scenario, every_event=True, **overrides),
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("scenario", [TINY, CONTENTION], ids=["tiny", "contention"])
def test_a_run_is_the_same_with_every_event_and_without(scenario: Path, schedule: str) -> None:
    overrides = {"stop__iterations": MANY, "training__schedule": schedule}
    short, whole = both(scenario, **overrides)
    assert short.summary["repeated"]["iterations"] > MANY // 2
    assert whole.summary["repeated"] == {"iterations": 0, "period_s": None}
    assert short.summary["iterations"] == whole.summary["iterations"] == MANY
    same(short, whole)


def test_three_equal_iterations_are_enough_and_fewer_are_not() -> None:
    repeated = [
        edgesim.run(TINY, stop__iterations=count).summary["repeated"]["iterations"] for count in (1, 3, 4, 9)
    ]
    assert repeated == [0, 0, 1, 6]


def test_what_repeats_is_booked_with_its_number_and_its_end(booked: list[tuple[int, float]]) -> None:
    result = edgesim.run(TINY, stop__iterations=9)
    assert [index for index, _ in booked] == [3, 4, 5, 6, 7, 8]
    assert [time_s for _, time_s in booked] == pytest.approx(result.marks.time_s.tolist()[3:], rel=1e-12)
    assert result.marks.label.tolist() == [str(index) for index in range(9)]


def test_the_last_iteration_is_counted_in_everything() -> None:
    short, whole = (edgesim.run(TINY, stop__iterations=count).summary for count in (10, 20))
    assert whole["bytes_sent"] == 2 * short["bytes_sent"]
    assert whole["devices"]["fast"]["busy_s"] == pytest.approx(
        2 * short["devices"]["fast"]["busy_s"], rel=1e-9
    )
    assert whole["simulated_s"] == pytest.approx(2 * short["simulated_s"], rel=1e-9)
    assert whole["links"]["fast.up"]["utilisation"] == pytest.approx(
        short["links"]["fast.up"]["utilisation"], rel=1e-9
    )


def test_training_that_is_not_repeatable_is_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    start = training.start
    monkeypatch.setattr(
        training, "start", lambda *given, **more: replace(start(*given, **more), repeats=lambda: False)
    )
    assert edgesim.run(TINY, stop__iterations=9).summary["repeated"]["iterations"] == 0


@pytest.mark.parametrize("synchronization", ["asp", "ssp"])
def test_without_a_barrier_between_workers_every_event_is_simulated(synchronization: str) -> None:
    overrides = {"training__synchronization": synchronization}
    if synchronization == "ssp":
        overrides["training__staleness"] = 2
    result = edgesim.run(TINY, stop__iterations=9, **overrides)
    assert result.summary["repeated"]["iterations"] == 0


UNSTEADY: dict[str, dict[str, Any]] = {
    "random failures": {"events": [{"devices": ["slow"], "random": {"mtbf": "1 h", "mttr": "1 s"}}]},
    "an event to come": {"events": [{"at": "7 s", "device": "fast", "slow": {"to": 0.5}}]},
    "a trace that repeats": {
        "devices[fast].availability": {"values": [["0 s", 1.0], ["1 s", 0.9]], "repeat": "2 s"}
    },
    "an end by time": {"stop.time": "7 s"},
    "no last iteration": {"stop": {"time": "7 s"}},
}


@pytest.mark.parametrize("why", [*UNSTEADY])
def test_what_can_still_change_is_simulated(why: str) -> None:
    changes = {"stop.iterations": MANY, **UNSTEADY[why]}
    if "stop" in changes:
        del changes["stop.iterations"]
    result = edgesim.run(TINY, **changes)
    assert result.summary["repeated"] == {"iterations": 0, "period_s": None}


AFTERWARDS: dict[str, dict[str, Any]] = {
    "a slow-down for good": {"events": [{"at": "0.5 s", "device": "fast", "slow": {"to": 0.5}}]},
    "a crash": {"events": [{"at": "0.5 s", "device": "fast", "crash": {"for": "0.4 s"}}]},
    "a crash for good": {
        "events": [{"at": "0.5 s", "device": "fast", "crash": {}}],
        "training.on_crash": "drop",
        "training.schedule": "sequential",
    },
    "another bandwidth": {
        "events": [{"at": "0.5 s", "link": "fast.up", "change": {"bandwidth": "3 Mbit/s"}}]
    },
    "a trace that ends": {"devices[fast].availability": {"values": [["0 s", 1.0], ["1 s", 0.7]]}},
}


@pytest.mark.parametrize("what", [*AFTERWARDS])
def test_after_the_last_change_it_repeats(what: str) -> None:
    overrides = {"stop.iterations": MANY, **AFTERWARDS[what]}
    short, whole = both(TINY, **overrides)
    assert 0 < short.summary["repeated"]["iterations"] < MANY - 4
    same(short, whole)


def test_on_disk_and_in_memory_it_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = edgesim.run(TINY, stop__iterations=MANY)
    monkeypatch.setattr(storage, "FLUSH_ROWS", 1)
    monkeypatch.setattr(simulating, "TICK_EVENTS", 3)
    monkeypatch.setattr(simulating, "TOLD_S", 0.0)
    disk = edgesim.run(TINY, stop__iterations=MANY, out=tmp_path / "out", pictures=False)
    loaded = edgesim.Result.load(tmp_path / "out")
    for other in (disk, loaded):
        assert {**other.summary, "wall_s": 0} == {**memory.summary, "wall_s": 0}
        assert other.tables.fingerprint() == memory.summary["fingerprint"]
        for name in FRAMES:
            pd.testing.assert_frame_equal(getattr(other, name), getattr(memory, name))
    assert disk.summary["repeated"]["iterations"] == MANY - 3


def test_an_interrupt_keeps_the_iterations_that_were_taken_to_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulating, "TOLD_S", 0.0)

    def stop(stage: str, fraction: float | None = None) -> None:
        if stage == "simulating" and fraction is not None and fraction >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(edgesim.Interrupted) as caught:
        edgesim.run(TINY, stop__iterations=100, out=tmp_path / "out", progress=stop)
    result = caught.value.result
    assert result.summary["iterations"] == len(result.marks) == 50
    assert result.summary["repeated"]["iterations"] == 47
    assert not result.summary["complete"]
    assert result.summary["simulated_s"] == pytest.approx(result.marks.time_s.max(), rel=1e-12)
    assert edgesim.Result.load(tmp_path / "out").summary == result.summary


def test_an_iteration_of_too_many_rows_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = len(edgesim.run(TINY, stop__iterations=1).spans) + len(
        edgesim.run(TINY, stop__iterations=1).transfers
    )
    monkeypatch.setattr(steady, "MOST_ROWS", rows)
    assert edgesim.run(TINY, stop__iterations=9).summary["repeated"]["iterations"] == 6
    monkeypatch.setattr(steady, "MOST_ROWS", rows - 1)
    assert edgesim.run(TINY, stop__iterations=9).summary["repeated"]["iterations"] == 0


def test_comparisons_that_fail_become_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list[int]()

    def differ(one: Any, other: Any) -> bool:
        looks.append(other.index)
        return False

    monkeypatch.setattr(steady, "alike", differ)
    assert edgesim.run(TINY, stop__iterations=100).summary["repeated"]["iterations"] == 0
    assert looks == [2, 3, 5, 9, 17, 33, 65]


def test_a_comparison_asks_for_every_event_too() -> None:
    axes = {"training.schedule": ["sequential", "dynacomm"]}
    runs = edgesim.compare(TINY, axes, every_event=True, stop__iterations=9)
    assert [run.result.summary["repeated"]["iterations"] for run in runs if run.result] == [0, 0]


def test_quiet_is_after_the_last_change() -> None:
    def of(**overrides: Any) -> float:
        scenario = edgesim.load(TINY)
        stated = edgesim.scenario.ensure(edgesim.scenario.overrides(scenario, overrides))
        return steady.quiet_s(Simulation(build.cluster(stated), events=build.events(stated)))

    assert of() == 0.0
    slow = {"at": "0.5 s", "device": "fast", "slow": {"to": 0.5, "for": "1 s"}}
    assert 1.5 < of(events=[slow]) < 1.5 + 1e-9
    assert of(**UNSTEADY["random failures"]) == math.inf
    assert of(**UNSTEADY["a trace that repeats"]) == math.inf
    assert of(**AFTERWARDS["a trace that ends"]) == 1.0


def test_what_is_learnt_is_the_same_to_the_last_bit() -> None:
    scenario = edgesim.Scenario(
        name="learning",
        seed=3,
        workload={"profile": str(CONTENTION.parent / "profiles" / "lenet.json")},
        devices=[{"name": "server", "preset": "workstation"}, {"name": "pi", "count": 2, "speed": 0.1}],
        network={"topology": "star", "bandwidth": "20 Mbit/s"},
        training={"method": "parameter-server", "server": "server"},
        learn={"data": "digits", "learning_rate": 0.1, "evaluate_every": 2},
        stop={"iterations": 7},
    )
    short, whole = both(scenario)
    assert short.summary["repeated"]["iterations"] == 4
    learnt = ["iteration", "gradients", "loss", "accuracy"]
    pd.testing.assert_frame_equal(short.updates[learnt], whole.updates[learnt], check_exact=True)
    assert len(short.updates) == 7
