"""Paths in order of the rate that their own links allow, so that a moving level finds whom it passes."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf

from edgesim.engine.path import Path


class CapHeap:
    """A heap with lazy deletion: entries are checked when they come up, and filed again if outdated.

    `sign` 1: lowest cap first; -1: highest cap first.
    """

    __slots__ = ("_filed", "_heap", "_sign")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._heap: list[tuple[float, int, Path]] = []
        self._filed: dict[Path, float] = {}

    def file(self, path: Path) -> None:
        """Have a path with flows come up when the level passes its cap a flow."""
        key = self._sign * path.cap / path.count
        if self._filed.get(path, inf) > key:
            self._filed[path] = key
            heappush(self._heap, (key, path.order, path))

    def passed(self, level: float, state: int) -> Path | None:
        """Take out a path in `state` whose cap is beyond the level, in B/s; None: there is none."""
        heap, bound = self._heap, self._sign * level
        while heap and heap[0][0] < bound:
            key, _, path = heappop(heap)
            if self._filed.get(path) != key:
                continue
            del self._filed[path]
            if path.state == state and path.count:
                if self._sign * path.cap / path.count == key:
                    return path
                self.file(path)
        return None

    def clear(self) -> None:
        """Drop all paths."""
        self._heap.clear()
        self._filed.clear()

    def forget(self, path: Path) -> None:
        """Drop a path, whose cap has changed."""
        self._filed.pop(path, None)
