"""Workers that train without a server, together: their iterations, their all-reduces, and whatever crashes.

A bucket is added up when every worker of the iteration has its gradients, one bucket after the other. What
was added up survives crashes (it is kept on disk); a collective that loses a worker or a message has no
result and begins again.
"""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import TYPE_CHECKING, Any

from simpy import AnyOf, Event

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.errors import SimulationError
from edgesim.training.books import Books
from edgesim.training.collectives import ALGORITHMS, Collective
from edgesim.training.peer_round import Buckets, Round

if TYPE_CHECKING:
    from edgesim.training.peer import Peer

Process = Generator[Event, Any, Any]


class Group:
    """All workers of a training, and what they do together."""

    def __init__(
        self,
        sim: Simulation,
        books: Books,
        buckets: Buckets,
        *,
        algorithm: str,
        iterations: int | None,
        on_crash: str,
    ) -> None:
        self.sim = sim
        self.books = books
        self.buckets = buckets
        self.algorithm = algorithm
        self.iterations = iterations
        self.drops = on_crash == "drop"
        self.resumes = on_crash == "resume"
        self.peers: dict[str, Peer] = {}
        """Every worker by name, in declared order, those gone for good included; filled before the run."""
        self.gone: dict[str, str] = {}
        """Workers that will not come back, and why."""
        self.behind: dict[str, None] = {}
        """Workers that were left out, until they have fetched the parameters."""
        self.opening: Event = sim.env.event()
        """Fires with the next iteration that opens."""
        self.current: Round | None = None
        """The iteration that was opened last."""
        self.before: Round | None = None
        """The last iteration whose sums were there."""
        self.together = False
        """True: all ended the last iteration in one instant, so that nobody was ahead by then."""
        self.done: Event = sim.env.event()
        """Fires when the last iteration has ended."""
        self._running: Collective | None = None
        self._known: Cluster = sim.network.cluster
        self._news: Event = sim.env.event()

    # --- processes --------------------------------------------------------------------------------------

    def run(self) -> Process:
        """Open iterations and add up their buckets until there have been enough."""
        index = 0
        while self.iterations is None or index < self.iterations:
            members = yield from self._gather()
            current = self._open(index, members)
            yield from self._reduce(current)
            if current.summed.triggered:
                self.before = current
                index += 1
        if self.before is not None:
            yield self.before.closed
        self.done.succeed()

    def watch(self, name: str) -> Process:
        """Notice a worker's crashes; it is gone, dropped for this iteration, or waited for."""
        device = self.peers[name].device
        while name not in self.gone:
            yield device.next_crash()
            self._interrupt(name)
            if device.gone:
                self.lose(name, "crashed for good")
            elif self.drops:
                self._drop(name)
            elif self.current is not None:
                self.current.retract(name)
            self.tell()

    # --- one iteration ----------------------------------------------------------------------------------

    def _gather(self) -> Generator[Event, Any, list[str]]:
        """Return who takes part in the next iteration; under `drop`, wait until anybody is up."""
        while True:
            alive = [peer for peer in self.peers.values() if peer.name not in self.gone]
            if not alive:
                raise SimulationError(self._all_gone())
            up = [peer.name for peer in alive if peer.device.up or not self.drops]
            if up:
                return up
            yield AnyOf(self.sim.env, [*(peer.device.next_return() for peer in alive), self.news()])

    def _open(self, index: int, members: list[str]) -> Round:
        opening, self.opening = self.opening, self.sim.env.event()
        self.current = Round(self.sim.env, index, members, len(self.buckets.all), self.opening)
        opening.succeed(self.current)
        return self.current

    def _reduce(self, current: Round) -> Process:
        """Add up one bucket after the other, each when all who take part have it, until nobody is left."""
        while current.members and not current.summed.triggered:
            if current.missing:
                yield current.gathered()
            elif not self.prune():
                number = current.reduced
                self._running = ALGORITHMS[self.algorithm](
                    self.sim,
                    tuple(current.members),
                    self.buckets.sizes[number],
                    self.buckets.tag(number, current.index),
                )
                ended = yield self._running.ended
                self._running = None
                if not ended.broken:
                    current.advance()

    def updated(self, name: str, current: Round) -> None:
        """Note that a worker has updated its parameters; the last one ends the iteration."""
        del current.updating[name]
        current.first_s = min(current.first_s, self.sim.now)
        self.behind.pop(name, None)
        for other in self.behind:
            current.updating.pop(other, None)
        self._ended(current)

    def _leave_update(self, name: str) -> None:
        """Go on without a worker's update; if none has been made, whoever is back first makes it."""
        current = self.before
        if current is None or name not in current.updating:
            return
        del current.updating[name]
        if not current.updating and current.first_s == inf:
            current.updating = {one: None for one in current.members if one not in self.gone}
        self._ended(current)

    def _ended(self, current: Round) -> None:
        if not current.updating:
            self._close(current)
        self.tell()

    def _close(self, current: Round) -> None:
        """Write down an iteration; the first worker that is left speaks for all."""
        alive = [name for name in self.peers if name not in self.gone]
        if not alive:
            raise SimulationError(self._all_gone())
        self.together = current.first_s == self.sim.now
        self.books.subject = alive[0]
        self.books.iteration(tuple(current.members), self.sim.now)
        self.mark(alive[0], "iteration", str(current.index))
        current.closed.succeed()

    # --- what happens to workers ------------------------------------------------------------------------

    def _interrupt(self, name: str) -> None:
        if self._running is not None and name in self._running.members:
            self._running.abort()

    def _drop(self, name: str) -> None:
        """Go on without a worker until it has returned and caught up."""
        self.behind[name] = None
        if self.current is not None and self.current.leave(name):
            self.mark(name, "drop", f"iteration {self.current.index}")
        self._leave_update(name)

    def lose(self, name: str, reason: str) -> None:
        """Go on without a worker for ever."""
        if name in self.gone:
            return
        self.gone[name] = f"{reason} at {self.sim.now:.6g} s"
        self.mark(name, "drop", reason)
        self._interrupt(name)
        if self.current is not None:
            self.current.leave(name)
        self._leave_update(name)
        self.tell()

    def prune(self) -> bool:
        """Lose workers that permanent cuts keep from the others; tell whether there were any.

        The largest set of workers that all reach each other stays, of equal ones that with the first worker.
        """
        cluster = self.sim.network.cluster
        if cluster is self._known:
            return False
        self._known = cluster
        sets: list[list[str]] = []
        for name in self.peers:
            if name in self.gone:
                continue
            near = next((one for one in sets if _connected(cluster, one[0], name)), None)
            if near is None:
                sets.append([name])
            else:
                near.append(name)
        kept = max(sets, key=len, default=[])
        lost = [name for one in sets if one is not kept for name in one]
        for name in lost:
            self.lose(name, "no route left")
        return bool(lost)

    def source(self, name: str) -> str | None:
        """Return the nearest worker before another that has the parameters; None: nobody has them now."""
        names = list(self.peers)
        place = names.index(name)
        for one in [*reversed(names[:place]), *reversed(names[place + 1 :])]:
            if self.peers[one].device.up and one not in self.behind and one not in self.gone:
                return one
        return None

    def news(self) -> Event:
        """Return an event that fires when a worker has crashed, updated or left."""
        return self._news

    def tell(self) -> None:
        """Wake those that wait for news."""
        if self._news.callbacks:
            news, self._news = self._news, self.sim.env.event()
            news.succeed()

    def mark(self, subject: str, kind: str, label: str) -> None:
        """Write an instant on the timeline."""
        if self.sim.timeline is not None:
            self.sim.timeline.mark(self.sim.now, subject, kind, label)

    def _all_gone(self) -> str:
        shown = [f"{name} {why}" for name, why in list(self.gone.items())[:10]]
        more = f"; and {len(self.gone) - 10} more" if len(self.gone) > 10 else ""
        done = len(self.books.history)
        return f"no worker is left after {done} iteration{'' if done == 1 else 's'}: {'; '.join(shown)}{more}"


def _connected(cluster: Cluster, one: str, other: str) -> bool:
    return cluster.route(one, other) is not None and cluster.route(other, one) is not None
