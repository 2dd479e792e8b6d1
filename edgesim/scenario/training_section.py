"""The `training` section: one model of settings a training method, in a table by name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgesim.scenario.fields import Name, Section


class ParameterServer(Section):
    """One server and its workers in bulk-synchronous steps (DynaComm, arXiv:2101.07968)."""

    method: Literal["parameter-server"] = Field(examples=["parameter-server"])
    """Name of the training method; there is one so far."""
    server: Name = Field(examples=["server"])
    """Device that holds the parameters."""
    workers: tuple[Name, ...] | None = Field(default=None, min_length=1, examples=[["pi"]])
    """Devices or groups that train; without it all but the server."""
    schedule: Literal["sequential", "layer-by-layer", "ibatch", "dynacomm"] = "dynacomm"
    """How transfers are cut into segments: `sequential` (one), `layer-by-layer`, `ibatch` (greedy),
    `dynacomm` (optimal; the default)."""
    on_crash: Literal["wait", "drop", "resume"] = "wait"
    """What a step does about a crashed worker: `wait` until it is back and starts the step again (the
    default), `drop` it until it is back, `resume` where it was once it is back."""


Training = ParameterServer
METHODS: dict[str, type[Training]] = {"parameter-server": ParameterServer}
"""Training methods by name; `Training` becomes a union told apart by `method` once there are several."""
