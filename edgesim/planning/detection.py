"""When a batch that is not back is overdue, from the round trips of those that came back.

A round trip is the time from a batch's forward pass on the central node to the end of its backward pass
there. A detector is a frozen value: `seen` returns the next one. A new partition deserves a new one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from edgesim.planning.cost import PlanningError

GAIN = 1 / 8
"""Weight of the newest round trip, in mean and variance alike: that of the mean in RFC 6298, for TCP."""
FIRST_SHARE = 1 / 2
"""Deviation over mean when there is one round trip or none to tell it, as in RFC 6298."""
LEAST_SHARE = 1 / 20
"""Least deviation over mean. Round trips of a quiet pipeline are all alike: without it an error of rounding
would be a failure. With z = 6 the timer then waits 1.3 means, and the fixed one 2: a batch may be held up a
little, by messages of other traffic, say. A whole stage's weights before it on a link can still be too much
once the last such wait is forgotten; the probe then says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """The timer of FTPipeHD: a batch is overdue after `factor` times the mean of all round trips.

    Source: Chen et al., arXiv 2110.02781, IEEE TMC 2023; 2 is the factor that its authors intended.

    >>> Timer().seen(1.0).seen(2.0).timeout_s(expected_s=9.0)
    3.0
    """

    factor: float = 2.0
    """Mean round trips that a batch may take, above 1."""
    mean_s: float = 0.0
    """Mean of the round trips so far, in s."""
    count: int = 0
    """How many there were."""

    def __post_init__(self) -> None:
        if not 1.0 < self.factor < math.inf:
            raise PlanningError(f"a timer of {self.factor} mean round trips: give more than 1")

    def seen(self, round_trip_s: float) -> Timer:
        """Return the timer after one more round trip, in s."""
        count = self.count + 1
        return replace(self, mean_s=self.mean_s + (_checked(round_trip_s) - self.mean_s) / count, count=count)

    def timeout_s(self, expected_s: float) -> float:
        """Return how long a batch may take, in s; `expected_s` is the round trip predicted before any was."""
        return self.factor * (self.mean_s if self.count else _checked(expected_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """A batch is overdue `z` standard deviations above the mean; both follow drift.

    Both are exponentially weighted with gain g: m' = m + g (x - m), v' = (1 - g) (v + g (x - m)^2) (Finch,
    Incremental calculation of weighted mean and variance, 2009). At first the deviation counts as
    `FIRST_SHARE` of the mean, which the weights forget: caution shrinks as round trips come in. It is never
    below `LEAST_SHARE` of the mean.

    >>> first = Adaptive(z=6.0).seen(1.0)
    >>> first.timeout_s(expected_s=9.0)
    4.0
    >>> later = first
    >>> for _ in range(100):
    ...     later = later.seen(1.0)
    >>> round(later.timeout_s(expected_s=9.0), 9)
    1.3
    """

    z: float = 6.0
    """Standard deviations above the mean that a batch may take, above 0."""
    mean_s: float = 0.0
    """Weighted mean of the round trips so far, in s."""
    variance_s2: float = 0.0
    """Their weighted variance, in s^2."""
    count: int = 0
    """How many there were."""

    def __post_init__(self) -> None:
        if not 0.0 < self.z < math.inf:
            raise PlanningError(f"a timer of {self.z} standard deviations: give more than 0")

    def seen(self, round_trip_s: float) -> Adaptive:
        """Return the timer after one more round trip, in s."""
        time_s = _checked(round_trip_s)
        if not self.count:
            return replace(self, mean_s=time_s, variance_s2=(FIRST_SHARE * time_s) ** 2, count=1)
        off_s = time_s - self.mean_s
        variance_s2 = (1.0 - GAIN) * (self.variance_s2 + GAIN * off_s**2)
        return replace(self, mean_s=self.mean_s + GAIN * off_s, variance_s2=variance_s2, count=self.count + 1)

    def timeout_s(self, expected_s: float) -> float:
        """Return how long a batch may take, in s; `expected_s` is the round trip predicted before any was."""
        known = self if self.count else self.seen(expected_s)
        deviation_s = max(math.sqrt(known.variance_s2), LEAST_SHARE * known.mean_s)
        return known.mean_s + self.z * deviation_s


Detector: TypeAlias = Timer | Adaptive
"""What tells when a batch is overdue."""


def pick(policy: Literal["timer", "adaptive"], factor: float = 2.0, z: float = 6.0) -> Detector:
    """Return the detector of a policy's name, before any round trip.

    >>> pick("timer", factor=3.0).timeout_s(2.0), pick("adaptive", z=4.0).timeout_s(2.0)
    (6.0, 6.0)
    """
    if policy == "timer":
        return Timer(factor=factor)
    if policy == "adaptive":
        return Adaptive(z=z)
    raise PlanningError(f"detection {policy!r}: unknown; known: timer, adaptive")


def _checked(time_s: float) -> float:
    if not 0.0 <= time_s < math.inf:
        raise PlanningError(f"a round trip of {time_s} s: give a finite time, 0 s or more")
    return time_s
