"""The O(L^3) dynamic program for one phase: the published form of DynaComm, kept as the planner's oracle."""

from __future__ import annotations

import math

from edgesim.planning.cost import Phase


def best_cuts(times: Phase) -> tuple[int, ...]:
    """Return cuts of least makespan by dynamic programming; time O(L^3), memory O(L^2).

    With C[m][n] the earliest end of computing layers 1..n that arrived in m segments,
    C[m][n] = min over k < n of max(C[m-1][k], m dt + P(n)) + F(n) - F(k), and the answer is the best C[m][L].
    The number of segments is part of the state because the arrival depends on the start-ups paid
    (Cai et al., IEEE JSAC 40(2):611-625, 2022). Ties go to the fewest segments.

    >>> from edgesim.planning.cost import phase
    >>> best_cuts(phase([4, 1, 3, 2], [2, 5, 1, 3], 1))
    (2, 4)
    """
    transfer, compute, startup = times[:3]
    layers = times.layers
    ends = [0.0] + [math.inf] * layers
    choices: list[list[int]] = []
    best_end, best_count = math.inf, 0
    for count in range(1, layers + 1):
        ends, chosen = _one_more(ends, transfer, compute, count * startup)
        choices.append(chosen)
        if ends[layers] < best_end:
            best_end, best_count = ends[layers], count
    return _walk_back(choices[:best_count], layers)


def _one_more(
    ends: list[float], transfer: list[float], compute: list[float], offset: float
) -> tuple[list[float], list[int]]:
    """Return the row C[m] from C[m-1], and the k chosen for each n."""
    layers = len(transfer) - 1
    row = [math.inf] * (layers + 1)
    chosen = [0] * (layers + 1)
    for last in range(1, layers + 1):
        arrival = offset + transfer[last]
        done = compute[last]
        for previous in range(last):
            end = max(ends[previous], arrival) + done - compute[previous]
            if end < row[last]:
                row[last] = end
                chosen[last] = previous
    return row, chosen


def _walk_back(choices: list[list[int]], layers: int) -> tuple[int, ...]:
    cuts: list[int] = []
    here = layers
    for chosen in reversed(choices):
        cuts.append(here)
        here = chosen[here]
    return tuple(reversed(cuts))
