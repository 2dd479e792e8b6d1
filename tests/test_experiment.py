"""Where everything meets: from a scenario to a result, from Python."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import edgesim
from edgesim import workload_file
from edgesim.errors import EdgesimError, ProfileError, ScenarioError, SimulationError
from edgesim.experiment import face
from edgesim.experiment.face import directory_name
from edgesim.scenario import override

TINY = Path(__file__).parent / "data" / "tiny.yaml"


def test_a_run_in_memory_is_a_result_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = edgesim.run(TINY)
    assert result.summary["complete"]
    assert result.summary["iterations"] == 4
    assert len(result.transfers) > 0
    assert set(result.spans.kind) == {"forward", "backward", "update"}
    assert not list(tmp_path.iterdir())


def test_in_memory_and_on_disk_are_the_same_run(tmp_path: Path) -> None:
    memory, disk = edgesim.run(TINY), edgesim.run(TINY, out=tmp_path / "out")
    loaded = edgesim.Result.load(tmp_path / "out")
    for other in (disk, loaded):
        assert {**other.summary, "wall_s": 0} == {**memory.summary, "wall_s": 0}
        pd.testing.assert_frame_equal(other.transfers, memory.transfers)
    for scenario in (loaded.scenario, memory.scenario):
        assert scenario.devices == edgesim.load(TINY).devices
        assert scenario.resolve(str(scenario.workload.profile)).resolve() == TINY.parent / "two-layers.json"


def test_a_saved_result_holds_a_scenario_that_runs_again(tmp_path: Path) -> None:
    first = edgesim.run(TINY)
    first.save(tmp_path / "deep" / "down")
    again = edgesim.run(tmp_path / "deep" / "down" / "scenario.yaml")
    assert again.summary["fingerprint"] == first.summary["fingerprint"]


def test_the_same_seed_gives_the_same_fingerprint_and_another_another() -> None:
    events = [{"devices": ["slow"], "random": {"mtbf": "0.4 s", "mttr": "0.1 s"}}]
    runs = [edgesim.run(TINY, seed=seed, events=events) for seed in (1, 1, 2)]
    first, again, other = (run.summary["fingerprint"] for run in runs)
    assert first == again
    assert first != other


def test_overrides_reach_any_path() -> None:
    result = edgesim.run(TINY, training__schedule="sequential", **{"devices[slow].count": 1})
    assert result.summary["schedule"] == "sequential"
    assert set(result.summary["devices"]) == {"server", "fast", "slow-1"}
    with pytest.raises(ScenarioError, match="did you mean 'schedule'"):
        edgesim.run(TINY, training__schedul="sequential")


def test_bytes_add_up_to_the_model_twice_a_worker_and_iteration() -> None:
    workload = workload_file.load(TINY.parent / "two-layers.json")
    summary = edgesim.run(TINY).summary
    assert summary["bytes_sent"] == 4 * 3 * 2 * workload.parameter_bytes
    assert summary["bytes_received"] == summary["bytes_sent"]
    assert summary["bytes_lost"] == 0


def test_an_iteration_alone_on_its_links_is_what_the_planner_predicts() -> None:
    summary = edgesim.run(TINY, training__workers=["fast"], devices=_devices("server", "fast")).summary
    assert summary["iteration_s"]["steady"] == pytest.approx(summary["predicted_s"], rel=1e-9)
    assert summary["bounds"]["ratio"] >= 1.0 - 1e-9


def test_a_run_stops_at_its_time() -> None:
    summary = edgesim.run(TINY, stop={"time": "0.7 s"}).summary
    assert summary["simulated_s"] == 0.7
    assert summary["complete"]


def test_too_little_memory_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"devices\[fast\].*two-layers"):
        edgesim.run(TINY, out=tmp_path / "out", **{"devices[fast].memory": "100 kB"})
    assert not (tmp_path / "out").exists()


def test_compare_shares_seed_and_workload_and_orders_its_rows() -> None:
    axes = {"training.schedule": ["sequential", "layer-by-layer", "dynacomm"], "seed": [1, 2]}
    comparison = edgesim.compare(TINY, axes)
    assert [tuple(run.axes.values()) for run in comparison] == [
        (schedule, seed) for schedule in axes["training.schedule"] for seed in axes["seed"]
    ]
    assert comparison.table["complete"].all()
    assert comparison.table["bytes_sent"].nunique() == 1
    steady = comparison.table.groupby("training.schedule")["iteration_s.steady"].min()
    assert steady["dynacomm"] <= steady.min()


def test_compare_needs_something_to_compare() -> None:
    with pytest.raises(EdgesimError, match="nothing to compare"):
        edgesim.compare(TINY, compare=None)
    with pytest.raises(EdgesimError, match="nothing to compare"):
        edgesim.compare(TINY, {"seed": []})


def test_what_is_no_scenario_and_no_axis_is_bad_input() -> None:
    with pytest.raises(EdgesimError, match=r"got a dict; make one of it: edgesim\.Scenario"):
        edgesim.run({"name": "x"})  # type: ignore[arg-type]
    with pytest.raises(EdgesimError, match="got a int; see"):
        edgesim.compare(7)  # type: ignore[arg-type]
    with pytest.raises(EdgesimError, match=r"must be a list, got 'ibatch'; write"):
        edgesim.compare(TINY, {"training.schedule": "ibatch"})
    with pytest.raises(EdgesimError, match="axes must be a mapping"):
        edgesim.compare(TINY, ["training.schedule"])  # type: ignore[arg-type]


def test_a_workload_shows_itself() -> None:
    workload = workload_file.load(TINY.parent / "two-layers.json")
    assert repr(workload).startswith("<Workload two-layers: 2 layers, batches of ")
    assert len(repr(workload)) < 120
    assert workload._repr_html_().count("<tr>") == 3


def test_a_model_of_the_users_own_needs_the_shape_of_its_input() -> None:
    with pytest.raises(ProfileError, match=r"--input 3,32,32.*`workload\.input"):
        edgesim.profile("somewhere:net")
    with pytest.raises(ProfileError, match=r"workload\.input"):
        edgesim.run(TINY, workload={"model": "somewhere:net"})


def test_only_the_directory_of_a_live_run_is_replayed(tmp_path: Path) -> None:
    workload = {"model": "lenet", "timing": "live"}
    with pytest.raises(ProfileError, match="holds no run with `timing: live`"):
        edgesim.run(TINY, replay=tmp_path, workload=workload)
    with pytest.raises(ProfileError, match="is not there"):
        edgesim.run(TINY, replay=tmp_path / "x", workload=workload)


def test_compare_checks_every_alternative_before_it_runs_one(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean"):
        edgesim.compare(TINY, {"training.schedule": ["sequential", "dynacom"]}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_alternatives_that_read_alike_have_directories_of_their_own(tmp_path: Path) -> None:
    edgesim.compare(TINY, {"network.bandwidth": ["10 Mbit/s", "10  Mbit/s", "10 Mbit/s"]}, out=tmp_path)
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == ["10--Mbit-s", "10-Mbit-s", "10-Mbit-s-2"]


def test_a_directory_name_cannot_leave_its_place() -> None:
    assert directory_name({"a": "../../etc/passwd"}) == "etc-passwd"
    assert directory_name({"a": "..", "b": None}) == "none"
    assert len(directory_name({str(axis): "x" * 500 for axis in range(20)})) <= 200


def test_an_interrupt_keeps_what_happened(tmp_path: Path) -> None:
    def stop(stage: str, fraction: float | None = None) -> None:
        if stage == "simulating":
            raise KeyboardInterrupt

    with pytest.raises(edgesim.Interrupted, match="interrupted at") as caught:
        edgesim.run(TINY, out=tmp_path / "out", progress=stop, stop={"iterations": 10**9})
    assert caught.value.result.summary["iterations"] > 0
    loaded = edgesim.Result.load(tmp_path / "out")
    assert loaded.summary["complete"] is False
    assert loaded.summary["fingerprint"] == caught.value.result.summary["fingerprint"]


def test_an_interrupted_comparison_keeps_the_runs_it_has(tmp_path: Path) -> None:
    def stop(stage: str, fraction: float | None = None) -> None:
        if stage.startswith("1000000000") and fraction is not None and 0.0 < fraction < 1.0:
            raise KeyboardInterrupt

    with pytest.raises(edgesim.Interrupted, match=r"after 2 of 3 runs; .*out holds"):
        edgesim.compare(TINY, {"stop.iterations": [3, 10**9, 5]}, out=tmp_path / "out", progress=stop)
    table = pd.read_csv(tmp_path / "out" / "compare.csv")
    assert table["stop.iterations"].tolist() == [3, 10**9]
    assert table["complete"].tolist() == [True, False]


def test_a_directory_takes_one_run_at_a_time(tmp_path: Path) -> None:
    refused: list[str] = []

    def second(stage: str, fraction: float | None = None) -> None:
        if stage == "planning":
            for other in (edgesim.run, edgesim.compare):
                with pytest.raises(EdgesimError) as caught:
                    other(TINY, out=tmp_path / "out")
                refused.append(str(caught.value))

    edgesim.run(TINY, out=tmp_path / "out", progress=second)
    assert "is being written by another run of edgesim" in refused[0]
    assert "holds a single run" in refused[1]
    assert edgesim.run(TINY, out=tmp_path / "out").summary["complete"]


def test_two_comparisons_do_not_share_a_directory(tmp_path: Path) -> None:
    def second(stage: str, fraction: float | None = None) -> None:
        with pytest.raises(EdgesimError, match="another run of edgesim"):
            edgesim.compare(TINY, out=tmp_path / "out")

    assert len(edgesim.compare(TINY, out=tmp_path / "out", progress=second)) == 2


def test_runs_and_comparisons_do_not_mix(tmp_path: Path) -> None:
    edgesim.compare(TINY, {"seed": [1]}, out=tmp_path / "many")
    with pytest.raises(EdgesimError, match="holds a comparison"):
        edgesim.run(TINY, out=tmp_path / "many")
    edgesim.run(TINY, out=tmp_path / "one")
    with pytest.raises(EdgesimError, match="holds a single run"):
        edgesim.compare(TINY, out=tmp_path / "one")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(EdgesimError, match="holds no comparison"):
        edgesim.compare(TINY, out=tmp_path / "other")


def test_a_comparison_clears_away_the_runs_of_the_one_before_it_and_nothing_else(tmp_path: Path) -> None:
    edgesim.compare(TINY, {"seed": [1, 2, 3]}, out=tmp_path, pictures=False)
    edgesim.run(TINY, out=tmp_path / "mine", pictures=False)
    for file in (tmp_path / "3").iterdir():
        file.unlink()
    (tmp_path / "3" / "thesis.tex").write_text("years of work")
    edgesim.compare(TINY, {"seed": [2, 4]}, out=tmp_path, pictures=False)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["2", "3", "4", "mine"]
    assert json.loads((tmp_path / "compare.json").read_text())["runs"] == [
        {"directory": "2", "axes": {"seed": 2}},
        {"directory": "4", "axes": {"seed": 4}},
    ]


def test_an_interrupt_while_pictures_are_made_costs_the_pictures_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(result: edgesim.Result, path: Path) -> list[str]:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal has not come")

    monkeypatch.setattr("edgesim.result.Result.save_pictures", stop)
    with pytest.raises(edgesim.Interrupted):
        edgesim.run(TINY, out=tmp_path)
    summary = edgesim.Result.load(tmp_path).summary
    assert summary["complete"] is True
    assert summary["stopped"].startswith("interrupted")


def test_a_second_interrupt_stops_at_once_and_names_what_can_be_read(tmp_path: Path) -> None:
    def twice(stage: str, fraction: float | None = None) -> None:
        if stage == "simulating":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"stopped at once; .* can be read") as caught:
        edgesim.run(TINY, out=tmp_path, progress=twice, stop={"iterations": 10**9})
    assert not isinstance(caught.value, edgesim.Interrupted)
    assert str(tmp_path) in str(caught.value)
    assert edgesim.Result.load(tmp_path).summary["complete"] is False


def test_events_after_the_end_are_counted() -> None:
    events = [{"at": f"{at} s", "device": "fast", "slow": {"to": 0.9}} for at in (0.1, 100, 200)]
    assert edgesim.run(TINY, events=events).summary["events_missed"] == 2
    assert "events_missed" not in edgesim.run(TINY, events=events[:1]).summary


def test_a_run_works_outside_the_main_thread() -> None:
    found: list[edgesim.Result] = []
    thread = threading.Thread(target=lambda: found.append(edgesim.run(TINY)))
    thread.start()
    thread.join()
    assert found[0].summary["fingerprint"] == edgesim.run(TINY).summary["fingerprint"]


def test_a_failing_run_says_why_and_keeps_what_happened(tmp_path: Path) -> None:
    events = [{"at": "0.6 s", "device": "server", "crash": {}}]
    with pytest.raises(SimulationError, match=r"crashed for good at 0\.6 s"):
        edgesim.run(TINY, out=tmp_path / "out", events=events)
    assert edgesim.Result.load(tmp_path / "out").summary["iterations"] == 2


@pytest.mark.parametrize("timing", ["measured", "live"])
def test_real_layers_can_be_measured_and_run_live(
    timing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("edgesim.experiment.workloads.BUDGET_S", 0.2)
    workload = {"model": "lenet", "batch_size": 2, "timing": timing}
    out = tmp_path / "first"
    first = edgesim.run(TINY, out=out, workload=workload, stop={"iterations": 2})
    assert first.summary["iterations"] == 2
    measured = workload_file.load(out / "profile.json")
    assert [layer.kind for layer in measured.layers] == ["Conv2d", "Conv2d", "Linear", "Linear", "Linear"]
    if timing == "live":
        again = edgesim.run(TINY, replay=out, workload=workload, stop={"iterations": 2})
    else:
        again = edgesim.run(TINY, workload={"profile": str(out / "profile.json")}, stop={"iterations": 2})
    assert again.summary["fingerprint"] == first.summary["fingerprint"]


def test_blocks_are_run_live_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("edgesim.experiment.workloads.BUDGET_S", 0.2)
    workload = {"model": "lenet", "batch_size": 2, "timing": "live", "blocks": [2, 5]}
    first = edgesim.run(TINY, out=tmp_path / "out", workload=workload, stop={"iterations": 2})
    kept = workload_file.load(tmp_path / "out" / "profile.json")
    assert [layer.name for layer in kept.layers] == ["conv1; conv2", "fc1; fc2; fc3"]
    again = edgesim.run(TINY, replay=tmp_path / "out", workload=workload, stop={"iterations": 2})
    assert again.summary["fingerprint"] == first.summary["fingerprint"]
    for other in (None, [3, 5]):
        with pytest.raises(ProfileError, match=r"workload.blocks: .* with blocks that end in \[2, 5\]"):
            edgesim.run(TINY, replay=tmp_path / "out", workload={**workload, "blocks": other})
    with pytest.raises(ProfileError, match=r"workload.blocks: lenet has .* rise from at least 1 to 5"):
        edgesim.run(TINY, workload={**workload, "blocks": [2, 4]})


def test_blocks_of_a_profile_are_the_layers_of_the_run() -> None:
    def pulled(**more: object) -> set[tuple[float, float]]:
        profile = str(TINY.parent.parent.parent / "scenarios" / "profiles" / "lenet.json")
        spans = edgesim.run(TINY, workload={"profile": profile, **more}, stop={"iterations": 2}).spans
        kept = spans[spans.kind == "forward"]
        return set(zip(kept["first"], kept["last"], strict=True))

    assert {last for _, last in pulled()} == {1, 2, 3, 4, 5}
    assert {last for _, last in pulled(blocks=[2, 5])} == {1, 2}


def test_only_a_live_run_is_replayed(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="only a scenario with `timing: live`"):
        edgesim.run(TINY, replay=tmp_path)


def test_a_model_whose_input_does_not_fit_is_bad_input(tmp_path: Path) -> None:
    workload = {"model": "lenet", "input": [3, 8, 8]}
    with pytest.raises(EdgesimError, match="at least 16 pixels") as caught:
        edgesim.run(TINY, out=tmp_path / "out", workload=workload)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def _devices(*names: str) -> list[dict[str, object]]:
    return [{"name": name, "speed": 1.0} for name in names]


def test_a_comparison_holds_as_many_rows_as_fit_and_reads_the_others_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = edgesim.compare(TINY, {"seed": [1, 2]}, pictures=False)
    monkeypatch.setattr(face, "MOST_BYTES", 0)
    released = edgesim.compare(TINY, {"seed": [1, 2]}, out=tmp_path / "out", pictures=False)
    assert released.winner == held.winner
    for kept, read in zip(held, released, strict=True):
        assert kept.result is not None
        assert read.result is not None
        assert "transfers" not in vars(read.result)
        assert read.result.transfers.equals(kept.result.transfers)
        assert read.result.explain() == kept.result.explain()


def test_the_one_picture_of_many_runs_is_made_where_each_has_none(tmp_path: Path) -> None:
    axes = {
        "seed": list(range(1, 9)),
        "network.bandwidth": ["10 Mbit/s", "20 Mbit/s", "40 Mbit/s", "80 Mbit/s"],
    }
    edgesim.compare(TINY, axes, out=tmp_path, pictures=False, stop={"iterations": 1})
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == ["compare.png"]


def test_blocks_of_axes_are_one_comparison_in_which_every_run_has_every_axis() -> None:
    blocks: list[dict[str, list[Any]]] = [
        {"seed": [5, 6], "training.schedule": ["sequential"]},
        {"training.schedule": ["sequential", "dynacomm"], "seed": [6]},
    ]
    comparison = edgesim.compare(TINY, blocks, pictures=False)
    rows = comparison.table[["seed", "training.schedule"]].to_numpy().tolist()
    assert rows == [[5, "sequential"], [6, "sequential"], [6, "dynacomm"]]
    (single,) = edgesim.compare(TINY, {**blocks[1], "training.schedule": ["dynacomm"]}, pictures=False)
    assert single.result is not None
    last = comparison.runs[-1].result
    assert last is not None
    assert last.summary["fingerprint"] == single.result.summary["fingerprint"]
    with pytest.raises(EdgesimError, match="or a list of such"):
        edgesim.compare(TINY, [{"seed": [1]}, "training.schedule"])  # type: ignore[list-item]
    with pytest.raises(EdgesimError, match="its values must be a list"):
        edgesim.compare(TINY, [{"seed": 1}])  # type: ignore[dict-item]


def test_what_a_scenario_compares_does_not_hinder_a_run_of_something_else() -> None:
    compared = {"training.schedule": ["p3", "dynacomm"]}  # p3 does not go with asp
    stated, asp = override(edgesim.load(TINY), "compare", compared), {"training.synchronization": "asp"}
    result = edgesim.run(stated, stop__iterations=1, **asp)
    assert result.scenario.compare is None
    other = edgesim.compare(stated, {"seed": [1, 2]}, stop={"iterations": 1}, pictures=False, **asp)
    assert len(other) == 2
    with pytest.raises(ScenarioError, match="with 'p3'"):
        edgesim.compare(stated, **asp)
    assert edgesim.run(stated, stop__iterations=1).scenario.compare is not None
    with pytest.raises(ScenarioError) as caught:
        edgesim.compare(stated, {"seed": [1, 2]}, network__fan_out=2, **asp)
    assert [problem.where for problem in caught.value.problems] == ["network.fan_out"]


def test_a_planner_applies_to_the_alternatives_that_plan() -> None:
    comparison = edgesim.compare(TINY, pictures=False, **{"training.planner.policy": "once"})
    assert [run.label for run in comparison] == ["sequential", "dynacomm"]
    planners = [run.result.scenario.training.planner for run in comparison if run.result]
    assert [planner and planner.policy for planner in planners] == [None, "once"]


def test_a_parameter_server_against_all_reduce(tmp_path: Path) -> None:
    axes: list[dict[str, list[Any]]] = [
        {"training.schedule": ["sequential", "p3"]},
        {"training.method": ["all-reduce"], "training.algorithm": ["ring", "tree"]},
    ]
    comparison = edgesim.compare(TINY, axes, out=tmp_path, pictures=False)
    names = ["sequential", "p3", "all-reduce ring", "all-reduce tree"]
    assert [run.label for run in comparison] == comparison.table["alternative"].tolist() == names
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == ["all-reduce-ring", "all-reduce-tree", "p3", "sequential"]
    for run in comparison:
        assert run.result is not None
        computing = run.result.spans.query("kind == 'backward'")
        assert set(computing["device"]) == {"fast", "slow-1", "slow-2"}
    assert all(name in comparison._repr_html_() for name in names)


def test_the_best_run_and_why_each_took_as_long(tmp_path: Path) -> None:
    comparison = edgesim.compare(TINY, pictures=False)
    means = comparison.table.set_index("training.schedule")["iteration_s.mean"]
    assert comparison.best is not None
    assert comparison.best.label == means.idxmin()
    said = comparison.explain().splitlines()
    assert [line.partition(": ")[0] for line in said] == ["sequential", "dynacomm"]
    assert comparison.runs[0].result is not None
    assert said[0].endswith(comparison.runs[0].result.explain())
