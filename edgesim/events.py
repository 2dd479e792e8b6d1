"""What a scenario makes happen: timestamped faults and changes, and random processes of them.

All times are simulated seconds. `for_s=None` means for good.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A device loses its running work and its memory, and stays down."""

    at_s: float
    device: str
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """A device runs at `to` times its speed (0.5: half; above 1: faster)."""

    at_s: float
    device: str
    to: float
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLink:
    """A link gets another bandwidth and/or latency; None leaves the figure as it is."""

    at_s: float
    link: str
    bandwidth_Bps: float | None = None
    latency_s: float | None = None
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A link carries nothing.

    For a time: flows over it stall and go on afterwards, as TCP does over a short outage. For good: flows
    over it are lost, and later messages take another route if there is one.
    """

    at_s: float
    link: str
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCrashes:
    """A device crashes again and again: up times Exp(`mtbf_s`), down times Exp(`mttr_s`)."""

    device: str
    mtbf_s: float
    mttr_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCuts:
    """A link is cut again and again: up times Exp(`mtbf_s`), cut times Exp(`mttr_s`)."""

    link: str
    mtbf_s: float
    mttr_s: float


Event = Crash | Slow | ChangeLink | Cut | RandomCrashes | RandomCuts
