"""Dotted paths into a scenario, and scenarios that differ at them: `override`, `variants`."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

from edgesim.errors import Problem, ScenarioError
from edgesim.scenario.document import Path_, label
from edgesim.scenario.dropping import Dropping
from edgesim.scenario.explain import did_you_mean
from edgesim.scenario.model import Scenario
from edgesim.scenario.names import workers_of
from edgesim.scenario.pipeline_section import Pipeline
from edgesim.scenario.switching import switched

_PART = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_-]*)|\[([^\[\]]*)\]")

AXIS = "<axis>"
"""Where a problem of an alternative is told to be, when it is not in a file."""


class PathError(ValueError):
    """A dotted path that leads nowhere; the text says where it ends and what is there."""


def find(data: Any, dotted: str) -> Path_:
    """Return the keys and indices of a dotted path; list items are called by name or index.

    >>> find({"devices": [{"name": "pi"}]}, "devices[pi].preset")
    ('devices', 0, 'preset')
    """
    path: list[str | int] = []
    end = 0
    for match in _PART.finditer(dotted):
        if match.start() != end:
            break
        end = match.end()
        part: str | int = match[1] if match[1] is not None else match[2]
        if isinstance(data, (list, tuple)):
            part = _index(data, str(part), dotted)
            data = data[part]
        else:
            data = data.get(part) if isinstance(data, Mapping) else None
        path.append(part)
    if end != len(dotted) or not path:
        raise PathError(
            f"{dotted!r} is not a path; write for example 'training.schedule' or 'devices[pi].memory'"
        )
    return tuple(path)


def _index(items: Sequence[Any], part: str, dotted: str) -> int:
    names = [label(item, index) for index, item in enumerate(items)]
    if part in names:
        return names.index(part)
    if part.isascii() and part.isdigit() and len(part) < 9 and int(part) < len(items):
        return int(part)
    raise PathError(f"there is no {part!r} in {dotted!r}; {did_you_mean(part, names)}")


def override(scenario: Scenario, path: str, value: Any) -> Scenario:
    """Return the scenario with another value at a dotted path; None takes the setting away.

    Another `training.method` takes away what only the former one has, and the same devices train. Raises
    `ScenarioError` if the path leads nowhere or the value does not fit there.
    """
    return overrides(scenario, {path: value})


def overrides(scenario: Scenario, values: Mapping[str, Any], place: str = "<override>") -> Scenario:
    """Return the scenario with other values at several dotted paths, checked once all are in place.

    Problems of these values are told at `place`, those of others where they stand in the file. Raises
    `ScenarioError` if a path leads nowhere or the outcome is no scenario in form.
    """
    data, old = scenario.to_data(), scenario.document
    given, problems = dict(old.given), []
    with switched(data, values):
        for dotted, value in values.items():
            try:
                path = find(data, dotted)
                put(data, path, value)
                given[path] = place
            except PathError as error:
                problems.append(Problem(file=place, line=0, column=0, where=dotted, message=str(error)))
    if problems:
        raise ScenarioError(problems)
    return Scenario.of(replace(old, data=data, given=given))


def put(data: Any, path: Path_, value: Any) -> None:
    """Put a value at a path inside plain data, making mappings on the way; None takes it away."""
    for part in path[:-1]:
        if isinstance(part, str):
            if not isinstance(data, dict):
                raise PathError(f"{part!r} is not inside a mapping")
            if not isinstance(data.get(part), (dict, list)):
                data[part] = {}
        data = data[part]
    last = path[-1]
    if isinstance(last, str) and not isinstance(data, dict):
        raise PathError(f"{last!r} is not inside a mapping")
    if value is None and isinstance(last, str):
        data.pop(last, None)
    else:
        data[last] = copy.deepcopy(_plain(value))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


Axes = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]]
"""What is compared: for each dotted path its values, or a list of such blocks."""


def blocks(axes: Axes | None) -> tuple[Mapping[str, Sequence[Any]], ...]:
    """Return the blocks of a comparison; axes that are no list are one block."""
    if axes is None:
        return ()
    return (axes,) if isinstance(axes, Mapping) else tuple(axes)


def variants(scenario: Scenario, axes: Axes | None = None) -> Iterator[tuple[dict[str, Any], Scenario]]:
    """Yield each combination of alternatives, the last axis fastest, with the scenario that has it.

    `axes` replaces the scenario's own `compare`. Of several blocks each combination comes once, and each has
    a value on every axis of any block: the one that its scenario has there, see `value_at`. Whole `training`
    sections are told by the paths at which they differ. The scenarios have no `compare` any more.
    """
    chosen = blocks(axes if axes is not None else scenario.compare)
    single = override(scenario, "compare", None) if scenario.compare is not None else scenario
    found = _combinations(single, chosen)
    return iter(_sections(list(found))) if any("training" in block for block in chosen) else found


def _combinations(
    single: Scenario, chosen: Sequence[Mapping[str, Sequence[Any]]]
) -> Iterator[tuple[dict[str, Any], Scenario]]:
    paths = list(dict.fromkeys(path for block in chosen for path in block))
    spelt = _spellings(single, chosen) if len(chosen) > 1 else {}
    dropping = Dropping(single.training, chosen)
    plain: dict[tuple[str, ...], Scenario] = {(): single}
    seen: set[str] = set()
    for block in chosen:
        for values in product(*block.values()):
            point = dict(zip(block, values, strict=True))
            gone = dropping.paths(point)
            if gone not in plain:
                plain[gone] = overrides(single, dict.fromkeys(gone))
            variant = overrides(plain[gone], point, AXIS)
            if len(chosen) > 1:
                point = {path: value_at(variant, path) for path in paths}
                text = json.dumps(point, sort_keys=True)
                if text in seen:
                    continue
                seen.add(text)
                point = {path: spelt.get((path, json.dumps(value)), value) for path, value in point.items()}
            yield point, variant


Found = list[tuple[dict[str, Any], Scenario]]


def _sections(found: Found) -> Found:
    """Return alternatives with whole `training` sections told by the paths at which these differ.

    A path at which all methods that know it agree is not told, nor `workers` where the same devices train.
    """
    told = [_flat(one.training.model_dump(mode="json", by_alias=True)) for _, one in found]
    given = [
        _flat(one.training.model_dump(mode="json", by_alias=True, exclude_unset=True)) for _, one in found
    ]
    differ = []
    for path in dict.fromkeys(path for section in given for path in section):
        values = [section.get(path) for section in told]
        if path == "training.workers":
            values = [workers_of(one)[isinstance(one.training, Pipeline) :] for _, one in found]
        known = [path.split(".")[1] in type(one.training).model_fields for _, one in found]
        if len({json.dumps(value) for value, has in zip(values, known, strict=True) if has}) > 1:
            differ.append(path)
    return [
        (_expanded(point, {path: section.get(path) for path in differ}), one)
        for (point, one), section in zip(found, told, strict=True)
    ]


def _expanded(point: dict[str, Any], section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point with paths in place of its `training`; those that it has itself it keeps."""
    made: dict[str, Any] = {}
    for path, value in point.items():
        made |= section if path == "training" and section else {path: value}
    return made | {path: value for path, value in point.items() if path in made}


def _flat(section: Mapping[str, Any], prefix: str = "training.") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _spellings(
    scenario: Scenario, chosen: Sequence[Mapping[str, Sequence[Any]]]
) -> dict[tuple[str, str], str]:
    """Return by path and quantity how the blocks write it first, so that all runs write it alike."""
    found: dict[tuple[str, str], str] = {}
    named = [(path, value) for block in chosen for path, values in block.items() for value in values]
    for path, value in named:
        if isinstance(value, str):
            with suppress(ScenarioError):
                read = value_at(override(scenario, path, value), path)
                found.setdefault((path, json.dumps(read)), value)
    return found


def value_at(scenario: Scenario, dotted: str) -> Any:
    """Return what stands at a dotted path, quantities as text with units; None where there is nothing.

    What the scenario does not say is the default of the language there.
    """
    for declared in (True, False):
        data: Any = scenario.model_dump(mode="json", by_alias=True, exclude_unset=declared)
        try:
            for part in find(data, dotted):
                data = data[part]
        except (PathError, KeyError, IndexError, TypeError):
            continue
        return data
    return None
