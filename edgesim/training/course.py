"""The declared course of the links between a worker and its servers, corrected by what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgesim.cluster import Cluster, Link
from edgesim.planning.replan import MOVED
from edgesim.planning.supply import Supply
from edgesim.timeseries import Series
from edgesim.training.expectation import Channel

CHANGES = 10_000
"""Changes of rate that one phase is planned for at most; from then on the last rate is taken to hold."""


class Lane:
    """One direction of one worker, and how fast it is known to be over time."""

    def __init__(self, cluster: Cluster, channel: Channel, sizes: Sequence[int]) -> None:
        self.links: tuple[Link, ...] = tuple(cluster.links[name] for name in channel.route)
        self.sizes = sizes
        self.startup_s = channel.startup_s
        self.latency_s = channel.latency_s
        self.scale = 1.0
        """Measured over declared rate."""

    def rate_Bps(self, time_s: float) -> float:
        """Return the rate at a time, in B/s."""
        rates = (
            link.bandwidth_Bps * (1.0 if link.factor is None else link.factor.at(time_s))
            for link in self.links
        )
        return self.scale * min(rates)

    def next_change_s(self, time_s: float) -> float:
        """Return when the rate may change next, in s; infinite: never."""
        changes = (link.factor.next_change_s(time_s) for link in self.links if link.factor is not None)
        return min((change for change in changes if change is not None), default=math.inf)

    def course(self, start_s: float, spare_s: float) -> Series:
        """Return the rate from a time on, in B/s over s since then.

        It goes on until all layers would have crossed at once, and `spare_s` and all start-ups longer.
        """
        left, end_s = float(sum(self.sizes)), math.inf
        times_s, rates = [0.0], [self.rate_Bps(start_s)]
        now = start_s
        while (change := self.next_change_s(now)) < math.inf and len(times_s) < CHANGES:
            left -= rates[-1] * (change - now)
            if left <= 0.0 and end_s == math.inf:
                end_s = change + spare_s + len(self.sizes) * self.startup_s
            if change >= end_s:
                break
            now = change
            if (rate := self.rate_Bps(now)) != rates[-1] and now - start_s > times_s[-1]:
                times_s.append(now - start_s)
                rates.append(rate)
        return Series(times_s=tuple(times_s), values=tuple(rates))

    def learn(self, messages: Sequence[tuple[float, float]], begins_s: Sequence[float]) -> None:
        """Correct the scale by messages that held the channel from some times on, for their seconds."""
        due = sent = 0.0
        for (size, time_s), begin_s in zip(messages, begins_s, strict=True):
            moving_s = max(time_s - self.startup_s, 0.0)
            supply = Supply(self.course(begin_s + self.startup_s, moving_s))
            due += supply.until(moving_s)
            sent += size
        if due > 0.0 and sent > 0.0 and abs(sent / due - 1.0) > MOVED:
            self.scale *= sent / due
