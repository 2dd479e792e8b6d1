"""Real training beside the clock, end to end: what is learnt depends on what is computed, not on when."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

import edgesim
from edgesim import showing
from edgesim.planning.schedules import names
from edgesim.report.learning import curves, fingerprint
from edgesim.result import Result
from tests.learning.small import bars, idx_folder

ROOT = Path(__file__).resolve().parent.parent


LEARN = {"data": "digits", "learning_rate": 0.1, "evaluate_every": 2}


def scenario(training=None, learn=None, *, learns=True, **more):
    """Three unlike workers that train lenet for four iterations."""
    asked = {"method": "parameter-server", "server": "server-1", "workers": ["pi", "old"]} | (training or {})
    values = {
        "name": "learning",
        "seed": 3,
        "workload": {"profile": str(ROOT / "scenarios" / "profiles" / "lenet.json")},
        "devices": [
            {"name": "server", "count": 2, "preset": "workstation"},
            {"name": "pi", "count": 2, "preset": "raspberry-pi-4"},
            {"name": "old", "preset": "raspberry-pi-3b-plus"},
        ],
        "network": {"topology": "star", "bandwidth": "20 Mbit/s", "startup": {"occupancy": "1 ms"}},
        "training": {key: value for key, value in asked.items() if value is not None},
        **({"learn": LEARN | (learn or {})} if learns else {}),
        "stop": {"iterations": 4},
        **more,
    }
    return edgesim.Scenario(**values)


@pytest.fixture(scope="module")
def plain():
    return edgesim.run(scenario())


def lessons(result):
    return result.updates[["iteration", "gradients", "loss", "accuracy"]]


@pytest.mark.parametrize("schedule", names())
def test_what_is_learnt_is_the_same_to_the_last_bit_whatever_the_schedule(plain, schedule):
    found = edgesim.run(scenario({"schedule": schedule}))
    pd.testing.assert_frame_equal(lessons(found), lessons(plain), check_exact=True)
    assert found.summary["learning"]["fingerprint"] == plain.summary["learning"]["fingerprint"]


OTHERS = {
    "two servers": {"training": {"server": None, "servers": ["server-1", "server-2"]}},
    "a slower network": {"network": {"topology": "star", "bandwidth": "2 Mbit/s"}},
    "a crash that is waited for": {"events": [{"at": "100 ms", "device": "pi-2", "crash": {"for": "1 s"}}]},
    "compressed gradients": {"training": {"compression": {"ratio": 0.1}}},
    "all-reduce": {
        "training": {"method": "all-reduce", "server": None, "algorithm": "ring"},
    },
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_nor_does_it_depend_on_where_or_when_sums_are_made(plain, change):
    found = edgesim.run(scenario(**change))
    assert found.summary["simulated_s"] != plain.summary["simulated_s"]
    assert found.updates.loss.tolist() == plain.updates.loss.tolist()
    assert found.summary["learning"]["fingerprint"] == plain.summary["learning"]["fingerprint"]


def test_iterations_that_are_not_simulated_are_learnt_all_the_same():
    long = {"stop": {"iterations": 12}}
    short, whole = edgesim.run(scenario(**long)), edgesim.run(scenario(**long), every_event=True)
    assert short.summary["repeated"]["iterations"] > 0
    assert whole.summary["repeated"]["iterations"] == 0
    pd.testing.assert_frame_equal(lessons(short), lessons(whole), check_exact=True)
    assert short.updates.time_s.tolist() == pytest.approx(whole.updates.time_s.tolist(), rel=1e-9)


def test_another_seed_learns_otherwise(plain):
    found = edgesim.run(scenario(seed=4))
    assert found.updates.loss.tolist() != plain.updates.loss.tolist()


def test_updates_are_there_with_the_ends_of_iterations(plain):
    ends = plain.marks[plain.marks.kind == "iteration"].time_s.tolist()
    assert plain.updates.time_s.tolist() == ends
    assert plain.updates.subject.unique().tolist() == ["server-1"]
    assert plain.updates.gradients.unique().tolist() == [3]
    assert plain.updates.accuracy.isna().tolist() == [True, False, True, False]
    said = plain.summary["learning"]
    assert said["final_loss"] == plain.updates.loss.iloc[-1]
    assert said["final_accuracy"] == plain.updates.accuracy.iloc[-1]
    assert said["updates"] == 4
    assert said["gradients"] == 12
    assert said["staleness"] == {"mean": 0.0, "max": 0}
    assert (said["data"], said["model"], said["parameters"]) == ("digits", "lenet", 62_006)
    assert not any(item.startswith("learn") for item in plain.summary["assumed"])


def test_staleness_shows():
    asynchronous = scenario({"synchronization": "asp"}, stop={"iterations": 8})
    stale, again = edgesim.run(asynchronous), edgesim.run(asynchronous)
    assert stale.summary["learning"] == again.summary["learning"]
    fresh = edgesim.run(scenario(stop={"iterations": 8}))
    said = stale.summary["learning"]
    assert said["updates"] == len(stale.updates) == 24
    assert said["staleness"]["max"] >= 2
    assert said["staleness"]["mean"] == pytest.approx(stale.updates.staleness.mean())
    assert set(stale.updates.subject) == {"pi-1", "pi-2", "old"}
    assert said["fingerprint"] != fresh.summary["learning"]["fingerprint"]
    bound = edgesim.run(scenario({"synchronization": "ssp", "staleness": 0}, stop={"iterations": 8}))
    assert bound.summary["learning"]["staleness"]["max"] <= said["staleness"]["max"]


def test_without_learn_staleness_is_told_and_nothing_else():
    assert "learning" not in edgesim.run(scenario(learns=False)).summary
    stale = edgesim.run(scenario({"synchronization": "asp"}, learns=False))
    assert set(stale.summary["learning"]) == {"updates", "gradients", "staleness"}
    assert stale.updates.loss.isna().all()
    assert not stale.learnt
    with pytest.raises(edgesim.errors.EdgesimError, match="nothing was learnt in this run; add `learn:"):
        stale.plot_learning()


def test_a_directory_holds_what_was_learnt(tmp_path, plain):
    told = []
    edgesim.run(scenario(), out=tmp_path, progress=lambda stage, fraction=None: told.append(stage))
    assert any(stage == "loading digits and the model that learns it" for stage in told)
    loaded = Result.load(tmp_path)
    pd.testing.assert_frame_equal(loaded.updates, plain.updates, check_exact=True)
    assert loaded.summary["learning"] == plain.summary["learning"]
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert fingerprint(loaded.tables) == loaded.summary["learning"]["fingerprint"]
    edgesim.run(scenario(learns=False), out=tmp_path)
    assert not (tmp_path / "learning.png").exists(), "an earlier run's picture goes"


def test_a_comparison_draws_all_that_learnt(tmp_path):
    compared = edgesim.compare(
        scenario(), {"training.schedule": ["sequential", "dynacomm"]}, out=tmp_path, pictures=True
    )
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert compared.learnt
    table = pd.read_csv(tmp_path / "compare.csv")
    assert table["learning.fingerprint"].nunique() == 1
    assert table["learning.final_loss"].notna().all()
    legend = compared.plot_learning().legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["sequential", "dynacomm"]
    _, columns, rows = showing._runs(compared)
    shown = dict(zip(columns, rows[0], strict=True))
    learning = compared.runs[0].result.summary["learning"]
    assert shown["accuracy (end)"] == f"{100 * learning['final_accuracy']:.1f} %"
    assert shown["time to target"] == "-", "none was asked for"


def test_a_target_is_timed_and_the_end_is_always_looked_at(tmp_path):
    images = idx_folder(tmp_path / "bars", *bars(120), *bars(24, seed=1))
    easy = {"data": str(images), "model": "small-cnn", "evaluate_every": 5, "target_accuracy": 0.9}
    result = edgesim.run(scenario(learn=easy, stop={"time": "20 s"}))
    seen, said = curves(result.tables), result.summary["learning"]
    assert said["final_accuracy"] == 1.0
    reached = next(at for at, accuracy in zip(seen.accuracy_s, seen.accuracy, strict=True) if accuracy >= 0.9)
    assert said["time_to_target_s"] == reached
    assert math.isfinite(said["final_test_loss"])
    assumed = [item for item in result.summary["assumed"] if item.startswith("learn")]
    assert assumed == ["learn.model (small-cnn learns, with 312,420 parameters; lenet is timed)"]


def test_table_curve_and_summary_end_with_the_same_accuracy():
    found = edgesim.run(scenario(learn={"evaluate_every": 3}, stop={"time": "400 s"}))
    last = found.updates.iloc[-1]
    learning = found.summary["learning"]
    assert (last.gradients, last.iteration, last.time_s) == (0, -1, 400.0), "a look and no update"
    assert math.isnan(last.loss)
    assert last.accuracy == learning["final_accuracy"] == curves(found.tables).accuracy[-1]
    assert learning["updates"] == len(found.updates) - 1
    assert found.updates.accuracy.iloc[:-1].notna().any()


def test_no_look_is_added_where_the_last_update_was_looked_at(plain):
    assert plain.updates.gradients.min() > 0
    assert plain.updates.accuracy.iloc[-1] == plain.summary["learning"]["final_accuracy"]
