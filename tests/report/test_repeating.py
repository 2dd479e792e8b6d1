"""Iterations that are alike but for the time, and the rows of more of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.report import repeating
from edgesim.report.repeating import Stretch, alike, blocks, repeated
from edgesim.report.tables import Fingerprint, Tables, table
from edgesim.timeline import Tag

PERIOD_S = 2.0


def span(end_s: float, iteration: int, device: str = "pi", work_s: float = 0.25) -> Any:
    return (device, Tag("forward", "1", iteration, 1, 1), end_s - 0.25, end_s, work_s, 0.0)


def transfer(
    end_s: float, iteration: int, size: float = 9.0, kind: str = "pull", waits_s: float = 0.5
) -> Any:
    tag, sizes = Tag(kind, "1-2", iteration, 1, 2), (size, size, size, 0.0)
    return ("server", "pi", tag, *sizes, end_s - 1.0 - waits_s, end_s - 1.0, end_s, "server.up; pi.down")


def stretch(index: int, spans: Any = None, transfers: Any = None, period_s: float = PERIOD_S) -> Stretch:
    """Return an iteration of two tasks, a message of its own, and one of the next."""
    start_s = 1.0 + index * PERIOD_S
    return Stretch(
        index=index,
        server="server",
        start_s=start_s,
        end_s=start_s + period_s,
        spans=table("spans", spans or [span(start_s + 0.5, index), span(start_s + 1.0, -1, "server")]),
        transfers=table(
            "transfers", transfers or [transfer(start_s + 0.7, index), transfer(start_s + 1.9, index + 1)]
        ),
    )


def test_an_iteration_is_like_the_one_before_but_for_time_and_number() -> None:
    assert alike(stretch(3), stretch(4))
    assert alike(stretch(0), stretch(7))


CHANGED = {
    "a device": {"spans": [span(9.5, 4, "other"), span(10.0, -1, "server")]},
    "a task's work": {"spans": [span(9.5, 4, work_s=0.2500001), span(10.0, -1, "server")]},
    "a task's iteration": {"spans": [span(9.5, 3), span(10.0, -1, "server")]},
    "a task that now has an iteration": {"spans": [span(9.5, 4), span(10.0, 4, "server")]},
    "an end": {"spans": [span(9.5 + 1e-8, 4), span(10.0, -1, "server")]},
    "one task less": {"spans": [span(9.5, 4)]},
    "a size": {"transfers": [transfer(9.7, 4, 8.0), transfer(10.9, 5)]},
    "a kind": {"transfers": [transfer(9.7, 4, kind="push"), transfer(10.9, 5)]},
    "a wait": {"transfers": [transfer(9.7, 4), transfer(10.9, 5, waits_s=0.5 + 1e-8)]},
    "a message of the wrong iteration": {"transfers": [transfer(9.7, 4), transfer(10.9, 4)]},
}


@pytest.mark.parametrize("what", CHANGED)
def test_whatever_changes_makes_them_unlike(what: str) -> None:
    assert not alike(stretch(3), stretch(4, **CHANGED[what]))


def test_what_ends_together_may_come_in_any_order() -> None:
    both = [span(7.5, 3, "a"), span(7.5, 3, "b")]
    later = [span(9.5, 4, "b"), span(9.5, 4, "a")]
    assert alike(stretch(3, spans=both), stretch(4, spans=later))
    assert not alike(stretch(3, spans=both), stretch(4, spans=[span(9.5, 4, "b"), span(9.6, 4, "a")]))


def test_the_rounding_of_the_clock_is_no_difference() -> None:
    far = replace(stretch(4), start_s=1e6, end_s=1e6 + PERIOD_S)
    moved = {"spans": table("spans", [span(1e6 + 0.5 + 1e-10, 4), span(1e6 + 1.0, -1, "server")])}
    moved["transfers"] = table("transfers", [transfer(1e6 + 0.7, 4), transfer(1e6 + 1.9, 5)])
    assert alike(stretch(3), replace(far, **moved))


def by_hand(last: Stretch, times: int) -> Tables:
    spans, transfers, marks = [], [], []
    for step in range(1, times + 1):
        start_s, index = last.start_s + step * PERIOD_S, last.index + step
        spans += [span(start_s + 0.5, index), span(start_s + 1.0, -1, "server")]
        transfers += [transfer(start_s + 0.7, index), transfer(start_s + 1.9, index + 1)]
        marks.append((last.end_s + step * PERIOD_S, "server", "iteration", str(index)))
    return Tables(
        spans=table("spans", spans), transfers=table("transfers", transfers), marks=table("marks", marks)
    )


@given(times=st.integers(0, 30), block=st.integers(1, 20))
def test_rows_are_the_same_however_many_are_made_at_once(times: int, block: int) -> None:
    last = stretch(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeating, "BLOCK", block)
        made = repeated(last, PERIOD_S, times)
    wanted = by_hand(last, times)
    assert made.fingerprint() == wanted.fingerprint()
    for name in ("spans", "transfers", "marks"):
        rows, others = (getattr(tables, name) for tables in (made, wanted))
        assert rows.schema == others.schema
        assert rows.num_rows == others.num_rows
        for column in rows.column_names:
            if column.endswith("_s"):
                ours, theirs = (one.column(column).to_numpy() for one in (rows, others))
                np.testing.assert_allclose(ours, theirs, rtol=1e-12)
            else:
                assert rows.column(column).to_pylist() == others.column(column).to_pylist()


def test_the_fingerprint_does_not_depend_on_the_blocks_it_is_made_of() -> None:
    made = repeated(stretch(3), PERIOD_S, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeating, "BLOCK", 3)
        pieces = Fingerprint()
        for name in ("spans", "transfers", "marks"):
            for block in blocks(getattr(made, name)):
                assert block.num_rows <= 3
                pieces.add(name, block)
    assert pieces.hexdigest() == made.fingerprint()


def test_an_iteration_without_messages_repeats_too() -> None:
    empty = replace(stretch(3), transfers=table("transfers", []))
    made = repeated(empty, PERIOD_S, 5)
    assert (made.spans.num_rows, made.transfers.num_rows, made.marks.num_rows) == (10, 0, 5)
    assert alike(empty, replace(stretch(4), transfers=table("transfers", [])))
