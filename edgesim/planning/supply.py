"""What a link of varying rate can carry: bytes by a time, and the time by which it has carried some bytes."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

from edgesim.planning.cost import PlanningError
from edgesim.timeseries import Series


class Supply:
    """R(t), the bytes that a link of piecewise-constant rate can carry from 0 to t, and its inverse.

    >>> supply = Supply(Series(times_s=(0.0, 2.0, 5.0), values=(1.0, 0.0, 4.0)))
    >>> supply.until(6.0), supply.time_of(2.0), supply.time_of(4.0)
    (6.0, 2.0, 5.5)
    """

    def __init__(self, rate: Series, base: float = 1.0) -> None:
        """Sum up a rate in B/s, or factors of a base rate. O(steps)."""
        rates = [value * base for value in rate.values]
        if not all(0.0 <= value < math.inf for value in rates):
            raise PlanningError(f"rates from {min(rates)} to {max(rates)} B/s: give finite rates, 0 or more")
        self._times = list(rate.times_s)
        self._rates = rates
        self._period = rate.period_s
        self._sums = [0.0]
        for before, after, value in zip(self._times, self._times[1:], rates, strict=False):
            self._sums.append(self._sums[-1] + (after - before) * value)
        self._turn = 0.0
        if self._period is not None:
            self._turn = self._sums[-1] + (self._period - self._times[-1]) * rates[-1]

    def until(self, time_s: float) -> float:
        """Return the bytes that can be carried from 0 to a time. O(log steps)."""
        turns = 0.0
        if self._period is not None and time_s >= self._period:
            turns = time_s // self._period
            time_s -= turns * self._period
        step = bisect_right(self._times, time_s) - 1
        return turns * self._turn + self._sums[step] + (time_s - self._times[step]) * self._rates[step]

    def time_of(self, nbytes: float) -> float:
        """Return the first time by which so many bytes can be carried, in s; inf: never. O(log steps)."""
        offset = 0.0
        if self._period is not None and nbytes > self._turn:
            if self._turn <= 0.0:
                return math.inf
            turns = math.ceil(nbytes / self._turn) - 1.0
            offset, nbytes = turns * self._period, nbytes - turns * self._turn
        step = max(bisect_left(self._sums, nbytes) - 1, 0)
        rest = nbytes - self._sums[step]
        if rest <= 0.0:
            return offset + self._times[step]
        if self._rates[step] <= 0.0:
            return math.inf
        return offset + self._times[step] + rest / self._rates[step]
