"""What a training has achieved: whose gradients counted when, how stale they were, and what was learnt."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from edgesim.engine import Simulation
from edgesim.workload import Learner


class Books:
    """Keeps the history of the updates, and lets the learner learn them.

    The learner is told of pulls and updates in the order in which they happen; under BSP always of all
    workers, in the order in which they were declared, so that what is learnt does not depend on timing.
    """

    def __init__(
        self, sim: Simulation, subject: str, workers: Sequence[str], learner: Learner | None
    ) -> None:
        self.sim = sim
        self.subject = subject
        """Device that opens and ends the iterations."""
        self.workers = tuple(workers)
        """Every worker, in declared order; N names."""
        self.learner = learner
        self.history: list[tuple[str, ...]] = []
        """Who contributed to each finished iteration, in order of arrival."""
        self.version = 0
        """Updates so far."""
        self._pulled: dict[str, int] = {}
        self._pending: list[str] = []

    def pull(self, workers: Sequence[str]) -> None:
        """Note that workers take the parameters as they are now."""
        for worker in workers:
            self._pulled[worker] = self.version
            if self.learner is not None:
                self.learner.pull(worker)

    def iteration(self, contributors: Sequence[str], time_s: float) -> None:
        """Enter an iteration of BSP: one update by the mean of several gradients, that all pull after it."""
        index = len(self.history)
        self.history.append(tuple(contributors))
        self.version += 1
        if self.learner is not None:
            counted = frozenset(contributors)
            crew = [name for name in self.workers if name in counted]
            lesson = self.learner.apply(crew)
            accuracy = nan if lesson.accuracy is None else lesson.accuracy
            self._write(time_s, self.subject, index, len(crew), 0, lesson.loss, accuracy)
        self.pull(self.workers)

    def gradient(self, worker: str, time_s: float) -> bool:
        """Enter one gradient of ASP or SSP: an update of its own; tell whether an iteration is full."""
        staleness = self.version - self._pulled[worker]
        loss = accuracy = nan
        if self.learner is not None:
            lesson = self.learner.apply([worker], 1.0 / len(self.workers))
            loss, accuracy = lesson.loss, nan if lesson.accuracy is None else lesson.accuracy
        self._write(time_s, worker, len(self.history), 1, staleness, loss, accuracy)
        self.version += 1
        self._pending.append(worker)
        if len(self._pending) < len(self.workers):
            return False
        self.history.append(tuple(self._pending))
        self._pending.clear()
        return True

    def _write(
        self,
        time_s: float,
        subject: str,
        index: int,
        gradients: int,
        staleness: int,
        loss: float,
        accuracy: float,
    ) -> None:
        if self.sim.timeline is not None:
            self.sim.timeline.update(time_s, subject, index, gradients, staleness, loss, accuracy)
