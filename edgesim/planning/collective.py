"""All-reduce in closed form: how long a ring or a tree takes, what a bucket costs, what none can beat.

Legend: N workers, L layers, M buckets. B bytes are added up over all workers. An edge is the way from one
worker to another: `latency` is waited without holding a link, `startup` (dt) holds the sender's link, then
the bytes go. Adding takes no time: it runs at the speed of memory while the bytes come in.
Ring: Patarasuk and Yuan, J. Parallel Distrib. Comput. 69(2), 2009. Start-up and rate of a collective, alpha
and beta: Thakur, Rabenseifner and Gropp, Int. J. High Perform. Comput. Appl. 19(1), 2005.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import ceil
from typing import NamedTuple


class Edge(NamedTuple):
    """One direction from a worker to another, with no other message on its links."""

    rate_Bps: float
    """Rate of its slowest link, in B/s."""
    startup_s: float = 0.0
    """Start-up of a message that holds the sender's link, in s."""
    latency_s: float = 0.0
    """What a message waits without holding a link, in s."""

    def time_s(self, nbytes: float) -> float:
        """Return how long a message of this size in B takes on it alone, in s."""
        return self.latency_s + self.startup_s + nbytes / self.rate_Bps


def ring_steps(workers: int) -> int:
    """Return the messages that each worker of a ring sends: N - 1 to add up, N - 1 to hand round."""
    return 2 * (workers - 1)


def chunk_bytes(nbytes: float, workers: int) -> int:
    """Return the size of a message of a ring, B/N rounded up to whole bytes, in B.

    >>> chunk_bytes(10, 4), chunk_bytes(12, 4)
    (3, 3)
    """
    return ceil(nbytes / workers)


def ring_s(nbytes: float, edges: Sequence[Edge]) -> float:
    """Return the time of a ring all-reduce of B bytes over N unlike edges that share no link, in s.

    `edges[i]` leads from worker i to the next, the last one to the first. Each sends chunks of B/N; the k-th
    when it has received the k-1-st. Of equal edges 2(N-1)(latency + dt + B/N/rate); of unlike ones that of
    the longest chain of messages, O(N^2). One edge or none: 0.

    >>> ring_s(12.0, [Edge(1.0, 2.0, 1.0)] * 3)
    28.0
    >>> ring_s(12.0, [Edge(1.0), Edge(4.0), Edge(4.0)])
    16.0
    """
    count = len(edges)
    if count < 2:
        return 0.0
    chunk = chunk_bytes(nbytes, count)
    if all(edge == edges[0] for edge in edges):
        return ring_steps(count) * edges[0].time_s(chunk)
    held = [edge.startup_s + chunk / edge.rate_Bps for edge in edges]
    out = [0.0] * count  # when the last byte of the message before was out, by edge
    came = [0.0] * count  # when the message before had come, by its receiver
    for _ in range(ring_steps(count)):
        out = [max(came[i] + edges[i].latency_s, out[i]) + held[i] for i in range(count)]
        came = [out[i - 1] for i in range(count)]
    return max(out)


def children(place: int, workers: int) -> tuple[int, ...]:
    """Return the places of the children in a binary tree that is filled row by row; place 0 is the root.

    >>> children(0, 4), children(1, 4), children(2, 4)
    ((1, 2), (3,), ())
    """
    return tuple(child for child in (2 * place + 1, 2 * place + 2) if child < workers)


def tree_s(nbytes: float, workers: int, edge: Edge) -> float:
    """Return the time of a tree all-reduce of B bytes over N equal workers at one full-duplex switch, in s.

    A worker sends B to its parent when its children's sums have come, the root sends B down, and so on. Two
    children share their parent's link: of messages that begin at a <= b the later ends at the later of
    a + 2 B/rate and b + B/rate; going down, two start-ups hold it too. A full tree of depth D (N = 2^(D+1) -
    1) takes D (2 latency + 3 dt + 4 B/rate).

    >>> tree_s(4.0, 3, Edge(1.0, 2.0, 1.0)), tree_s(4.0, 7, Edge(1.0, 2.0, 1.0)), tree_s(4.0, 2, Edge(1.0))
    (24.0, 48.0, 8.0)
    """
    time_s = nbytes / edge.rate_Bps
    up = [0.0] * workers
    down = [0.0] * workers
    for place in reversed(range(workers)):
        below = children(place, workers)
        if not below:
            continue
        begins = [up[child] + edge.latency_s + edge.startup_s for child in below]
        up[place] = max(max(begins) + time_s, min(begins) + len(below) * time_s)
        spent = edge.latency_s + len(below) * (edge.startup_s + time_s)
        down[place] = spent + max(down[child] for child in below)
    return up[0] + down[0]


def parent(place: int) -> int:
    """Return the place of the parent of a place that is not the root."""
    return (place - 1) // 2


class Affine(NamedTuple):
    """What an all-reduce of a bucket costs a planner: a start-up, and a time a byte."""

    startup_s: float
    """alpha: the time of an all-reduce of nothing, in s."""
    byte_s: float
    """beta: the time that each byte adds, in s/B."""


def tree_bound(
    nbytes: float,
    up: Sequence[Edge],
    down: Sequence[Edge],
    into_Bps: Sequence[float],
    out_Bps: Sequence[float],
) -> Affine:
    """Return a line that no tree all-reduce over unlike edges is below, highest where B bytes are added up.

    `up[i - 1]` leads from place i to its parent, `down[i - 1]` back; N - 1 of each. `into_Bps[i]` is the rate
    of the slowest link that the messages of all children of place i cross, `out_Bps[i]` of those to them;
    infinite where there is none; N numbers. At each place the line goes on from one child, or from what both
    need: no less than either and the bytes of both over the link that they share.

    >>> tree_bound(4.0, [Edge(1.0), Edge(2.0)], [Edge(4.0), Edge(2.0)], [9.0] * 3, [1.0] * 3)
    Affine(startup_s=0.0, byte_s=3.0)
    """
    count = len(up) + 1
    rise = [Affine(0.0, 0.0)] * count
    fall = [Affine(0.0, 0.0)] * count

    def cost_s(line: Affine) -> float:
        return line.startup_s + line.byte_s * nbytes

    for place in reversed(range(count)):
        below = children(place, count)
        for edges, lines, shared_Bps in ((up, rise, into_Bps), (down, fall, out_Bps)):
            found = [_after(lines[child], edges[child - 1]) for child in below]
            if len(below) > 1:
                least = Affine(*map(min, zip(*(lines[child] for child in below), strict=True)))
                wait_s = min(edges[child - 1].latency_s + edges[child - 1].startup_s for child in below)
                share_s = len(below) / shared_Bps[place]
                found.append(Affine(least.startup_s + wait_s, least.byte_s + share_s))
            lines[place] = max(found, key=cost_s, default=lines[place])
    return Affine(rise[0].startup_s + fall[0].startup_s, rise[0].byte_s + fall[0].byte_s)


def _after(line: Affine, edge: Edge) -> Affine:
    return Affine(line.startup_s + edge.latency_s + edge.startup_s, line.byte_s + 1.0 / edge.rate_Bps)


def affine(time_s: Callable[[float], float], upto_bytes: float) -> Affine:
    """Return a line through the times of an all-reduce of 0 B and of the largest bucket.

    Times of equal edges lie on it. Those of unlike edges are the longest of several chains, a convex function
    of the bytes: they lie on the line or below, but for a byte that rounding adds to a chunk.

    >>> affine(lambda nbytes: ring_s(nbytes, [Edge(1.0, 2.0, 1.0)] * 3), 12.0)
    Affine(startup_s=12.0, byte_s=1.3333333333333333)
    """
    startup_s = time_s(0.0)
    if upto_bytes <= 0.0:
        return Affine(startup_s, 0.0)
    return Affine(startup_s, max(time_s(upto_bytes) - startup_s, 0.0) / upto_bytes)


def ready_s(
    update_s: Sequence[float], forward_s: Sequence[Sequence[float]], backward_s: Sequence[Sequence[float]]
) -> list[float]:
    """Return when every worker has the gradients of the layers from l on, counted from the last sums, in s.

    `update_s` holds a time for each of N workers, `forward_s` and `backward_s` one for each of N x L. The
    result has L + 1 numbers, for l = 1 to L + 1 (backward begins for the last), falling or equal: the
    slowest worker at each.

    >>> ready_s([1.0, 0.0], [[1.0, 1.0], [4.0, 0.0]], [[3.0, 3.0], [1.0, 1.0]])
    [9.0, 6.0, 4.0]
    """
    each = []
    for update, ahead, back in zip(update_s, forward_s, backward_s, strict=True):
        begin = update + sum(ahead)
        each.append([begin + done for done in reversed(list(accumulate(reversed(back), initial=0.0)))])
    return [max(times) for times in zip(*each, strict=True)]


def end_s(
    ready: Sequence[float], cuts: Sequence[int], sizes: Sequence[float], time_s: Callable[[float], float]
) -> float:
    """Return when the last bucket has been added up: E_m = max(E_{m-1}, ready) + time(bytes), in s.

    `ready` as of `ready_s`, `cuts` the last layer of each bucket in forward order, `sizes` the bytes of L
    layers. Buckets go one after the other, the last layers first.

    >>> end_s([6.0, 4.0, 2.0], (1, 2), [8.0, 1.0], lambda nbytes: 1.0 + nbytes)
    15.0
    """
    firsts = (0, *cuts[:-1])
    end = 0.0
    for first, last in reversed(list(zip(firsts, cuts, strict=True))):
        end = max(end, ready[first]) + time_s(sum(sizes[first:last]))
    return end


def least_end_s(ready: Sequence[float], sizes: Sequence[float], time_s: Callable[[float], float]) -> float:
    """Return a lower bound of `end_s` for any buckets: max over l of ready(l) + time(B(l)), in s.

    Layers 1..l cannot begin before the gradient of l is there, and all their bytes are still to come; that
    several buckets are not faster than one holds where `time_s` is the longest of some chains, or a line.

    >>> least_end_s([6.0, 4.0, 2.0], [8.0, 1.0], lambda nbytes: 1.0 + nbytes)
    15.0
    """
    totals = accumulate(sizes)
    return max(start + time_s(total) for start, total in zip(ready, totals, strict=False))
