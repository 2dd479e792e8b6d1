"""A few mutated scenarios at every test run; `benchmarks/fuzz.py` tries ten thousand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings


def _load() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("edgesim_fuzz", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["edgesim_fuzz"] = module
    spec.loader.exec_module(module)
    return module


fuzz = _load()


@settings(
    max_examples=50, database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(example=fuzz.examples())
def test_a_mutated_scenario_never_ends_in_a_traceback(example: object) -> None:
    with fuzz.workshop() as folder:
        fuzz.attempt(example, folder)


@pytest.mark.parametrize("index", range(len(fuzz.SEEDS)), ids=[path.name for path in fuzz.SEEDS])
def test_an_unchanged_seed_runs(index: int, tmp_path: Path) -> None:
    with fuzz.workshop() as folder:
        content = fuzz.dump(fuzz.bounded(fuzz.trees()[index]))
        assert fuzz.attempt(fuzz.Example(content, "run", pictures=True), folder) == 0


def test_the_fuzzer_notices_a_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(path: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("edgesim.scenario.load", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with fuzz.workshop() as folder, pytest.raises(AssertionError, match="exit code 70"):
        fuzz.attempt(fuzz.Example(b"", "check", pictures=False), folder)


def test_a_run_without_end_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "PATIENCE_S", 0.5)
    tree = next(tree for tree in fuzz.trees() if tree["name"] == "tiny")
    tree["stop"]["iterations"] = 10**9
    with fuzz.workshop() as folder:
        assert fuzz.attempt(fuzz.Example(fuzz.dump(tree), "run", pictures=False), folder) == 130


def test_a_run_that_cannot_go_on_is_told_apart() -> None:
    tree = next(tree for tree in fuzz.trees() if tree["name"] == "outage")
    del tree["events"][0]["crash"]["for"]
    with fuzz.workshop() as folder:
        assert fuzz.attempt(fuzz.Example(fuzz.dump(tree), "run", pictures=False), folder) == 3
