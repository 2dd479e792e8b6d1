"""What every worker is: a device that holds memory while it is up, and its place among the others."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

from simpy import Event

from edgesim.engine import Simulation
from edgesim.training.config import Config
from edgesim.training.hosts import Process
from edgesim.training.server import Server
from edgesim.workload import LayerTimer

MEMORY = "parameters, gradients and activations"
S = TypeVar("S", bound=Server)


class Member(Generic[S]):
    """One worker of some servers."""

    def __init__(
        self,
        sim: Simulation,
        server: S,
        name: str,
        timer: LayerTimer,
        config: Config,
        memory_bytes: float,
    ) -> None:
        self.sim = sim
        self.server = server
        self.name = name
        self.device = sim.device(name)
        self.timer = timer
        self.config = config
        self.memory_bytes = memory_bytes
        self.resumes = config.on_crash == "resume"
        self.crash: Event | None = None
        """Fires at the crash that ends this stay in memory; None: not in memory yet."""

    def come_up(self) -> Process:
        """Wait until the device is up, and hold its memory."""
        while not self.device.up:
            yield self.device.next_return()
        if self.crash is None or self.crash.triggered:
            self.device.allocate(self.memory_bytes, MEMORY)
            self.crash = self.device.next_crash()

    @property
    def crashed(self) -> bool:
        """True: what was in memory is lost, or nothing was yet."""
        return self.crash is None or self.crash.triggered

    def push_bytes(self, nbytes: int) -> int:
        """Return what is pushed of so many bytes of gradient, in whole B, rounded up."""
        return math.ceil(nbytes * self.config.push_ratio) if self.config.compression else nbytes
