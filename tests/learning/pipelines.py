"""Small models in pipelines, and passes through them in the order of a schedule."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from edgesim.learning.datasets import load_data
from edgesim.learning.pipeline_sgd import PipelineSgd
from edgesim.learning.sgd import Recipe
from edgesim.learning.sharding import Batches, order_of, stream
from edgesim.learning.student import Student
from edgesim.workload import MicroBatch
from tests.learning.small import bars, idx_folder

SHAPE = (1, 8, 8)
SIZE = 6


class Deep(nn.Sequential):
    """Four layers with parameters, module 0 without any."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(64, 12),
            nn.Tanh(),
            nn.Linear(12, 10),
            nn.Tanh(),
            nn.Linear(10, 8),
            nn.Tanh(),
            nn.Linear(8, 4),
        )


class Normed(nn.Sequential):
    """With running statistics and dropout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(108, 6),
            nn.Linear(6, 4),
        )


class Skipping(nn.Module):
    """A shortcut over a cut, parameters used late, and one that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Linear(8, 4)
        self.unused = nn.Linear(3, 3)
        self.first = nn.Linear(64, 8)
        self.second = nn.Linear(8, 8)
        self.scale = nn.PReLU()

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        early = torch.tanh(self.first(samples.flatten(1)))
        return self.late(self.scale(early + self.second(early)))


DEEP, NORMED, SKIPPING = (f"{__name__}:{name}" for name in ("Deep", "Normed", "Skipping"))
NAMES = {
    DEEP: [["1"], ["3"], ["5"], ["7"]],
    NORMED: [["0"], ["4"], ["5"]],
    SKIPPING: [["first"], ["second"], ["late"]],
}
HEAVY = {"momentum": 0.9, "weight_decay": 0.01}


def small_data(folder):
    """Images of bars, 60 to train on."""
    return load_data(str(idx_folder(folder, *bars(60), *bars(12, seed=1))))


def learner(data, model=DEEP, *, groups=None, keep=32, size=SIZE, **recipe):
    recipe = Recipe(**{"learning_rate": 0.1, "seed": 5, **recipe})
    student = Student(model, SHAPE, data.classes, recipe.seed)
    return PipelineSgd(student, SHAPE, data, size, recipe, groups or NAMES[model], keep)


def stages_of(points, layers):
    """The layers of each stage."""
    return [range(first + 1, last + 1) for first, last in pairwise((-1, *points, layers - 1))]


def samples_of(data, batch, seed=5, size=SIZE):
    """Samples and labels of a batch, drawn one after the other."""
    shard = stream(seed, "shards").permutation(len(data.train))
    batches = Batches(shard, size, lambda epoch: order_of(seed, "pipeline", epoch))
    for _ in range(batch):
        batches.next()
    return data.batch(data.train, batches.next(), SHAPE)


def strict(stages, batches):
    """Forward and backward passes of strict 1F1B with windows S - s, as (kind, stage, batch), each stage at
    once when it can."""
    windows = [len(stages) - stage for stage in range(len(stages))]
    done = {kind: [0] * len(stages) for kind in "FB"}
    while done["B"][0] < batches:
        for stage in range(len(stages)):
            ahead, back = done["F"][stage], done["B"][stage]
            arrived = stage == 0 or done["F"][stage - 1] > ahead
            returned = stage == len(stages) - 1 or done["B"][stage + 1] > back
            if arrived and ahead < batches and ahead - back < windows[stage]:
                done["F"][stage] += 1
                yield "F", stage, ahead
            elif returned and back < ahead:
                done["B"][stage] += 1
                yield "B", stage, back


def trained(learning, stages, batches, *, seen=None):
    """Strict 1F1B with stashed weights; the lessons."""
    lessons = []
    for kind, stage, batch in strict(stages, batches):
        one_step(learning, stages, kind, stage, batch, lessons)
        if seen is not None:
            seen(kind, stage, batch)
    return lessons


def one_step(learning, stages, kind, stage, batch, lessons):
    micro, layers = MicroBatch(batch), stages[stage]
    if kind == "F":
        learning.read(micro, layers)
        return
    learning.learn(micro, layers)
    learning.update(batch, layers)
    if stage == 0:
        lessons.append(learning.lesson(batch))


def in_turn(learning, batches, parts=1, first=0):
    """One device: all layers at their newest, one update a batch."""
    lessons, layers = [], range(len(learning.parameters))
    for batch in range(first, first + batches):
        for part in range(parts):
            learning.read(MicroBatch(batch, part, parts), layers)
        for part in range(parts):
            learning.learn(MicroBatch(batch, part, parts), layers)
        learning.update(batch, layers)
        lessons.append(learning.lesson(batch))
    return lessons


def loss_at(data, vector, batch):
    student = Student(DEEP, SHAPE, data.classes, 5)
    return student.gradient(vector, student.buffers(), samples_of(data, batch), 0)[0]


def gradient_at(data, vector, batch):
    student = Student(DEEP, SHAPE, data.classes, 5)
    return student.gradient(vector, student.buffers(), samples_of(data, batch), 0)[1]
