"""The alternatives of a comparison, ranked: like with like, by the time that an iteration takes over the run.

Of several axes one is the method, the one that is asked about; a verdict is given for each setting of the
others. Seconds throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgesim.report.numbers import counted, duration
from edgesim.report.tables import Tables

DEEP = 4
"""A path of so many parts is about one device or link, which its name says."""
TIE, DISTURBED = 1e-3, 0.02
"""Runs whose means are this close tie; a mean this far from the steady iteration says that not all iterations
were alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One run of a comparison."""

    axes: Mapping[str, Any]
    """Dotted path of each axis and its value."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Its summary, of one that failed that of what it did; empty where there is none."""
    tables: Tables | None = None
    """Its rows; None where there are none."""
    error: str = ""
    """Why it failed, or what cut it short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An alternative under the names it goes by."""

    name: str
    """Its value of the method axis: tells it from the others of its setting."""
    title: str
    """Its setting and its name: tells it from all others."""
    run: Alternative

    @property
    def mean_s(self) -> float:
        """Figure of merit, see `mean_s`; infinite for a run that failed, however far it came."""
        return math.inf if self.failed else mean_s(self.run.summary)

    @property
    def failed(self) -> bool:
        """It could not go on; one that was interrupted could have."""
        return self.run.error not in ("", "interrupted")

    @property
    def done(self) -> str:
        """How many iterations it finished, in words."""
        return counted(int(self.run.summary.get("iterations") or 0), "iteration")

    @property
    def steady_s(self) -> float:
        """Length of the steady iteration; infinite where none ended."""
        return _time(self.run.summary, "steady")

    @property
    def disturbed(self) -> bool:
        """Some iterations were clearly longer or shorter than the steady one."""
        return math.isfinite(self.steady_s) and abs(self.mean_s - self.steady_s) > DISTURBED * self.steady_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Alternatives that differ in the method alone."""

    heading: str
    """The other axes with their values; empty where there is one setting."""
    short: str
    """The same in as few words as can be told apart."""
    entries: tuple[Entry, ...]
    """In the order of the runs."""

    @property
    def ranked(self) -> list[Entry]:
        """Those that finished an iteration, the quickest first; the winners among them in their order."""
        done = [entry for entry in self.entries if math.isfinite(entry.mean_s)]
        return sorted(done, key=lambda entry: max(entry.mean_s, self.best_s * (1.0 + TIE)))

    @property
    def winners(self) -> list[Entry]:
        """The quickest and all that tie with it, in the order of the runs."""
        limit = self.best_s * (1.0 + TIE)
        return [entry for entry in self.entries if math.isfinite(entry.mean_s) and entry.mean_s <= limit]

    @property
    def best_s(self) -> float:
        """Mean time per iteration of the quickest; infinite where no iteration ended."""
        return min((entry.mean_s for entry in self.entries), default=math.inf)

    @property
    def spread(self) -> float:
        """How many times as long as the quickest the slowest takes."""
        ranked = self.ranked
        return ranked[-1].mean_s / ranked[0].mean_s if ranked else 0.0


def mean_s(summary: Mapping[str, Any]) -> float:
    """Return the mean time per iteration over a run; infinite where none ended.

    A last iteration that the end of the run cut off counts as soon as it alone raises the mean: nobody gains
    by being stuck.

    >>> mean_s({"iterations": 4, "iteration_s": {"mean": 2.0}, "simulated_s": 9.0})
    2.0
    >>> mean_s({"iterations": 4, "iteration_s": {"mean": 2.0}, "simulated_s": 100.0})
    20.0
    """
    count = summary.get("iterations") or 0
    return max(_time(summary, "mean"), (summary.get("simulated_s") or 0.0) / (count + 1))


def stuck(summary: Mapping[str, Any]) -> bool:
    """Return whether the iteration that the end of the run cut off was longer than the mean."""
    mean = _time(summary, "mean")
    return math.isfinite(mean) and mean_s(summary) > (1.0 + TIE) * mean


def mean_text(summary: Mapping[str, Any]) -> str:
    """Return the mean time per iteration for people, `> 20 s` where its last iteration never ended.

    >>> mean_text({"iterations": 4, "iteration_s": {"mean": 2.0}, "simulated_s": 100.0}), mean_text({})
    ('> 20 s', '-')
    """
    value = mean_s(summary)
    return ("> " if stuck(summary) else "") + duration(value if math.isfinite(value) else None)


def settings(runs: Sequence[Alternative]) -> list[Setting]:
    """Return the settings of a comparison in the order of their first run, each with its alternatives."""
    paths = list(dict.fromkeys(path for run in runs for path in run.axes))
    varying = [path for path in paths if len({repr(run.axes.get(path)) for run in runs}) > 1] or paths[-1:]
    method = _method(varying)
    others = [path for path in varying if path != method]
    names = _names(varying)
    groups: dict[str, list[Alternative]] = {}
    for run in runs:
        groups.setdefault(repr([run.axes.get(path) for path in others]), []).append(run)
    found = []
    for members in groups.values():
        values = [(names[path], members[0].axes.get(path)) for path in others]
        heading = ", ".join(f"{name} {value}" for name, value in values)
        short = ", ".join(
            _alone(name, value) if len(others) == 1 else f"{name} {value}" for name, value in values
        )
        found.append(Setting(heading=heading, short=short, entries=_entries(members, method, names, short)))
    return found


def _entries(
    members: Sequence[Alternative], method: str, names: Mapping[str, str], short: str
) -> tuple[Entry, ...]:
    entries = []
    for run in members:
        name = _alone(names.get(method, ""), run.axes.get(method))
        entries.append(Entry(name=name, title=", ".join(part for part in (short, name) if part), run=run))
    return tuple(entries)


def _method(paths: Sequence[str]) -> str:
    """Return the axis that is asked about: the only one of the training, else the last."""
    training = [path for path in paths if path.startswith("training.")]
    return training[0] if len(training) == 1 else paths[-1] if paths else ""


def _names(paths: Sequence[str]) -> dict[str, str]:
    """Return for each path its shortest end that no other has; of one that is deep, two parts or more.

    >>> list(_names(["network.bandwidth", "network.devices.server.bandwidth"]).values())
    ['network.bandwidth', 'server.bandwidth']
    """
    ends: dict[str, list[str]] = {}
    for path in paths:
        parts = path.split(".")
        least = 1 if len(parts) < DEEP else 2
        ends[path] = [".".join(parts[-size:]) for size in range(least, len(parts) + 1)]
    return {
        path: next(end for end in (*mine, path) if end == path or not _ambiguous(end, path, paths))
        for path, mine in ends.items()
    }


def _ambiguous(end: str, path: str, paths: Sequence[str]) -> bool:
    return any(other != path and f".{other}".endswith(f".{end}") for other in paths)


def _alone(name: str, value: Any) -> str:
    """Return a value that explains itself alone, any other with its name.

    >>> _alone("schedule", "dynacomm"), _alone("bandwidth", "60 Mbit/s"), _alone("seed", 2)
    ('dynacomm', '60 Mbit/s', 'seed 2')
    """
    return value if isinstance(value, str) and value else f"{name} {value}".strip()


def _time(summary: Mapping[str, Any], key: str) -> float:
    value = (summary.get("iteration_s") or {}).get(key)
    return math.inf if value is None else float(value)
