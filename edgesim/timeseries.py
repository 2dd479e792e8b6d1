"""A piecewise-constant quantity over time: bandwidth, availability, speed."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A value that holds from each time to the next; before the first time the first value holds.

    >>> day = Series(times_s=(0.0, 2.0), values=(1.0, 0.5), period_s=10.0)
    >>> day.at(1.0), day.at(3.0), day.at(11.0)
    (1.0, 0.5, 1.0)
    >>> day.next_change_s(2.0)
    10.0
    """

    times_s: tuple[float, ...]
    """Times at which a new value begins, strictly rising from 0, in s."""
    values: tuple[float, ...]
    """The value from each time on, in the unit of the quantity."""
    period_s: float | None = None
    """Length after which the series repeats, in s; None: the last value holds for ever."""

    def __post_init__(self) -> None:
        if len(self.times_s) != len(self.values) or not self.times_s:
            raise ValueError(f"{len(self.times_s)} times for {len(self.values)} values")
        if self.times_s[0] != 0.0 or any(
            b <= a for a, b in zip(self.times_s, self.times_s[1:], strict=False)
        ):
            raise ValueError(f"times must rise strictly from 0, got {self.times_s[:5]}...")
        if self.period_s is not None and self.period_s <= self.times_s[-1]:
            raise ValueError(f"period {self.period_s} s must exceed the last time {self.times_s[-1]} s")

    def at(self, time_s: float) -> float:
        """Return the value that holds at `time_s` (changes hold from their own instant on)."""
        index = bisect_right(self.times_s, self._phase(time_s)[1]) - 1
        return self.values[max(index, 0)]

    def next_change_s(self, time_s: float) -> float | None:
        """Return the first change strictly after `time_s`, or None when nothing changes any more."""
        base, phase = self._phase(time_s)
        index = bisect_right(self.times_s, phase)
        while True:
            if index < len(self.times_s):
                change = base + self.times_s[index]
            elif self.period_s is not None:
                base, index = base + self.period_s, 0
                change = base
            else:
                return None
            if change > time_s:
                return change
            index += 1

    def _phase(self, time_s: float) -> tuple[float, float]:
        if self.period_s is None or time_s < self.period_s:
            return 0.0, time_s
        base = (time_s // self.period_s) * self.period_s
        return base, time_s - base


def constant(value: float) -> Series:
    """Return the series that always has `value`."""
    return Series(times_s=(0.0,), values=(value,))
