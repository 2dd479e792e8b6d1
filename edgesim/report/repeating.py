"""Stretches of a timeline that recur: whether two are alike, and the rows of many more.

A stretch is what ended between two `iteration` marks. Legend: R rows of a stretch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgesim.report.iterations import ITERATION
from edgesim.report.tables import Tables, schema

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

RECUR = ("spans", "transfers")
"""Tables whose rows recur as they are, later."""
TIMES = {"queued_s", "start_s", "end_s"}
"""Columns that move with time; the others recur as they are, but for the iteration."""
WITHIN, LEAST_S = 1e-9, 1e-12
"""Times are the same within this share of them, or of the iteration they are in, or within so many s."""
ROUNDINGS = 4.0
"""A difference of two times is off by up to about so many roundings of the clock."""
BLOCK = 250_000
"""Rows that are made, hashed and written at a time; also about a row group of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One iteration, with all rows that ended in it."""

    index: int
    """0-based iteration."""
    server: str
    """Device that marks its end."""
    start_s: float
    """End of the iteration before, in s."""
    end_s: float
    """Its own end, in s."""
    spans: pa.Table
    """Tasks that ended in it, in order."""
    transfers: pa.Table
    """Messages that ended in it, in order."""


def alike(one: Stretch, other: Stretch) -> bool:
    """Tell whether two iterations are one, shifted in time, row by row.

    Names, layers and bytes are equal and iterations have the same distance. Times since the start agree
    within 1e-9 of the iteration; what a row lasts and waits agrees within 1e-9 of itself. Of rows that end
    together the order may differ, as a rounding decides it.
    """
    return all(
        _alike(getattr(one, name), getattr(other, name), one, other)
        or _alike(_ordered(getattr(one, name)), _ordered(getattr(other, name)), one, other)
        for name in RECUR
    )


def _ordered(table: pa.Table) -> pa.Table:
    """Sort rows by all that must be equal, then by time."""
    exact = [name for name in table.column_names if name not in TIMES]
    return table.sort_by([(name, "ascending") for name in (*exact, "start_s", "end_s")])


def _alike(rows: pa.Table, others: pa.Table, one: Stretch, other: Stretch) -> bool:
    if rows.num_rows != others.num_rows:
        return False
    for name in rows.column_names:
        if name == "iteration":
            if not np.array_equal(_distance(rows, one.index), _distance(others, other.index)):
                return False
        elif name not in TIMES and not rows.column(name).equals(others.column(name)):
            return False
    return _in_step(rows, others, one, other)


def _distance(rows: pa.Table, index: int) -> Any:
    """Return by how many iterations each row is ahead; rows of no iteration keep their -1 apart."""
    number = rows.column("iteration").to_numpy()
    return np.where(number < 0, np.iinfo(np.int64).min, number - index)


def _in_step(rows: pa.Table, others: pa.Table, one: Stretch, other: Stretch) -> bool:
    """Tell whether times agree, those since the start and those within each row."""
    rounding_s = ROUNDINGS * float(np.spacing(max(one.end_s, other.end_s)))
    slack_s = WITHIN * (one.end_s - one.start_s) + LEAST_S + rounding_s
    end_R, wanted_R = (table.column("end_s").to_numpy() for table in (rows, others))
    if not np.all(np.abs((end_R - one.start_s) - (wanted_R - other.start_s)) <= slack_s):
        return False
    for name in TIMES.intersection(rows.column_names) - {"end_s"}:
        lasts_R = end_R - rows.column(name).to_numpy()
        wanted_lasts_R = wanted_R - others.column(name).to_numpy()
        if not np.all(np.abs(lasts_R - wanted_lasts_R) <= WITHIN * wanted_lasts_R + LEAST_S + rounding_s):
            return False
    return True


def repeated(last: Stretch, period_s: float, times: int) -> Tables:
    """Return the rows of as many more iterations like the last one, each a period after the one before.

    What does not change from one to the next is held once. The updates are not among them: they come from
    who applies them.
    """
    import pyarrow as pa

    made = {
        name: pa.concat_tables([schema(name).empty_table(), *_blocks(getattr(last, name), period_s, times)])
        for name in RECUR
    }
    return Tables(**made, marks=_marks(last, period_s, times))


def _blocks(rows: pa.Table, period_s: float, times: int) -> Iterator[pa.Table]:
    """Yield the rows of all iterations, about `BLOCK` rows at a time."""
    import pyarrow as pa

    if not rows.num_rows:
        return
    at_once = min(max(BLOCK // rows.num_rows, 1), max(times, 1))
    block = pa.concat_tables([rows] * at_once).combine_chunks()
    for first in range(1, times + 1, at_once):
        count = min(at_once, times + 1 - first)
        step_R = np.repeat(np.arange(first, first + count), rows.num_rows)
        yield _shifted(block.slice(0, len(step_R)), step_R, period_s)


def _shifted(rows: pa.Table, step_R: npt.NDArray[np.int64], period_s: float) -> pa.Table:
    import pyarrow as pa

    for place, name in enumerate(rows.column_names):
        if name in TIMES:
            moved: Any = rows.column(name).to_numpy() + step_R * period_s
        elif name == "iteration":
            number = rows.column(name).to_numpy()
            moved = np.where(number < 0, number, number + step_R)
        else:
            continue
        rows = rows.set_column(place, rows.schema.field(place), pa.array(moved))
    return rows


def _marks(last: Stretch, period_s: float, times: int) -> pa.Table:
    import pyarrow as pa

    steps = np.arange(1, times + 1)
    columns = {
        "time_s": pa.array(last.end_s + steps * period_s, pa.float64()),
        "subject": pa.array([last.server] * times, pa.string()),
        "kind": pa.array([ITERATION] * times, pa.string()),
        "label": pa.array([str(last.index + step) for step in steps.tolist()], pa.string()),
    }
    return pa.table(columns, schema("marks"))


def blocks(table: pa.Table) -> Iterator[pa.Table]:
    """Yield a table about `BLOCK` rows at a time; none if it is empty."""
    for start in range(0, table.num_rows, BLOCK):
        yield table.slice(start, BLOCK)
