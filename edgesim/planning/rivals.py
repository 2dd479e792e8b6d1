"""The rivals of `dynacomm`: every other way to cut a phase into segments, each as its authors describe it.

Legend: L layers; P, F prefix sums of transfer and compute; dt the start-up cost of a message. A strategy sees
a backward phase backwards in time, as a forward phase (`cost.makespan_s`), so what its authors say of
gradients holds for parameters too, mirrored in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate

from edgesim.planning.cost import Phase, PlanningError, exposed_s

Strategy = Callable[[Phase], tuple[int, ...]]
"""From the times of a phase to its cuts, 1-based last layer of each segment."""

MIB = 2**20
"""Bytes of a mebibyte: what both PyTorch and Horovod mean by MB."""


def sequential(times: Phase) -> tuple[int, ...]:
    """Return one segment: all of the model, then all of the computing (the plain parameter server)."""
    return (times.layers,)


def layer_by_layer(times: Phase) -> tuple[int, ...]:
    """Return a segment a layer (wait-free back-propagation; Poseidon, Zhang et al., USENIX ATC 2017)."""
    return tuple(range(1, times.layers + 1))


def tictac(times: Phase) -> tuple[int, ...]:
    """Return one message a layer in forward order: TicTac (Hashemi et al., MLSys 2019) on a chain of layers.

    TicTac orders the pulls of a graph by when they are needed, and merges nothing. In a chain that order is
    1..L, so here it *equals* `layer_by_layer`; it is listed so that nobody looks for it in vain.
    """
    return layer_by_layer(times)


def ibatch(times: Phase) -> tuple[int, ...]:
    """Return greedily batched segments: our reconstruction of iBatch (Wang et al., AAAI 2019).

    The published rule is not given in full. Here: for every first cut, take again and again the farthest next
    cut whose transfer is hidden by the computing already received; if there is none, a single layer; keep the
    best of these L runs. Gradients are batched in the same way, mirrored in time (iPart, IEEE TPDS 2021).
    O(L^2).
    """
    runs = (_greedy_run(times, first) for first in range(1, times.layers + 1))
    return min(runs, key=lambda cuts: exposed_s(times, cuts))


def _greedy_run(times: Phase, first: int) -> tuple[int, ...]:
    transfer, compute, startup = times[:3]
    cuts = [first]
    done = startup + transfer[first] + compute[first]
    while cuts[-1] < times.layers:
        here = cuts[-1]
        arrival = (len(cuts) + 1) * startup
        cut = here + 1
        while cut < times.layers and arrival + transfer[cut + 1] <= done:
            cut += 1
        done = max(done, arrival + transfer[cut]) + compute[cut] - compute[here]
        cuts.append(cut)
    return tuple(cuts)


def mg_wfbp(times: Phase) -> tuple[int, ...]:
    """Return merged gradients: MG-WFBP (Shi et al., IEEE INFOCOM 2019), their rule on our cost model.

    Their message costs a + b bytes: a is dt, b bytes is the transfer time. The gradient of layer l is ready
    at r(l) = F(L) - F(l-1), and its message could start at s(l) = max(r(l), end of the message before). From
    l = L down to 2, layer l is merged into l-1 when r(l-1) < s(l) + dt: to wait for the next gradient then
    takes less than the start-up it saves, which would delay the message of layer l-1. What was merged before
    goes along. O(L).

    Reconstructed: theirs is for all-reduce, here b bytes is the time of one link; pulls are cut by the same
    rule mirrored in time, of which the paper does not speak; and the authors' program also merges whatever
    is below 8,192 elements, which is no part of the rule and left out.

    By hand: layers 4 to 1 are ready at 3, 4, 9, 11. Layer 4 is merged into 3 (4 < 3 + 2). They would start at
    4, and layer 2 is ready too late to wait for (9 >= 4 + 2): they end at 4 + 2 + 5 = 11. Layer 2 is merged
    into 1 (11 < 11 + 2).

    >>> from edgesim.planning.cost import phase
    >>> mg_wfbp(phase([4, 1, 3, 2], [2, 5, 1, 3], 2))
    (2, 4)
    """
    transfer, compute, startup = times[:3]
    total = compute[-1]
    cuts = [times.layers]
    sent = 0.0
    for layer in range(times.layers, 1, -1):
        start = max(sent, total - compute[layer - 1])
        if total - compute[layer - 2] >= start + startup:
            sent = start + startup + transfer[cuts[-1]] - transfer[layer - 1]
            cuts.append(layer - 1)
    return tuple(reversed(cuts))


def fusion(capacity: int, *, overfull: bool = False) -> Strategy:
    """Return the strategy that fills buckets of a fixed size, in B, with layers in the order of sending.

    Gradients fill them from layer L down, parameters from layer 1 up. `overfull=False`: a bucket takes layers
    as long as they fit, and a layer too large for any goes alone (Horovod's tensor fusion, Sergeev and Del
    Balso, arXiv 1802.05799). `overfull=True`: a bucket is closed by the layer with which it reaches its size,
    so it may hold more (PyTorch's DistributedDataParallel, Li et al., VLDB 2020).

    Left out: DDP's smaller first bucket of 1 MiB, and that Horovod fuses only what is ready when a cycle of
    its loop starts. Both say MB and mean MiB: `bucket_cap_mb=25` is 25 * 2**20 B, the fusion threshold 64 MB
    is 67,108,864 B. The strategy raises `PlanningError` for a phase without `sizes`.

    >>> from edgesim.planning.cost import phase
    >>> fusion(5)(phase([1] * 4, [1] * 4, 1, sizes=[2, 3, 1, 9])), fusion(5, overfull=True)(
    ...     phase([1] * 4, [1] * 4, 1, sizes=[2, 3, 1, 9], backward=True))
    ((2, 3, 4), (3, 4))
    """
    if capacity < 1:
        raise PlanningError(f"a bucket of {capacity} B holds nothing: give 1 B or more")

    def fuse(times: Phase) -> tuple[int, ...]:
        """Return buckets of a fixed size, filled with whole layers in the order of sending."""
        if times.sizes is None:
            raise PlanningError(
                f"buckets of {capacity} B are filled by bytes: pass sizes=, the bytes of each layer"
            )
        order = range(times.layers, 0, -1) if times.backward else range(1, times.layers + 1)
        counts = _buckets([times.sizes[layer - 1] for layer in order], capacity, overfull)
        return _cuts(reversed(counts) if times.backward else counts)

    return fuse


def _buckets(sizes: list[int], capacity: int, overfull: bool) -> list[int]:
    """Return how many layers each bucket takes, in the order of filling."""
    counts: list[int] = []
    room = 0
    for size in sizes:
        if counts and (room > 0 if overfull else size <= room):
            counts[-1] += 1
            room -= size
        else:
            counts.append(1)
            room = capacity - size
    return counts


def _cuts(counts: Iterable[int]) -> tuple[int, ...]:
    """Return the cuts between segments of so many layers."""
    return tuple(accumulate(counts))
