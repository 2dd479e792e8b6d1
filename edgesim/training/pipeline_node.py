"""What a device of a pipeline keeps in memory: live weights, and copies of others'. A crash takes it all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simpy import Event

from edgesim.engine import Simulation
from edgesim.training.pipeline_weights import Copy

if TYPE_CHECKING:
    from edgesim.training.pipeline_stage import Stage


class Node:
    """One device of a pipeline."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self.sim = sim
        self.name = name
        self.device = sim.device(name)
        self.lives = 0
        """How often it has crashed."""
        self.crashed_s = 0.0
        """Time of its last crash, in s."""
        self.live: set[int] = set()
        """0-based layers whose live weights it holds."""
        self.chains: dict[tuple[int, int], Copy] = {}
        """Chain replicas that it holds, by term and first layer of the stage: the newest of each; those of
        earlier terms until every stage of the present one has a replica."""
        self.whole: dict[int, Copy] = {}
        """Copies of all stages, by layer; on the central node alone."""
        self.parked: dict[int, dict[int, Copy]] = {}
        """Copies of stages after the same batch that are not complete yet, by version and layer."""
        self.stages: list[Stage] = []
        """Stages that run on it."""
        self._held: dict[str, float] = {}
        self._crash: Event = self.device.next_crash()
        self._arm()

    def _arm(self) -> None:
        self._crash = self.device.next_crash()
        assert self._crash.callbacks is not None
        self._crash.callbacks.append(self._crashed)

    def _crashed(self, _event: Event) -> None:
        self._lose()
        self._arm()

    def _lose(self) -> None:
        self.lives += 1
        self.crashed_s = self.sim.now
        self.live = set()
        self.chains = {}
        self.whole = {}
        self.parked = {}
        self._held = {}
        stages, self.stages = self.stages, []
        for stage in stages:
            stage.stop()

    @property
    def life(self) -> int:
        """Number of its present stay in memory: another one after each crash."""
        return self.lives + (1 if self._crash.triggered else 0)

    def hold(self, nbytes: float, what: str) -> None:
        """Take memory under a name; raises `OutOfMemory`. Nothing happens on a device that is down."""
        if self.device.up and nbytes > 0.0:
            self.device.allocate(nbytes, what)
            self._held[what] = self._held.get(what, 0.0) + nbytes

    def give(self, what: str, nbytes: float | None = None) -> None:
        """Give memory back, all of what a name holds without a size; after a crash there is none left."""
        held = self._held.get(what, 0.0)
        given = held if nbytes is None else min(nbytes, held)
        if given <= 0.0 or self._crash.triggered or not self.device.up:
            return
        self.device.release(given, what)
        self._held[what] = held - given

    def keep_chain(self, copy: Copy, term: int) -> None:
        """Put a chain replica in place of the one of that stage in the same term."""
        key = (term, copy.layers.start)
        if key in self.chains:
            self.give(REPLICA, self.chains.pop(key).bytes)
        self.hold(copy.bytes, REPLICA)
        self.chains[key] = copy

    def drop_chains(self, term: int) -> None:
        """Drop the chain replicas of terms before one."""
        for key in [key for key in self.chains if key[0] < term]:
            self.give(REPLICA, self.chains.pop(key).bytes)

    @property
    def chain(self) -> dict[int, Copy]:
        """The chain replicas that it holds, by layer, of each layer that of the latest term."""
        ordered = sorted(self.chains.items(), key=lambda pair: pair[0])
        return {layer: copy for _, copy in ordered for layer in copy.layers}


REPLICA = "replicas of other stages"
