"""The iterations of a run, read from the `iteration` marks that its server writes."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import median
from typing import Any, NamedTuple

from edgesim.report.activity import union
from edgesim.report.causes import ITERATION, PLANNED, touched, troubles
from edgesim.report.pipeline import interruptions, is_pipeline
from edgesim.report.tables import Tables

__all__ = [
    "ITERATION",
    "Iteration",
    "iteration_ends",
    "iteration_times",
    "server_of",
    "servers_of",
    "steady_stretch",
    "typical",
]


MOST_ALIKE = 20
"""Most iterations that stand for all of a pipeline's."""


class Iteration(NamedTuple):
    """One iteration: its 0-based number and when it ran, in s."""

    number: int
    start_s: float
    end_s: float


class Stretch(NamedTuple):
    """Some iterations in a row: their 0-based numbers and when they ran, in s."""

    first: int
    last: int
    start_s: float
    end_s: float

    @property
    def iterations(self) -> int:
        """How many they are."""
        return self.last - self.first + 1


def iteration_ends(tables: Tables, server: str | None = None) -> list[float]:
    """Return the end of each iteration, in s, from the `iteration` marks (of the server, where given)."""
    return [
        time_s
        for time_s, subject, kind in tables.rows("marks", "time_s", "subject", "kind")
        if kind == ITERATION and server in (None, subject)
    ]


def server_of(tables: Tables, summary: Mapping[str, Any]) -> str | None:
    """Return the server: as the summary says, or, of a killed run, who marked its first iteration.

    None where there is no server: the one who marked it is a worker, which computed forward.
    """
    if summary.get("server"):
        return str(summary["server"])
    marks = tables.rows("marks", "subject", "kind")
    found = next((subject for subject, kind in marks if kind == ITERATION), None)
    return None if found is None or _trains(tables, found) else found


def servers_of(tables: Tables, summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all servers, the one that ends the iterations first: as the summary says, or, of a killed run,
    whoever sent parameters and computed no layer. Empty where there is none: in a pipeline all devices train.
    """
    first = server_of(tables, summary)
    if first is None or is_pipeline(tables, summary):
        return ()
    if summary.get("servers"):
        return tuple(summary["servers"])
    pulls = tables.rows("transfers", "source", "kind")
    sent = dict.fromkeys(source for source, kind in pulls if kind == "pull")
    return (first, *(name for name in sent if name != first and not _trains(tables, name)))


def _trains(tables: Tables, device: str) -> bool:
    """Tell whether a device computed forward."""
    import pyarrow.compute as pc

    spans = tables.spans
    mine = pc.and_(pc.equal(spans.column("device"), device), pc.equal(spans.column("kind"), "forward"))
    return bool(pc.any(mine).as_py())


def iteration_times(ends_s: Sequence[float], together: int = 1) -> dict[str, Any]:
    """Return the keys `iterations` and `iteration_s` for iterations that end at these times.

    The first one starts at 0. `p95` is the nearest rank; all are None before the first iteration ended.
    `steady` is the median over the later half of the iterations, each taken `together` with those before it
    as their mean: batches of a pipeline take turns in being longer and shorter.

    >>> iteration_times([4.0, 6.0, 8.0])["iteration_s"]
    {'mean': 2.6666666666666665, 'median': 2.0, 'p95': 4.0, 'steady': 2.0}
    """
    lengths = [end - start for start, end in zip((0.0, *ends_s), ends_s, strict=False)]
    if not lengths:
        return {"iterations": 0, "iteration_s": dict.fromkeys(("mean", "median", "p95", "steady"))}
    ranked = sorted(lengths)
    return {
        "iterations": len(lengths),
        "iteration_s": {
            "mean": math.fsum(lengths) / len(lengths),
            "median": median(lengths),
            "p95": ranked[math.ceil(0.95 * len(ranked)) - 1],
            "steady": median(_means(lengths[len(lengths) // 2 :], together)),
        },
    }


def _means(lengths: Sequence[float], together: int) -> list[float]:
    """Return the mean of each so many lengths in a row, of all of them where there are fewer.

    >>> _means([1.0, 3.0, 1.0, 3.0], 2), _means([1.0, 3.0], 5)
    ([2.0, 2.0, 2.0], [2.0])
    """
    count = min(max(together, 1), len(lengths))
    if count == 1:
        return list(lengths)
    sums = list(accumulate(lengths, initial=0.0))
    return [(high - low) / count for low, high in zip(sums, sums[count:], strict=False)]


def typical(tables: Tables, server: str | None = None) -> Iteration | None:
    """Return the last iteration after the warm-up in which nothing was down, cut, changed or slowed; else the
    last one in which nothing failed or changed anew; else the last one.

    None before the first iteration ended.
    """
    return next(iter(reversed(_usual(tables, server))), None)


def steady_stretch(tables: Tables, server: str | None = None, *, most: int = MOST_ALIKE) -> Stretch | None:
    """Return a stretch of like iterations in a row up to the typical one, no more than `most`.

    It tells how busy the stages of a pipeline are, whose batches overlap: what is cut off at its ends counts
    for little. The last iterations are left out where there are others: as nothing follows them, the pipeline
    drains. None before the first iteration ended.
    """
    usual = _usual(tables, server)
    if not usual:
        return None
    last = len(iteration_ends(tables, server)) - 1 - _depth(tables)
    filled = [one for one in usual if one.number <= last] or usual
    chosen = [filled[-1]]
    for one in reversed(filled[:-1]):
        if one.number != chosen[-1].number - 1 or len(chosen) == most:
            break
        chosen.append(one)
    return Stretch(chosen[-1].number, chosen[0].number, chosen[-1].start_s, chosen[0].end_s)


def _depth(tables: Tables) -> int:
    """Return how many devices computed forward: so many batches are in flight at most."""
    import pyarrow.compute as pc

    forward = tables.spans.filter(pc.equal(tables.spans.column("kind"), "forward"))
    return len(forward.column("device").unique())


def _usual(tables: Tables, server: str | None) -> list[Iteration]:
    """Return the iterations that a typical one is the last of."""
    ends = iteration_ends(tables, server)
    all_of_them = [
        Iteration(number, start, end)
        for number, (start, end) in enumerate(zip((0.0, *ends), ends, strict=False))
    ]
    marks = tables.rows("marks", "time_s", "kind")
    events = sorted(time_s for time_s, kind in marks if kind not in PLANNED)
    later = all_of_them[len(ends) // 2 :]
    quiet = [one for one in later if not _any(events, one.start_s, one.end_s)]
    over = [part for parts in interruptions(tables).values() for part in parts]
    on = union([*((it.start_s, it.end_s) for it in troubles(tables)), *over])
    whole = [one for one in quiet if not touched(on, one.start_s, one.end_s)]
    return whole or quiet or all_of_them[-1:]


def _any(times_s: Sequence[float], start_s: float, end_s: float) -> bool:
    """Return whether any of some times in order is in [start, end)."""
    return bisect_left(times_s, start_s) < bisect_left(times_s, end_s)
