"""Tasks: one at a time, at the speed of the moment, until a crash; and memory."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.errors import OutOfMemory
from edgesim.events import Crash, Slow
from edgesim.timeseries import Series


def test_tasks_run_one_at_a_time_in_order(make):
    sim = make()
    tasks = [sim.device("a").compute(work) for work in (1.0, 2.0, 0.0)]
    sim.run()
    assert [(task.start_s, task.end_s, task.left_s) for task in tasks] == [(0, 1, 0), (1, 3, 0), (3, 3, 0)]
    assert sim.device("a").busy_s == 3.0


def test_a_slow_device_takes_longer_while_it_is_slow(make):
    sim = make(events=[Slow(at_s=1.0, device="a", to=0.5, for_s=2.0)])
    task = sim.device("a").compute(4.0)
    sim.run(stop=task)
    assert task.end_s == 5.0


def test_availability_over_time_stretches_a_task(make):
    sim = make(device={"availability": Series(times_s=(0.0, 1.0), values=(1.0, 0.0), period_s=4.0)})
    task = sim.device("a").compute(2.5)
    sim.run()
    assert task.end_s == 8.5


def test_a_device_that_is_never_available_again_ends_in_a_clear_error(make):
    from edgesim.errors import Deadlock

    sim = make(device={"availability": Series(times_s=(0.0, 1.0), values=(1.0, 0.0))})

    def worker():
        yield sim.device("a").compute(2.0)

    sim.process(worker(), name="a's worker")
    with pytest.raises(Deadlock, match="a's worker waits for compute on a"):
        sim.run()


def test_a_crash_says_what_was_done_and_what_was_left(make):
    sim = make(events=[Crash(at_s=1.5, device="a", for_s=1.0)])
    device = sim.device("a")
    tasks = [device.compute(1.0), device.compute(1.0), device.compute(1.0)]
    sim.run()
    assert [task.left_s for task in tasks] == [0.0, 0.5, 1.0]
    assert (device.busy_s, device.down_s, device.up) == (1.5, 1.0, True)


def test_overlapping_crashes_end_with_the_last(make):
    sim = make(events=[Crash(at_s=1.0, device="a", for_s=5.0), Crash(at_s=2.0, device="a", for_s=1.0)])
    sim.run()
    assert sim.device("a").down_s == 5.0
    assert [mark[2] for mark in sim.timeline.marks] == ["crash", "crash", "return"]


def test_a_cancelled_task_lets_the_next_begin(make):
    sim = make()
    device = sim.device("a")
    first, second, third = (device.compute(2.0) for _ in range(3))

    def killer():
        yield sim.clock.timeout(0.5)
        device.cancel(third)
        device.cancel(first)

    sim.process(killer())
    sim.run()
    assert (first.left_s, second.end_s, third.left_s) == (1.5, 2.5, 2.0)


def test_memory_is_a_ledger(make):
    sim = make(device={"memory_bytes": 100.0})
    device = sim.device("a")
    device.allocate(60.0, "weights")
    device.allocate(40.0, "activations")
    with pytest.raises(OutOfMemory, match=r"a is out of memory at 0 s: gradients needs .* weights 0\.0 MB"):
        device.allocate(1.0, "gradients")
    device.release(40.0, "activations")
    with pytest.raises(ValueError, match="cannot release"):
        device.release(1.0, "activations")
    assert (device.used_bytes, device.peak_bytes) == (60.0, 100.0)


def test_a_crash_empties_the_memory(make):
    sim = make(events=[Crash(at_s=1.0, device="a", for_s=1.0)])
    sim.device("a").allocate(60.0, "weights")
    sim.run()
    assert (sim.device("a").used_bytes, sim.device("a").peak_bytes) == (0.0, 60.0)


def test_negative_work_is_refused(make):
    with pytest.raises(ValueError, match="-1"):
        make().device("a").compute(-1.0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 16), st.integers(0, 12)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0.25, 0.5, 2.0]), st.integers(1, 8)), max_size=3),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=2),
    st.booleans(),
)
def test_spans_never_overlap_and_work_is_done_or_left(make, tasks, slows, crashes, vary):
    availability = Series(times_s=(0.0, 1.5), values=(1.0, 0.25), period_s=3.0) if vary else None
    events = [Slow(at_s=at / 4, device="a", to=to, for_s=time / 4) for at, to, time in slows]
    events += [Crash(at_s=at / 4, device="a", for_s=time / 4) for at, time in crashes]
    sim = make(events=events, device={"availability": availability})

    def submit(at_s, work_s):
        yield sim.clock.timeout(at_s)
        task = yield sim.device("a").compute(work_s)
        assert 0.0 <= task.left_s <= work_s

    for at, work in tasks:
        sim.process(submit(at / 4, work / 4))
    sim.run()
    spans = sorted((row[2], row[3]) for row in sim.timeline.spans)
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start
    device = sim.device("a")
    assert device.busy_s == pytest.approx(sum(end - start for start, end in spans))
    assert device.busy_s + device.down_s <= sim.now + 1e-9


def test_a_crash_for_good_of_a_device_that_is_down_is_told(make):
    sim = make(events=[Crash(at_s=1.0, device="a", for_s=5.0), Crash(at_s=2.0, device="a")])
    device = sim.device("a")
    times = []

    def watcher():
        while not device.gone:
            yield device.next_crash()
            times.append(sim.now)

    sim.process(watcher())
    sim.run()
    assert times == [1.0, 2.0]
    assert not device.up
