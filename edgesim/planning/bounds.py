"""Lower bounds: what no schedule can beat.

Legend: L layers; P(l), G(l), F(l), B(l) the times to pull, push, compute forward and backward layers 1..l;
dt the start-up cost of a message. A bound that is met says where the remaining time goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgesim.planning.cost import phase
from edgesim.planning.threshold import least_exposed_s


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


def _sum(one: float, other: float) -> float:
    return one + other
