"""What only meaning can tell: every problem of a scenario whose form is right."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

from edgesim.errors import Problem, ScenarioError
from edgesim.scenario.check_devices import check_devices, check_workload
from edgesim.scenario.check_events import check_events, check_stop, check_training
from edgesim.scenario.check_network import check_network
from edgesim.scenario.check_routes import check_cut_off, check_medium, check_reachable
from edgesim.scenario.document import Document, Path_
from edgesim.scenario.fields import shown
from edgesim.scenario.finding import Finding
from edgesim.scenario.model import Scenario
from edgesim.scenario.paths import PathError, find, put

MAX_ALTERNATIVES = 1000
_FIXED = ("compare", "version", "name", "description")


def check(scenario: Scenario) -> list[Problem]:
    """Return every problem of meaning, in the order of the file; an empty list means the scenario can run.

    Reads the files that the scenario names. Needs neither torch nor simpy: of named models the catalogue
    tells what fits. What a model of the user's own takes is found when the workload is made.
    """
    finding = Finding(scenario)
    check_stop(finding)
    if check_devices(finding):
        trains = check_training(finding)
        sound = check_network(finding)
        check_workload(finding)
        if trains and sound:
            check_reachable(finding)
            check_medium(finding)
            check_cut_off(finding)
        check_events(finding, sound=sound)
    if scenario.compare is not None:
        _compare(finding)
    return sorted(finding.problems, key=lambda problem: (problem.line, problem.column))


def _compare(finding: Finding) -> None:
    """Note alternatives that lead nowhere, or to a scenario with problems of its own."""
    base = {(problem.where, problem.message) for problem in finding.problems}
    data = finding.scenario.to_data()
    data.pop("compare")
    axes = finding.scenario.compare or {}
    count = math.prod(len(values) for values in axes.values())
    if count > MAX_ALTERNATIVES:
        message = f"{count} combinations are more than {MAX_ALTERNATIVES}; shorten an axis"
        finding.say(message, "compare", key=True)
        return
    for axis, values in axes.items():
        if not values:
            finding.say("has no alternatives; list at least one", "compare", axis)
        _twice(finding, axis, values)
        try:
            path = find(data, axis)
        except PathError as error:
            finding.say(str(error), "compare", axis, key=True)
            continue
        if path[0] in _FIXED:
            finding.say(
                f"{path[0]!r} cannot be compared; name a setting of the experiment", "compare", axis, key=True
            )
            continue
        for index, value in enumerate(values):
            found = _alternative(finding, copy.deepcopy(data), path, value)
            here = finding.document.problem(("compare", axis, index), "")
            finding.problems += [
                replace(here, message=f"with {shown(value)}, {problem.where}: {problem.message}")
                for problem in found
                if (problem.where, problem.message) not in base
            ]


def _twice(finding: Finding, axis: str, values: tuple[Any, ...]) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        text = json.dumps(value, sort_keys=True, default=str)
        if text in seen:
            finding.no_effect(f"{shown(value)} is there twice; remove one", "compare", axis, index)
        seen.add(text)


def _alternative(finding: Finding, data: dict[str, Any], path: Path_, value: Any) -> list[Problem]:
    """Return the problems of a scenario, given as data, once one alternative is put in its place."""
    put(data, path, value)
    try:
        changed = Scenario.of(Document(file=finding.document.file, data=data, base=finding.document.base))
    except ScenarioError as error:
        return list(error.problems)
    return check(changed)
