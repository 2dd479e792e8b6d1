"""The devices that hold the parameters: they update, unpack, and keep what they have received.

What a server has received survives its crash (it is kept on disk as it arrives); messages that were on their
way are lost and sent again when it is back, and work that was running is done again.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from simpy import Event

from edgesim.engine import Simulation
from edgesim.timeline import Tag

Process = Generator[Event, Any, Any]


class Host:
    """One server: a device with a share of the parameters."""

    def __init__(self, sim: Simulation, name: str, *, update_s: float, memory_bytes: float) -> None:
        self.name = name
        self.device = sim.device(name)
        self.update_s = update_s
        """Time of an update of all that it holds, in s."""
        self.memory_bytes = memory_bytes

    def hold_memory(self) -> None:
        """Take the memory that it needs while it is up."""
        self.device.allocate(self.memory_bytes, "parameters and gradient buffers")

    def work(self, work_s: float, tag: Tag) -> Process:
        """Compute something, and once more if the server crashes over it."""
        left_s = work_s
        while left_s > 0.0:
            while not self.device.up:
                yield self.device.next_return()
            task = self.device.compute(work_s, tag)
            yield task
            left_s = task.left_s
