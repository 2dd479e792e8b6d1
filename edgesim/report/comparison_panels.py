"""Which settings of a large comparison make a line each: those that differ in one number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgesim.report.ranking import Setting
from edgesim.units import DIMENSIONS, UnitError, parse

LEAST = 3
"""Fewest settings that make lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Settings that differ in one number."""

    axis: str
    """Path of the axis along which lines are drawn."""
    title: str
    """What the settings have in common, in words."""
    unit: str
    """Unit of the numbers as it is drawn; empty for plain ones."""
    points: tuple[tuple[float, str, Setting], ...]
    """Number, its text and the setting, the least first; numbers are in the unit inside the program."""


def panels(groups: Sequence[Setting]) -> tuple[list[Panel], list[Setting]]:
    """Return the panels of a comparison, those of the longest axis first, and the settings in none of them.

    A setting may be in several panels; each panel shows more settings that no earlier one has than others.
    """
    axes = list(groups[0].values) if groups else []
    found = [panel for axis in axes for panel in _along(axis, groups)]
    chosen: list[Panel] = []
    shown: set[int] = set()
    for panel in sorted(found, key=lambda one: -len(one.points)):
        mine = {id(setting) for _, _, setting in panel.points}
        if 2 * len(mine - shown) > len(mine):
            chosen.append(panel)
            shown |= mine
    return chosen, [group for group in groups if id(group) not in shown]


def _along(axis: str, groups: Sequence[Setting]) -> list[Panel]:
    alike: dict[str, list[Setting]] = {}
    for group in groups:
        rest = repr([value for path, value in group.values.items() if path != axis])
        alike.setdefault(rest, []).append(group)
    found = []
    for members in alike.values():
        read = [(numeric(member.values[axis]), member) for member in members]
        known = [(*number, member) for number, member in read if number is not None]
        kind = {dimension for _, dimension, _ in known}
        if len(known) < LEAST or len(kind) > 1:
            continue
        known.sort(key=lambda one: one[0])
        texts, unit = _ticks([str(member.values[axis]) for _, _, member in known])
        points = [(number, text, member) for (number, _, member), text in zip(known, texts, strict=True)]
        title = ", ".join(text for path, text in members[0].words.items() if path != axis)
        found.append(Panel(axis=axis, title=title, unit=unit, points=tuple(points)))
    return found


def numeric(value: Any) -> tuple[float, str] | None:
    """Return the number in a value and the name of its dimension; None where there is none.

    >>> numeric("50 Mbit/s"), numeric(16), numeric("dynacomm"), numeric(True)
    ((6250000.0, 'bandwidth'), (16.0, ''), None, None)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value), ""
    if not isinstance(value, str) or not value[:1].isdigit():
        return None
    for dimension in DIMENSIONS:
        try:
            return parse(value, dimension), dimension.name
        except UnitError:
            continue
    return None


def _ticks(texts: Sequence[str]) -> tuple[list[str], str]:
    """Return quantities without the unit that all have, and that unit.

    >>> _ticks(["1 ms", "10 ms"]), _ticks(["1 ms", "1 s"]), _ticks(["1", "16"])
    ((['1', '10'], 'ms'), (['1 ms', '1 s'], ''), (['1', '16'], ''))
    """
    units = {text.partition(" ")[2] for text in texts}
    if len(units) > 1:
        return list(texts), ""
    return [text.partition(" ")[0] for text in texts], next(iter(units), "")
