"""Lower bounds: what no schedule can beat.

Legend: L layers; P(l), G(l), F(l), B(l) the times to pull, push, compute forward and backward layers 1..l;
dt the start-up cost of a message. A bound that is met says where the remaining time goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate

from edgesim.planning.cost import Costs, PlanningError, phase
from edgesim.planning.threshold import least_exposed_s

STEPS = 1000
"""Steps of a round trip that are looked at one by one: beyond, one takes less than 0.1 % of the time."""


def phased_s(transfer_s: Iterable[float], compute_s: Iterable[float], startup_s: float) -> float:
    """Return the least duration of a phase by any segmentation, in s: max of dt + P(l) + F(L) - F(l-1).

    Layer l cannot be computed before layers 1..l have arrived in at least one message. For a backward phase
    pass push times and backward times: the bound is max over l of dt + G(l) + B(L) - B(l-1).

    >>> phased_s([6, 2, 2, 2, 8], [1, 4, 1, 1, 2], 2)
    24.0
    """
    times = phase(transfer_s, compute_s, startup_s)
    return times.compute[-1] + least_exposed_s(times)


def duplex_s(
    pull_s: Iterable[float],
    forward_s: Iterable[float],
    backward_s: Iterable[float],
    push_s: Iterable[float],
    startup_s: float,
    *,
    half_duplex: bool = False,
) -> float:
    """Return the least steady period of synchronous training without a barrier between the phases, in s.

    Even when each layer is pulled as soon as it is aggregated, layers 1..l wait for the computing of l..L in
    both directions, and cross the link both ways: max over l of F(l..L) + B(l..L) + max(G(l), P(l)) + 2 dt;
    on a half-duplex link G(l) + P(l) takes the place of the maximum. Computing alone bounds it too.

    >>> duplex_s([4, 1], [1, 1], [2, 2], [4, 1], 0.0)
    10.0
    >>> duplex_s([4, 1], [1, 1], [2, 2], [4, 1], 0.0, half_duplex=True)
    14.0
    """
    down = phase(pull_s, forward_s, startup_s)
    up = phase(push_s, backward_s, startup_s)
    join = _sum if half_duplex else max
    computing = down.compute[-1] + up.compute[-1]
    return max(
        computing
        - down.compute[layer - 1]
        - up.compute[layer - 1]
        + join(up.transfer[layer], down.transfer[layer])
        + 2.0 * down.startup
        for layer in range(1, down.layers + 1)
    )


def round_trip_s(push_s: float, pull_s: float, push_startup_s: float, pull_startup_s: float) -> float:
    """Return the least time to push some bytes and pull them back on a full-duplex link, in s.

    `push_s` and `pull_s` are the times of all bytes without start-ups; a pull waits for every push with bytes
    of it. Look at the pulls in the order in which they go, and at what had to be pushed for the first, then
    for the next that needed more, and so on: r steps. When the g-th is made a share X_g of the bytes has been
    pushed, in g messages at least, and X_{g-1} pulled at most, with r - g + 1 pulls to come at least. So
    push_s X_g + g push_startup_s + pull_s (1 - X_{g-1}) + (r - g + 1) pull_startup_s <= T for g = 1..r, with
    X_0 = 0 and X_r = 1; the least T that allows it follows by recursion, and the least over r bounds every
    plan; O(r), beyond `STEPS` only start-ups are counted. Where both directions are alike it is G + dt + min
    over r of G / r + r dt, which r equal messages attain: (sqrt(G) + sqrt(dt))^2 if sqrt(G / dt) is whole.

    >>> round_trip_s(16.0, 16.0, 1.0, 1.0), round_trip_s(3.0, 4.0, 0.0, 1.0)
    (25.0, 5.0)
    """
    startups_s = push_startup_s + pull_startup_s
    if min(push_s, push_startup_s, pull_startup_s) <= 0.0:
        return max(push_s, pull_s) + startups_s
    if push_s == pull_s and push_startup_s == pull_startup_s:
        count = best_count(push_s, push_startup_s)
        return push_s + push_startup_s + (push_s / count + count * push_startup_s)
    best = push_s + pull_s + startups_s
    slope = offset = 0.0
    for steps in range(1, STEPS + 2):
        least = max(
            push_s + steps * push_startup_s + pull_startup_s, pull_s + push_startup_s + steps * pull_startup_s
        )
        if least >= best:
            break
        slope = (1.0 + pull_s * slope) / push_s
        offset = (steps * (push_startup_s - pull_startup_s) + pull_s * offset) / push_s
        exact = (1.0 + offset) / slope + (steps + 1) * pull_startup_s + pull_s
        best = min(best, max(least, exact) if steps <= STEPS else least)
    return best


def best_count(transfer_s: float, startup_s: float) -> int:
    """Return in how many equal messages to push and pull back some bytes, sqrt(G / dt) to the best integer.

    >>> best_count(16.0, 1.0), best_count(4.6, 0.001)
    (4, 68)
    """
    if startup_s <= 0.0 or transfer_s <= 0.0:
        raise PlanningError(
            f"no best count for {transfer_s} s of bytes and a start-up of {startup_s} s: give more than 0 s"
        )
    lower = max(int(math.sqrt(transfer_s) / math.sqrt(startup_s)), 1)
    return min((lower, lower + 1), key=lambda count: transfer_s / count + count * startup_s)


def pipelined_s(costs: Costs) -> float:
    """Return the least steady period without a barrier, whatever the messages, in s: start-ups counted.

    As `duplex_s`, with the way that layers 1..l go in both directions bounded by `round_trip_s`: the largest
    of F(l..L) + B(l..L) + round trip of layers 1..l, and both latencies. On a half-duplex link every byte
    goes there and back with at least one start-up each; other pushes can hide the latency of a pull there.
    O(L) where both directions are alike, else O(L `STEPS`) at worst.
    """
    push_s = accumulate(size * costs.push_ratio / costs.push_Bps for size in costs.sizes)
    pull_s = accumulate(size / costs.pull_Bps for size in costs.sizes)
    computing = sum(costs.forward_s) + sum(costs.backward_s)
    startups = (costs.push_startup_s, costs.pull_startup_s)
    latency_s = costs.push_latency_s + (costs.pull_latency_s if costs.duplex else 0.0)
    best = computing
    for push, pull, ahead, back in zip(push_s, pull_s, costs.forward_s, costs.backward_s, strict=True):
        if push > 0.0:
            if not costs.duplex:
                best = max(best, computing + latency_s + push + pull + sum(startups))
            elif _at_most_s(max(push, pull), max(startups)) > best - computing - latency_s:
                best = max(best, computing + latency_s + round_trip_s(push, pull, *startups))
        computing -= ahead + back
    return best


def _at_most_s(transfer_s: float, startup_s: float) -> float:
    """Return what a round trip in the best number of equal messages takes at most, in s."""
    return transfer_s + 2.0 * math.sqrt(transfer_s * startup_s) + 2.0 * startup_s


def _sum(one: float, other: float) -> float:
    return one + other
