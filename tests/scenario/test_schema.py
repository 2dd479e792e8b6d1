from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
from ruamel.yaml import YAML

from edgesim.scenario import schema
from edgesim.scenario.writer import SCHEMA_FILE


def test_the_committed_schema_is_the_one_the_code_makes() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema.text()


def test_it_is_draft_07() -> None:
    made = schema.json_schema()
    assert made["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(made)
    text = json.dumps(made)
    assert "$defs" not in text
    assert "prefixItems" not in text


def _properties(node: Any, path: str = "") -> list[tuple[str, Any]]:
    found = []
    if isinstance(node, dict):
        for name, value in node.get("properties", {}).items():
            found.append((f"{path}.{name}", value))
        for key, value in node.items():
            found += _properties(value, f"{path}.{key}")
    return found


def _described(value: Any, made: dict[str, Any]) -> bool:
    refers = value.get("allOf", [value])[0].get("$ref", "")
    name = refers.removeprefix("#/definitions/")
    return bool(value.get("description") or (name and made["definitions"][name].get("description")))


def test_every_key_is_described() -> None:
    made = schema.json_schema()
    properties = _properties(made)
    assert len(properties) > 60
    assert [path for path, value in properties if not _described(value, made)] == []


def _valid(text: str) -> bool:
    validator = jsonschema.Draft7Validator(schema.json_schema())
    return bool(validator.is_valid(YAML(typ="safe", pure=True).load(text)))


def test_an_editor_sees_what_the_loader_sees(good: str) -> None:
    assert _valid(good)
    for old, new in [
        ("topology: star", "topology: start"),
        ("memory: 1 GiB", "memory: 1"),
        ("memory: 1 GiB", "memory: 1 GB/s"),
        ("memory: 1 GiB", "memry: 1 GiB"),
        ("speed: 1}", "speed: 0}"),
        ("speed: 1}", "preset: raspbery}"),
        ("name: good\n", ""),
        ("version: 1", "version: 2"),
    ]:
        assert old in good
        assert not _valid(good.replace(old, new)), new
    for old, new in [
        ("bandwidth: 50 Mbit/s", "bandwidth: {up: 1 Mbit/s, down: {values: [[0 s, 0 B/s], [1 s, 1 MB/s]]}}"),
        ("speed: 1}", "preset: laptop}"),
        ("stop:", "events: [{at: 1 s, links: [pi], cut: {for: 1 s}}]\nstop:"),
    ]:
        assert old in good
        assert _valid(good.replace(old, new)), new


def test_shipped_scenarios_satisfy_it() -> None:
    for path in sorted(Path(schema.__file__).parents[2].glob("scenarios/**/*.yaml")):
        assert _valid(path.read_text(encoding="utf-8")), path
