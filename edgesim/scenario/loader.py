"""A scenario file or text in, a checked `Scenario` out, or every problem at once."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgesim.errors import Problem, ScenarioError
from edgesim.scenario.check import check
from edgesim.scenario.document import Document, Path_, parse, read, where
from edgesim.scenario.explain import wrong_paths
from edgesim.scenario.model import Scenario


def load(path: str | Path) -> Scenario:
    """Return the scenario in a YAML file.

    Raises `ScenarioError` with every problem of the file, each at its line and column.
    """
    return _checked(read(path))


def loads(text: str, file: str = "<string>", base: str | Path = ".", *, meaning: bool = True) -> Scenario:
    """Return the scenario in YAML text; paths in it are read from the folder `base`.

    With `meaning=False` only the form is checked, and no file that the scenario names is read. Raises
    `ScenarioError` with every problem of the text, each at its line and column.
    """
    document = parse(text, file, Path(base))
    return _checked(document) if meaning else Scenario.of(document)


def ensure(scenario: Scenario) -> Scenario:
    """Return the scenario if `check` finds nothing. Raises `ScenarioError` with every problem it finds."""
    problems = check(scenario)
    if problems:
        raise ScenarioError(problems)
    return scenario


def _checked(document: Document) -> Scenario:
    try:
        scenario = Scenario.of(document)
    except ScenarioError as error:
        more = _beyond(error, document)
        problems = sorted((*error.problems, *more), key=lambda problem: (problem.line, problem.column))
        raise ScenarioError(problems) from None
    return ensure(scenario)


_NAMING = ("topology", "duplex", "center", "access_point", "fan_out", "devices", "links")


def _beyond(error: ScenarioError, document: Document) -> list[Problem]:
    """Return problems of meaning in what is left of a document when its wrong values are taken out.

    Only those that do not hang on what was taken out: none at all if it gave names to devices or links, none
    at a place that contained it, and no setting is said to have no effect.
    """
    if not isinstance(error.__context__, ValidationError):
        return []
    wrong = wrong_paths(error.__context__)
    for path in wrong:
        names_devices = path[0] == "devices" and (len(path) < 3 or path[2] in ("name", "count"))
        names_links = path[0] == "network" and (len(path) < 2 or path[1] in _NAMING)
        if names_devices or names_links:
            return []
    kept = copy.deepcopy(document.data)
    for path in sorted(wrong, key=len, reverse=True):
        if not _take_out(kept, path):
            return []
    try:
        found = check(Scenario.of(replace(document, data=kept)))
    except ScenarioError:
        return []
    places = [where(path, document.data) for path in wrong]
    parents = [where(path[:-1], document.data) for path in wrong]
    return [
        problem
        for problem in found
        if "no effect" not in problem.message
        and not (problem.message.startswith("is missing") and problem.where.rpartition(".")[0] in parents)
        and not any(
            place == problem.where or place.startswith((f"{problem.where}.", f"{problem.where}["))
            for place in places
        )
    ]


def _take_out(data: Any, path: Path_) -> bool:
    """Take the value at a path out of its mapping; return whether that leaves the rest as it was."""
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return True  # gone already, with what contained it
    if not isinstance(data, dict):
        return False
    data.pop(path[-1], None)
    return True
