"""Who of a comparison learns what, and how soon, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgesim.report.learning import Curves, curves, time_to
from edgesim.report.numbers import duration
from edgesim.report.ranking import Entry, Setting

SHOWN = 3
"""Most runs that are named after the first; of more the last ones are counted."""


class Learnt(NamedTuple):
    """What a run learnt."""

    name: str
    seen: Curves
    target: float | None
    """Accuracy that was asked for, 0 to 1."""

    @property
    def best(self) -> float:
        """Largest accuracy seen, 0 to 1."""
        return max(self.seen.accuracy)


def first_to_learn(group: Setting) -> str:
    """Say which run of a setting is the first to reach the accuracy that was asked for, or, where none was,
    the best that all reach; nothing where fewer than two learnt."""
    found = [one for one in map(_learnt, group.entries) if one is not None]
    if len(found) < 2:
        return ""
    targets = {one.target for one in found}
    if len(targets) == 1 and (target := targets.pop()) is not None:
        return _raced(found, target, f"{100.0 * target:g} %")
    common = min(one.best for one in found)
    return _raced(found, common, f"{100.0 * common:.1f} %, the best that all reach,")


def _learnt(entry: Entry) -> Learnt | None:
    """Return what a run learnt; None where it did not, or was never looked at."""
    asked = entry.run.summary.get("learning") or {}
    if "final_accuracy" not in asked or entry.run.rows is None:
        return None
    seen = curves(entry.run.rows)
    return Learnt(entry.name, seen, asked.get("target_accuracy")) if seen.accuracy else None


def _raced(found: Sequence[Learnt], target: float, said: str) -> str:
    """Say who reaches an accuracy first, and when the others do."""
    times = [(time_to(one.seen, target), one) for one in found]
    came = sorted(((time_s, one) for time_s, one in times if time_s is not None), key=lambda pair: pair[0])
    never = [one for time_s, one in times if time_s is None]
    if not came:
        best = max(found, key=lambda one: one.best)
        return f"none reaches {said}; {best.name} comes closest with {100.0 * best.best:.1f} %"
    first_s = came[0][0]
    first = " and ".join(one.name for time_s, one in came if time_s == first_s)
    later = [f"{one.name} at {duration(time_s)}" for time_s, one in came if time_s > first_s]
    shown = later if len(later) <= SHOWN else [*later[: SHOWN - 1], f"{later[-1]} as the last"]
    shown += [f"{one.name} never: {100.0 * one.best:.1f} % at best" for one in never[:SHOWN]]
    if len(never) > SHOWN:
        shown.append(f"{len(never) - SHOWN} more never")
    verb = "reach" if " and " in first else "reaches"
    rest = f" ({'; '.join(shown)})" if shown else ""
    return f"{first} {verb} {said} first, at {duration(first_s)}{rest}"
