"""How to train in a pipeline: on which devices, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from edgesim.errors import EdgesimError
from edgesim.planning.pipeline_schedules import (
    SCHEDULES,
    Detection,
    Execution,
    Recovery,
    Repartition,
    Replication,
    Settings,
    Versions,
    Windows,
)

__all__ = [
    "SCHEDULES",
    "Config",
    "Detection",
    "Execution",
    "Recovery",
    "Repartition",
    "Replication",
    "Versions",
    "Windows",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """How to train in a pipeline."""

    devices: tuple[str, ...]
    """Names of the devices, the central node first; a plan without an order of its own takes them as stages
    in this order."""
    iterations: int | None = None
    """Batches to train on; None: until the simulation is stopped."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if not self.devices:
            raise EdgesimError("training.central: no device; name one")
        if len(set(self.devices)) < len(self.devices):
            raise EdgesimError("training.workers: a device is named twice")
        if self.iterations is not None and self.iterations < 1:
            raise EdgesimError(f"training.iterations: {self.iterations}; at least 1 is due")

    @property
    def central(self) -> str:
        """The device that has data and labels, plans, and detects failures."""
        return self.devices[0]
