"""The `training` section with `method: pipeline`: stages of layers on unlike devices."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from edgesim.scenario.fields import Duration, Factor, Name, Section, Text, number, shown, whole, wrong

PartitionMethod = Literal["ftpipehd", "equal-layers", "equal-time", "pipedream", "exact", "single"]
_MOST = 10**9


def _every(value: object) -> object:
    if value == "never" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST):
        return value
    raise wrong(f"must be a whole number of batches, at least 1, or `never`, got {shown(value)}")


Batches = Annotated[int, *whole(1, _MOST)]
"""A number of batches."""
Every = Annotated[
    int | Literal["never"],
    BeforeValidator(_every),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 1, "maximum": _MOST, "pattern": "^never$"}),
]
"""Batches between two of something, or `never`."""
Points = Annotated[tuple[Annotated[int, *whole(0, 10**6)], ...], Field(min_length=1)]
"""Last layer of each stage but the last, counted from 0."""
Partition = Annotated[
    Annotated[PartitionMethod, Tag("<method>")] | Annotated[Points, Tag("<points>")],
    Discriminator(lambda value: "<points>" if isinstance(value, (list, tuple)) else "<method>"),
]
"""A way to cut the layers into stages, or where they are cut."""


class Repartition(Section):
    """When layers move to other devices, as these become faster or slower."""

    policy: Literal["never", "when-different", "regret"] | None = None
    """`never`; `when-different`: as soon as fresh capacities give another partition (FTPipeHD); `regret`:
    when what staying has cost since reaches the cost of the move."""
    first: Batches | None = Field(default=None, examples=[10])
    """Batches after which capacities are known for the first time."""
    every: Batches | None = Field(default=None, examples=[100])
    """Batches between two looks at them from then on."""
    momentum: Literal["carry", "reset"] | None = None
    """`carry`: the state of the optimizer moves with the layers; `reset`: it starts afresh everywhere."""


class Replication(Section):
    """Copies of the weights on other devices."""

    policy: Literal["periodic", "free"] | None = None
    """`periodic`: whole stages every so many batches; `free`: in pieces behind the activations, the chain
    replicas as often as links that idle allow."""
    chain: Every | None = Field(default=None, examples=[100, "never"])
    """Batches between two copies of each stage on the device of the next, of the last on the central node; or
    `never`."""
    global_: Every | None = Field(default=None, alias="global", examples=[200, "never"])
    """Batches between two copies of every stage on the central node; or `never`."""
    optimizer: bool | None = Field(default=None, examples=[True])
    """Whether the state of the optimizer goes along."""


class Detection(Section):
    """How the central node finds out that a device has failed."""

    policy: Literal["timer", "adaptive"] | None = None
    """`timer`: a batch is not back after `factor` times the mean, then one device after the other is asked;
    `adaptive`: after the mean and `z` standard deviations, then all are asked at once, and neighbours report
    broken sends."""
    factor: Annotated[float, *number(1, math.inf, open_low=True)] | None = Field(default=None, examples=[2.0])
    """Mean round trips that a batch may take, more than 1, under `timer`."""
    z: Factor | None = Field(default=None, examples=[6.0])
    """Standard deviations above the mean that a batch may take, under `adaptive`."""
    probe_timeout: Duration | None = Field(default=None, examples=["10 s"])
    """Time after which a device that does not answer has failed."""


class Pipeline(Section):
    """Each device holds some of the layers, batches go through all of them and back (arXiv:2110.02781). What
    is not set is as the `schedule` has it."""

    method: Literal["pipeline"] = Field(examples=["pipeline"])
    """Name of the training method. An alternative or `--set` with another method than the scenario's leaves
    out what only that one has, and its `schedule`."""
    central: Name = Field(examples=["hub"])
    """Device of the first stage: it has the data and the labels, plans, and finds out who has failed."""
    workers: tuple[Name, ...] | None = Field(default=None, min_length=1, examples=[["laptop", "pi"]])
    """Devices or groups of the other stages, in this order; without it all others, in the order of
    `devices`."""
    schedule: Text = Field(default="ftpipehd", examples=["ftpipehd", "gpipe", "2bw"])
    """A system of the literature by name (`edgesim list schedules`): everything below that is not set is as
    this has it; `ftpipehd` without it."""
    execution: Literal["1f1b", "gpipe", "1f1b-flush", "2bw"] | None = None
    """Order of forward and backward passes: `1f1b`: asynchronous, one forward, one backward; `gpipe`: all
    forward, all backward, one update; `1f1b-flush`: the same update, fewer activations; `2bw`: 1F1B over
    micro-batches, updates late by one, two versions of the weights."""
    partition: Partition | None = Field(default=None, examples=["exact", [6, 13]])
    """How the layers are cut into stages: `ftpipehd`, `equal-layers`, `equal-time`, `pipedream`, `exact`,
    `single` (all on the central node); or the last layer of each stage but the last, counted from 0, as in
    the paper: `[6, 13]`."""
    versions: Literal["stash", "vertical-sync", "replicas"] | None = None
    """Weights of a batch under `1f1b`: `stash`: those of its forward pass also for its backward pass;
    `vertical-sync`: on all stages the version that it met at the first; `replicas`: several sets of weights
    in turn, averaged at the end of an epoch."""
    aggregate_every: Every | None = Field(default=None, examples=[10, "never"])
    """Batches after which the newest version becomes the mean of the latest ones, or `never`."""
    micro_batches: Annotated[int, *whole(1, 10**6)] | None = Field(default=None, examples=[4])
    """Parts of a batch that go through the pipeline one after the other; not under `1f1b`."""
    windows: Literal["stages", "minimal"] | None = None
    """Batches in flight under `1f1b`: `stages`: as many as stages from there on; `minimal`: the fewest that
    leave no bubble at the planned period."""
    epoch: Batches | None = Field(default=None, examples=[469])
    """Batches of an epoch, for `replicas`; all of them without it."""
    optimizer_state: Annotated[float, *number(0, math.inf)] | None = Field(default=None, examples=[1])
    """Bytes of optimizer state for each byte of parameters: 0 for SGD, 1 with momentum, 2 for Adam. Without
    it 0 where `learn` has no momentum, else 1."""
    repartition: Repartition | None = Field(default=None, examples=[{"policy": "regret"}])
    """When layers move to other devices."""
    replication: Replication | None = Field(default=None, examples=[{"chain": 50, "global": "never"}])
    """Copies of the weights on other devices."""
    recovery: Literal["ftpipehd", "live-first", "lossless", "respipe", "checkpoint", "none"] | None = None
    """What follows a failure: `ftpipehd`: a new partition over those left, weights from copies; `lossless`:
    the lost stage as it was, on the device of its copy, and what came after the copy is done again, so
    that no update is lost; `live-first`: as `ftpipehd`, but copies are taken only where nobody has live
    weights; `respipe`: the next device takes over the stage of which it has the copy; `checkpoint`: all
    go back to the last snapshot; `none`: nothing."""
    checkpoint_every: Batches | None = Field(default=None, examples=[100])
    """Batches between two snapshots, under recovery `checkpoint`."""
    detection: Detection | None = Field(default=None, examples=[{"policy": "adaptive"}])
    """How the central node finds out that a device has failed."""
    rebuild: Duration | None = Field(default=None, examples=["200 ms"])
    """Time in which a device builds the model of its new stage; none without it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """No device holds the parameters for others."""
        return ()

    def given(self) -> dict[str, Any]:
        """Return what is set, by its path inside the section."""
        found: dict[str, Any] = {}
        for key, value in self.model_dump(by_alias=True, exclude_unset=True).items():
            inside = value.items() if isinstance(value, dict) else ()
            found |= {f"{key}.{name}": part for name, part in inside} or {key: value}
        return found
