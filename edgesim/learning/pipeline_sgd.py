"""Real SGD beside a simulated pipeline: every stage learns with the weights that the schedule implies.

Legend: L layers, P parameters, p parameters of a layer, B samples of a batch.

In every schedule a stage passes a micro-batch backward with the weights of its forward pass. What the stages
compute between them is therefore the gradient of the whole model at one vector, made of each layer's weights
as its stage read them: the chain rule, cut at the boundaries, is the chain rule. So it is computed at once,
when the first stage asks for its part, and each stage takes its own. This holds for any model, branches
across a cut included, and gives the bits that the stages would get from each other.

A gradient is computed when it is due to be added up, not when it is due on the simulated device: it depends
on nothing but the weights that were read, the samples, and the number of the micro-batch.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesim.errors import ProfileError
from edgesim.learning.datasets import DataSet
from edgesim.learning.exam import Exam, finite
from edgesim.learning.sgd import Recipe
from edgesim.learning.sharding import Batches, Indices, order_of, split, stream
from edgesim.learning.student import Student, exact
from edgesim.learning.versions import LayerCopy, Version, VersionedLayer, copied
from edgesim.workload import Lesson, MicroBatch

KEPT = 32
"""Batches whose readings, and versions of each layer that are kept: more than any pipeline has in flight."""

NAME = "pipeline"
"""In whose name samples are ordered and dropout is drawn."""

Copy = Mapping[int, LayerCopy]
"""A copy of some layers, by their 0-based number."""


@dataclass(slots=True)
class _Pass:
    """A micro-batch on its way through the pipeline."""

    parts: int
    """Parts that its batch is cut in."""
    read: dict[int, torch.Tensor] = field(default_factory=dict)
    """Weights that each layer has read."""
    gradient_P: torch.Tensor | None = None
    """Kept from the first layer that takes its part to the last."""
    loss: float | None = None
    """Mean loss of its samples; None: not computed yet."""
    taken: dict[int, torch.Tensor | None] = field(default_factory=dict)
    """Gradient of each layer that has learnt, times the share of the samples; None: used up."""


class PipelineSgd:
    """A `PipelineLearner` whose losses depend on the order of its calls alone, never on clock or load."""

    def __init__(
        self,
        student: Student,
        input_shape: tuple[int, ...],
        data: DataSet,
        batch_size: int,
        recipe: Recipe,
        groups: Sequence[Sequence[str]],
        keep: int = KEPT,
    ) -> None:
        """Cut a model into L layers, each of so many of the student's as a group has names, in forward order.

        `keep` bounds the memory: what was read for the last so many batches is kept, and so many versions of
        each layer. It is to be more than the batches in flight and, where layers are restored from copies and
        their batches learnt again as they were read, than the batches since the oldest copy and those that
        were in flight then.

        Shards of the recipe have no effect: the first stage has all the data. Raises `ProfileError` if the
        student has not as many layers as the groups have names.
        """
        assert keep >= 1, keep
        self._student, self._shape, self._data, self._recipe = student, input_shape, data, recipe
        self._size, self._keep = batch_size, keep
        self._slices = _grouped(student, input_shape, groups)
        self._start = student.start()
        self._layers = [
            VersionedLayer(Version(0, _part(self._start, slices)), keep) for slices in self._slices
        ]
        shard = split(data.train.labels_n, 1, "iid", None, recipe.seed)[0]
        self._batches = Batches(shard, batch_size, partial(order_of, recipe.seed, NAME))
        self._exam = Exam(student, input_shape, data)
        self._buffers = student.buffers()
        self._counted: tuple[int, set[int]] = 0, set()
        self._passes: OrderedDict[int, dict[int, _Pass]] = OrderedDict()
        self._vector: torch.Tensor | None = None

    @property
    def parameters(self) -> tuple[int, ...]:
        """Number of parameters of each layer."""
        return tuple(sum(one.stop - one.start for one in slices) for slices in self._slices)

    @property
    def vector(self) -> torch.Tensor:
        """The newest weights of all layers, the mean of all replicas where there are several, float32 [P]."""
        if self._vector is None:
            self._vector = self._whole({number: one.newest() for number, one in enumerate(self._layers)})
        return self._vector

    def read(self, micro: MicroBatch, layers: range, *, version: int | None = None, replica: int = 0) -> None:
        """Let the passes of a micro-batch use these layers' weights; see `PipelineLearner.read`.

        A gradient that some layers have yet to take is computed anew if this changes what it depends on.
        """
        mine = self._pass(micro)
        for layer in layers:
            weights_p = self._layers[layer].read(version, replica)
            if mine.read.get(layer) is not weights_p:
                mine.gradient_P = None
            mine.read[layer] = weights_p
            if layer in mine.taken and mine.taken[layer] is None:
                del mine.taken[layer]
        if replica:
            self._vector = None  # it may be read for the first time, and counts from now on

    def learn(self, micro: MicroBatch, layers: range) -> None:
        """Add the gradient of a micro-batch, times its share of the samples, to that of its batch."""
        mine = self._computed(micro)
        assert mine.gradient_P is not None
        for layer in layers:
            assert mine.taken.get(layer) is None, f"layer {layer} learns {micro} twice"
            part = _part(mine.gradient_P, self._slices[layer])
            share = self._share(micro)
            mine.taken[layer] = part if share == 1.0 else part.mul_(share)
        if len(mine.taken) == len(self._layers):
            mine.gradient_P = None

    def update(self, batch: int, layers: range, *, replica: int = 0) -> None:
        """Update the newest weights of these layers, as `torch.optim.SGD` does; see `PipelineLearner.update`.

        The gradients of all parts of the batch have been added up, and none of it has updated them before.
        """
        with exact():
            for layer in layers:
                self._layers[layer].update(batch, self._total(batch, layer), self._recipe, replica)
        self._vector = None

    def average(self, layers: range, count: int) -> None:
        """Put the mean of the newest `count` versions of these layers, or of all kept, for the newest."""
        for layer in layers:
            self._layers[layer].average(count)
        self._vector = None

    def merge(self, layers: range, replicas: int) -> None:
        """Put the mean of the first `replicas` replicas of these layers in place of each.

        There are no others from now on; each keeps its velocity. One that is read for the first time later
        starts from this mean.
        """
        for layer in layers:
            self._layers[layer].merge(replicas)
        self._vector = None

    def copy(self, layers: range) -> Copy:
        """Return a copy of the newest weights and velocities of these layers, which takes no time."""
        return {layer: self._layers[layer].copy() for layer in layers}

    def restore(self, layers: range, copy: object, *, momentum: bool = True) -> None:
        """Put these layers of a copy in place of what they are now; see `PipelineLearner.restore`.

        Versions older than the copy that are kept stay, and so does what was read: batches that were
        in flight when it was made can be learnt again as they were read, or read again by version. A copy
        that is put back after an older one does not bring back the versions between them.
        """
        held = _copy(copy)
        for layer in layers:
            self._layers[layer].restore(held[layer], momentum)
        self._vector = None

    def reset(self, layers: range) -> None:
        """Let the optimizer start afresh on these layers."""
        for layer in layers:
            self._layers[layer].reset()

    def forget(self, batch: int, layers: range) -> None:
        """Drop what was added up of the gradients of this and later batches for these layers."""
        for number, parts in self._passes.items():
            if number >= batch:
                for mine in parts.values():
                    for layer in layers:
                        mine.taken.pop(layer, None)

    def lesson(self, batch: int) -> Lesson:
        """Return the mean loss of a batch over its samples, each part at the weights that were read for it.

        The newest weights are judged every so many batches, and after the last.
        """
        losses = list[float]()
        for part, mine in self._passes.get(batch, {}).items():
            assert mine.loss is not None, f"part {part} of batch {batch} has not been learnt"
            losses.append(mine.loss * self._share(MicroBatch(batch, part, mine.parts)))
        assert losses, f"nothing is known of batch {batch}"
        due = (batch + 1) % self._recipe.evaluate_every == 0 or batch + 1 == self._recipe.iterations
        return Lesson(finite(math.fsum(losses)), self.judge()[0] if due else None)

    def judge(self) -> tuple[float, float]:
        """Return accuracy, 0 to 1, and mean loss of the newest weights, on the test set.

        Batch normalisation takes the running statistics of all micro-batches whose gradients were computed,
        each once, in the order of their batches: a batch that is computed again after a later one, or once
        more, adds nothing. Nothing else depends on them.
        """
        return self._exam.judge(self.vector, self._buffers)

    def save(self, path: Path, copies: Sequence[object] | None = None) -> None:
        """Write weights by the names of the model's parameters into a `.npz` file, whose folder exists.

        With `copies` those of the layers that are in one, the last that has it; without, the newest of all.
        """
        vector, held = self.vector, torch.ones_like(self._start)
        if copies is not None:
            layers = {layer: copied(one) for copy in copies for layer, one in _copy(copy).items()}
            vector = self._whole(layers)
            held = held.zero_()
            for place in (one for layer in layers for one in self._slices[layer]):
                held[place] = 1.0
        chosen = self._student.named(held)
        named: dict[str, Any] = {
            name: one.numpy() for name, one in self._student.named(vector).items() if bool(chosen[name].all())
        }
        with path.open("wb") as file:
            np.savez(file, **named)

    def _pass(self, micro: MicroBatch) -> _Pass:
        """Return what is known of a micro-batch; of batches that were not read for long all is forgotten."""
        parts = self._passes.setdefault(micro.batch, {})
        self._passes.move_to_end(micro.batch)
        while len(self._passes) > self._keep:
            self._passes.popitem(last=False)
        mine = parts.setdefault(micro.part, _Pass(micro.parts))
        assert mine.parts == micro.parts, f"{micro}: cut in {mine.parts} parts before"
        return mine

    def _computed(self, micro: MicroBatch) -> _Pass:
        """Return what is known of a micro-batch, with loss and gradient of the whole model."""
        mine = self._passes.get(micro.batch, {}).get(micro.part)
        assert mine is not None, f"no layer has read for {micro}, or it is long ago"
        if mine.gradient_P is None:
            unread = [layer for layer in range(len(self._layers)) if layer not in mine.read]
            assert not unread, f"layers {unread} have not read for {micro}"
            batch = self._data.batch(self._data.train, self._samples(micro), self._shape)
            name = f"{NAME} batch {micro.batch}" + (f" part {micro.part}" if micro.parts > 1 else "")
            seed = int(stream(self._recipe.seed, name).integers(2**63))
            mine.loss, mine.gradient_P, buffers = self._student.gradient(
                self._whole(mine.read), self._buffers, batch, seed
            )
            if self._first(micro):
                self._buffers = buffers
        return mine

    def _first(self, micro: MicroBatch) -> bool:
        """Return whether neither this micro-batch nor a later batch has been computed before, and note it."""
        latest, parts = self._counted
        if micro.batch > latest:
            self._counted = latest, parts = micro.batch, set()
        if micro.batch < latest or micro.part in parts:
            return False
        parts.add(micro.part)
        return True

    def _samples(self, micro: MicroBatch) -> Indices:
        assert 0 <= micro.part < micro.parts <= self._size, f"{micro} of {self._size} samples"
        return np.array_split(self._batches.at(micro.batch), micro.parts)[micro.part]

    def _share(self, micro: MicroBatch) -> float:
        """Return the part's share of the samples of its batch: the first parts have one more where due."""
        few, more = divmod(self._size, micro.parts)
        return (few + (micro.part < more)) / self._size

    def _total(self, batch: int, layer: int) -> torch.Tensor:
        """Return the gradient [p] of a batch for a layer and mark it as used up.

        Parts are added in their order, whatever the order in which they were learnt.
        """
        passes = sorted(self._passes.get(batch, {}).items())
        assert passes, f"no gradient of batch {batch}"
        assert len(passes) == passes[0][1].parts, f"batch {batch}: {len(passes)} parts have been read"
        total = None
        for part, mine in passes:
            gradient = mine.taken.get(layer)
            assert gradient is not None, f"layer {layer} has not learnt part {part} of batch {batch}"
            mine.taken[layer] = None
            total = gradient if total is None else total.add_(gradient)
        assert total is not None
        return total

    def _whole(self, weights: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Return the parameters [P] with the weights [p] of some layers, the others as at the start."""
        vector = self._start.clone()
        for layer, weights_p in weights.items():
            done = 0
            for place in self._slices[layer]:
                size = place.stop - place.start
                vector[place] = weights_p[done : done + size]
                done += size
        return vector


def _part(vector_P: torch.Tensor, slices: Sequence[slice]) -> torch.Tensor:
    """Return a copy of some slices of a vector, one after the other."""
    return torch.cat([vector_P[one] for one in slices])


def _copy(copy: object) -> Copy:
    assert isinstance(copy, dict), f"a copy of layers, not a {type(copy).__name__}"
    return copy


def _grouped(
    student: Student, input_shape: tuple[int, ...], groups: Sequence[Sequence[str]]
) -> list[tuple[slice, ...]]:
    """Return the slices of each group of layers; groups take the layers in forward order, by count."""
    found, timed = student.layers(input_shape), sum(map(len, groups))
    if len(found) != timed:
        raise ProfileError(
            f"model {student.name!r}: has {len(found)} layers, but {timed} are timed; a pipeline is cut "
            "between layers, so the model that learns has to have those that are timed"
        )
    left = iter(found)
    return [tuple(place for _ in group for place in next(left).slices) for group in groups]
