"""How a pipeline runs: the settings, and the systems of the literature as bundles of them, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from edgesim.planning.cost import PlanningError
from edgesim.planning.own import hint

Execution = Literal["1f1b", "gpipe", "1f1b-flush", "2bw"]
Versions = Literal["stash", "vertical-sync", "replicas"]
Windows = Literal["stages", "minimal"]
Recovery = Literal["ftpipehd", "live-first", "lossless", "respipe", "checkpoint", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repartition:
    """When the layers move to other devices."""

    policy: Literal["never", "when-different", "regret"] = "when-different"
    """`never`; `when-different`: as soon as fresh capacities give other points (FTPipeHD); `regret`: when
    what staying has cost since reaches the cost of the move."""
    first: int = 10
    """Batches after which capacities are known for the first time."""
    every: int = 100
    """Batches between two looks at them from then on."""
    momentum: Literal["carry", "reset"] = "carry"
    """`carry`: the optimizer's state moves with the layers; `reset`: it starts afresh everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Copies of the weights on other devices."""

    policy: Literal["periodic", "free"] = "periodic"
    """`periodic`: whole stages every so many batches; `free`: in pieces behind the activations, the chain
    replicas as often as links that idle allow."""
    chain: int | None = 100
    """Batches between two copies of each stage on the next (of the last on the central node); None: none."""
    whole: int | None = 200
    """Batches between two copies of every stage on the central node; None: none."""
    optimizer: bool = True
    """Whether the optimizer's state goes along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How the central node finds out that a device has failed."""

    policy: Literal["timer", "adaptive"] = "timer"
    """`timer`: a batch that is not back after `factor` times the mean round trip, then probes one after the
    other; `adaptive`: mean + `z` standard deviations, probes all at once, and neighbours that report broken
    sends."""
    factor: float = 2.0
    """Mean round trips that a batch may take, under `timer`."""
    z: float = 6.0
    """Standard deviations above the mean that a batch may take, under `adaptive`."""
    probe_timeout_s: float = 10.0
    """Time after which a device that does not answer has failed, in s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a pipeline runs, on whatever devices."""

    schedule: str = "ftpipehd"
    """Name of the bundle that the other settings come from, for reports."""
    execution: Execution = "1f1b"
    """Order of forward and backward passes: `1f1b` asynchronous, strict one forward, one backward; `gpipe`:
    all forwards, all backwards, one update; `1f1b-flush`: the same update, fewer activations; `2bw`: 1F1B
    over micro-batches, updates delayed by one, two versions."""
    partition: str = "ftpipehd"
    """Method of `planning.partition.plan`, or `single`: everything on the central node."""
    points: tuple[int, ...] | None = None
    """0-based last layer of each stage but the last, instead of `partition`; None: planned."""
    versions: Versions = "stash"
    """Weights of a batch under `1f1b`: `stash`: those of its forward pass also for its backward pass;
    `vertical-sync`: on all stages the version that it met at the first; `replicas`: K_s sets of weights in
    turn, averaged at the end of an epoch."""
    aggregate_every: int | None = None
    """Batches after which the newest version becomes the mean of the latest ones; None: never."""
    micro_batches: int = 1
    """Parts of a batch that go through the pipeline one after the other, M."""
    windows: Windows = "stages"
    """Batches in flight: `stages`: K_s = S - s; `minimal`: the fewest that leave no bubble at the planned
    period."""
    epoch: int | None = None
    """Batches of an epoch, for `replicas`; None: all of them."""
    optimizer_state: float = 1.0
    """Bytes of optimizer state for each byte of parameters: 0 for SGD, 1 with momentum, 2 for Adam."""
    repartition: Repartition = field(default_factory=Repartition)
    replication: Replication = field(default_factory=Replication)
    recovery: Recovery = "ftpipehd"
    """What happens when a device has failed; see `training.recovery`."""
    checkpoint_every: int = 100
    """Batches between two snapshots, under recovery `checkpoint`."""
    detection: Detection = field(default_factory=Detection)
    rebuild_s: float = 0.0
    """Time in which a device builds the model of its new stage, in s."""

    def __post_init__(self) -> None:
        _known("execution", self.execution, get_args(Execution))
        _known("versions", self.versions, get_args(Versions))
        _known("windows", self.windows, get_args(Windows))
        _known("recovery", self.recovery, get_args(Recovery))
        if self.micro_batches < 1:
            raise PlanningError(f"training.micro_batches: {self.micro_batches}; at least 1 is due")

    @property
    def single(self) -> bool:
        """Whether everything is on the central node."""
        return self.points == () or (self.points is None and self.partition == "single")


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PlanningError(f"training.{name}: unknown {value!r}; known: {', '.join(known)}")


_FIXED = {"repartition": Repartition(policy="never")}
_UNSAFE = {"replication": Replication(chain=None, whole=None), "recovery": "none"}
_RESTARTS = {"replication": Replication(chain=None, whole=None), "recovery": "checkpoint"}

SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "ftpipehd": {"aggregate_every": 10},
    "ftpipehd-lossless": {
        "recovery": "lossless",
        "replication": Replication(policy="free", whole=None),
        "detection": Detection(policy="adaptive"),
        "repartition": Repartition(every=10**9),
    },
    "exact": {
        "partition": "exact",
        "windows": "minimal",
        "repartition": Repartition(policy="regret"),
        "replication": Replication(policy="free"),
        "recovery": "live-first",
        "detection": Detection(policy="adaptive"),
    },
    "pipedream": {"partition": "pipedream", **_FIXED, **_RESTARTS},
    "respipe": {
        "partition": "pipedream",
        "recovery": "respipe",
        "replication": Replication(whole=None),
        **_FIXED,
    },
    "gpipe": {"execution": "gpipe", "partition": "equal-time", "micro_batches": 4, **_FIXED, **_RESTARTS},
    "1f1b-flush": {
        "execution": "1f1b-flush",
        "partition": "equal-time",
        "micro_batches": 4,
        **_FIXED,
        **_RESTARTS,
    },
    "2bw": {"execution": "2bw", "partition": "equal-time", "micro_batches": 4, **_FIXED, **_RESTARTS},
    "equal-time": {"partition": "equal-time", **_FIXED, **_RESTARTS},
    "equal-layers": {"partition": "equal-layers", **_FIXED, **_RESTARTS},
    "single": {"partition": "single", **_FIXED, **_UNSAFE},
}
"""Every pipeline schedule by name: a bundle of settings of `Config`, each of which can be set otherwise.

`ftpipehd` aggregates every 10 batches: the paper has no figure at hand, this one is ours."""

DESCRIPTIONS: Mapping[str, str] = {
    "ftpipehd": "asynchronous 1F1B, capacities measured, layers moved, copies on the next and the central "
    "(arXiv:2110.02781; the default)",
    "ftpipehd-lossless": "copies behind the activations, lost batches replayed bit by bit; moves layers once",
    "exact": "best plan over order, memory and optional devices, least windows, moves when they pay",
    "pipedream": "1F1B over devices taken for equal, restart from a checkpoint (SOSP 2019)",
    "respipe": "as pipedream, but the next device takes over from its copy (ICASSP 2021)",
    "gpipe": "micro-batches, all forward, all backward, one update (arXiv:1811.06965)",
    "1f1b-flush": "the update of gpipe, fewer activations held (arXiv:2104.04473)",
    "2bw": "1F1B over micro-batches, updates one batch late, two versions (arXiv:2006.09503)",
    "equal-time": "1F1B, layers of equal time on equal devices",
    "equal-layers": "1F1B, as many layers a stage",
    "single": "all layers on the central node",
}
"""What each schedule is, in a line."""


def settings(schedule: str) -> Settings:
    """Return the settings of a schedule. Raises `PlanningError` for a name that is none.

    >>> settings("gpipe").micro_batches
    4
    """
    if schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise PlanningError(
            f"unknown schedule {schedule!r} of a pipeline{hint(schedule, SCHEDULES)}; known: {known}"
        )
    return replace(Settings(schedule=schedule), **SCHEDULES[schedule])
