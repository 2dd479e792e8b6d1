"""The tables of a pipeline: its plans, recoveries and re-partitions, as plain rows and written for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgesim.report.numbers import amount, duration, share
from edgesim.report.pipeline import MOVES, TERMS, layer_count, layers_of, unrecoverable

PLAN_COLUMNS = (
    "plan", "time_s", "batch", "why", "period_s", "stage", "device", "first", "last", "layers", "capacity",
)  # fmt: skip
"""Of `plan_rows`; `first` and `last` layer are 1-based, `capacity` is relative: larger is slower."""
RECOVERY_COLUMNS = (
    "failed_s", "time_s", "devices", "kind", "policy", *(f"{term}_s" for term in TERMS), "total_s",
    "batches_recomputed", "updates_lost", "bytes_moved", "points", "order", "outcome",
)  # fmt: skip
REPARTITION_COLUMNS = (
    "time_s", "batch", "points_before", "points", "moved_layers", "bytes_moved",
    *(f"{term}_s" for term in MOVES), "total_s", "batches_recomputed", "kept", "predicted_gain_s",
)  # fmt: skip
MOST = 12
"""Most rows of a table for people; the files have all."""


class Sheet(NamedTuple):
    """A table for people."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def plan_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each stage of each plan that was in force; see `PLAN_COLUMNS`."""
    count = layer_count(summary)
    found = []
    for number, plan in enumerate(summary.get("partitions") or ()):
        stages = layers_of(plan, count)
        capacity = [*(plan.get("capacity") or ()), *[None] * len(stages)]
        for stage, (device, first, last) in enumerate(stages):
            values = (
                number, plan.get("time_s"), plan.get("batch"), plan.get("why"), plan.get("period_s"), stage,
                device, first, last, last - first + 1, capacity[stage],
            )  # fmt: skip
            found.append(dict(zip(PLAN_COLUMNS, values, strict=True)))
    return found


def recovery_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each recovery; see `RECOVERY_COLUMNS`. Lists are text."""
    return _rows(summary, "recoveries", RECOVERY_COLUMNS)


def repartition_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each re-partition; see `REPARTITION_COLUMNS`. Lists are text."""
    return _rows(summary, "repartitions", REPARTITION_COLUMNS)


def _rows(summary: Mapping[str, Any], key: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: _plain(row.get(name)) for name in columns} for row in summary.get(key) or ()]


def _plain(value: Any) -> Any:
    """Return a value that a column can hold: lists as text."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def sheets(summary: Mapping[str, Any]) -> list[Sheet]:
    """Return the tables of a pipeline for people: stages, recoveries, re-partitions; those that have rows."""
    if "pipeline" not in summary:
        return []
    found = [_stages(summary), _recoveries(summary), _repartitions(summary)]
    return [sheet for sheet in found if sheet.rows]


def headlines(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the few figures of a pipeline that everybody asks for; empty for other training."""
    found = summary.get("pipeline") or {}
    if not found:
        return {}
    period_s, exact_s = found.get("period_s"), found.get("exact_period_s")
    rows = {
        "pipeline": f"{len(found.get('order') or ())} stages, {found.get('execution') or ''}, "
        f"weights: {found.get('versions') or ''}",
        "period (planner)": duration(period_s),
        "period (exact)": duration(exact_s),
        "one device": _single(found),
        "stopped by": unrecoverable(summary),
    }
    return {name: value for name, value in rows.items() if value and value != "-"}


def _single(found: Mapping[str, Any]) -> str:
    """Return what the central node alone would take for a batch; nothing where it is alone."""
    order = list(found.get("order") or [])
    return f"{duration(found.get('single_s'))} on {order[0]} alone" if len(order) > 1 else ""


def _stages(summary: Mapping[str, Any]) -> Sheet:
    pipeline, devices = summary["pipeline"], summary.get("devices") or {}
    capacity, end_s = pipeline.get("capacity") or {}, summary.get("simulated_s") or 0.0
    rows = []
    for row in pipeline.get("stages") or ():
        name, first, last = row.get("device"), row.get("first"), row.get("last")
        busy_s = (devices.get(name) or {}).get("busy_s")
        known = capacity.get(name)
        rows.append([
            str(row.get("stage")), str(name), f"{first}-{last}" if first != last else f"{last}",
            str(row.get("window")), "-" if known is None else f"{known:.3g}",
            share(busy_s / end_s if busy_s is not None and end_s else None),
            amount(row.get("memory_bytes"), "B"),
        ])  # fmt: skip
    columns = ["stage", "device", "layers", "window", "capacity", "busy", "memory"]
    return _few("Stages in the end", columns, rows)


def _recoveries(summary: Mapping[str, Any]) -> Sheet:
    rows = [
        [
            duration(row.get("failed_s")), _event(row),
            *(duration(row.get(f"{term}_s")) for term in (*TERMS, "total")),
            _count(row.get("batches_recomputed")), _count(row.get("updates_lost")),
            amount(row.get("bytes_moved"), "B"), str(row.get("outcome") or ""),
        ]
        for row in summary.get("recoveries") or ()
    ]  # fmt: skip
    columns = ["at", "what", *TERMS, "total", "again", "lost", "moved", "outcome"]
    return _few("Recoveries", columns, rows)


def _event(row: Mapping[str, Any]) -> str:
    """Say who failed how.

    >>> _event({"devices": ["a", "b"], "kind": "failed"}), _event({"devices": [], "kind": "false-alarm"})
    ('a, b failed', 'false alarm')
    """
    kind = str(row.get("kind") or "").replace("-", " ")
    return " ".join(part for part in (", ".join(row.get("devices") or ()), kind) if part)


def _repartitions(summary: Mapping[str, Any]) -> Sheet:
    rows = [
        [
            duration(row.get("time_s")), _count(row.get("batch")),
            f"{_cuts(row.get('points_before'))} > {_cuts(row.get('points'))}",
            _count(row.get("moved_layers")),
            *(duration(row.get(f"{term}_s")) for term in (*MOVES, "total")),
            amount(row.get("bytes_moved"), "B"), duration(row.get("predicted_gain_s")),
            "yes" if row.get("kept") else "no",
        ]
        for row in summary.get("repartitions") or ()
    ]  # fmt: skip
    columns = [
        "at",
        "batch",
        "layers end at",
        "moved layers",
        *MOVES,
        "total",
        "moved",
        "gain a batch",
        "done",
    ]
    return _few("Re-partitions", columns, rows)


def _few(title: str, columns: list[str], rows: list[list[str]]) -> Sheet:
    more = f" (the first {MOST} of {len(rows)})" if len(rows) > MOST else ""
    return Sheet(f"{title}{more}", columns, rows[:MOST])


def _cuts(points: Sequence[int] | None) -> str:
    """Return where stages end, as 1-based layers.

    >>> _cuts([6, 13])
    '7 14'
    """
    return " ".join(str(int(point) + 1) for point in points or ())


def _count(value: Any) -> str:
    return "-" if value is None else str(value)
