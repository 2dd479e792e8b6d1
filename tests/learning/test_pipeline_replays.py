"""Weights of a pipeline that are lost and put back: the same bits, no update twice, and bounded memory."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from edgesim.learning.student import Student
from edgesim.workload import MicroBatch
from tests.learning.pipelines import (
    DEEP,
    HEAVY,
    NAMES,
    NORMED,
    SHAPE,
    gradient_at,
    in_turn,
    learner,
    loss_at,
    one_step,
    small_data,
    stages_of,
    strict,
    trained,
)


@pytest.fixture
def data(tmp_path):
    return small_data(tmp_path)


@pytest.mark.parametrize("model", [DEEP, NORMED])
@pytest.mark.parametrize("averages", [False, True])
def test_a_stage_that_is_computed_again_from_a_copy_has_the_same_bits(data, model, averages):
    stages = [range(1), range(1, 2), range(2, len(NAMES[model]))]
    calm, hit = learner(data, model, **HEAVY), learner(data, model, **HEAVY)
    if averages:
        averaging(calm)
        averaging(hit)
    steps, lessons = list(strict(stages, 16)), []
    copied, lost = (steps.index(("B", 1, batch)) + 1 for batch in (4, 8))
    for number, (kind, stage, batch) in enumerate(steps, start=1):
        one_step(hit, stages, kind, stage, batch, lessons)
        if number == copied:
            held = hit.copy(stages[1])
        if number == lost:
            before = hit.vector
            hit.restore(stages[1], held)
            assert not torch.equal(hit.vector, before)
            again(hit, stages[1], [(kind, batch) for kind, at, batch in steps[copied:lost] if at == 1])
            assert torch.equal(hit.vector, before)
    assert lessons == trained(calm, stages, 16)
    assert torch.equal(hit.vector, calm.vector)
    assert hit.judge() == calm.judge()


def averaging(learning):
    """Let the newest version become the mean of three with every second update."""
    plain = learning.update

    def update(batch, layers):
        plain(batch, layers)
        if batch % 2:
            learning.average(layers, 3)

    learning.update = update


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


def test_batches_that_were_read_last_are_kept_whatever_their_number(data):
    learning, layers = learner(data, keep=3), range(4)
    for batch in (0, 1, 2):
        learning.read(MicroBatch(batch), layers)
    for batch in (0, 3):  # 0 is computed again
        learning.read(MicroBatch(batch), layers)
    learning.learn(MicroBatch(0), layers)
    with pytest.raises(AssertionError, match="no layer has read"):
        learning.learn(MicroBatch(1), layers)


def test_memory_does_not_grow_with_the_batches(data):

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
