"""The parameter server: opens an iteration, waits for the gradients, updates, and so on.

What the server has received survives its crash (it is kept on disk as it arrives); messages that were on
their way are lost and sent again when it is back, and an update that was running is done again.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from simpy import AnyOf, Event

from edgesim.engine import Simulation
from edgesim.errors import SimulationError
from edgesim.timeline import Tag
from edgesim.training.rounds import Round

if TYPE_CHECKING:
    from edgesim.training.worker import Worker

Process = Generator[Event, Any, Any]


class Server:
    """One server and the barrier of its workers."""

    def __init__(
        self,
        sim: Simulation,
        name: str,
        *,
        layers: int,
        update_s: float,
        memory_bytes: float,
        iterations: int | None,
        on_crash: str,
    ) -> None:
        self.sim = sim
        self.name = name
        self.device = sim.device(name)
        self.layers = layers
        self.update_s = update_s
        self.memory_bytes = memory_bytes
        self.iterations = iterations
        self.drops = on_crash == "drop"
        self.workers: list[Worker] = []
        """Every worker, those gone for good included; filled before the run."""
        self.gone: dict[str, str] = {}
        """Workers that will not come back, and why."""
        self._openings: dict[str, Event] = {}
        self.round: Round | None = None
        self.history: list[tuple[str, ...]] = []
        """Who contributed to each finished iteration, in order of arrival."""
        self.done: Event = sim.env.event()
        """Fires when the last iteration has ended."""

    # --- processes --------------------------------------------------------------------------------------

    def serve(self) -> Process:
        """Run iterations until there have been enough."""
        self._hold_memory()
        while self.iterations is None or len(self.history) < self.iterations:
            workers = yield from self._gather()
            current = self._open(workers)
            yield current.complete
            if current.contributors:
                yield from self._update(current.index)
                self.history.append(tuple(current.contributors))
                self.mark(self.name, "iteration", str(current.index))
        self.done.succeed()

    def watch(self) -> Process:
        """Notice the server's own crashes."""
        while True:
            yield self.device.next_crash()
            if self.device.gone:
                raise SimulationError(
                    f"the parameter server {self.name} crashed for good at {self.sim.now:.6g} s, after "
                    f"{self._done()}: without it nothing can go on; give its crash an end"
                )
            yield self.device.next_return()
            self._hold_memory()

    def watch_worker(self, worker: Worker) -> Process:
        """Notice a worker's crashes: drop it for this iteration, or for ever when it is gone for good."""
        while worker.name not in self.gone:
            yield worker.device.next_crash()
            if worker.device.gone:
                self.lose(worker.name, "crashed for good")
            elif self.drops and self.round is not None and self.round.leave(worker.name):
                self.mark(worker.name, "drop", f"iteration {self.round.index}")

    # --- what happens to workers ------------------------------------------------------------------------

    def lose(self, worker: str, reason: str) -> None:
        """Go on without a worker for ever."""
        if worker in self.gone:
            return
        self.gone[worker] = f"{reason} at {self.sim.now:.6g} s"
        self.mark(worker, "drop", reason)
        if self.round is not None:
            self.round.leave(worker)

    def mark(self, subject: str, kind: str, label: str) -> None:
        """Write an instant on the timeline."""
        if self.sim.timeline is not None:
            self.sim.timeline.mark(self.sim.now, subject, kind, label)

    # --- one iteration ----------------------------------------------------------------------------------

    def _gather(self) -> Generator[Event, Any, list[str]]:
        """Return who takes part in the next iteration; under `drop`, wait until anybody is up."""
        while True:
            alive = [worker for worker in self.workers if worker.name not in self.gone]
            if not alive:
                raise SimulationError(self._all_gone())
            up = [worker.name for worker in alive if worker.device.up or not self.drops]
            if up:
                return up
            yield AnyOf(self.sim.env, [worker.device.next_return() for worker in alive])

    def _all_gone(self) -> str:
        shown = [f"{name} {why}" for name, why in list(self.gone.items())[:10]]
        more = f"; and {len(self.gone) - 10} more" if len(self.gone) > 10 else ""
        return f"no worker is left after {self._done()}: {'; '.join(shown)}{more}"

    def _done(self) -> str:
        return f"{len(self.history)} iteration{'' if len(self.history) == 1 else 's'}"

    def _open(self, workers: list[str]) -> Round:
        self.round = Round(self.sim.env, len(self.history), workers, self.layers)
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
        """Apply the summed gradients; once more if the server crashes over it."""
        left_s = self.update_s
        while left_s > 0.0:
            while not self.device.up:
                yield self.device.next_return()
            tag = Tag("update", "", index, 1, self.layers)
            task = self.device.compute(self.update_s, tag)
            yield task
            left_s = task.left_s

    def _hold_memory(self) -> None:
        self.device.allocate(self.memory_bytes, "parameters and gradient buffers")
