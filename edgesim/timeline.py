"""What happened: facts appended in order, never metrics.

A span is one task on a device, a transfer one message on the network, a mark one instant worth knowing, an
update one change of the parameters.
Rows are plain tuples in the order of the column lists below, so that recording costs an append.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Tag(NamedTuple):
    """What a task or a message is for; the training system says, the engine only writes it down."""

    kind: str
    """`forward`, `backward`, `update`, `aggregate`, `plan`, `pull`, `push`, ..."""
    label: str = ""
    """Short text for a picture, for example `3` or `1-4` for layers."""
    iteration: int = -1
    """0-based iteration; -1: belongs to none."""
    first: int = 0
    """First layer, 1-based; 0: no layers."""
    last: int = 0
    """Last layer, 1-based; 0: no layers."""


TAG_COLUMNS = Tag._fields

SPAN_COLUMNS = ("device", *TAG_COLUMNS, "start_s", "end_s", "work_s", "left_s")
"""`work_s`: time asked for on a wholly available device; `left_s`: what of it a crash or cancel lost."""

TRANSFER_COLUMNS = (
    "source",
    "target",
    *TAG_COLUMNS,
    "bytes",
    "sent_bytes",
    "received_bytes",
    "lost_bytes",
    "queued_s",
    "start_s",
    "end_s",
    "route",
)
"""`queued_s`: handed to the network; `start_s`: first use of a link (start-up included); `end_s`: received or
lost; sent = received + lost; `route`: link names joined by `ROUTE_JOIN`."""

ROUTE_JOIN = "; "
"""Between the links of a route; a link's own name may hold `->`."""

MARK_COLUMNS = ("time_s", "subject", "kind", "label")
"""`subject`: a device or link; `kind`: crash, return, slow, change, cut, restore, drop, timeout, ..."""

UPDATE_COLUMNS = ("time_s", "subject", "iteration", "gradients", "staleness", "loss", "accuracy")
"""`subject`: whose gradients, the server's name where they are several workers'; `gradients`: how many count;
`staleness`: updates applied since the parameters were read from which they were computed; `loss`: mean
training loss of their batches; `accuracy`: on the test set, 0 to 1; both NaN where they are not known."""

SpanRow = tuple[str, Tag, float, float, float, float]
TransferRow = tuple[str, str, Tag, float, float, float, float, float, float, float, str]
MarkRow = tuple[float, str, str, str]
UpdateRow = tuple[float, str, int, int, int, float, float]


class Timeline:
    """Rows as they happen, ready to be drained to disk while the run goes on.

    >>> timeline = Timeline()
    >>> timeline.spans.append(("pi", Tag("forward", "1", 0, 1, 1), 0.0, 2.0, 2.0, 0.0))
    >>> flat_span(timeline.drain()[0][0])
    ('pi', 'forward', '1', 0, 1, 1, 0.0, 2.0, 2.0, 0.0)
    """

    __slots__ = ("marks", "spans", "transfers", "updates")

    def __init__(self) -> None:
        self.spans: list[SpanRow] = []
        """Finished tasks in order of their end; see `SPAN_COLUMNS` (the tag nested)."""
        self.transfers: list[TransferRow] = []
        """Finished messages in order of their end; see `TRANSFER_COLUMNS` (the tag nested)."""
        self.marks: list[MarkRow] = []
        """Marks in order; see `MARK_COLUMNS`."""
        self.updates: list[UpdateRow] = []
        """Updates in order; see `UPDATE_COLUMNS`."""

    def mark(self, time_s: float, subject: str, kind: str, label: str = "") -> None:
        """Write down one instant."""
        self.marks.append((time_s, subject, kind, label))

    def update(
        self,
        time_s: float,
        subject: str,
        iteration: int,
        gradients: int,
        staleness: int,
        loss: float = math.nan,
        accuracy: float = math.nan,
    ) -> None:
        """Write down one update of the parameters."""
        self.updates.append((time_s, subject, iteration, gradients, staleness, loss, accuracy))

    def drain(
        self,
    ) -> tuple[Sequence[SpanRow], Sequence[TransferRow], Sequence[MarkRow], Sequence[UpdateRow]]:
        """Hand over all rows and forget them; the lists themselves stay the same objects."""
        rows = (self.spans[:], self.transfers[:], self.marks[:], self.updates[:])
        self.spans.clear()
        self.transfers.clear()
        self.marks.clear()
        self.updates.clear()
        return rows


def flat_span(row: SpanRow) -> tuple[str | int | float, ...]:
    """Return a span as one flat row of `SPAN_COLUMNS`."""
    return (row[0], *row[1], *row[2:])


def flat_transfer(row: TransferRow) -> tuple[str | int | float, ...]:
    """Return a transfer as one flat row of `TRANSFER_COLUMNS`."""
    return (row[0], row[1], *row[2], *row[3:])
