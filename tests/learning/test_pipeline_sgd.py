"""Real SGD beside a pipeline: what its stages would compute between them, with the weights that each read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgesim.errors import ProfileError
from edgesim.learning import models
from edgesim.learning.layers import find_layers
from edgesim.learning.sgd import Recipe, SgdLearner, step
from edgesim.learning.sharding import Batches, stream
from edgesim.learning.student import Student
from edgesim.learning.task import make_task
from edgesim.learning.versions import Version, VersionedLayer
from edgesim.workload import MicroBatch
from tests.learning.pipelines import (
    DEEP,
    HEAVY,
    NORMED,
    SHAPE,
    SIZE,
    SKIPPING,
    gradient_at,
    in_turn,
    learner,
    loss_at,
    one_step,
    samples_of,
    small_data,
    stages_of,
    strict,
    trained,
)


@pytest.fixture
def data(tmp_path):
    return small_data(tmp_path)


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
    before = learning.judge()[1]
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
    assert learning.judge()[1] != before, "they count in the verdict on the same weights"


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
