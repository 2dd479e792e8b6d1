"""What faults cost the iterations of a run, and the stretch of time in which to look at them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from edgesim.report.activity import Intervals
from edgesim.report.causes import CAUSES, ITERATION, OF_ONE_ITERATION, OVER, stretches, touched
from edgesim.report.iterations import iteration_ends, server_of
from edgesim.report.pipeline import (
    FALSE_ALARM,
    RECOVERY,
    REPARTITION,
    false_alarms,
    is_pipeline,
    piped,
    plan_at,
    repairs,
)
from edgesim.report.tables import Tables

FIRST = "first"
"""Key of what the first iteration costs where later ones begin before the one before has ended."""
REASONS = {
    RECOVERY: "recoveries",
    REPARTITION: "layers that moved",
    FALSE_ALARM: "false alarms",
    **CAUSES,
}
"""What an iteration that took longer is laid to, the first that was on meanwhile; to a false alarm no more
than it lasted."""
SHORT = 40
"""Runs of up to so many iterations are shown from beginning to end."""

EARLY = 1e-9
"""What begins before an end by a larger share of it than that is no rounding."""
GRADIENTS = ("push", "all-reduce", "reduce", "broadcast")
"""What messages with gradients are for, or with their sums; who sends one has contributed."""

Mark = tuple[float, str, str]
"""(time in s, subject, kind)."""


def costs(tables: Tables, summary: Mapping[str, Any]) -> dict[str, float]:
    """Return by how much each of `REASONS` makes the mean iteration longer, in s.

    What an iteration takes beyond the undisturbed ones of the same workers (the median of them; else of
    those of as many workers; in a pipeline, those under the same plan) is laid to the first cause that was
    on meanwhile, but to a false alarm no more than it lasted; where none was, to the key `FIRST` of a first
    iteration that nothing came before to overlap with, else to "". Where there are none to compare with, an
    iteration is left out. Some causes can be negative.
    """
    ends = iteration_ends(tables, server_of(tables, summary))
    if not ends:
        return {}
    crews, on, alarms = contributors(tables), stretches(tables) | repairs(tables), false_alarms(tables)
    if is_pipeline(tables, summary):
        crews = _plans(summary, ends)
    found = [
        (next((kind for kind in REASONS if touched(on.get(kind, []), start, end)), ""), end - start)
        for start, end in zip((0.0, *ends), ends, strict=False)
    ]
    asked_s = [_overlap_s(alarms, start, end) for start, end in zip((0.0, *ends), ends, strict=False)]
    quiet: dict[frozenset[str] | int, list[float]] = {}
    for number, (kind, length_s) in enumerate(found):
        if not kind and not asked_s[number]:
            crew = crews.get(number, frozenset())
            quiet.setdefault(crew, []).append(length_s)
            quiet.setdefault(len(crew), []).append(length_s)
    usual = {crew: median(lengths) for crew, lengths in quiet.items()}
    if not found[0][0] and _overlapped(tables, ends[0]):
        found[0] = (FIRST, found[0][1])
    parts: dict[str, list[float]] = {}
    for number, (kind, length_s) in enumerate(found):
        crew = crews.get(number, frozenset())
        if (like_s := usual.get(crew, usual.get(len(crew)))) is not None:
            alarm_s = min(asked_s[number], max(length_s - like_s, 0.0))
            if asked_s[number]:
                parts.setdefault(FALSE_ALARM, []).append(alarm_s)
            parts.setdefault(kind, []).append(length_s - like_s - alarm_s)
    return {kind: math.fsum(parts[kind]) / len(ends) for kind in (*REASONS, FIRST, "") if kind in parts}


def _overlap_s(alarms: Intervals, start_s: float, end_s: float) -> float:
    """Return for how long any of some disjoint stretches was on from one time to another, in s."""
    return math.fsum(max(0.0, min(end, end_s) - max(start, start_s)) for start, end in alarms)


def _plans(summary: Mapping[str, Any], ends: Sequence[float]) -> dict[int, frozenset[str]]:
    """Return by iteration what was in force in a pipeline, a name for each stage: like plans are compared."""
    found = {}
    for number, end_s in enumerate(ends):
        plan = plan_at(summary, end_s)
        points = [*(plan.get("points") or ()), "end"]
        found[number] = frozenset(map("{}:{}".format, plan.get("order") or (), points))
    return found


def _overlapped(tables: Tables, end_s: float) -> bool:
    """Return whether anything of the second iteration began before the end of the first, in s."""
    early = end_s * (1.0 - EARLY)
    return any(
        iteration == 1 and start_s < early
        for name in ("spans", "transfers")
        for iteration, start_s in tables.between(0.0, end_s).rows(name, "iteration", "start_s")
    )


def contributors(tables: Tables) -> dict[int, frozenset[str]]:
    """Return by iteration the workers whose whole gradients arrived, or were added up to the end.

    Empty where each gradient is an update of its own: there the n-th of a worker is in no n-th iteration.
    """
    import pyarrow.compute as pc

    sent = _gradients(tables)
    if not sent.num_rows or one_by_one(tables):
        return {}
    lowest = pc.min(sent.column("first"))  # what is pushed last
    whole = sent.filter(
        pc.and_(
            pc.equal(sent.column("first"), lowest),
            pc.greater_equal(sent.column("received_bytes"), pc.cast(sent.column("bytes"), "float64")),
        )
    )
    found: dict[int, set[str]] = {}
    for number, worker in zip(
        whole.column("iteration").to_pylist(), whole.column("source").to_pylist(), strict=True
    ):
        found.setdefault(number, set()).add(worker)
    for worker, kind, label in tables.rows("marks", "subject", "kind", "label"):
        if kind == "drop" and label.startswith(OF_ONE_ITERATION):  # some of it may have been sent before
            found.get(int(label.removeprefix(OF_ONE_ITERATION)), set()).discard(worker)
    return {number: frozenset(crew) for number, crew in found.items()}


def one_by_one(tables: Tables) -> bool:
    """Return whether a worker's gradient is applied as soon as it is there, as under asp and ssp."""
    if piped(tables):  # each stage updates its own layers
        return False
    updates = tables.rows("updates", "subject", "gradients")
    subjects = {subject for subject, gradients in updates if gradients == 1}
    marks = tables.rows("marks", "subject", "kind")
    return bool(subjects - {subject for subject, kind in marks if kind == ITERATION})


def _gradients(tables: Tables) -> Any:
    """Return the messages with gradients, or with their sums."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sent = tables.transfers
    return sent.filter(pc.is_in(sent.column("kind"), pa.array(GRADIENTS)))


def incomplete(tables: Tables, summary: Mapping[str, Any]) -> int:
    """Return how many iterations ended without the gradients of every worker that ever sent any."""
    workers = len(_gradients(tables).column("source").unique())
    if not workers or one_by_one(tables):
        return 0
    full = sum(len(crew) >= workers for crew in contributors(tables).values())
    return max(int(summary.get("iterations") or 0) - full, 0)


def window(runs: Sequence[tuple[Tables, Mapping[str, Any]]]) -> tuple[float, float] | None:
    """Return one stretch of time, in s, in which to look at all of some runs; None where nothing failed.

    It is the whole of runs that are short, else from before the first fault that all share until two
    iterations after it is over.
    """
    faults = [
        [row for row in tables.rows("marks", "time_s", "subject", "kind") if row[2] in CAUSES]
        for tables, _ in runs
    ]
    if not any(faults):
        return None
    ends = [iteration_ends(tables, server_of(tables, summary)) for tables, summary in runs]
    last_s = max(
        max(summary.get("simulated_s") or 0.0, found[-1] if found else 0.0)
        for (_, summary), found in zip(runs, ends, strict=True)
    )
    if all(len(found) <= SHORT for found in ends):
        return 0.0, last_s
    first = _shared(faults)
    over_s = max(_over_s(tables, first) for tables, _ in runs)
    starts = [found[at - 2] if (at := bisect_right(found, first[0])) >= 2 else 0.0 for found in ends]
    stops = [found[min(bisect_right(found, over_s) + 1, len(found) - 1)] for found in ends if found]
    end_s = max(stops, default=last_s)
    return min(starts), end_s if end_s > first[0] else last_s


def _shared(faults: Sequence[Sequence[Mark]]) -> Mark:
    """Return the first fault that all runs have, else the first of any."""
    common = set(faults[0]).intersection(*faults[1:])
    return min(common or [mark for marks in faults for mark in marks])


def _over_s(tables: Tables, fault: Mark) -> float:
    """Return when the subject of a fault is next back or restored, or when the others have recovered; the
    fault itself where neither is."""
    begin_s, subject, _ = fault
    recovered = [end_s for _, end_s in repairs(tables).get(RECOVERY, []) if end_s > begin_s]
    if recovered and math.isfinite(recovered[0]):
        return recovered[0]
    later = tables.rows("marks", "time_s", "subject", "kind")
    return next((at for at, who, kind in later if who == subject and at >= begin_s and kind in OVER), begin_s)
