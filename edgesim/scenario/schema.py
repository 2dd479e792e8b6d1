"""The scenario language as a draft-07 JSON Schema: editors complete and check a scenario as it is typed.

pydantic writes 2020-12; the YAML language server reads draft-07. The differences that occur are few:
`$defs`, `prefixItems`, and siblings of `$ref`, which draft-07 ignores.
"""

from __future__ import annotations

from typing import Any

from edgesim.scenario.model import Scenario
from edgesim.scenario.presets import PRESETS

DRAFT = "http://json-schema.org/draft-07/schema#"


def json_schema() -> dict[str, Any]:
    """Return the draft-07 schema of a scenario file."""
    modern = Scenario.model_json_schema(by_alias=True, mode="validation")
    schema: dict[str, Any] = _draft07(modern)
    schema = {"$schema": DRAFT} | schema | {"title": "edgesim scenario"}
    preset = schema["definitions"]["Device"]["properties"]["preset"]
    preset["anyOf"] = [{"type": "string", "enum": list(PRESETS)}, {"type": "null"}]
    return schema


def text() -> str:
    """Return the schema as it is committed in `edgesim/scenario/schema.json`."""
    import json

    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _draft07(node: Any) -> Any:
    if isinstance(node, list):
        return [_draft07(item) for item in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for key, value in node.items():
        if key == "$defs":
            found["definitions"] = _draft07(value)
        elif key == "prefixItems":
            found["items"] = _draft07(value)
            found["additionalItems"] = False
        elif key == "$ref" and isinstance(value, str):
            found["$ref"] = value.replace("#/$defs/", "#/definitions/")
        elif key == "discriminator":
            continue
        elif key in ("examples", "default", "enum", "const"):
            found[key] = value
        else:
            found[key] = _draft07(value)
    if "$ref" in found and len(found) > 1:
        found["allOf"] = [{"$ref": found.pop("$ref")}]
    return found
