"""YAML text as plain data that remembers where each key and value stands.

YAML 1.2 by ruamel.yaml, composed to nodes and turned to data here: nothing but mappings, lists, text,
numbers, truth and null ever comes out, duplicate keys are errors, and aliases cannot grow without bound.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesim.errors import Problem, ScenarioError

Path_ = tuple[str | int, ...]
Place = tuple[int, int]

MAX_DEPTH = 40
MAX_VALUES = 2_000_000
MAX_BYTES = 64 * 2**20


@dataclass(slots=True)
class Document:
    """Data of one file and the 1-based line and column of each of its values and keys."""

    file: str
    data: Any
    base: Path
    """Folder against which paths in the data are read."""
    values: dict[Path_, Place] = field(default_factory=dict)
    keys: dict[Path_, Place] = field(default_factory=dict)
    pinned: tuple[Place, str] | None = None
    """Place and leading words of every problem, where the data were put together from elsewhere."""
    given: dict[Path_, str] = field(default_factory=dict)
    """What put other values at some paths than the file has, as it is told: `--set`."""

    def problem(self, path: Path_, message: str, *, key: bool = False) -> Problem:
        """Return a problem at a value, or at its key; at the nearest parent where there is no such value."""
        file, lead = self.file, ""
        given = [self.given[path[:length]] for length in range(len(path) + 1) if path[:length] in self.given]
        if self.pinned is not None:
            (line, column), lead = self.pinned
        elif given:
            file, line, column = given[-1], 0, 0
        else:
            line, column = self._place(path, key)
        return Problem(
            file=file, line=line, column=column, where=lead + where(path, self.data), message=message
        )

    def _place(self, path: Path_, key: bool) -> Place:
        if key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            parent = path[:length]
            if length < len(path) and parent in self.keys:
                return self.keys[parent]
            if parent in self.values:
                return self.values[parent]
        return (0, 0)


def where(path: Path_, data: Any) -> str:
    """Return a dotted path that calls list items by name: `devices[pi].memory`.

    >>> where(("devices", 0, "memory"), {"devices": [{"name": "pi"}]})
    'devices[pi].memory'
    """
    text = ""
    for part in path:
        data = _inside(data, part)
        if isinstance(part, int):
            text += f"[{label(data, part)}]"
        elif part.replace("-", "_").isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part}]" if text else part
    return text or "(file)"


def label(item: Any, index: int) -> str:
    """Return what a list item is called: its name, its ends, its target and time, or its index."""
    if not isinstance(item, dict):
        return str(index)
    if isinstance(item.get("name"), str):
        return str(item["name"])
    if isinstance(item.get("from"), str) and isinstance(item.get("to"), str):
        return f"{item['from']}-{item['to']}"
    target = next((item[key] for key in ("device", "link", "devices", "links") if key in item), None)
    if isinstance(target, list):
        target = ",".join(map(str, target[:3]))
    if isinstance(target, str):
        when = str(item["at"]) if isinstance(item.get("at"), str) else "random" if "random" in item else ""
        return f"{target} at {when}" if when else target
    return str(index)


def _inside(data: Any, part: str | int) -> Any:
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return None


def read(path: str | Path) -> Document:
    """Return the document in a file. Raises `ScenarioError` for whatever is no mapping in YAML."""
    name = str(path)
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "; give the path of a scenario file (.yaml)"
        raise ScenarioError([_at(name, (0, 0), f"cannot be read: {reason}{hint}")]) from None
    if len(raw) > MAX_BYTES:
        raise ScenarioError(
            [_at(name, (0, 0), f"is larger than {MAX_BYTES >> 20} MiB; use `count` and traces")]
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        message = f"not text in UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8"
        raise ScenarioError([_at(name, (line, column), message)]) from None
    return parse(text, name, Path(path).parent)


def parse(text: str, file: str, base: Path) -> Document:
    """Return the document in a text. Raises `ScenarioError` for whatever is no mapping in YAML."""
    node = _compose(text, file)
    if node is None:
        raise ScenarioError([_at(file, (1, 1), "is empty; begin with `version: 1`")])
    document = Document(file=file, data=None, base=base)
    reader = _Reader(document)
    document.data = reader.value(node, ())
    if not reader.problems and not isinstance(document.data, dict):
        place = document.values[()]
        reader.problems.append(_at(file, place, "must be a mapping of keys; begin with `version: 1`"))
    if reader.problems:
        raise ScenarioError(reader.problems)
    return document


def _at(file: str, place: Place, message: str) -> Problem:
    return Problem(file=file, line=place[0], column=place[1], where="(file)", message=message)


def _compose(text: str, file: str) -> Any:
    """Return the root node of YAML text, every complaint of the parser turned into a `ScenarioError`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ruamel warns of reused anchors, which YAML allows
            return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        said = " ".join(str(part) for part in (error.context, error.problem) if part)
        if "single document" in said:
            said = "one file holds one scenario, but a second document begins here; remove the '---'"
        raise ScenarioError([_at(file, place, f"not YAML: {said}")]) from None
    except YAMLError as error:
        position = getattr(error, "position", 0)
        line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
        raise ScenarioError([_at(file, (line, column), f"not YAML: {_first_line(error)}")]) from None
    except RecursionError:
        message = f"nested more than {MAX_DEPTH} levels deep; no scenario is"
        raise ScenarioError([_at(file, (1, 1), message)]) from None
    except Exception as error:  # ruamel lets ValueError, IndexError and the like escape on malformed text
        raise ScenarioError([_at(file, (1, 1), f"not YAML: {_first_line(error)}")]) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class _Reader:
    """Turns nodes to data, noting places and problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.count = 0

    def value(self, node: Any, path: Path_) -> Any:
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.document.values[path] = place
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            limit = f"{MAX_VALUES} values" if self.count > MAX_VALUES else f"{MAX_DEPTH} levels"
            message = f"more than {limit}, aliases followed; no scenario needs that"
            raise ScenarioError([_at(self.document.file, place, message)])
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if kind == "map" and isinstance(node.value, list):
            return self._mapping(node, path)
        if kind == "seq" and isinstance(node.value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if kind in _SCALARS and isinstance(node.value, str):
            return _scalar(kind, node.value)
        self._wrong(path, place, f"tag {str(node.tag)!r} is not allowed; write plain YAML")
        return None

    def _mapping(self, node: Any, path: Path_) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[Any] = []
        for key_node, value_node in node.value:
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if str(key_node.tag) == "tag:yaml.org,2002:merge":
                merged.append(value_node)
                continue
            if not isinstance(key_node.value, str) or not str(key_node.tag).endswith(_KEY_TAGS):
                self._wrong(path, place, "a key must be text, got something else; write a name")
                continue
            key = key_node.value
            if key in data:
                first = self.document.keys[*path, key]
                self._wrong((*path, key), place, f"duplicate key, first given in line {first[0]}; remove one")
                continue
            self.document.keys[*path, key] = place
            data[key] = None
            data[key] = self.value(value_node, (*path, key))
            if data[key] is None and value_node.value == "":  # nothing stands there: point at the key
                self.document.values[*path, key] = place
        for item in merged:
            self._merge(item, path, data)
        return data

    def _merge(self, node: Any, path: Path_, data: dict[str, Any]) -> None:
        """Add what `<<: *anchor` holds and the mapping does not say itself."""
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        found = (
            [node] if str(node.tag).endswith(":map") else node.value if isinstance(node.value, list) else []
        )
        if not found or not all(str(getattr(item, "tag", "")).endswith(":map") for item in found):
            self._wrong((*path, "<<"), place, "must be an alias of a mapping, as in `<<: *name`")
            return
        for item in found:
            for key_node, value_node in item.value:
                key = key_node.value
                if isinstance(key, str) and key not in data:
                    mark = key_node.start_mark
                    self.document.keys[*path, key] = (mark.line + 1, mark.column + 1)
                    data[key] = self.value(value_node, (*path, key))

    def _wrong(self, path: Path_, place: Place, message: str) -> None:
        where_ = where(path, self.document.data)
        self.problems.append(
            Problem(file=self.document.file, line=place[0], column=place[1], where=where_, message=message)
        )


_SCALARS = ("str", "int", "float", "bool", "null", "timestamp")
_KEY_TAGS = (":str", ":int", ":float", ":bool", ":timestamp", ":null")


def _scalar(kind: str, text: str) -> Any:
    """Return the value of a YAML 1.2 scalar; what Python cannot read as its kind stays text."""
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if len(text) > 300:  # digits without end: whatever needs a number says so
        return text
    try:
        if kind == "int":
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    return text
