"""Timeline rows as Arrow tables with an explicit schema, and the fingerprint of what happened.

The tables are `spans`, `transfers`, `marks` and `updates`; their columns, units included, are those of
`edgesim.timeline`. pyarrow is imported when a table is first made, not when this module is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from edgesim.timeline import MARK_COLUMNS, SPAN_COLUMNS, TRANSFER_COLUMNS, UPDATE_COLUMNS, Timeline

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = ("spans", "transfers", "marks", "updates")
COLUMNS = {
    "spans": SPAN_COLUMNS,
    "transfers": TRANSFER_COLUMNS,
    "marks": MARK_COLUMNS,
    "updates": UPDATE_COLUMNS,
}
TAG_AT = {"spans": 1, "transfers": 2}
"""Position of the nested tag in a row."""

CHUNK = 500
"""Rows transposed at a time: so few that a row is still in the processor's cache for its next column."""
TEXT = {"device", "source", "target", "kind", "label", "route", "subject"}
WHOLE = {"iteration", "first", "last", "bytes", "gradients", "staleness"}
LEARNT = {"loss", "accuracy"}
"""What was learnt depends on the processor to the last bit, so that fingerprints leave it out."""
OPTIONAL = {"updates"}
"""Tables that are part of a fingerprint only where they have rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What a run recorded, as Arrow tables in order of their rows' end."""

    spans: pa.Table
    """Tasks on devices; see `timeline.SPAN_COLUMNS`."""
    transfers: pa.Table
    """Messages on the network; see `timeline.TRANSFER_COLUMNS`."""
    marks: pa.Table
    """Instants worth knowing; see `timeline.MARK_COLUMNS`."""
    updates: pa.Table = field(default_factory=lambda: _none("updates"))
    """Changes of the parameters; see `timeline.UPDATE_COLUMNS`."""

    @classmethod
    def of(cls, timeline: Timeline) -> Tables:
        """Return the rows of a timeline, which keeps them."""
        return cls(
            spans=table("spans", timeline.spans),
            transfers=table("transfers", timeline.transfers),
            marks=table("marks", timeline.marks),
            updates=table("updates", timeline.updates),
        )

    def rows(self, name: str, *columns: str) -> Iterable[tuple[Any, ...]]:
        """Iterate over some columns of a table as plain Python tuples."""
        chosen = getattr(self, name)
        return zip(*(chosen.column(column).to_pylist() for column in columns), strict=True)

    def between(self, start_s: float, end_s: float) -> Tables:
        """Return the tasks and messages that touch [start, end), uncut, and the marks and updates in it."""
        return Tables(
            spans=_touching(self.spans, start_s, end_s),
            transfers=_touching(self.transfers, start_s, end_s),
            marks=_touching(self.marks, start_s, end_s),
            updates=_touching(self.updates, start_s, end_s),
        )

    def then(self, more: Tables) -> Tables:
        """Return these rows and then those of another, each held once."""
        import pyarrow as pa

        both = {name: pa.concat_tables([getattr(self, name), getattr(more, name)]) for name in TABLES}
        return Tables(**both)

    def fingerprint(self) -> str:
        """Return the fingerprint of the rows; see `Fingerprint`."""
        mark = Fingerprint()
        for name in TABLES:
            mark.add(name, getattr(self, name))
        return mark.hexdigest()


def _none(name: str) -> pa.Table:
    return schema(name).empty_table()


def _touching(table: pa.Table, start_s: float, end_s: float) -> pa.Table:
    """Return the rows that touch [start, end); of a long table most batches are passed over whole."""
    import pyarrow as pa

    kept = []
    for batch in table.to_batches():
        if not batch.num_rows:
            continue
        if "time_s" in batch.schema.names:
            time = batch.column("time_s").to_numpy()
            inside = (time >= start_s) & (time < end_s)
        else:
            first, last = (batch.column(name).to_numpy() for name in ("start_s", "end_s"))
            if last.max() <= start_s or first.min() >= end_s:
                continue
            inside = (last > start_s) & (first < end_s)
        kept.append(batch.filter(pa.array(inside)))
    return pa.Table.from_batches(kept, table.schema)


@lru_cache(maxsize=8)
def schema(name: str) -> pa.Schema:
    """Return the Arrow schema of a table: text as string, counts as int64, the rest as float64."""
    import pyarrow as pa

    types = [
        (column, pa.string() if column in TEXT else pa.int64() if column in WHOLE else pa.float64())
        for column in COLUMNS[name]
    ]
    return pa.schema(types)


def table(name: str, rows: Sequence[Any]) -> pa.Table:
    """Return timeline rows (the tag nested) as an Arrow table, a few hundred rows at a time."""
    import pyarrow as pa

    wanted = schema(name)
    batches = []
    for start in range(0, len(rows), CHUNK):
        columns = _columns(name, rows[start : start + CHUNK])
        arrays = [_array(column, field) for column, field in zip(columns, wanted, strict=True)]
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=wanted))
    return pa.Table.from_batches(batches, wanted).combine_chunks()


def _array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    import pyarrow as pa

    if field.name == "bytes":  # sizes may come as whole floats, which Arrow takes one by one
        return pa.array(values, pa.float64()).cast(field.type)
    return pa.array(values, field.type)


def _columns(name: str, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Transpose rows, the nested tag spread out."""
    columns = list(zip(*rows, strict=True))
    at = TAG_AT.get(name)
    if at is None:
        return columns
    return [*columns[:at], *zip(*columns[at], strict=True), *columns[at + 1 :]]


class Fingerprint:
    """SHA-256 of a timeline in a form that depends neither on chunking nor on the file format.

    Each column is hashed as a stream of little-endian int64: counts as they are, times and work rounded to
    whole nanoseconds, bytes to whole bytes, text as the lengths of its values, with the values themselves,
    as UTF-8 one after the other, in a second stream. The fingerprint is the hash over names and hashes
    of all columns and the numbers of rows; an empty table of updates is left out, and so are losses and
    accuracies.

    >>> len(Tables.of(Timeline()).fingerprint())
    64
    """

    def __init__(self) -> None:
        self._numbers = {
            (name, column): hashlib.sha256()
            for name in TABLES
            for column in COLUMNS[name]
            if column not in LEARNT
        }
        self._texts = {key: hashlib.sha256() for key in self._numbers if key[1] in TEXT}
        self.rows = dict.fromkeys(TABLES, 0)
        """Number of rows added, by table."""

    def add(self, name: str, part: pa.Table) -> None:
        """Go on with the next rows of a table."""
        self.rows[name] += part.num_rows
        for column in (column for column in COLUMNS[name] if column not in LEARNT):
            for chunk in part.column(column).chunks:
                numbers = chunk
                if column in TEXT:
                    numbers = _lengths(chunk)
                    self._texts[name, column].update(_text(chunk))
                self._numbers[name, column].update(_whole(column, numbers))

    def hexdigest(self) -> str:
        """Return the fingerprint of what was added so far."""
        whole = hashlib.sha256()
        for (name, column), digest in (*self._numbers.items(), *self._texts.items()):
            if name in OPTIONAL and not self.rows[name]:
                continue
            whole.update(f"{name}.{column} {self.rows[name]} {digest.hexdigest()}\n".encode())
        return whole.hexdigest()


def _lengths(chunk: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.binary_length(chunk)


def _text(chunk: pa.Array) -> memoryview | bytes:
    """Return the values of a string array one after the other, as UTF-8."""
    import numpy as np

    _, offsets, data = chunk.buffers()
    if data is None:
        return b""
    ends = np.frombuffer(offsets, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


def _whole(column: str, chunk: pa.Array) -> bytes:
    import numpy as np

    numbers = chunk.to_numpy(zero_copy_only=False)
    if column not in WHOLE and column not in TEXT:
        numbers = np.rint(numbers if column.endswith("_bytes") else numbers * 1e9)
    return bytes(numbers.astype("<i8").tobytes())
