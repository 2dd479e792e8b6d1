"""Workers that train without a server: their iterations, their common all-reduces, and whatever crashes.

Legend: N workers, L layers, M buckets; a step is one layer's pass, steps 0..L-1 forward, L..2L-1 backward
from layer L to 1. A bucket is added up when every worker of the iteration has its gradients, one bucket after
the other. What was added up survives crashes (it is kept on disk); a collective that loses a worker or a
message has no result and begins again.
"""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import Any

from simpy import AnyOf, Environment, Event

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.errors import SimulationError
from edgesim.plan import Segmentation
from edgesim.timeline import Tag
from edgesim.training.books import Books
from edgesim.training.collectives import ALGORITHMS, Collective
from edgesim.workload import LayerTimer

Process = Generator[Event, Any, Any]


class Buckets:
    """The gradients of a model as they are added up: top first."""

    def __init__(self, sizes: tuple[int, ...], plan: Segmentation) -> None:
        self.layers = len(sizes)
        """L."""
        self.bytes = sum(sizes)
        """Size of all parameters, and of their gradients, in B."""
        self.all = tuple(reversed(plan.segments))
        """(first, last) layer of each, 1-based, in the order in which they are ready; M pairs."""
        self.sizes = tuple(sum(sizes[first - 1 : last]) for first, last in self.all)
        """Bytes of each, in B; M numbers."""
        self.ready = [0] * (2 * self.layers + 1)
        """How many buckets are ready after so many steps; 2L + 1 numbers."""
        for step in range(self.layers + 1, 2 * self.layers + 1):
            lowest = 2 * self.layers - step + 1
            self.ready[step] = sum(first >= lowest for first, _ in self.all)

    def tag(self, number: int, iteration: int) -> Tag:
        """Return what the messages of a bucket are for."""
        first, last = self.all[number]
        label = str(first) if first == last else f"{first}-{last}"
        return Tag("all-reduce", label, iteration, first, last)


class Round:
    """One iteration: who takes part, what is added up, who has updated. A gradient counts once, or never."""

    def __init__(self, env: Environment, index: int, members: list[str], buckets: int, after: Event) -> None:
        self.index = index
        """0-based iteration."""
        self.members: dict[str, None] = dict.fromkeys(members)
        """Workers whose gradients count, in declared order."""
        self.reduced = 0
        """Buckets that have been added up."""
        self.missing: dict[str, None] = dict.fromkeys(members)
        """Workers that the next bucket waits for."""
        self.updating: dict[str, None] = {}
        """Workers that have the sums and have not updated yet."""
        self.first_s = inf
        """When the first of them had, in s; inf: not yet."""
        self.summed: Event = env.event()
        """Fires when all buckets have been added up."""
        self.closed: Event = env.event()
        """Fires when every worker that has the sums has updated."""
        self.after = after
        """Fires with the next iteration."""
        self._env = env
        self._buckets = buckets
        self._ready = dict.fromkeys(members, 0)
        self._gathered: Event | None = None

    def awaits(self, worker: str) -> bool:
        """Tell whether a worker takes part and the sums are not there yet."""
        return worker in self.members and not self.summed.triggered

    def gathered(self) -> Event:
        """Return an event that fires when nobody is missing."""
        self._gathered = self._env.event()
        return self._gathered

    def report(self, worker: str, buckets: int) -> None:
        """Note that a worker has the gradients of so many buckets."""
        self._ready[worker] = buckets
        if buckets > self.reduced:
            self.missing.pop(worker, None)
            self._check()

    def retract(self, worker: str) -> None:
        """Note that a worker cannot give its gradients for now."""
        if self.awaits(worker):
            self._ready[worker] = 0
            self.missing[worker] = None

    def leave(self, worker: str) -> bool:
        """Go on without a worker; tell whether it still took part."""
        if not self.awaits(worker):
            return False
        del self.members[worker]
        self.missing.pop(worker, None)
        self._check()
        return True

    def advance(self) -> None:
        """Note that a bucket has been added up; after the last one all can update."""
        self.reduced += 1
        self.missing = {name: None for name in self.members if self._ready[name] <= self.reduced}
        if self.reduced == self._buckets:
            self.missing = {}
            self.updating = dict(self.members)
            self.summed.succeed()

    def _check(self) -> None:
        if not self.missing and self._gathered is not None:
            gathered, self._gathered = self._gathered, None
            gathered.succeed()


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
        """Note that a worker has updated its parameters, or will not; the last one ends the iteration."""
        if name not in current.updating:
            return
        del current.updating[name]
        current.first_s = min(current.first_s, self.sim.now)
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
        if self.before is not None:
            self.updated(name, self.before)

    def lose(self, name: str, reason: str) -> None:
        """Go on without a worker for ever."""
        if name in self.gone:
            return
        self.gone[name] = f"{reason} at {self.sim.now:.6g} s"
        self.mark(name, "drop", reason)
        self._interrupt(name)
        if self.current is not None:
            self.current.leave(name)
        if self.before is not None:
            self.updated(name, self.before)
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

    def source(self, name: str, current: Round) -> str | None:
        """Return the nearest worker before another that has the parameters; None: nobody has them."""
        names = list(self.peers)
        place = names.index(name)
        before = [*reversed(names[:place]), *reversed(names[place + 1 :])]
        return next((one for one in before if one in current.members and one not in self.behind), None)

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


class Peer:
    """One worker: it computes its gradients, and updates its parameters by the sums."""

    def __init__(
        self,
        sim: Simulation,
        group: Group,
        name: str,
        timer: LayerTimer,
        *,
        update_s: float,
        memory_bytes: float,
    ) -> None:
        self.sim = sim
        self.group = group
        self.name = name
        self.device = sim.device(name)
        self.timer = timer
        self.update_s = update_s
        self.memory_bytes = memory_bytes
        self.crash: Event | None = None
        """Fires at the crash that ends this stay in memory; None: not in memory yet."""
        self.step = 0
        """Layer passes done, 0 to 2L."""

    def live(self) -> Process:
        """Take part in every iteration that counts on this worker, until it is gone for good."""
        opening = self.group.opening
        while self.name not in self.group.gone:
            current: Round = yield opening
            opening = current.after
            if self.name in current.members:
                yield from self._compute(current)
                yield from self._update(current)

    def _lost_memory(self) -> bool:
        return self.crash is None or self.crash.triggered

    def _come_up(self) -> Process:
        """Wait until the device is up, and hold its memory."""
        while not self.device.up:
            yield self.device.next_return()
        if self._lost_memory():
            self.device.allocate(self.memory_bytes, "parameters, gradients and activations")
            self.crash = self.device.next_crash()

    def _compute(self, current: Round) -> Process:
        """Give the gradients of an iteration until the sums are there, or see it go on without them."""
        self.step = 0
        while current.awaits(self.name):
            if self._lost_memory():
                yield from self._come_up()
                self.step = self.step if self.group.resumes else 0
                current.report(self.name, self.group.buckets.ready[self.step])
            elif self.name in self.group.behind:
                yield from self._fetch(current)
            elif self.step < 2 * self.group.buckets.layers:
                yield from self._pass(current)
            else:
                assert self.crash is not None
                yield AnyOf(self.sim.env, [current.summed, self.crash])

    def _pass(self, current: Round) -> Process:
        """Compute one layer, forward or backward."""
        layers, step = self.group.buckets.layers, self.step
        ahead = step < layers
        layer = step if ahead else 2 * layers - step - 1
        work_s = (self.timer.forward_s if ahead else self.timer.backward_s)(self.device.spec, layer)
        kind = "forward" if ahead else "backward"
        task = self.device.compute(work_s, Tag(kind, str(layer + 1), current.index, layer + 1, layer + 1))
        yield task
        if task.left_s > 0.0:
            return
        self.step += 1
        ready = self.group.buckets.ready
        if ready[self.step] > ready[step] and not self._lost_memory():
            current.report(self.name, ready[self.step])

    def _update(self, current: Round) -> Process:
        """Update the parameters by the sums; once more if a crash comes over it, unless that drops it."""
        while self.name in current.updating:
            if self._lost_memory():
                yield from self._come_up()
            elif self.update_s == 0.0:
                self.group.updated(self.name, current)
            else:
                tag = Tag("update", "", current.index, 1, self.group.buckets.layers)
                task = self.device.compute(self.update_s, tag)
                yield task
                if task.left_s == 0.0:
                    self.group.updated(self.name, current)

    def _fetch(self, current: Round) -> Process:
        """Get the parameters from the nearest worker before that has them; keep one's own if none has."""
        group, source = self.group, self.group.source(self.name, current)
        if source is None:
            del group.behind[self.name]
        elif group.before is not None and source in group.before.updating:
            yield group.news()
        else:
            layers = group.buckets.layers
            tag = Tag("pull", f"1-{layers}", current.index, 1, layers)
            flow = self.sim.network.stream(source, self.name).send(group.buckets.bytes, tag)
            yield flow
            if not flow.lost:
                group.behind.pop(self.name, None)
            elif not self._lost_memory():
                group.prune()
