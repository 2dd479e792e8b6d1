"""What a plain import costs: nothing heavy is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["torch", "simpy", "matplotlib", "pandas", "pydantic", "pyarrow", "numpy", "rich", "typer"]


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("edgesim", HEAVY),
        ("edgesim.planning.segmentation", ["simpy", "torch", "matplotlib", "pandas"]),
        ("edgesim.engine", ["torch", "matplotlib", "pandas"]),
        ("edgesim.training", ["torch", "matplotlib", "pandas"]),
        ("edgesim.scenario", ["torch", "simpy", "matplotlib", "pandas", "pyarrow", "pint"]),
        ("edgesim.experiment", ["torch", "matplotlib", "pandas"]),
        ("edgesim.cli", ["torch", "simpy", "matplotlib", "pandas", "pydantic"]),
        ("edgesim.catalogue", ["torch"]),
    ],
)
def test_import_loads_nothing_heavy(module: str, forbidden: list[str]) -> None:
    code = f"import sys, {module}; print(*(name for name in {forbidden!r} if name in sys.modules))"
    assert _python(code).split() == []


def test_names_of_the_face_are_there() -> None:
    listed = "import edgesim; print(*edgesim.__all__); assert set(edgesim.__all__) <= set(dir(edgesim))"
    names = _python(listed).split()
    assert {"load", "run", "compare", "profile", "Scenario", "Result"} <= set(names)
    assert _python(f"from edgesim import {', '.join(names)}") == ""


def test_unknown_name_is_an_attribute_error() -> None:
    import edgesim

    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        edgesim.swep  # noqa: B018


def test_check_of_a_scenario_loads_no_torch() -> None:
    code = (
        "import sys; from edgesim.__main__ import main\n"
        "assert main(['check', 'tests/data/tiny.yaml']) == 0\n"
        "print(*(name for name in ['torch', 'simpy', 'matplotlib', 'pandas', 'pint'] if name in sys.modules))"
    )
    assert _python(code).splitlines()[1] == ""


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
