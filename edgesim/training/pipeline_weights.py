"""Which updates the weights of each layer hold, live ones and copies: none counts twice, none vanishes.

A layer's weights hold the updates of some batches. Undisturbed these are all batches so far; where weights
were lost and a copy took their place, the updates since the copy are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgesim.workload import PipelineLearner

Applied = tuple[tuple[int, int], ...]
"""Batches whose updates some weights hold, as rising runs [first, end)."""


def added(applied: Applied, batch: int) -> Applied:
    """Return the runs with one later batch.

    >>> added(((0, 2),), 2), added(((0, 2),), 4)
    (((0, 3),), ((0, 2), (4, 5)))
    """
    assert batch >= version(applied), f"update {batch} of weights that hold {applied}"
    if applied and applied[-1][1] == batch:
        return (*applied[:-1], (applied[-1][0], batch + 1))
    return (*applied, (batch, batch + 1))


def version(applied: Applied) -> int:
    """Return the last batch of the runs plus one; 0 where there is none."""
    return applied[-1][1] if applied else 0


def between(applied: Applied, first: int, end: int) -> int:
    """Return how many batches of [first, end) the runs hold.

    >>> between(((0, 3), (5, 9)), 2, 7)
    3
    """
    return sum(max(min(high, end) - max(low, first), 0) for low, high in applied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The weights of some layers as they were at one instant."""

    layers: range
    """0-based layers."""
    applied: tuple[Applied, ...]
    """Updates that each of them holds."""
    upcoming: int = 0
    """The batch that its stage passed backward next; before the version where a term began anew."""
    reads: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Version of the weights that each (batch, part) in flight had read on its way forward."""
    weights: object = None
    """What a learner needs to put them back; None: nothing is learnt."""
    bytes: float = 0.0
    """Size, in B."""

    @property
    def version(self) -> int:
        """The last batch that all of them hold, plus one."""
        return min(version(one) for one in self.applied)

    def of(self, layer: int) -> Applied:
        """Return the updates that a layer holds."""
        return self.applied[layer - self.layers.start]


class Weights:
    """The live weights of all layers, wherever they are."""

    def __init__(self, layers: int, learner: PipelineLearner | None) -> None:
        self.learner = learner
        self.applied: list[Applied] = [()] * layers
        """Updates that each layer's weights hold; L entries."""
        self.lost = [0] * layers
        """Updates of each layer that were lost and never made again; L numbers."""

    def version(self, layers: range) -> int:
        """Return the version of these layers: the last batch that one of them holds, plus one."""
        return max(version(self.applied[layer]) for layer in layers)

    def due(self, batch: int, layers: range) -> list[range]:
        """Return the runs of layers that do not hold the update of a batch or a later one."""
        runs: list[range] = []
        for layer in layers:
            if version(self.applied[layer]) > batch:
                continue
            if runs and runs[-1].stop == layer:
                runs[-1] = range(runs[-1].start, layer + 1)
            else:
                runs.append(range(layer, layer + 1))
        return runs

    def update(self, batch: int, layers: range, replica: int = 0) -> None:
        """Note the update of these layers by a batch, and make it."""
        applied = self.applied
        made: dict[Applied, Applied] = {}
        for layer in layers:
            before = applied[layer]
            if before not in made:
                made[before] = added(before, batch)
            applied[layer] = made[before]
        if self.learner is not None:
            self.learner.update(batch, layers, replica=replica)

    def copy(
        self,
        layers: range,
        nbytes: float = 0.0,
        *,
        upcoming: int = 0,
        reads: Mapping[tuple[int, int], int] | None = None,
    ) -> Copy:
        """Return a copy of these layers as they are now, with where their stage is and what it has read."""
        held = None if self.learner is None else self.learner.copy(layers)
        applied = tuple(self.applied[layer] for layer in layers)
        return Copy(
            layers=layers,
            applied=applied,
            upcoming=upcoming,
            reads=dict(reads or {}),
            weights=held,
            bytes=nbytes,
        )

    def put_back(self, copy: Copy) -> None:
        """Put a copy in place of its layers as they are, whose later updates will all be made again."""
        for layer in copy.layers:
            self.applied[layer] = copy.of(layer)
        if self.learner is not None:
            self.learner.forget(copy.upcoming, copy.layers)
            self.learner.restore(copy.layers, copy.weights)

    def restore(self, copies: Iterable[tuple[int, Copy]], *, momentum: bool) -> None:
        """Put layers of copies in place of what they are."""
        for layer, copy in copies:
            self.applied[layer] = copy.of(layer)
            if self.learner is not None:
                self.learner.restore(range(layer, layer + 1), copy.weights, momentum=momentum)

    def settle(self, first: int) -> int:
        """Count the updates missing now that batches from `first` on are to come; return the most that
        a layer has lost since the last time."""
        most = 0
        for layer, applied in enumerate(self.applied):
            missing = first - between(applied, 0, first)
            most = max(most, missing - self.lost[layer])
            self.lost[layer] = missing
        return most
