"""A scenario file or text in, a checked `Scenario` out, or every problem at once."""

from __future__ import annotations

from pathlib import Path

from edgesim.errors import ScenarioError
from edgesim.scenario.check import check
from edgesim.scenario.document import Document, parse, read
from edgesim.scenario.model import Scenario


def load(path: str | Path) -> Scenario:
    """Return the scenario in a YAML file.

    Raises `ScenarioError` with every problem of the file, each at its line and column.
    """
    return _checked(read(path))


def loads(text: str, file: str = "<string>", base: str | Path = ".") -> Scenario:
    """Return the scenario in YAML text; paths in it are read from the folder `base`.

    Raises `ScenarioError` with every problem of the text, each at its line and column.
    """
    return _checked(parse(text, file, Path(base)))


def ensure(scenario: Scenario) -> Scenario:
    """Return the scenario if `check` finds nothing. Raises `ScenarioError` with every problem it finds."""
    problems = check(scenario)
    if problems:
        raise ScenarioError(problems)
    return scenario


def _checked(document: Document) -> Scenario:
    return ensure(Scenario.of(document))
