"""Real SGD beside a pipeline: what its stages would compute between them, with the weights that each read."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgesim.errors import ProfileError
from edgesim.learning import models
from edgesim.learning.datasets import load_data
from edgesim.learning.layers import find_layers
from edgesim.learning.pipeline_sgd import PipelineSgd
from edgesim.learning.sgd import Recipe, SgdLearner, step
from edgesim.learning.sharding import Batches, order_of, stream
from edgesim.learning.student import Student
from edgesim.learning.task import make_task
from edgesim.learning.versions import Version, VersionedLayer
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


@pytest.fixture
def data(tmp_path):
    return load_data(str(idx_folder(tmp_path, *bars(60), *bars(12, seed=1))))


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


class StageByStage:
    """What real stages do: a module each, activations and gradients that cross the boundaries, and for each
    batch in flight a copy of the weights of its forward pass."""

    def __init__(self, stages, **settings):
        modules = list(models.build(DEEP, SHAPE, seed=5))
        pairs = [nn.Sequential(modules[0], modules[1])]
        pairs += [nn.Sequential(modules[at], modules[at + 1]) for at in (2, 4, 6)]
        self.stages = [nn.Sequential(*(pairs[layer] for layer in layers)) for layers in stages]
        self.optimizers = [torch.optim.SGD(one.parameters(), lr=0.1, **settings) for one in self.stages]
        self.held, self.sent, self.losses = {}, {}, []

    def forward(self, stage, batch, data):
        module = self.stages[stage]
        stale = {name: one.detach().clone() for name, one in module.named_parameters()}
        weights = {name: one.requires_grad_() for name, one in stale.items()}
        given = samples_of(data, batch)[0] if stage == 0 else self.sent[stage - 1, batch].requires_grad_()
        made = torch.func.functional_call(module, weights, (given,))
        if stage == len(self.stages) - 1:
            made = functional.cross_entropy(made, samples_of(data, batch)[1])
            self.losses.append(made.item())
        else:
            self.sent[stage, batch] = made.detach().clone()
        self.held[stage, batch] = weights, given, made

    def backward(self, stage, batch):
        weights, given, made = self.held.pop((stage, batch))
        last = stage == len(self.stages) - 1
        made.backward(None if last else self.sent.pop(("gradient", stage, batch)))
        if stage:
            self.sent["gradient", stage - 1, batch] = given.grad.clone()
        for name, one in self.stages[stage].named_parameters():
            one.grad = weights[name].grad
        self.optimizers[stage].step()

    def vector(self):
        return torch.cat([one.detach().reshape(-1) for stage in self.stages for one in stage.parameters()])


@pytest.mark.parametrize("points", [[], [1], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("settings", [{}, HEAVY])
def test_it_learns_what_stages_compute_between_them(data, points, settings):
    stages = stages_of(points, 4)
    real, learning = StageByStage(stages, **settings), learner(data, **settings)
    lessons = []
    for kind, stage, batch in strict(stages, 14):
        if kind == "F":
            real.forward(stage, batch, data)
        else:
            real.backward(stage, batch)
        one_step(learning, stages, kind, stage, batch, lessons)
    assert [lesson.loss for lesson in lessons] == pytest.approx(real.losses, rel=1e-5)
    assert torch.allclose(learning.vector, real.vector(), atol=1e-6)
    if points:
        alone = learner(data, **settings)
        in_turn(alone, 14)
        assert not torch.allclose(learning.vector, alone.vector, atol=1e-4), "stale weights change nothing"


@pytest.mark.parametrize("points", [[1], [0, 2], [0, 1, 2]])
def test_the_delay_of_a_stage_is_its_window_less_one(data, points):
    stages, held, delays = stages_of(points, 4), {}, {}
    learning, versions = learner(data), [0] * (len(points) + 1)

    def seen(kind, stage, batch):
        if kind == "F":
            held[stage, batch] = versions[stage]
        else:
            delays[stage, batch] = versions[stage] - held[stage, batch]
            versions[stage] = batch + 1

    trained(learning, stages, 12, seen=seen)
    for (stage, batch), delay in delays.items():
        assert delay == min(batch, len(stages) - stage - 1)


@pytest.mark.parametrize("model", [DEEP, NORMED, SKIPPING])
@pytest.mark.parametrize("settings", [{}, HEAVY])
def test_layers_that_are_all_at_their_newest_learn_as_one_worker_does(data, model, settings):
    learning = learner(data, model, **settings)
    recipe = Recipe(learning_rate=0.1, seed=5, **settings)
    student = Student(model, SHAPE, data.classes, 5)
    alone = SgdLearner(student, SHAPE, data, ["pipeline"], SIZE, recipe)
    lessons = in_turn(learning, 25)
    for lesson in lessons:
        alone.pull("pipeline")
        assert lesson == pytest.approx(alone.apply(["pipeline"]), rel=1e-5)
    used = torch.ones(student.parameters, dtype=torch.bool)
    if model == SKIPPING:  # torch leaves parameters without a gradient alone
        for name, one in student.named(used).items():
            one.fill_("unused" not in name)
        assert torch.equal(learning.vector[~used], learner(data, model).vector[~used])
    assert torch.allclose(learning.vector[used], alone.vector[used], atol=1e-6)
    assert learning.judge() == pytest.approx(alone.judge(), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, HEAVY])
def test_layers_that_are_all_at_their_newest_learn_as_torch_does(data, settings):
    module = models.build(DEEP, SHAPE, seed=5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, **settings)
    learning = learner(data, **settings)
    for batch, lesson in enumerate(in_turn(learning, 20)):
        samples, labels = samples_of(data, batch)
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(samples), labels)
        loss.backward()
        optimizer.step()
        assert lesson.loss == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(learning.vector, nn.utils.parameters_to_vector(module.parameters()), atol=1e-6)


@pytest.mark.parametrize("parts", [2, 4, 6])
def test_parts_of_a_batch_add_up_to_it(data, parts):
    whole, cut = learner(data, **HEAVY), learner(data, **HEAVY)
    pairs = zip(in_turn(whole, 12), in_turn(cut, 12, parts), strict=True)
    for one, other in pairs:
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
    assert torch.allclose(cut.vector, whole.vector, atol=1e-6)


def test_parts_are_added_in_their_order_whatever_came_first(data):
    def after(order):
        learning = learner(data)
        for batch in range(3):
            for part in order:
                learning.read(MicroBatch(batch, part, 4), range(4))
            for part in order:
                learning.learn(MicroBatch(batch, part, 4), range(2, 4))
            for part in reversed(order):
                learning.learn(MicroBatch(batch, part, 4), range(2))
            learning.update(batch, range(4))
        return learning.vector

    assert torch.equal(after([0, 1, 2, 3]), after([3, 1, 0, 2]))


def test_samples_are_those_of_the_batch_whatever_came_before(data):
    shard = np.arange(60)
    one, other = (Batches(shard, 25, lambda epoch: stream(3, f"{epoch}")) for _ in range(2))
    drawn = [one.next() for _ in range(9)]
    for number in (8, 0, 3, 2, 7, 2):
        assert other.at(number).tolist() == drawn[number].tolist()
    assert sorted(np.concatenate(drawn)[:60]) == sorted(np.concatenate(drawn)[60:120]) == list(range(60))
    wide = Batches(np.arange(3), 8, lambda epoch: stream(3, f"{epoch}"))
    assert np.bincount(wide.at(1), minlength=3).sum() == 8


def test_forward_passes_at_a_version_read_that_or_the_newest_before_it(data):
    layers = range(4)
    learning = learner(data)
    vectors = [learning.vector]
    for batch in range(3):  # updates by batches 0, 1 and 2
        in_turn(learning, 1, first=batch)
        vectors.append(learning.vector)
    for wanted in (0, 1, 2, 3, 9):
        learning.read(MicroBatch(3), layers, version=wanted)
        learning.learn(MicroBatch(3), layers)
        assert learning.lesson(3).loss == loss_at(data, vectors[min(wanted, 3)], 3)
        learning.forget(3, layers)


def loss_at(data, vector, batch):
    student = Student(DEEP, SHAPE, data.classes, 5)
    return student.gradient(vector, student.buffers(), samples_of(data, batch), 0)[0]


def gradient_at(data, vector, batch):
    student = Student(DEEP, SHAPE, data.classes, 5)
    return student.gradient(vector, student.buffers(), samples_of(data, batch), 0)[1]


def test_two_buffered_weights_delay_every_update_by_one(data):
    """w(b+1) = w(b) - eta g(w(b-1)): Narayanan et al., "Memory-Efficient Pipeline-Parallel DNN Training",
    ICML 2021, section 3.1."""
    learning, layers = learner(data), range(4)
    weights = [learning.vector] * 2
    for batch in range(6):
        for part in range(2):
            learning.read(MicroBatch(batch, part, 2), layers, version=max(batch - 1, 0))
        for part in range(2):
            learning.learn(MicroBatch(batch, part, 2), layers)
        learning.update(batch, layers)
        weights.append(weights[-1] - 0.1 * gradient_at(data, weights[-2], batch))
        assert torch.allclose(learning.vector, weights[-1], atol=1e-6)


def test_vertical_sync_delays_every_stage_alike(data):
    stages, learning, version = stages_of([0, 2], 4), learner(data), {}
    weights = [learning.vector]
    for kind, stage, batch in strict(stages, 8):
        if kind == "F" and stage == 0:
            version[batch] = max(batch - 2, 0)
        if kind == "F":
            learning.read(MicroBatch(batch), stages[stage], version=version[batch])
        else:
            learning.learn(MicroBatch(batch), stages[stage])
            learning.update(batch, stages[stage])
            if stage == 0:
                weights.append(weights[-1] - 0.1 * gradient_at(data, weights[version[batch]], batch))
    assert torch.allclose(learning.vector, weights[-1], atol=1e-6)


def test_the_newest_becomes_the_mean_of_the_latest(data):
    learning, layers = learner(data), range(4)
    vectors = [learning.vector]
    for batch in range(4):
        in_turn(learning, 1, first=batch)
        vectors.append(learning.vector)
    before = learning.copy(layers)
    learning.average(range(2), 3)
    mean = torch.stack(vectors[-3:]).mean(0)
    cut = sum(learning.parameters[:2])
    assert torch.allclose(learning.vector[:cut], mean[:cut], atol=1e-7)
    assert torch.equal(learning.vector[cut:], vectors[-1][cut:])
    learning.average(range(2), 1)
    assert torch.allclose(learning.vector[:cut], mean[:cut], atol=1e-7), "the mean is the newest now"
    assert [learning.copy(layers)[layer].newest[0].number for layer in layers] == [4] * 4
    learning.restore(layers, before)
    assert torch.equal(learning.vector, vectors[-1])


def test_replicas_learn_on_their_own_until_they_are_merged(data):
    """Two sets of weights in turn are two learners with every other batch each."""
    learning, layers = learner(data, **HEAVY), range(4)
    twins = [learner(data, **HEAVY) for _ in range(2)]
    start = learning.vector
    for batch in range(6):
        for one, replica in ((learning, batch % 2), (twins[batch % 2], 0)):
            one.read(MicroBatch(batch), layers, replica=replica)
            one.learn(MicroBatch(batch), layers)
            one.update(batch, layers, replica=replica)
        if batch == 0:
            assert torch.equal(learning.vector, twins[0].vector), "the other is not there yet"
    mean = (twins[0].vector + twins[1].vector) / 2
    assert torch.allclose(learning.vector, mean, atol=1e-7)
    assert not torch.allclose(twins[0].vector, twins[1].vector, atol=1e-4)
    learning.merge(layers, 2)
    assert torch.allclose(learning.vector, mean, atol=1e-7)
    for batch, replica in ((6, 0), (7, 1), (8, 2)):  # the third starts from what was merged
        learning.read(MicroBatch(batch), layers, replica=replica)
        learning.learn(MicroBatch(batch), layers)
        assert learning.lesson(batch).loss == pytest.approx(loss_at(data, mean, batch), rel=1e-5)
        learning.update(batch, layers, replica=replica)
    speeds = [learning._layers[0]._replicas[replica].velocity_p for replica in range(3)]
    assert not torch.allclose(speeds[0], speeds[1], atol=1e-4), "each keeps its own velocity"
    assert not torch.equal(learning.vector, start)
    learning.merge(layers, 3)
    merged = learning.vector
    in_turn(learning, 1, first=9)
    moved = learning.vector - merged
    learning.merge(layers, 2)  # of three: the third is gone
    assert torch.allclose(learning.vector, merged + moved * 3 / 2, atol=1e-6)


@pytest.mark.parametrize("delay", [0, 1, 2, 4])
@pytest.mark.parametrize("share", [0.97, 1.03])
def test_a_delayed_quadratic_is_stable_up_to_the_known_step(delay, share):
    """h w^2 / 2 with delay d: stable where eta h < 2 sin(pi / (2 (2 d + 1)))."""
    curvature = 3.0
    rate = share * 2 * math.sin(math.pi / (2 * (2 * delay + 1))) / curvature
    recipe = Recipe(learning_rate=rate)
    layer = VersionedLayer(Version(0, torch.ones(1, dtype=torch.float64)), keep=delay + 1)
    sizes = []
    for batch in range(1500):
        read = layer.read(max(batch - delay, 0))
        layer.update(batch, curvature * read, recipe)
        sizes.append(abs(float(layer.newest())))
    assert (max(sizes[-50:]) < 0.05) == (share < 1.0)
    assert (max(sizes[-50:]) > 20.0) == (share > 1.0)


@pytest.mark.parametrize("model", [DEEP, NORMED])
def test_a_stage_that_is_computed_again_from_a_copy_has_the_same_bits(data, model):
    stages = [range(1), range(1, 2), range(2, len(NAMES[model]))]
    calm, hit = learner(data, model, **HEAVY), learner(data, model, **HEAVY)
    steps, lessons, start = list(strict(stages, 16)), [], hit.copy(stages[1])
    copied, lost = (steps.index(("B", 1, batch)) + 1 for batch in (4, 8))
    for number, (kind, stage, batch) in enumerate(steps, start=1):
        one_step(hit, stages, kind, stage, batch, lessons)
        if number == copied:
            held = hit.copy(stages[1])
        if number == lost:
            before = hit.vector
            hit.restore(stages[1], start)
            assert not torch.equal(hit.vector, before)
            hit.restore(stages[1], held)
            again(hit, stages[1], [(kind, batch) for kind, at, batch in steps[copied:lost] if at == 1])
            assert torch.equal(hit.vector, before)
    assert lessons == trained(calm, stages, 16)
    assert torch.equal(hit.vector, calm.vector)
    assert hit.judge() == calm.judge()


def again(learning, layers, steps):
    """Passes of a stage computed again; batches in flight when it was copied are learnt as they were read."""
    for kind, batch in steps:
        if kind == "F":
            learning.read(MicroBatch(batch), layers)
        else:
            learning.learn(MicroBatch(batch), layers)
            learning.update(batch, layers)


def test_a_restart_of_all_from_a_snapshot_has_the_same_bits(data):
    stages, hit = stages_of([0, 2], 4), learner(data, keep=4, **HEAVY)
    calm = learner(data, **HEAVY)
    in_turn(calm, 3)
    in_turn(hit, 3)
    snapshot = hit.copy(range(4))
    due = in_turn(calm, 9, first=3)
    in_turn(hit, 6, first=3)
    for stage in stages:
        hit.read(MicroBatch(9), stage)
    hit.learn(MicroBatch(9), stages[2])  # and then they all stop
    for stage in stages:
        hit.forget(3, stage)
        hit.restore(stage, snapshot)
    assert in_turn(hit, 9, first=3) == due
    assert torch.equal(hit.vector, calm.vector)


def test_versions_before_that_of_a_copy_can_still_be_read(data):
    learning, layers = learner(data), range(4)
    in_turn(learning, 2)
    early = learning.vector
    in_turn(learning, 1, first=2)
    held = learning.copy(layers)
    in_turn(learning, 2, first=3)
    learning.restore(layers, held)
    for batch, version in ((5, 2), (6, None)):
        learning.read(MicroBatch(batch), layers, version=version)
        learning.learn(MicroBatch(batch), layers)
    assert learning.lesson(5).loss == loss_at(data, early, 5)
    assert learning.lesson(6).loss == loss_at(data, learning.vector, 6)


def test_replicas_come_back_with_a_copy(data):
    learning, layers = learner(data), range(4)

    def turn(first):
        for batch in (first, first + 1):
            learning.read(MicroBatch(batch), layers, replica=batch % 2)
            learning.learn(MicroBatch(batch), layers)
            learning.update(batch, layers, replica=batch % 2)

    turn(0)
    held, before = learning.copy(layers), learning.vector
    turn(2)
    learning.merge(layers, 2)
    learning.restore(layers, held)
    assert torch.equal(learning.vector, before)
    learning.read(MicroBatch(4), layers, replica=2)
    learning.learn(MicroBatch(4), layers)
    assert learning.lesson(4).loss == loss_at(data, learner(data).vector, 4), "nothing had been merged then"
    assert not torch.equal(learning.vector, before), "a third counts from now on"


def test_momentum_is_carried_or_starts_afresh(data):
    layers = range(4)

    def after(how):
        learning = learner(data, momentum=0.9)
        in_turn(learning, 3)
        if how == "reset":
            learning.reset(layers)
        elif how != "untouched":
            learning.restore(layers, learning.copy(layers), momentum=how == "carried")
        vector = learning.vector
        in_turn(learning, 1, first=3)
        return vector, learning.vector

    before, carried = after("carried")
    assert torch.equal(carried, after("untouched")[1])
    _, dropped = after("dropped")
    assert torch.equal(dropped, after("reset")[1])
    assert torch.allclose(dropped, before - 0.1 * gradient_at(data, before, 3), atol=1e-6)
    assert not torch.allclose(dropped, carried, atol=1e-4)


def test_a_batch_that_is_sent_again_counts_once(data):
    """The last stage has updated, the first has not, and the batch goes through the pipeline once more."""
    stages, learning = stages_of([1], 4), learner(data)
    micro = MicroBatch(0)
    for stage in stages:
        learning.read(micro, stage)
    learning.learn(micro, stages[1])
    learning.update(0, stages[1])
    newest, start = learning.vector, Student(DEEP, SHAPE, data.classes, 5).start()
    learning.forget(0, range(4))
    for stage in stages:
        learning.read(micro, stage)
    learning.learn(micro, stages[0])
    learning.update(0, stages[0])
    cut = sum(learning.parameters[:2])
    assert torch.equal(learning.vector[cut:], newest[cut:])
    expected = start[:cut] - 0.1 * gradient_at(data, newest, 0)[:cut]
    assert torch.allclose(learning.vector[:cut], expected, atol=1e-6)
    assert learning.lesson(0).loss == loss_at(data, newest, 0)
    learning.learn(micro, stages[1])
    with pytest.raises(AssertionError, match="batch 0 is to update version 1, which has it"):
        learning.update(0, stages[1])


def test_a_gradient_is_computed_once_for_all_stages_each_time(data, monkeypatch):
    learning, stages, made = learner(data), stages_of([0, 2], 4), []
    compute = Student.gradient
    monkeypatch.setattr(Student, "gradient", lambda *given: made.append(1) or compute(*given))

    def through(batch, *, update):
        for stage in stages:
            learning.read(MicroBatch(batch), stage)
        for stage in reversed(stages):
            learning.learn(MicroBatch(batch), stage)
            if update:
                learning.update(batch, stage)

    through(0, update=True)
    assert len(made) == 1
    through(0, update=False)  # sent again, at other weights
    assert len(made) == 2
    learning.forget(0, range(4))
    through(0, update=False)  # and again at the same, which nobody needs any more
    assert len(made) == 3


def test_calls_out_of_turn_are_our_own_bugs(data):
    learning, layers = learner(data, keep=2), range(4)
    with pytest.raises(AssertionError, match="no layer has read"):
        learning.learn(MicroBatch(0), layers)
    learning.read(MicroBatch(0, 0, 2), range(3))
    with pytest.raises(AssertionError, match=r"layers \[3\] have not read"):
        learning.learn(MicroBatch(0, 0, 2), range(1))
    learning.read(MicroBatch(0, 0, 2), range(3, 4))
    with pytest.raises(AssertionError, match="part 0 of batch 0 has not been learnt"):
        learning.lesson(0)
    learning.learn(MicroBatch(0, 0, 2), layers)
    with pytest.raises(AssertionError, match=r"layer 0 learns MicroBatch\(.*\) twice"):
        learning.learn(MicroBatch(0, 0, 2), layers)
    with pytest.raises(AssertionError, match="1 parts have been read"):
        learning.update(0, layers)
    learning.read(MicroBatch(0, 1, 2), layers)
    with pytest.raises(AssertionError, match="layer 0 has not learnt part 1 of batch 0"):
        learning.update(0, layers)
    learning.forget(0, layers)
    in_turn(learning, 3, first=1)
    with pytest.raises(AssertionError, match="or it is long ago"):
        learning.learn(MicroBatch(0, 0, 2), layers)
    with pytest.raises(AssertionError, match="no weights of version 1 or before; kept from 3"):
        learning.read(MicroBatch(4), layers, version=1)


def test_memory_does_not_grow_with_the_batches(data):
    import gc
    import weakref

    learning, stages, held = learner(data, keep=5, **HEAVY), stages_of([0, 2], 4), []

    def seen(kind, stage, batch):
        if kind == "B":
            newest = learning.copy(range(4))
            held.extend(weakref.ref(newest[layer].newest[0].weights_p) for layer in stages[stage])

    trained(learning, stages, 40, seen=seen)
    gc.collect()
    alive = len({id(one()) for one in held if one() is not None})
    assert alive <= 4 * (5 + 3), "versions kept, and those that the batches kept have read"
    assert len(learning._passes) == 5
    assert all(mine.gradient_P is None for parts in learning._passes.values() for mine in parts.values())
    assert all(one is None for mine in learning._passes.values() for one in mine[0].taken.values())


@pytest.mark.parametrize("model", [DEEP, NORMED, SKIPPING, "small-cnn"])
def test_layers_have_the_parameters_that_the_profiler_counts(data, model):
    task = make_task(model, SHAPE, 2)
    layout = find_layers(task.model, task.forward)
    timed = [sum(one.numel() for one in layer.parameters) for layer in layout.layers]
    student = Student(model, SHAPE, data.classes, 5)
    before, buffers = student.start(), student.buffers()
    found = student.layers(SHAPE)
    assert torch.equal(student.start(), before)
    assert all(torch.equal(*pair) for pair in zip(student.buffers(), buffers, strict=True))
    assert [layer.name for layer in found] == [layer.name for layer in layout.layers]
    learning = learner(data, model, groups=[[layer.name] for layer in found])
    if model == "small-cnn":  # the last layer has an output a class
        assert learning.parameters[:-1] == tuple(timed[:-1])
        assert learning.parameters[-1] < timed[-1]
    else:
        assert list(learning.parameters) == timed
    places = sorted(place.start for layer in found for place in layer.slices)
    assert len(set(places)) == len(places)


def test_layers_of_a_group_are_one(data):
    fine, coarse = learner(data, NORMED, **HEAVY), learner(data, NORMED, groups=[["0", "4"], ["5"]], **HEAVY)
    assert coarse.parameters == (fine.parameters[0] + fine.parameters[1], fine.parameters[2])
    assert trained(coarse, [range(1), range(1, 2)], 8) == trained(fine, [range(2), range(2, 3)], 8)
    assert torch.equal(coarse.vector, fine.vector)


def test_a_model_of_other_layers_is_told(data):
    with pytest.raises(ProfileError, match="Deep': has 4 layers, but 3 are timed"):
        learner(data, groups=[["1"], ["3", "5"]])


def test_running_statistics_count_each_batch_once(data):
    learning, layers = learner(data, NORMED), range(3)
    module = models.build(NORMED, SHAPE, seed=5)
    for batch in range(3):
        module[1](module[0](samples_of(data, batch)[0]))
        learning.read(MicroBatch(batch), layers, version=0)
        learning.learn(MicroBatch(batch), layers)
    for batch in (1, 2):
        learning.forget(batch, layers)
        learning.read(MicroBatch(batch), layers, version=0)
        learning.learn(MicroBatch(batch), layers)
    mean, variance, count = learning._buffers
    assert count.item() == 3
    assert torch.allclose(mean, module[1].running_mean)
    assert torch.allclose(variance, module[1].running_var)


def test_dropout_follows_from_batch_and_part(data):
    def losses(order):
        learning = learner(data, NORMED)
        for batch in order:
            for part in range(2):
                learning.read(MicroBatch(batch, part, 2), range(3))
                learning.learn(MicroBatch(batch, part, 2), range(3))
        return {batch: learning.lesson(batch).loss for batch in order}

    assert losses([0, 1, 2]) == losses([2, 0, 1])


def test_the_test_set_is_looked_at_every_so_many_batches_and_after_the_last(data):
    lessons = in_turn(learner(data, evaluate_every=3, iterations=7), 7)
    assert [batch for batch, lesson in enumerate(lessons) if lesson.accuracy is not None] == [2, 5, 6]


def test_it_learns_in_spite_of_stale_weights(data):
    learning = learner(data, learning_rate=0.2)
    lessons = trained(learning, stages_of([0, 1, 2], 4), 150)
    assert lessons[-1].accuracy == 1.0
    assert learning.judge()[1] < 0.3


def test_losses_that_are_no_numbers_are_infinite(data):
    learning = learner(data, learning_rate=1e38, momentum=0.9)
    assert in_turn(learning, 4)[-1].loss == math.inf


def test_weights_are_saved_by_the_names_of_parameters(data, tmp_path):
    learning = learner(data)
    in_turn(learning, 2)
    old, at = learning.copy(range(2)), learning.vector
    in_turn(learning, 2, first=2)
    learning.save(tmp_path / "newest.npz")
    learning.save(tmp_path / "copies.npz", [learning.copy(range(1, 4)), old])
    learning.save(tmp_path / "some.npz", [old])
    module = models.build(DEEP, SHAPE)
    module.load_state_dict(
        {name: torch.from_numpy(one) for name, one in saved(tmp_path / "newest.npz").items()}
    )
    newest = nn.utils.parameters_to_vector(module.parameters())
    assert torch.equal(newest, learning.vector)
    mixed, cut = saved(tmp_path / "copies.npz"), sum(learning.parameters[:2])
    vector = torch.cat([torch.from_numpy(mixed[name]).reshape(-1) for name, _ in module.named_parameters()])
    assert torch.equal(vector, torch.cat([at[:cut], newest[cut:]]))
    assert list(saved(tmp_path / "some.npz")) == ["1.weight", "1.bias", "3.weight", "3.bias"]


def saved(path):
    with np.load(path) as found:
        return dict(found)


def test_an_update_leaves_what_others_hold():
    weights, speed, recipe = torch.ones(3), torch.full((3,), 2.0), Recipe(learning_rate=0.5, **HEAVY)
    after, faster = step(weights, torch.ones(3), speed, recipe)
    assert weights.tolist() == [1.0] * 3
    assert speed.tolist() == [2.0] * 3
    assert faster.tolist() == pytest.approx([0.9 * 2 + 1.01] * 3)
    assert after.tolist() == pytest.approx([1 - 0.5 * 2.81] * 3)
