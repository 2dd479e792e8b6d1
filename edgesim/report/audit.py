"""What cannot be true of a run: conservation of bytes, links within capacity, devices within their time."""

from __future__ import annotations

from edgesim.report.facts import RunFacts
from edgesim.report.metrics import busy_from_spans, spans_by_device
from edgesim.report.repeating import blocks
from edgesim.report.tables import Tables


def contradictions(tables: Tables, facts: RunFacts) -> list[str]:
    """Return what cannot be true, in words; empty for every sound run.

    Bytes sent = received + lost, message by message; a link carried no more than its capacity; a device
    ran one task at a time, was busy no longer than it was up, and just as long as its spans say, but for a
    task that still runs at the end.
    """
    return [*_bytes(tables), *_links(facts), *_overlaps(tables), *_busy(tables, facts)]


def _bytes(tables: Tables) -> list[str]:
    import numpy as np

    found, before = list[str](), 0
    columns = [f"{name}bytes" for name in ("", "sent_", "received_", "lost_")]
    for block in blocks(tables.transfers.select(columns)):
        size, sent, received, lost = (column.to_numpy() for column in block.columns)
        slack = 1e-6 * np.maximum(size, 1.0)
        wrong = np.flatnonzero((np.abs(sent - received - lost) > slack) | (sent > size + slack))
        found += [
            f"message {before + row}: {sent[row]} B of {size[row]} B sent, {received[row]} B received, "
            f"{lost[row]} B lost"
            for row in wrong.tolist()
        ]
        before += block.num_rows
    return found


def _links(facts: RunFacts) -> list[str]:
    return [
        f"link {name} carried {link.carried_bytes} B but had room for {link.capacity_bytes} B"
        for name, link in facts.links.items()
        if link.carried_bytes > link.capacity_bytes * (1.0 + 1e-6) + 1e-3
    ]


def _busy(tables: Tables, facts: RunFacts) -> list[str]:
    from_spans = busy_from_spans(tables)
    last = {name: float(end.max()) for name, _, end in spans_by_device(tables)}
    slack = 1e-9 * max(facts.simulated_s, 1.0)
    wrong = []
    for name, device in facts.devices.items():
        spans_s = from_spans.get(name, 0.0)
        if device.busy_s + device.down_s > facts.simulated_s + slack:
            wrong.append(
                f"{name} was busy {device.busy_s} s and down {device.down_s} s of {facts.simulated_s} s"
            )
        running_s = facts.simulated_s - last.get(name, 0.0)
        if not spans_s - slack <= device.busy_s <= spans_s + running_s + slack:
            wrong.append(f"{name} was busy {device.busy_s} s but its spans add up to {spans_s} s")
    return wrong


def _overlaps(tables: Tables) -> list[str]:
    """Find tasks that began before the one that ended before them did."""
    import numpy as np

    spans = tables.spans
    if not spans.num_rows:
        return []
    device = spans.column("device").combine_chunks().dictionary_encode()
    code, start, end = (
        device.indices.to_numpy(),
        spans.column("start_s").to_numpy(),
        spans.column("end_s").to_numpy(),
    )
    order = np.lexsort((end, start, code))
    code, start, end = code[order], start[order], end[order]
    early = (code[1:] == code[:-1]) & (start[1:] < end[:-1] - 1e-9 * np.maximum(end[:-1], 1.0))
    names = device.dictionary.to_pylist()
    return [
        f"{names[code[row]]} began a task at {start[row + 1]} s while one ran until {end[row]} s"
        for row in np.flatnonzero(early).tolist()
    ]
