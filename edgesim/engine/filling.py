"""Progressive filling: max-min fair rates on any set of links."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesim.engine.path import Path, Pipe


def fill(paths: Iterable[Path]) -> list[tuple[Path, float]]:
    """Return each path with the max-min fair rate of one of its flows, in B/s.

    Raise the rates of all flows together; when a pipe is full, freeze the flows that cross it (Bertsekas and
    Gallager, Data Networks, section 6.5.2). Pipes wait in a heap by their share, which can only grow, so
    an outdated entry is put back: O(P log P + sum of route lengths) for P pipes.
    """
    todo = [path for path in paths if path.count]
    rest: dict[Pipe, float] = {}
    flows: dict[Pipe, int] = {}
    for path in todo:
        for pipe in path.pipes:
            rest[pipe] = pipe.capacity
            flows[pipe] = flows.get(pipe, 0) + path.count
    heap = [(rest[pipe] / flows[pipe], index, pipe) for index, pipe in enumerate(rest)]
    heapify(heap)
    rates: dict[Path, float] = {}
    while heap:
        share, index, pipe = heappop(heap)
        if not flows[pipe]:
            continue
        present = max(rest[pipe], 0.0) / flows[pipe]
        if present > share:
            heappush(heap, (present, index, pipe))
            continue
        for path in pipe.paths:
            if path.count and path not in rates:
                rates[path] = share
                for crossed in path.pipes:
                    rest[crossed] -= share * path.count
                    flows[crossed] -= path.count
    return [(path, rates[path]) for path in todo]
