"""Servers that apply each gradient as it comes: asynchronous (ASP) and stale synchronous parallel (SSP).

Under ASP nobody waits for anybody (Dean et al., NIPS 2012). Under SSP a worker waits before an iteration that
would put it more than s ahead of the slowest (Ho et al., NIPS 2013). Each gradient is an update of its own;
N of them count as one iteration, so that a run of as many iterations has computed as many gradients as BSP.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from simpy import Event

from edgesim.engine import Simulation
from edgesim.training.books import Books
from edgesim.training.config import Config
from edgesim.training.hosts import Host, Process
from edgesim.training.rounds import Round
from edgesim.training.server import Known, Server


class AsynchronousServer(Server):
    """Some servers that see each worker by itself."""

    def __init__(
        self,
        sim: Simulation,
        hosts: Sequence[Host],
        books: Books,
        config: Config,
        layers: int,
    ) -> None:
        super().__init__(sim, hosts, books, config, layers)
        self.staleness = config.staleness if config.synchronization == "ssp" else inf
        """Most iterations by which a worker may be ahead of the slowest; inf: as many as it likes."""
        self.clocks: dict[str, int] = {}
        """Iterations that each worker has finished."""
        self._rounds: dict[str, Round] = {}
        self._waiting: dict[str, Event] = {}

    def serve(self) -> Process:
        """Attend to every worker, until there have been enough gradients."""
        self.hold_memory()
        self.clocks = dict.fromkeys((worker.name for worker in self.workers), 0)
        for worker in self.workers:
            self.sim.process(self._attend(worker), name=f"{self.name} for {worker.name}")
        yield self.sim.env.timeout(0.0)

    def _attend(self, worker: Known) -> Process:
        """Open one iteration of a worker after the other, and apply its gradients."""
        name = worker.name
        while name not in self.gone and self.enough_left():
            while self._too_far_ahead(name):
                self._waiting[name] = self.sim.env.event()
                yield self._waiting[name]
            self.books.pull([name])
            current = self._rounds[name] = Round(self.sim.env, self.clocks[name], [name], self.layers)
            self._let_begin(name, current)
            yield current.complete
            if current.contributors:
                yield from self._update(current.index)
                self._count(name)

    def _count(self, name: str) -> None:
        """Enter a gradient that was applied."""
        if not self.enough_left():
            return
        index = len(self.books.history)
        full = self.books.gradient(name, self.sim.now)
        self.clocks[name] += 1
        if full:
            self.mark(self.name, "iteration", str(index))
            if not self.enough_left():
                self.done.succeed()
        self._wake()

    def _too_far_ahead(self, name: str) -> bool:
        slowest = min(clock for worker, clock in self.clocks.items() if worker not in self.gone)
        return name not in self.gone and self.clocks[name] - slowest > self.staleness

    def _wake(self) -> None:
        """Let the workers look again whether they may go on."""
        waiting, self._waiting = self._waiting, {}
        for event in waiting.values():
            event.succeed()

    def _let_begin(self, name: str, current: Round) -> None:
        event = self._openings.pop(name, None)
        if event is None:
            event = self._openings[name] = self.sim.env.event()
        event.succeed(current)

    def next_round(self, worker: str) -> Event:
        """Return the event that fires with a worker's next `Round`."""
        event = super().next_round(worker)
        if event.triggered:
            del self._openings[worker]
        return event

    def leave(self, worker: str) -> None:
        """Go on: nobody waits for a worker that is down."""

    def leave_round(self, worker: str) -> bool:
        """End a worker's iteration without its gradient; the others may have waited for it."""
        if worker in self.gone:
            self.alive()
            self._wake()
        return worker in self._rounds and self._rounds[worker].leave(worker)
