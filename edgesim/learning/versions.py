"""The weights of one layer of a pipeline, version by version, in one set or in several replicas of it.

Legend: p parameters of the layer. Tensors are never changed: who read a version holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from edgesim.learning.sgd import Recipe, step


class Version(NamedTuple):
    """Weights as they were for some time."""

    number: int
    """Last batch that updated them, 0-based, plus one; 0 at the start."""
    weights_p: torch.Tensor
    """float32 [p]."""


@dataclass(slots=True)
class _Replica:
    """A set of weights that is updated on its own."""

    versions: list[Version]
    """In ascending order, the newest last."""
    velocity_p: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCopy:
    """What can be put in place of a layer later."""

    base: Version
    """What a replica starts from that nobody has asked for yet."""
    newest: Mapping[int, Version]
    """Newest version of each replica."""
    velocity: Mapping[int, torch.Tensor | None]
    """Velocity of each replica, float32 [p]; None before its first update."""


@dataclass(slots=True)
class VersionedLayer:
    """The versions of a layer, the newest `keep` of them in each replica.

    A replica that is asked for the first time starts from `base`: the weights at the start, or what the last
    `merge` made of all replicas.
    """

    base: Version
    """What a new replica starts from."""
    keep: int
    """Versions of each replica that can still be read, at least 1."""
    _replicas: dict[int, _Replica] = field(default_factory=dict)

    def read(self, version: int | None = None, replica: int = 0) -> torch.Tensor:
        """Return the newest weights, or the newest of at most that version, float32 [p]."""
        versions = self._replica(replica).versions
        for one in reversed(versions):
            if version is None or one.number <= version:
                return one.weights_p
        raise AssertionError(f"no weights of version {version} or before; kept from {versions[0].number}")

    def update(self, batch: int, gradient_p: torch.Tensor, recipe: Recipe, replica: int = 0) -> None:
        """Make version `batch + 1` by the gradient of a batch, which is used up."""
        mine = self._replica(replica)
        before = mine.versions[-1]
        assert before.number <= batch, f"batch {batch} is to update version {before.number}, which has it"
        weights_p, mine.velocity_p = step(before.weights_p, gradient_p, mine.velocity_p, recipe)
        mine.versions.append(Version(batch + 1, weights_p))
        del mine.versions[: -self.keep]

    def average(self, count: int) -> None:
        """Put the mean of the newest `count` versions, or of all there are, in place of the newest."""
        assert 1 <= count <= self.keep, f"the mean of {count} versions; {self.keep} are kept"
        versions = self._replica(0).versions
        mean_p = _mean([one.weights_p for one in versions[-count:]])
        versions[-1] = versions[-1]._replace(weights_p=mean_p)

    def merge(self, replicas: int) -> None:
        """Put the mean of the first `replicas` replicas in place of each; there are no others from now on.

        The velocities stay, and so do older versions.
        """
        mine = [self._replica(number) for number in range(replicas)]
        newest = [one.versions[-1] for one in mine]
        number = max(one.number for one in newest)
        self.base = Version(number, _mean([one.weights_p for one in newest]))
        for one in mine:
            one.versions[-1] = self.base
        self._replicas = dict(enumerate(mine))

    def copy(self) -> LayerCopy:
        """Return the newest weights and the velocity, of all replicas."""
        self._replica(0)
        newest = {number: one.versions[-1] for number, one in self._replicas.items()}
        velocity = {number: one.velocity_p for number, one in self._replicas.items()}
        return LayerCopy(base=self.base, newest=newest, velocity=velocity)

    def restore(self, copy: LayerCopy, momentum: bool) -> None:
        """Put a copy in place of all that is newer; older versions that are kept can still be read."""
        self.base = copy.base
        self._replicas = {
            number: _Replica(
                [*self._older(number, newest.number), newest],
                copy.velocity[number] if momentum else None,
            )
            for number, newest in copy.newest.items()
        }

    def reset(self) -> None:
        """Forget the velocities."""
        for one in self._replicas.values():
            one.velocity_p = None

    def newest(self) -> torch.Tensor:
        """Return the newest weights, the mean of all replicas where there are several, float32 [p]."""
        self._replica(0)
        return _mean([one.versions[-1].weights_p for _, one in sorted(self._replicas.items())])

    def _replica(self, number: int) -> _Replica:
        if number not in self._replicas:
            self._replicas[number] = _Replica([self.base])
        return self._replicas[number]

    def _older(self, replica: int, number: int) -> list[Version]:
        mine = self._replicas.get(replica)
        older = [] if mine is None else [one for one in mine.versions if one.number < number]
        return older[len(older) - min(len(older), self.keep - 1) :]


def copied(copy: LayerCopy) -> torch.Tensor:
    """Return the weights of a copy, the mean of all replicas where there are several, float32 [p]."""
    return _mean([one.weights_p for _, one in sorted(copy.newest.items())])


def _mean(weights: list[torch.Tensor]) -> torch.Tensor:
    if len(weights) == 1:
        return weights[0]
    total = weights[0].clone()
    for one in weights[1:]:
        total.add_(one)
    return total.div_(len(weights))
