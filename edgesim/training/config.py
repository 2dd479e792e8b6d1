"""How to train with a parameter server: every setting, checked."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from edgesim.errors import EdgesimError
from edgesim.planning.schedules import Phased, Queued, Schedule, pick

POLICIES = ("wait", "drop", "resume")
"""What a worker's crash means for the iteration; see `Config.on_crash`."""
PLANNERS = ("adaptive", "once", "last-sample", "min-max", "forecast")
"""How plans follow what is measured; see `planning.replan`."""
SYNCHRONIZATIONS = ("bsp", "asp", "ssp")
"""Who waits for whom; see `Config.synchronization`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """Gradients that are made smaller before they are pushed."""

    ratio: float
    """Bytes pushed for each byte of gradient, above 0 and below 1."""
    encode_Bps: float | None = None
    """Rate at which a worker compresses gradients, in B/s; None: it takes no time."""
    decode_Bps: float | None = None
    """Rate, in bytes of gradient, at which a server unpacks them, in B/s; None: it takes no time."""

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < 1.0:
            raise EdgesimError(
                f"training.compression.ratio: {self.ratio}; more than 0 and less than 1 is due"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """How plans follow what the workers measure."""

    policy: Literal["adaptive", "once", "last-sample", "min-max", "forecast"] = "adaptive"
    """Name of the policy, see `planning.replan`."""
    bandwidth_belief: float = 1.0
    """What the bandwidth is taken for before it was measured, as a multiple of what is declared."""

    def __post_init__(self) -> None:
        _known("planner.policy", self.policy, PLANNERS)
        if not 0.0 < self.bandwidth_belief < inf:
            raise EdgesimError(f"training.planner.bandwidth_belief: {self.bandwidth_belief}; above 0 is due")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How to train."""

    servers: tuple[str, ...]
    """Names of the devices that hold the parameters; the first opens and ends the iterations."""
    workers: tuple[str, ...]
    """Names of the devices that compute gradients; N of them."""
    schedule: str = "dynacomm"
    """How transfers are cut and ordered, by a name that `planning.schedules.pick` knows."""
    iterations: int | None = None
    """Iterations to run; None: until the simulation is stopped."""
    synchronization: Literal["bsp", "asp", "ssp"] = "bsp"
    """`bsp`: an iteration waits for every worker's gradient; `asp`: each gradient is applied as it comes;
    `ssp`: likewise, but no worker is more than `staleness` iterations ahead of another. Under the last two an
    iteration is N gradients."""
    staleness: int = 0
    """Most iterations by which a worker may be ahead of the slowest, under `ssp`."""
    compression: Compression | None = None
    """Compressed gradients; None: as they are."""
    planner: Planner | None = None
    """How plans follow what is measured; None: `adaptive` for a schedule that adapts."""
    on_crash: Literal["wait", "drop", "resume"] = "wait"
    """`wait`: the iteration waits for the worker, which then begins its part anew from its pull; `drop`: it
    goes on without it, and the worker is back from the iteration that opens after its return; `resume`: it
    waits, and the worker goes on with what it had (segments received and pushed, layers computed)."""

    def __post_init__(self) -> None:
        if not self.servers:
            raise EdgesimError("training.server: no server; name a device")
        if not self.workers:
            raise EdgesimError("training.workers: no workers; name at least one device")
        if len({*self.workers, *self.servers}) < len(self.workers) + len(self.servers):
            twice = next(name for name in self.workers if [*self.workers, *self.servers].count(name) > 1)
            role = "is a server and cannot be a worker too" if twice in self.servers else "is named twice"
            raise EdgesimError(f"training.workers: {twice} {role}")
        _known("synchronization", self.synchronization, SYNCHRONIZATIONS)
        _known("on_crash", self.on_crash, POLICIES)
        if self.staleness < 0:
            raise EdgesimError(f"training.staleness: {self.staleness}; 0 or more is due")
        if self.iterations is not None and self.iterations < 1:
            raise EdgesimError(f"training.iterations: {self.iterations}; at least 1 is due")
        if isinstance(self.picked, Queued) and self.synchronization != "bsp":
            raise EdgesimError(
                f"training.schedule: {self.schedule!r} waits for all workers' pushes, which is bsp, "
                f"not {self.synchronization}"
            )

    @property
    def picked(self) -> Schedule:
        """The schedule itself."""
        return pick(self.schedule)

    @property
    def policy(self) -> str:
        """Name of the policy by which plans follow what is measured."""
        schedule = self.picked
        if not (isinstance(schedule, Phased) and schedule.adapts):
            return "once"
        return "adaptive" if self.planner is None else self.planner.policy

    @property
    def push_ratio(self) -> float:
        """Bytes pushed for each byte of gradient."""
        return 1.0 if self.compression is None else self.compression.ratio

    def encode_s(self, nbytes: float) -> float:
        """Return what compressing so many bytes of gradient takes a worker, in s."""
        rate = None if self.compression is None else self.compression.encode_Bps
        return 0.0 if rate is None else nbytes / rate

    def decode_s(self, nbytes: float) -> float:
        """Return what unpacking so many bytes of gradient takes a server, in s."""
        rate = None if self.compression is None else self.compression.decode_Bps
        return 0.0 if rate is None else nbytes / rate


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise EdgesimError(f"training.{name}: unknown {value!r}; known: {', '.join(known)}")
