"""In which order a stage of a pipeline computes, and which weights it does so with.

S stages, stage 0 has the data. A batch goes through in M parts (micro-batches), each forward over all stages
and backward again. The order of each stage is fixed beforehand; only when a pass can run is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple


class Pass(NamedTuple):
    """One pass of a part of a batch over the layers of a stage."""

    forward: bool
    """False: backward."""
    batch: int
    """0-based batch."""
    part: int
    """0-based part of the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What is to be computed."""

    first: int = 0
    """First batch."""
    end: int | None = None
    """Batch behind the last; None: there is no end."""
    parts: int = 1
    """Parts of a batch, M."""

    def batches(self) -> Iterator[int]:
        """Return the batches in order."""
        return count(self.first) if self.end is None else iter(range(self.first, self.end))

    def passes(self) -> Iterator[tuple[int, int]]:
        """Return (batch, part) in order."""
        return ((batch, part) for batch in self.batches() for part in range(self.parts))


def asynchronous(span: Span, window: int) -> Iterator[Pass]:
    """Return the passes of strict 1F1B with a window of K in flight: F_0..F_{K-1}, B_0, F_K, B_1, ...

    The backward passes of the last K follow at the end (PipeDream, SOSP 2019; FTPipeHD, arXiv 2110.02781).

    >>> " ".join(f"{'BF'[one.forward]}{one.batch}" for one in asynchronous(Span(end=4), 2))
    'F0 F1 B0 F2 B1 F3 B2 B3'
    """
    ahead, behind = span.passes(), span.passes()
    for _, one in zip(range(window), ahead, strict=False):
        yield Pass(True, *one)
    for one in behind:
        yield Pass(False, *one)
        for following in ahead:
            yield Pass(True, *following)
            break


def flushed(span: Span, window: int) -> Iterator[Pass]:
    """Return the passes of 1F1B within each batch, at most K parts in flight, all back before the next batch.

    >>> " ".join(f"{'BF'[one.forward]}{one.part}" for one in flushed(Span(end=1, parts=3), 2))
    'F0 F1 B0 F2 B1 B2'
    """
    for batch in span.batches():
        yield from asynchronous(Span(first=batch, end=batch + 1, parts=span.parts), window)


def gpipe(span: Span, window: int) -> Iterator[Pass]:
    """Return all forward passes of a batch, then all backward (GPipe, NeurIPS 2019); `window` plays no part.

    >>> " ".join(f"{'BF'[one.forward]}{one.part}" for one in gpipe(Span(end=1, parts=2), 1))
    'F0 F1 B0 B1'
    """
    return flushed(span, span.parts)


ORDERS: Mapping[str, Callable[[Span, int], Iterator[Pass]]] = {
    "1f1b": asynchronous,
    "gpipe": gpipe,
    "1f1b-flush": flushed,
    "2bw": asynchronous,
}
"""Every order of execution by name."""


def windows(stages: int) -> tuple[int, ...]:
    """Return the window K_s = S - s of each stage (FTPipeHD).

    >>> windows(3)
    (3, 2, 1)
    """
    return tuple(range(stages, 0, -1))


def in_flight(execution: str, window: int, parts: int) -> int:
    """Return how many parts a stage keeps the activations of, at most.

    >>> in_flight("gpipe", 2, 8), in_flight("1f1b-flush", 2, 8), in_flight("1f1b", 3, 1)
    (8, 2, 3)
    """
    return parts if execution == "gpipe" else window if execution != "1f1b-flush" else min(window, parts)


def copies(execution: str, versions: str, stages: int, window: int) -> int:
    """Return how many versions of its weights a stage holds.

    `stash`: one for each batch in flight, K_s; `vertical-sync`: also those that stage 0 was ahead by, S;
    `replicas`: K_s; with a flush: 1; `2bw`: 2 (PipeDream-2BW, ICML 2021).

    >>> [copies("1f1b", how, 3, 2) for how in ("stash", "vertical-sync", "replicas")]
    [2, 3, 2]
    """
    if execution == "2bw":
        return 2
    if execution != "1f1b":
        return 1
    return stages if versions == "vertical-sync" else window
