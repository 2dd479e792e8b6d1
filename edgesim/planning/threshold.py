"""The exact threshold planner: the least exposed time of a phase by O(L) feasibility tests.

Legend: P, F prefix sums of transfer and compute; k_m the m-th cut; theta a budget of exposed time.

For a budget theta the greedy takes, again and again, the farthest cut k' with m dt + P(k') - F(k) <= theta.
What is reachable never shrinks when k grows, so by induction the greedy's m-th cut is at least as far as that
of any decomposition within theta: the test is exact. It is exact for floats too, because that expression is
evaluated as it stands and each of its roundings is monotone in k, k', and m.
"""

from __future__ import annotations

import math

from edgesim.planning.cost import Phase, exposed_s


def best_cuts(times: Phase) -> tuple[int, ...]:
    """Return cuts of least makespan, of those the ones with the fewest segments.

    Bisects theta between the phased lower bound and the cost of a single segment. After a feasible test the
    upper end snaps to the cost of the cuts found; after an infeasible one the lower end snaps to the least
    budget at which the greedy would go another way. Each test is O(L); on layer times of real CNNs there are
    2 to 9 of them.

    >>> from edgesim.planning.cost import phase
    >>> best_cuts(phase([4, 1, 3, 2], [2, 5, 1, 3], 1))
    (2, 4)
    """
    low = least_exposed_s(times)
    best: tuple[int, ...] = (times.layers,)
    high = exposed_s(times, best)
    theta = low
    while low < high:
        cuts, following = frontier(times, theta)
        if cuts[-1] == times.layers:
            best, high = cuts, exposed_s(times, cuts)
        else:
            low = following
        theta = low + (high - low) / 2
        if not low < theta < high:
            theta = low
    return best


def least_exposed_s(times: Phase) -> float:
    """Return the largest dt + P(l) - F(l-1) over layers l: no decomposition exposes less, in s."""
    transfer, compute, startup = times[:3]
    return max([0.0, *[startup + p - f for p, f in zip(transfer[1:], compute, strict=False)]])


def frontier(times: Phase, theta: float) -> tuple[tuple[int, ...], float]:
    """Return the greedy's cuts within a budget, and the least budget that would change them.

    The cuts end in L if and only if some decomposition exposes at most `theta` s.
    """
    transfer, compute, startup = times[:3]
    layers = len(transfer) - 1
    cuts: list[int] = []
    following = math.inf
    here = 0
    while here < layers:
        offset = (len(cuts) + 1) * startup
        done = compute[here]
        reached = here
        while reached < layers:
            exposed = offset + transfer[reached + 1] - done
            if exposed > theta:
                following = min(following, exposed)
                break
            reached += 1
        if reached == here:
            break
        cuts.append(reached)
        here = reached
    return tuple(cuts) or (0,), following


def certificate(times: Phase, theta: float) -> tuple[int, ...]:
    """Return the greedy frontier just below `theta`: the m-th cut of anything cheaper lies at or before it.

    If it stalls before L, nothing exposes less than `theta` s; `certifies` checks that in O(M).

    >>> from edgesim.planning.cost import phase
    >>> certificate(phase([5] * 6, [2] * 6, 1), 23.0)
    (4, 5)
    """
    return frontier(times, math.nextafter(theta, -math.inf))[0]


def certifies(times: Phase, theta: float, limits: tuple[int, ...]) -> bool:
    """Return whether `limits` proves that no decomposition exposes less than `theta` s.

    By induction on m: if the (m-1)-th cut is at most limits[m-1], going past limits[m] costs at least
    `theta`; and from the last limit no further cut can be reached.

    >>> from edgesim.planning.cost import phase
    >>> certifies(phase([5] * 6, [2] * 6, 1), 23.0, (4, 5))
    True
    """
    transfer, compute, startup = times[:3]
    steps = [cut for cut in limits if cut > 0]
    if steps and steps[-1] >= times.layers:
        return False
    following = [*steps, steps[-1] if steps else 0]
    return all(
        count * startup + transfer[limit + 1] - compute[previous] >= theta
        for count, (previous, limit) in enumerate(zip([0, *steps], following, strict=True), 1)
    )
