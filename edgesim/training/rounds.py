"""The barrier of synchronous training: who must still deliver a gradient in an iteration, and who has."""

from __future__ import annotations

from collections.abc import Iterable

from simpy import Environment, Event

from edgesim.timeline import Tag


def pass_tags(kind: str, index: int, layers: int) -> list[Tag]:
    """Return the tags of the passes of all layers in an iteration, in forward order."""
    return [Tag(kind, str(layer), index, layer, layer) for layer in range(1, layers + 1)]


class Round:
    """One iteration as the server sees it. A worker's gradient counts once, or not at all."""

    __slots__ = ("backward_tags", "complete", "contributors", "forward_tags", "index", "waiting")

    def __init__(self, env: Environment, index: int, workers: Iterable[str], layers: int) -> None:
        self.index = index
        """0-based iteration."""
        self.waiting: dict[str, None] = dict.fromkeys(workers)
        """Workers whose gradient is still to come."""
        self.contributors: list[str] = []
        """Workers whose whole gradient has arrived, in order of arrival."""
        self.complete: Event = env.event()
        """Fires when nobody is waited for any more."""
        self.forward_tags = pass_tags("forward", index, layers)
        self.backward_tags = pass_tags("backward", index, layers)

    def deliver(self, worker: str) -> None:
        """Note that the whole gradient of a worker has arrived."""
        del self.waiting[worker]
        self.contributors.append(worker)
        self._check()

    def leave(self, worker: str) -> bool:
        """Go on without a worker; tell whether it was still waited for."""
        if worker not in self.waiting:
            return False
        del self.waiting[worker]
        self._check()
        return True

    def _check(self) -> None:
        if not self.waiting:
            self.complete.succeed(self)
