"""What sets pipelines of a comparison apart: how idle their stages are, and what recoveries take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgesim.report.iterations import server_of, steady_stretch
from edgesim.report.numbers import amount, duration, share
from edgesim.report.pipeline import TERMS, is_pipeline
from edgesim.report.pipeline_explain import stage_uses
from edgesim.report.ranking import Entry

ALIKE = 0.02
"""Shares of idle time this close are alike."""


def pipeline_reasons(entries: Sequence[Entry]) -> list[str]:
    """Return what to say of the pipelines among some alternatives; nothing where there are none."""
    return [reason for reason in (_bubbles(entries), _recoveries(entries)) if reason]


def _bubbles(entries: Sequence[Entry]) -> str:
    """Say how idle the stages are in steady state, where that differs."""
    known = [(entry.name, value) for entry in entries if (value := bubble(entry)) is not None]
    values = [value for _, value in known]
    if len(known) < 2 or max(values) - min(values) < ALIKE:
        return ""
    rest = ", ".join(f"of {name} {share(value)}" for name, value in known[1:])
    return (
        f"in steady state the stages of {known[0][0]} are idle for {share(known[0][1])} of the time, {rest}"
    )


def bubble(entry: Entry) -> float | None:
    """Return the mean share of the time in which the stages of a pipeline are idle in steady state, 0 to 1.

    None for other training, for a single stage, and before a batch was back.
    """
    rows, summary = entry.run.rows, entry.run.summary
    if rows is None or not is_pipeline(rows, summary):
        return None
    stretch = steady_stretch(rows, server_of(rows, summary))
    stages = stage_uses(rows, summary, stretch) if stretch is not None else []
    if len(stages) < 2:
        return None
    return math.fsum(one.bubble for one in stages) / len(stages)


def _recoveries(entries: Sequence[Entry]) -> str:
    """Say what recoveries take in all, of what most, and what is lost and sent."""
    parts = [text for entry in entries if (text := _recovered(entry))]
    return f"recoveries take {', '.join(parts)}" if parts else ""


def _recovered(entry: Entry) -> str:
    rows = entry.run.summary.get("recoveries") or ()
    done = [row for row in rows if row.get("outcome") == "recovered"]
    if not done:
        return ""
    sums = {term: math.fsum(row.get(f"{term}_s") or 0.0 for row in done) for term in TERMS}
    longest = max(sums, key=lambda term: sums[term])
    again, lost = (
        sum(int(row.get(key) or 0) for row in done) for key in ("batches_recomputed", "updates_lost")
    )
    moved = math.fsum(row.get("bytes_moved") or 0.0 for row in done)
    figures = (
        f"{longest} {duration(sums[longest])}, {amount(moved, 'B')} moved, {again} "
        f"batch{'' if again == 1 else 'es'} again, {lost} update{'' if lost == 1 else 's'} lost"
    )
    return f"{entry.name} {duration(math.fsum(sums.values()))} ({figures})"
