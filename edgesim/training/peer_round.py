"""What workers without a server add up, and one iteration as they see it.

Legend: N workers, L layers, M buckets; a step is one layer's pass, steps 0..L-1 forward, L..2L-1 backward
from layer L to 1.
"""

from __future__ import annotations

from math import inf

from simpy import Environment, Event

from edgesim.plan import Segmentation
from edgesim.timeline import Tag


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
