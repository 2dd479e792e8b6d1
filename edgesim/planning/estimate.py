"""What a worker can tell of its channels and its computing from what it measured itself.

Legend: L layers. A message of b bytes holds its channel for dt + b / rate: its start-up and its bytes. Both
are fitted from messages of unlike sizes; where these do not tell them apart the start-up known before holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Messages = Iterable[tuple[float, float]]
"""Bytes of each message, and how long it held its channel, start-up included, in s."""

LEAST_MESSAGES = 3
"""Two messages always lie on a line: with fewer than three nothing tells a fit from a change of rate."""
LEAST_SPREAD = 2.0
"""Largest over smallest message that tells a start-up from the rate: half the bytes, half their time."""
FIT_TOLERANCE = 0.01
"""Share of their time by which messages may miss the fitted line: beyond it the rate itself has changed."""
LEAST_SHARE = 0.05
"""Share of the messages' time from which one tells a rate of its own: what is shorter changes no plan."""
ROUNDING = 1e-6
"""Share of the messages' time below which nothing is left for their bytes but errors of rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one worker measured of its part in one iteration."""

    pulls: tuple[tuple[float, float], ...]
    """Bytes and seconds of each message that it pulled, in the order in which they came."""
    pushes: tuple[tuple[float, float], ...]
    """Bytes and seconds of each message that it pushed, in the order in which they went."""
    forward_s: tuple[float, ...]
    """Time of each layer's forward pass, in s; L numbers."""
    backward_s: tuple[float, ...]
    """Time of each layer's backward pass, in forward order, in s; L numbers."""
    start_s: float
    """When its part began, in s."""
    end_s: float
    """When its last gradient had arrived, in s."""


def fit_channel(messages: Messages, prior_startup_s: float, prior_rate_Bps: float) -> tuple[float, float]:
    """Return the start-up of a message in s and the rate in B/s that explain what messages took.

    Least squares of seconds = dt + bytes / rate, each message weighted by 1 / seconds^2 (errors are shares of
    a time), where at least `LEAST_MESSAGES` of sizes `LEAST_SPREAD` apart lie on one line; exact if they do
    without noise. Otherwise the prior start-up holds and the rate follows from the sums. Without messages, or
    without bytes, the prior is returned. The result is never negative; a rate may be infinite. O(messages).

    >>> found = fit_channel([(100, 3.0), (200, 4.0), (400, 6.0)], prior_startup_s=0.5, prior_rate_Bps=1.0)
    >>> [round(one, 9) for one in found]
    [2.0, 100.0]
    >>> fit_channel([(100, 3.0)], prior_startup_s=2.0, prior_rate_Bps=1.0)
    (2.0, 100.0)
    """
    told = [(size, time_s) for size, time_s in messages if size > 0.0 and 0.0 < time_s < math.inf]
    if not told:
        return prior_startup_s, prior_rate_Bps
    sizes = [size for size, _ in told]
    if len(told) >= LEAST_MESSAGES and max(sizes) >= LEAST_SPREAD * min(sizes):
        line = _line(told)
        if line is not None:
            return line
    return _rate(told, prior_startup_s, prior_rate_Bps)


def _line(told: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return start-up and rate of the line through the messages; None if they do not lie on one."""
    shortest_s = min(time_s for _, time_s in told)
    weights = [(shortest_s / time_s) ** 2 for _, time_s in told]
    total = math.fsum(weights)
    size = math.fsum(w * one for w, (one, _) in zip(weights, told, strict=True)) / total
    time = math.fsum(w * one for w, (_, one) in zip(weights, told, strict=True)) / total
    spread = math.fsum(w * (b - size) ** 2 for w, (b, _) in zip(weights, told, strict=True))
    joint = math.fsum(w * (b - size) * (s - time) for w, (b, s) in zip(weights, told, strict=True))
    if not spread > 0.0:
        return None
    slope = joint / spread
    startup_s = time - slope * size
    if not -FIT_TOLERANCE * time <= startup_s or not slope > 0.0:
        return None
    if any(abs(startup_s + slope * b - s) > FIT_TOLERANCE * s for b, s in told):
        return None
    return max(startup_s, 0.0), 1.0 / slope


def _rate(told: Sequence[tuple[float, float]], startup_s: float, rate_Bps: float) -> tuple[float, float]:
    """Return the prior start-up and the rate that fits it; both scaled if the start-up alone is too long."""
    sent = math.fsum(size for size, _ in told)
    took_s = math.fsum(time_s for _, time_s in told)
    if (moving_s := took_s - len(told) * startup_s) > ROUNDING * took_s:
        return startup_s, sent / moving_s
    expected_s = len(told) * startup_s + sent / rate_Bps if rate_Bps > 0.0 else math.inf
    if not 0.0 < expected_s < math.inf:
        return 0.0, sent / took_s
    return startup_s * took_s / expected_s, rate_Bps * expected_s / took_s


def rate_span(messages: Messages, startup_s: float) -> tuple[float, float] | None:
    """Return the rates of the slowest and of the fastest message, in B/s; None if none tells a rate.

    One does that took at least `LEAST_SHARE` of the time of all, half of it for its bytes.

    >>> rate_span([(100, 11.0), (100, 6.0), (1, 0.1)], startup_s=1.0)
    (10.0, 20.0)
    """
    told = list(messages)
    least_s = max(LEAST_SHARE * math.fsum(time_s for _, time_s in told), 2.0 * startup_s)
    rates = [size / (time_s - startup_s) for size, time_s in told if size and time_s >= least_s > 0.0]
    return (min(rates), max(rates)) if rates else None


def mean_times_s(samples: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the mean time of each layer over samples of L times, in s.

    >>> mean_times_s([(1.0, 2.0), (3.0, 2.0)])
    (2.0, 2.0)
    """
    return tuple(math.fsum(times) / len(samples) for times in zip(*samples, strict=True))
