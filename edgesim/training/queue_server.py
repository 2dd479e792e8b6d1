"""Servers without a barrier: each message is answered when all workers' pushes of its bytes are in.

Synchronous all the same: a pull goes when every worker's pushes of its bytes have been added up, so each
worker computes an iteration from the same parameters. What is pushed again after a crash counts once. The
parameters of an iteration are kept until it is over, for a worker that must begin it anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from edgesim.engine import Simulation
from edgesim.plan import Message, QueuePlan, messages
from edgesim.timeline import Tag
from edgesim.training.books import Books
from edgesim.training.config import Config
from edgesim.training.hosts import Host, Process
from edgesim.training.parts import Part, Placement
from edgesim.training.rounds import pass_tags
from edgesim.training.server import Server

if TYPE_CHECKING:
    from edgesim.training.queue_worker import QueueWorker


class QueueServer(Server):
    """Some servers and the messages that workers exchange with them."""

    def __init__(
        self,
        sim: Simulation,
        hosts: Sequence[Host],
        books: Books,
        config: Config,
        placement: Placement,
        plan: QueuePlan,
    ) -> None:
        super().__init__(sim, hosts, books, config, len(placement.sizes))
        self.queue_workers: list[QueueWorker] = []
        """Every worker, in declared order; filled before the run."""
        pushed = messages(plan.push_borders, placement.sizes)
        pulled = messages(plan.pull_borders, placement.sizes)
        pushes, pulls = placement.parts(pushed), placement.parts(pulled)
        self.pushes: tuple[Part, ...] = tuple(part for some in pushes for part in some)
        """Messages to the servers, in forward order."""
        self.pulls: tuple[Part, ...] = tuple(part for some in pulls for part in some)
        """Messages from the servers, in forward order."""
        self.held = placement.bytes
        self._answers = _answers(pushed, pushes, pulled, pulls)
        self._needs = [0] * len(self.pulls)
        for some in self._answers:
            for pull in some:
                self._needs[pull] += 1
        self.turn = -1
        """Number of the iteration whose gradients are gathered; also the version they are computed at."""
        self.ready: dict[int, dict[int, None]] = {0: dict.fromkeys(range(len(self.pulls)))}
        """By version of the parameters: the pulls that can go."""
        self._delivered: dict[str, bytearray] = {}
        self._to_come: dict[str, int] = {}
        self._missing: list[int] = []
        self._left: list[int] = []
        self._updates = 0
        self._tags: dict[int, tuple[list[Tag], list[Tag]]] = {}

    def tags(self, turn: int) -> tuple[list[Tag], list[Tag]]:
        """Return the tags of the forward and backward passes of an iteration."""
        if turn not in self._tags:
            self._tags = {key: value for key, value in self._tags.items() if key >= turn - 1}
            ahead, back = (pass_tags(kind, turn, self.layers) for kind in ("forward", "backward"))
            self._tags[turn] = (ahead, back)
        return self._tags[turn]

    def serve(self) -> Process:
        """Open the first iteration, and each later one for which nobody was up."""
        self.hold_memory()
        self.books.pull(self.books.workers)
        yield from self._begin()

    def _begin(self) -> Process:
        """Open the next iteration for whoever takes part."""
        workers = yield from self._gather()
        self._open_turn(workers)

    def _open_turn(self, workers: list[str]) -> None:
        self.turn += 1
        self._delivered = {name: bytearray(len(self.pushes)) for name in workers}
        self._to_come = dict.fromkeys(workers, len(self.pushes))
        self._missing = [len(workers)] * len(self.pushes)
        self._left = list(self._needs)
        self._updates = 0
        self.ready[self.turn + 1] = {}
        self._open(workers, self.turn)

    # --- pushes -----------------------------------------------------------------------------------------

    def lacks(self, worker: str, turn: int, push: int) -> bool:
        """Tell whether a push of a worker in an iteration is still to come."""
        if turn != self.turn:
            return turn > self.turn
        return worker in self._delivered and not self._delivered[worker][push]

    def deliver(self, worker: str, turn: int, push: int) -> None:
        """Note that a push has arrived; once."""
        if turn != self.turn or not self.lacks(worker, turn, push):
            return
        self._delivered[worker][push] = 1
        self._to_come[worker] -= 1
        if self._to_come[worker] == 0:
            assert self.round is not None
            self.round.deliver(worker)
        self._one_less(push)

    def leave_round(self, worker: str) -> bool:
        """Go on with the present iteration without what a worker has not pushed yet."""
        delivered = self._delivered.pop(worker, None)
        if not super().leave_round(worker) or delivered is None:
            return False
        for push, there in enumerate(delivered):
            if not there:
                self._one_less(push)
        return True

    def _one_less(self, push: int) -> None:
        self._missing[push] -= 1
        if self._missing[push] == 0:
            part = self.pushes[push]
            share = part.bytes / self.held[part.host] if self.held[part.host] else 0.0
            work_s = self.hosts[part.host].update_s * share
            if work_s > 0.0:
                self.sim.process(self._update_part(push, part, work_s), name=f"{self.name} update")
            else:
                self._updated(push)

    def _update_part(self, push: int, part: Part, work_s: float) -> Process:
        tag = Tag("update", part.label, self.turn, part.first, part.last)
        yield from self.hosts[part.host].work(work_s, tag)
        self._updated(push)

    def _updated(self, push: int) -> None:
        """Send what can be sent now that one message more has been added up."""
        version = self.turn + 1
        self._updates += 1
        for pull in self._answers[push]:
            self._left[pull] -= 1
            if self._left[pull] == 0:
                self.ready[version][pull] = None
                for worker in self.queue_workers:
                    worker.offer(version, pull)
        if self._updates == len(self.pushes):
            self._close()

    def _close(self) -> None:
        """End an iteration and open the next, in the same instant."""
        assert self.round is not None
        if self.round.contributors:
            index = len(self.books.history)
            self.books.iteration(self.round.contributors, self.sim.now)
            self.mark(self.name, "iteration", str(index))
        del self.ready[self.turn]
        if not self.enough_left():
            self.done.succeed()
        elif ready := self.ready_workers():
            self._open_turn(ready)
        else:
            self.sim.process(self._begin(), name=f"{self.name} server")

    # --- pulls ------------------------------------------------------------------------------------------

    def request(self, worker: QueueWorker) -> None:
        """Send a worker what it wants and can have."""
        for pull in list(self.ready.get(worker.wants, ())):
            worker.offer(worker.wants, pull)

    def returned(self, host: Host) -> None:
        """Send again what was lost with a server."""
        for worker in self.queue_workers:
            worker.push_again()
            self.request(worker)


def _answers(
    pushed: Sequence[Message],
    pushes: Sequence[Sequence[Part]],
    pulled: Sequence[Message],
    pulls: Sequence[Sequence[Part]],
) -> list[list[int]]:
    """Return, for each message to a server, the messages from it that hold some of the same bytes."""
    starts = [0, *accumulate(len(some) for some in pulls)]
    found: list[list[int]] = []
    first = 0
    for message, parts in zip(pushed, pushes, strict=True):
        while pulled[first].high <= message.low:
            first += 1
        for part in parts:
            answers = []
            index = first
            while index < len(pulled) and pulled[index].low < message.high:
                there = enumerate(pulls[index], starts[index])
                answers += [number for number, pull in there if pull.host == part.host]
                index += 1
            found.append(answers)
    return found
