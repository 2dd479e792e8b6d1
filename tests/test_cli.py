"""The command line: what each command prints, writes and exits with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from edgesim.__main__ import main
from edgesim.result import Result

TINY = Path(__file__).parent / "data" / "tiny.yaml"


def test_check_says_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(TINY)]) == 0
    assert capsys.readouterr().out == f"{TINY}: ok, 4 devices, 0 events, 2 alternatives to compare\n"


def test_check_says_everything_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        TINY.read_text()
        .replace("bandwidth: 20 Mbit/s", "bandwith: 20 Mbit/s")
        .replace("speed: 4", "speed: -4")
    )
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    assert main(["check", str(file), str(TINY)]) == 2
    captured = capsys.readouterr()
    assert f"{TINY}: ok" in captured.out
    lines = captured.err.splitlines()
    assert any(line.startswith(f"{file}:8:") and "-4" in line for line in lines)
    assert any(line.startswith(f"{file}:13:") and "did you mean 'bandwidth'?" in line for line in lines)


@pytest.mark.parametrize(
    "argv",
    [
        ["check"],
        ["run"],
        ["dance"],
        ["run", "no-such-file.yaml"],
        ["run", str(TINY), "--set", "training.schedule"],
        ["run", str(TINY), "--set", "training.schedule=fastest"],
        ["run", str(TINY), "--set", "nowhere.at.all=1"],
        ["run", str(TINY), "--set", "stop=[{"],
        ["compare", str(TINY), "--axis", "training.schedule"],
        ["compare", str(TINY), "--axis", "training.schedule=ibatch,quick"],
        ["compare", str(TINY), "--axis", "training.schedule=[]"],
        ["profile", "no-such-model"],
        ["profile", "lenet", "--input", "3,x"],
        ["profile", "lenet", "--batch-size", "0"],
        ["list", "colours"],
        ["run", str(TINY), "--replay", "nowhere"],
    ],
)
def test_bad_input_exits_2_with_a_message(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.strip()
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run", "FILE", "--set", "training.schedule=fastest"], "--set training.schedule: unknown schedule"),
        (["run", "FILE", "--set", "stop.nowhere=1"], "--set stop.nowhere: unknown key"),
        (["run", "FILE", "--set", "training.server=slow-9"], "--set training.server: there is no device"),
        (["run", "FILE", "--set", "devices[fats].speed=1"], "--set devices[fats].speed: there is no 'fats'"),
        (["check", "FILE", "--set", "devices[server].name=boss"], "FILE:18:11 training.server: there is no"),
        (["compare", "FILE", "--axis", "training.schedule=ibatch,x"], "--axis training.schedule: unknown"),
        (["compare", "FILE", "--axis", "training.server=fast,x"], "--axis training.server: there is no dev"),
        (["check", "none.yaml"], "none.yaml (file): cannot be read"),
    ],
)
def test_a_problem_is_told_where_its_value_was_given(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([part.replace("FILE", str(TINY)) for part in argv]) == 2
    assert capsys.readouterr().err.startswith(said.replace("FILE", str(TINY)))


def test_run_writes_its_directory_and_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["run", str(TINY), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert Result.load(out).explain() in " ".join(said.split())
    assert str(out) in said
    assert "tiny, 3 workers" in said.splitlines()[0]
    assert {path.name for path in out.iterdir()} == {
        "scenario.yaml",
        "summary.json",
        "spans.parquet",
        "transfers.parquet",
        "marks.parquet",
        "updates.parquet",
        "timeline.png",
        "trace.json.gz",
    }
    summary = json.loads((out / "summary.json").read_text())
    assert summary["complete"] is True
    assert summary["iterations"] == 4


def test_set_changes_what_is_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    sets = [
        "--set",
        "stop.iterations=2",
        "--set",
        "devices[slow].count=3",
        "--set",
        "network.bandwidth=5 Mbit/s",
    ]
    assert main(["run", str(TINY), "--out", str(out), *sets]) == 0
    result = Result.load(out)
    assert result.summary["iterations"] == 2
    assert "slow-3" in result.summary["devices"]
    assert result.summary["links"]["fast.up"]["bandwidth_Bps"] == 5e6 / 8
    assert result.scenario.stop.iterations == 2


def test_a_directory_that_is_no_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["run", str(TINY), "--out", str(tmp_path)]) == 2
    assert "not the directory of an edgesim run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_compare_writes_one_row_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "compare"
    axis = [
        "--axis",
        "training.schedule=sequential,dynacomm",
        "--axis",
        "network.bandwidth=10 Mbit/s,20 Mbit/s",
    ]
    assert main(["compare", str(TINY), "--out", str(out), *axis]) == 0
    table = pd.read_csv(out / "compare.csv")
    assert list(table.columns[:2]) == ["training.schedule", "network.bandwidth"]
    assert len(table) == 4
    flat = {
        "iteration_s.steady",
        "devices.fast.energy_J",
        "links.server.up.utilisation",
        "bounds.ratio",
        "fingerprint",
    }
    assert flat <= set(table.columns)
    assert (out / "compare.png").stat().st_size > 10_000
    assert Result.load(out / "dynacomm_20-Mbit-s").summary["complete"]
    times = table.set_index(["training.schedule", "network.bandwidth"])["iteration_s.steady"]
    assert times["dynacomm", "20 Mbit/s"] <= times["sequential", "20 Mbit/s"]
    said = capsys.readouterr().out
    assert "an iteration" in said
    assert str(out) in said


def test_events_that_never_happened_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _with(tmp_path, "events: [{at: 100 s, device: fast, crash: {}}]\n")
    assert main(["run", str(file), "--out", str(tmp_path / "run"), "--no-pictures"]) == 0
    end = "1 event never happened: the run ended at"
    assert f"warning: {end}" in capsys.readouterr().err
    assert main(["compare", str(file), "--out", str(tmp_path / "compare"), "--no-pictures"]) == 0
    assert f"warning: dynacomm: {end}" in capsys.readouterr().err


def test_runs_and_comparisons_have_directories_of_their_own_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(TINY), "--no-pictures"]) == 0
    assert main(["compare", str(TINY), "--no-pictures"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["tiny", "tiny-compare"]


def test_ctrl_c_in_a_comparison_keeps_its_table(tmp_path: Path) -> None:
    out = tmp_path / "out"
    axis = "stop.iterations=3,1000000000,4"
    command = ("compare", str(TINY), "--out", str(out), "--axis", axis, "--every-event")
    process = _endless(out / "1000000000", *command)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopping; writing what happened (press again to stop at once)" in said
    assert f"{out} holds what happened until then" in said
    assert pd.read_csv(out / "compare.csv")["stop.iterations"].tolist() == [3, 10**9]
    assert (out / "compare.png").exists()


def test_a_failed_alternative_is_a_row_and_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _with(tmp_path, "events: [{at: 0.3 s, device: server, crash: {for: 1 s}}]\n")
    out = tmp_path / "out"
    axes = ["--axis", "events[0].crash={for: 1 s},{}"]
    assert main(["compare", str(file), "--out", str(out), *axes]) == 3
    table = pd.read_csv(out / "compare.csv")
    assert table["error"].isna().tolist() == [True, False]
    assert "crashed for good" in table["error"][1]
    assert "1 of 2 alternatives failed" in capsys.readouterr().err


def test_a_run_that_cannot_go_on_exits_3_and_keeps_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _with(tmp_path, "events: [{at: 0.6 s, device: server, crash: {}}]\n")
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 3
    message = capsys.readouterr().err
    assert "server" in message
    assert "crashed for good" in message
    summary = Result.load(tmp_path / "out").summary
    assert summary["complete"] is False
    assert "crashed for good" in summary["stopped"]
    assert summary["iterations"] >= 1


def test_profile_shows_and_saves_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "small.json"
    assert main(["profile", "lenet", "--input", "1,28,28", "--batch-size", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1x28x28" in said
    assert "5 layers add up to" in said
    assert re.findall(r"^ *(\d) +(\w+) +(?:Conv2d|Linear) ", said, re.MULTILINE) == [
        ("1", "conv1"), ("2", "conv2"), ("3", "fc1"), ("4", "fc2"), ("5", "fc3")
    ]  # fmt: skip
    assert out.with_suffix(".png").stat().st_size > 5_000
    document = json.loads(out.read_text())
    assert [layer["parameters"] for layer in document["layers"]] == [156, 2416, 30840, 10164, 850]


def test_a_model_is_found_in_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import torch\n\n\ndef net():\n    return torch.nn.Linear(4, 2)\n")
    program = "import sys; sys.path[:1] = []; from edgesim.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "profile", "mine:net", "--input", "4", "--batch-size", "2", "-q"],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning: the layers miss")]
    assert (done.returncode, said) == (0, [])
    assert "mine:net, batches of 2 x 4" in done.stdout


def test_schema_is_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["$schema"].startswith("http://json-schema.org/draft-07")
    assert main(["schema", "--out", str(tmp_path / "s.json")]) == 0
    assert (tmp_path / "s.json").read_text() == printed


def test_the_lists_name_what_the_program_knows(capsys: pytest.CaptureFixture[str]) -> None:
    from typing import get_args

    from edgesim import listing, training
    from edgesim.catalogue import DATA_SETS
    from edgesim.planning.schedules import SCHEDULES
    from edgesim.scenario.network_section import Network
    from edgesim.scenario.training_section import AllReduce, ParameterServer, Planner
    from edgesim.training.parameter_server import POLICIES

    for table, section, field in (
        (listing.TOPOLOGIES, Network, "topology"),
        (listing.SYNCHRONIZATIONS, ParameterServer, "synchronization"),
        (listing.PLANNERS, Planner, "policy"),
        (listing.ALGORITHMS, AllReduce, "algorithm"),
    ):
        assert set(table) == set(get_args(section.model_fields[field].annotation))
    assert set(listing.METHODS) == set(training.METHODS)
    assert set(listing.POLICIES) == set(POLICIES)
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    known = "mobilenetv2-32", "raspberry-pi-4", "wifi", "resume", *SCHEDULES, *DATA_SETS
    assert all(name in said for name in known)


def test_a_schedule_of_a_package_is_listed_even_if_it_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    offers = "broken-one = no_such_module:cut\nwhole-one = edgesim.planning.rivals:sequential\n"
    (info / "entry_points.txt").write_text(f"[edgesim.schedules]\n{offers}")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["list", "schedules"]) == 0
    said = capsys.readouterr().out
    assert "No module named 'no_such_module'" in said
    assert "Return one segment" in said


def test_every_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("check", "run", "compare", "profile", "schema", "list"):
        assert main([command, "--help"]) == 0
        assert f"edgesim {command}" in capsys.readouterr().out.split("Usage")[1][30:]


def test_ctrl_c_leaves_partial_results_that_say_so(tmp_path: Path) -> None:
    process = _endless_run(tmp_path / "out")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopping; writing what happened" in said
    assert "interrupted at" in said
    assert "Traceback" not in said
    result = Result.load(tmp_path / "out")
    assert result.summary["complete"] is False
    assert result.summary["stopped"] == "interrupted"
    assert result.summary["iterations"] > 0
    assert result.summary["fingerprint"] == result.tables.fingerprint()
    assert (tmp_path / "out" / "timeline.png").exists()


def test_a_killed_run_leaves_a_readable_directory(tmp_path: Path) -> None:
    process = _endless_run(tmp_path / "out")
    process.kill()
    process.communicate(timeout=120)
    result = Result.load(tmp_path / "out")
    assert result.summary["complete"] is False
    assert len(result.spans) > 0
    assert len(pd.read_parquet(tmp_path / "out" / "transfers.parquet")) == len(result.transfers) > 0


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m edgesim schema | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bug_is_owned_up_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(argv: list[str]) -> int:
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setattr("edgesim.__main__._command", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["check", str(TINY)]) == 70
    said = capsys.readouterr().err
    assert said.startswith("edgesim: a bug of edgesim")
    assert len(said.splitlines()) == 1
    (log,) = tmp_path.iterdir()
    assert str(log) in said
    assert "ZeroDivisionError: one over nothing" in log.read_text()


def _with(folder: Path, more: str) -> Path:
    """Write the tiny scenario with more sections, and its profile beside it."""
    file = folder / "scenario.yaml"
    (folder / "two-layers.json").write_bytes((TINY.parent / "two-layers.json").read_bytes())
    file.write_text(TINY.read_text() + more)
    return file


def _endless_run(out: Path) -> subprocess.Popen[str]:
    """Start a run that would take for ever, and return when it has written rows."""
    endless = ("--set", "stop.iterations=1000000000", "--every-event")
    return _endless(out, "run", str(TINY), "--out", str(out), *endless)


def _endless(out: Path, *argv: str) -> subprocess.Popen[str]:
    """Start a command that takes for ever, and return when its run in a directory has written rows."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgesim", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    while process.poll() is None:
        try:
            if json.loads((out / "summary.json").read_text())["rows"]["transfers"] > 0:
                return process
        except (OSError, KeyError):
            pass
        time.sleep(0.05)
    raise AssertionError(process.communicate()[1])


def test_a_single_run_warns_of_what_only_its_alternatives_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", "tests/data/pipeline.yaml", "--no-pictures", "--quiet", "--out", str(tmp_path / "run")]
    assert main(asked) == 0
    said = capsys.readouterr().err
    assert "warning: training.micro_batches: has no effect in this run: 1f1b takes whole batches" in said
