"""What the devices of a pipeline know of the network between them: declared at first, measured since."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from edgesim.cluster import Cluster
from edgesim.training.expectation import channel

RECENT = 16
"""Messages that count, the latest: the largest of their rates is taken for the bandwidth, as copies on the
same links slow some of them down (so does BBR, Cardwell et al., ACM Queue 14(5), 2016)."""


class Links:
    """Rates and latencies between devices, as far as messages have shown them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._declared: dict[tuple[str, str], float] = {}
        self._seen: dict[tuple[str, str], deque[float]] = {}

    def seen(self, source: str, target: str, nbytes: float, time_s: float) -> None:
        """Take note of a message of some B that was on its way for some s."""
        if nbytes <= 0.0 or time_s <= 0.0:
            return
        self._seen.setdefault((source, target), deque(maxlen=RECENT)).append(nbytes / time_s)

    def rate_Bps(self, source: str, target: str) -> float:
        """Return what is known of the rate from one device to another, in B/s."""
        if source == target:
            return float("inf")
        if (source, target) in self._seen:
            return max(self._seen[source, target])
        if (source, target) not in self._declared:
            self._declared[source, target] = channel(self.cluster, source, target).rate_Bps
        return self._declared[source, target]

    def matrix(self, devices: Sequence[str]) -> list[list[float]]:
        """Return the rates from each device (row) to each, in B/s."""
        return [[self.rate_Bps(source, target) for target in devices] for source in devices]

    def latency_s(self, devices: Sequence[str]) -> float:
        """Return the mean declared latency of one message between neighbours in a list of devices, in s."""
        ways = [channel(self.cluster, a, b) for a, b in pairwise(devices) if a != b]
        return sum(way.latency_s + way.startup_s for way in ways) / len(ways) if ways else 0.0
