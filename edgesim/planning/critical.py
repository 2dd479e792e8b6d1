"""Which messages a period without a barrier hangs on, and where one of them is in another's way.

Going back in time from the computing that waits last: the pull that it waits for, the pulls before it on the
link without a gap, the push that let the first of these go, the pushes before that one without a gap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from edgesim.planning.overlap_model import Tables, first_layers, holds_s, released_s
from edgesim.planning.queues import serve


class Critical(NamedTuple):
    """The messages that a period hangs on."""

    pushes: list[int]
    """Numbers of the pushes, last first."""
    pulls: list[int]
    """Numbers of the pulls, last first."""
    push_borders: list[int]
    """Where to cut a push so that a more urgent one need not wait for the rest of it, in B."""
    pull_borders: list[int]
    """Where to cut a pull likewise, in B."""


def critical(model: Tables, push_borders: Sequence[int], pull_borders: Sequence[int]) -> Critical:
    """Return what the period of these messages hangs on; every message where both directions share a link.

    O((M + L) log M), without credit.
    """
    count, others = len(push_borders), len(pull_borders)
    if not model.duplex:
        return Critical(list(range(count)), list(range(others)), [], [])
    ups, downs = first_layers(model, push_borders), first_layers(model, pull_borders)
    ready = [model.ready_s[first] for first in ups]
    pushed = serve(ready, holds_s(push_borders, *model.push), model.latency_s[0])
    released = released_s(model, push_borders, pull_borders, pushed)
    pulled = serve(released, holds_s(pull_borders, *model.pull), model.latency_s[1])
    last = max(range(others), key=lambda pull: pulled[pull] - model.forward_s[downs[pull]])
    pulls = _run(pulled, holds_s(pull_borders, *model.pull), released, last)
    first = pulls[-1]
    low = bisect_right(push_borders, pull_borders[first - 1] if first else 0)
    high = bisect_left(push_borders, pull_borders[first]) + 1
    end = max(range(low, high), key=pushed.__getitem__)
    pushes = _run(pushed, holds_s(push_borders, *model.push), ready, end)
    return Critical(
        pushes,
        pulls,
        _cuts(pushes, pushed, ready, push_borders, model.push),
        _cuts(pulls, pulled, released, pull_borders, model.pull),
    )


def _run(ends_s: Sequence[float], hold_s: Sequence[float], since_s: Sequence[float], last: int) -> list[int]:
    """Return the messages that are on the link without a gap up to one of them, last first."""
    order = sorted(range(len(ends_s)), key=ends_s.__getitem__)
    run = [last]
    for before in reversed(order[: order.index(last)]):
        start_s = ends_s[run[-1]] - hold_s[run[-1]]
        if since_s[run[-1]] >= start_s or ends_s[before] < start_s - 1e-12 * abs(start_s):
            break
        run.append(before)
    return run


def _cuts(
    run: Sequence[int],
    ends_s: Sequence[float],
    since_s: Sequence[float],
    borders: Sequence[int],
    rate: tuple[float, float],
) -> list[int]:
    """Return where to cut messages so that they end when a more urgent one that follows can go, in B."""
    found = []
    for after, before in pairwise(run):
        low, high = (borders[before - 1] if before else 0), borders[before]
        rest = (ends_s[before] - since_s[after]) / rate[1]
        if after < before and (cut := high - int(rest)) > low and cut < high:
            found.append(cut)
    return found
