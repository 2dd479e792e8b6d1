"""Real SGD beside the clock: the same bits each time, and what plain torch would do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from edgesim.errors import DataError, ProfileError
from edgesim.learning import models
from edgesim.learning.datasets import load_data
from edgesim.learning.sgd import Recipe, SgdLearner
from edgesim.learning.sharding import Batches, stream
from edgesim.learning.student import Student, exact
from edgesim.learning.task import output_of
from tests.learning.small import bars, idx_folder

SHAPE = (1, 8, 8)


class Plain(nn.Sequential):
    """No buffers, and few parameters."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 4))


class Normed(nn.Sequential):
    """With running statistics and dropout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(108, 4)
        )


PLAIN, NORMED = f"{__name__}:Plain", f"{__name__}:Normed"


@pytest.fixture
def data(tmp_path):
    return load_data(str(idx_folder(tmp_path, *bars(60), *bars(12, seed=1))))


def learner(data, workers=("a", "b"), model=PLAIN, batch_size=6, **recipe):
    recipe = Recipe(**{"learning_rate": 0.1, "seed": 5, **recipe})
    return SgdLearner(
        Student(model, SHAPE, data.classes, recipe.seed), SHAPE, data, workers, batch_size, recipe
    )


def together(learning, workers, updates):
    """Synchronous updates: everybody pulls, then everybody's gradient counts."""
    lessons = []
    for _ in range(updates):
        for worker in workers:
            learning.pull(worker)
        lessons.append(learning.apply(workers))
    return lessons


@pytest.mark.parametrize("model", [PLAIN, NORMED])
def test_two_runs_have_the_same_bits(data, model):
    runs = [learner(data, model=model, momentum=0.9, weight_decay=0.01) for _ in range(2)]
    first, second = (together(one, "ab", 12) for one in runs)
    assert first == second
    assert torch.equal(runs[0].vector, runs[1].vector)
    other = learner(data, model=model, momentum=0.9, weight_decay=0.01, seed=6)
    assert together(other, "ab", 12) != first


def test_nothing_depends_on_when_others_pull_or_on_torchs_own_state(data):
    first = together(learner(data, model=NORMED), "ab", 6)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    one, lessons = learner(data, model=NORMED), []
    for _ in range(6):
        for worker in "baab":
            one.pull(worker)
        lessons.append(one.apply("ab"))
    assert lessons == first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("model", [PLAIN, NORMED, "small-cnn"])
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "weight_decay": 0.01}])
def test_one_worker_does_what_torch_does_bit_for_bit(data, model, settings):
    learning = learner(data, "a", model=model, **settings)
    found = [lesson.loss for lesson in together(learning, "a", 15)]

    module = models.build(model, SHAPE, seed=5)
    if model == "small-cnn":
        with torch.random.fork_rng():
            torch.manual_seed(5)
            module.fc2 = nn.Linear(192, 4)
    shard = stream(5, "shards").permutation(60)
    batches = Batches(shard, 6, lambda epoch: stream(5, f"a epoch {epoch}"))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, **settings)
    losses = []
    for number in range(15):
        samples, labels = data.batch(data.train, batches.next(), SHAPE)
        with exact(), torch.random.fork_rng():
            torch.manual_seed(int(stream(5, f"a batch {number}").integers(2**63)))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(output_of(module(samples)), labels)
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert found == losses
    assert torch.equal(learning.vector, nn.utils.parameters_to_vector(module.parameters()))
    assert losses[-1] < losses[0] or model == NORMED
    module.eval()
    samples, labels = data.batch(data.test, np.arange(12), SHAPE)
    right = (module(samples).argmax(1) == labels).float().mean().item()
    assert learning.judge()[0] == pytest.approx(right)


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_mean_of_gradients_is_that_of_the_large_batch(data, workers):
    names = [f"w{number}" for number in range(workers)]
    learning = learner(data, names)
    drawn = [first_batch(learning, name) for name in names]
    large = data.batch(data.train, np.concatenate(drawn), SHAPE)
    before = learning.vector
    student = Student(PLAIN, SHAPE, data.classes, 5)
    loss, gradient, _ = student.gradient(before, student.buffers(), large, 0)
    lesson = together(learning, names, 1)[0]
    assert lesson.loss == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(before - learning.vector, 0.1 * gradient, atol=1e-6)


def test_the_gradient_is_that_of_differences():
    student = Student(PLAIN, SHAPE, 4, 1)
    at, luck = student.start(), torch.Generator().manual_seed(0)
    batch = torch.randn(8, *SHAPE, generator=luck), torch.arange(8) % 4
    _, gradient, _ = student.gradient(at, (), batch, 0)
    assert len(at) == student.parameters == 64 * 16 + 16 + 16 * 4 + 4
    for _ in range(5):
        way = torch.randn(len(at), generator=luck)
        way *= 0.01 / way.norm()
        ahead, behind = (student.gradient(at + sign * way, (), batch, 0)[0] for sign in (1, -1))
        assert (ahead - behind) / 2 == pytest.approx(float(gradient @ way), abs=2e-6)


def test_a_stale_gradient_is_that_of_the_parameters_that_were_read(data):
    def after(pulls):
        """Parameters after a's gradient and then b's, with pulls of b before and, or, between them."""
        learning = learner(data)
        learning.pull("a")
        for when in pulls:
            if when == "before":
                learning.pull("b")
        start = learning.vector
        learning.apply("a", 0.5)
        middle = learning.vector
        if "between" in pulls:
            learning.pull("b")
        loss = learning.apply("b", 0.5).loss
        return start, middle, learning.vector, loss

    start, middle, stale, loss = after(["before"])
    _, same_middle, fresh, other_loss = after(["between"])
    assert torch.equal(middle, same_middle)
    assert not torch.equal(stale, fresh)
    assert loss != other_loss
    student = Student(PLAIN, SHAPE, data.classes, 5)
    own = learner(data)._batches["b"].next()
    due_loss, gradient, _ = student.gradient(start, (), data.batch(data.train, own, SHAPE), 0)
    assert loss == due_loss
    assert torch.equal(stale, middle.add(gradient * 0.5, alpha=-0.1))
    _, _, again, _ = after(["before", "between"])
    assert torch.equal(again, fresh), "the last pull holds"


def test_a_gradient_that_never_counts_changes_nothing(data):
    plain, disturbed = learner(data), learner(data)
    first = together(plain, "ab", 3)
    disturbed.pull("a")  # and then it crashed
    assert together(disturbed, "ab", 3) == first


@pytest.mark.parametrize(
    ("share", "updates", "due"),
    [(1.0, 7, [2, 5, 6]), (0.5, 14, [5, 11, 13])],
)
def test_the_test_set_is_looked_at_after_so_many_iterations_and_the_last(data, share, updates, due):
    learning = learner(data, evaluate_every=3, iterations=7)
    seen = []
    for number in range(updates):
        crew = "ab" if share == 1.0 else "ab"[number % 2]
        for worker in crew:
            learning.pull(worker)
        if learning.apply(crew, share).accuracy is not None:
            seen.append(number)
    assert seen == due


def test_it_learns(data):
    learning = learner(data, learning_rate=0.2)
    lessons = together(learning, "ab", 60)
    assert lessons[-1].accuracy == 1.0
    assert lessons[-1].loss < 0.1
    assert learning.judge()[1] < 0.3


def test_losses_that_are_no_numbers_are_infinite(data):
    learning = learner(data, learning_rate=1e38, momentum=0.9)
    assert together(learning, "ab", 4)[-1].loss == math.inf
    assert learning.judge()[1] == math.inf


def test_running_statistics_are_those_of_the_gradients_that_counted_in_their_order(data):
    learning = learner(data, model=NORMED)
    for worker in "aab":
        learning.pull(worker)
    first, second = (first_batch(learning, worker) for worker in "ba")
    learning.apply("ba", 0.5)
    module = models.build(NORMED, SHAPE, seed=5)
    norm = module[1]
    for drawn in (first, second):
        norm(module[0](data.batch(data.train, drawn, SHAPE)[0]))
    mean, variance, count = learning._buffers
    assert torch.allclose(mean, norm.running_mean)
    assert torch.allclose(variance, norm.running_var)
    assert count.item() == 2


def first_batch(learning, worker):
    """The samples of a worker's first batch."""
    batches = learning._batches[worker]
    return Batches(batches.shard, 6, batches._random).next()


@pytest.mark.parametrize("model", ["lenet", "small-cnn", PLAIN])
def test_the_last_layer_has_an_output_a_class(model):
    shape = (1, 16, 16) if model == "lenet" else SHAPE
    for classes in (2, 10, 47):
        student = Student(model, shape, classes)
        loss, gradient, _ = student.gradient(
            student.start(), student.buffers(), (torch.zeros(2, *shape), torch.tensor([0, classes - 1])), 0
        )
        assert math.isfinite(loss)
        assert len(gradient) == student.parameters


def test_models_that_cannot_learn_this_are_told():
    with pytest.raises(ProfileError, match="does not take images of 1x9x9"):
        Student(PLAIN, (1, 9, 9), 4)
    with pytest.raises(ProfileError, match="makes 2x1x6x6 of 2 images"):
        Student(f"{__name__}:maps", SHAPE, 4)
    with pytest.raises(ProfileError, match="has 36 outputs and no last linear layer"):
        Student(f"{__name__}:flat_maps", SHAPE, 4)


def maps() -> nn.Module:
    return nn.Conv2d(1, 1, 3)


def flat_maps() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten())


def test_a_batch_without_a_gradient_is_told(data):
    learning = learner(data, "a", model=f"{__name__}:normed_vector", batch_size=1)
    learning.pull("a")
    with pytest.raises(ProfileError, match=r"has no gradient of a batch of 1 \(Expected more than 1 value"):
        learning.apply("a")


def normed_vector() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 4))


def test_more_workers_than_samples_are_told(data):
    with pytest.raises(DataError, match="61 workers cannot share 60 samples"):
        learner(data, [f"w{number}" for number in range(61)])


def test_versions_that_nobody_holds_are_forgotten(data):
    import gc
    import weakref

    learning = learner(data)
    held = []
    for _ in range(5):
        together(learning, "ab", 1)
        held.append(weakref.ref(learning.vector))
    gc.collect()
    alive = [one() is not None for one in held]
    assert alive.count(True) <= 3, "what was read, what is, and what was judged"
