"""The parameter servers as one: they open an iteration, wait for the gradients, update, and so on (BSP)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from simpy import AnyOf, Event

from edgesim.engine import Simulation
from edgesim.engine.device import SimDevice
from edgesim.errors import SimulationError
from edgesim.timeline import Tag
from edgesim.training.books import Books
from edgesim.training.config import Config
from edgesim.training.hosts import Host, Process
from edgesim.training.rounds import Round

if TYPE_CHECKING:
    from edgesim.training.parts import Part


class Known(Protocol):
    """A worker as the server knows it."""

    name: str
    device: SimDevice


class Server:
    """Some servers and the barrier of their workers."""

    def __init__(
        self,
        sim: Simulation,
        hosts: Sequence[Host],
        books: Books,
        config: Config,
        layers: int,
    ) -> None:
        self.sim = sim
        self.hosts = tuple(hosts)
        self.name = hosts[0].name
        """The server that opens and ends the iterations."""
        self.books = books
        self.layers = layers
        self.config = config
        self.iterations = config.iterations
        self.drops = config.on_crash == "drop"
        self.workers: list[Known] = []
        """Every worker, those gone for good included; filled before the run."""
        self.gone: dict[str, str] = {}
        """Workers that will not come back, and why."""
        self._openings: dict[str, Event] = {}
        self.round: Round | None = None
        self.done: Event = sim.env.event()
        """Fires when the last iteration has ended."""

    # --- processes --------------------------------------------------------------------------------------

    def serve(self) -> Process:
        """Run iterations until there have been enough."""
        self.hold_memory()
        self.books.pull(self.books.workers)
        while self.enough_left():
            workers = yield from self._gather()
            current = self._open(workers, len(self.books.history))
            yield current.complete
            if current.contributors:
                yield from self._update(current.index)
                self.books.iteration(current.contributors, self.sim.now)
                self.mark(self.name, "iteration", str(current.index))
        self.done.succeed()

    def watch(self, host: Host) -> Process:
        """Notice a server's own crashes."""
        while True:
            yield host.device.next_crash()
            if host.device.gone:
                raise SimulationError(
                    f"the parameter server {host.name} crashed for good at {self.sim.now:.6g} s, after "
                    f"{self._done()}: without it nothing can go on; give its crash an end"
                )
            yield host.device.next_return()
            host.hold_memory()
            self.returned(host)

    def watch_worker(self, worker: Known) -> Process:
        """Notice a worker's crashes: drop it for this iteration, or for ever when it is gone for good."""
        while worker.name not in self.gone:
            yield worker.device.next_crash()
            if worker.device.gone:
                self.lose(worker.name, "crashed for good")
            elif self.drops:
                self.leave(worker.name)

    # --- what happens to workers and servers ------------------------------------------------------------

    def returned(self, host: Host) -> None:
        """A server is back after a crash: nothing to do where workers look after what was lost."""

    def leave(self, worker: str) -> None:
        """Go on with the present iteration without a worker."""
        if self.round is not None and self.leave_round(worker):
            self.mark(worker, "drop", f"iteration {self.round.index}")

    def leave_round(self, worker: str) -> bool:
        """Take a worker out of the present iteration; tell whether it was still waited for."""
        return self.round is not None and self.round.leave(worker)

    def lose(self, worker: str, reason: str) -> None:
        """Go on without a worker for ever."""
        if worker in self.gone:
            return
        self.gone[worker] = f"{reason} at {self.sim.now:.6g} s"
        self.mark(worker, "drop", reason)
        self.leave_round(worker)

    def host_down(self) -> Host | None:
        """Return a server that is down now, if there is one."""
        return next((host for host in self.hosts if not host.device.up), None)

    def unreachable(self, worker: str) -> bool:
        """Tell whether a worker has no route to or from one of the servers."""
        route = self.sim.network.cluster.route
        return any(
            route(host.name, worker) is None or route(worker, host.name) is None for host in self.hosts
        )

    def mark(self, subject: str, kind: str, label: str) -> None:
        """Write an instant on the timeline."""
        if self.sim.timeline is not None:
            self.sim.timeline.mark(self.sim.now, subject, kind, label)

    # --- one iteration ----------------------------------------------------------------------------------

    def hold_memory(self) -> None:
        """Take the memory of every server."""
        for host in self.hosts:
            host.hold_memory()

    def enough_left(self) -> bool:
        """Tell whether there are iterations left to do."""
        return self.iterations is None or len(self.books.history) < self.iterations

    def _gather(self) -> Generator[Event, Any, list[str]]:
        """Return who takes part in the next iteration; under `drop`, wait until anybody is up."""
        while not (ready := self.ready_workers()):
            yield AnyOf(self.sim.env, [worker.device.next_return() for worker in self.alive()])
        return ready

    def ready_workers(self) -> list[str]:
        """Return who would take part in an iteration that opens now."""
        return [worker.name for worker in self.alive() if worker.device.up or not self.drops]

    def alive(self) -> list[Known]:
        """Return the workers that are not gone for good. Raises SimulationError if there are none."""
        alive = [worker for worker in self.workers if worker.name not in self.gone]
        if not alive:
            raise SimulationError(self._all_gone())
        return alive

    def _all_gone(self) -> str:
        shown = [f"{name} {why}" for name, why in list(self.gone.items())[:10]]
        more = f"; and {len(self.gone) - 10} more" if len(self.gone) > 10 else ""
        return f"no worker is left after {self._done()}: {'; '.join(shown)}{more}"

    def _done(self) -> str:
        count = len(self.books.history)
        return f"{count} iteration{'' if count == 1 else 's'}"

    def _open(self, workers: list[str], index: int) -> Round:
        self.round = Round(self.sim.env, index, workers, self.layers)
        openings, self._openings = self._openings, {}
        for worker in self.workers:
            if worker.name in openings:
                openings[worker.name].succeed(self.round)
        return self.round

    def next_round(self, worker: str) -> Event:
        """Return the event that fires with the next `Round`; workers begin it in their declared order.

        In queues the order matters: every iteration is to be like the first.
        """
        if worker not in self._openings:
            self._openings[worker] = self.sim.env.event()
        return self._openings[worker]

    def _update(self, index: int) -> Process:
        """Apply the summed gradients on every server at once."""
        tag = Tag("update", "", index, 1, self.layers)
        if len(self.hosts) == 1:
            yield from self.hosts[0].work(self.hosts[0].update_s, tag)
            return
        yield from [
            self.sim.process(host.work(host.update_s, tag), f"{host.name} update") for host in self.hosts
        ]

    def unpack(self, part: Part, work_s: float, index: int) -> Process:
        """Decompress what a worker has pushed."""
        yield from self.hosts[part.host].work(work_s, Tag("decode", part.label, index, part.first, part.last))
