"""The whole: total order, named streams, deadlock, random faults."""

import pytest

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.errors import Deadlock
from edgesim.events import Crash, RandomCrashes, RandomCuts


def test_a_deadlock_says_who_waits_for_what(make):
    sim = make(bandwidth_Bps=0.0)

    def worker():
        yield sim.network.send("a", "b", 10.0)

    sim.process(worker(), name="a's sender")
    with pytest.raises(Deadlock, match=r"at 0 s: a's sender waits for message from a to b"):
        sim.run()


def test_random_failures_do_not_keep_a_dead_simulation_alive(make):
    sim = make(events=[RandomCrashes(device="b", mtbf_s=1.0, mttr_s=1.0)])

    def worker():
        yield sim.clock.event()

    sim.process(worker(), name="worker")
    with pytest.raises(Deadlock, match="worker waits for event"):
        sim.run()


def random_run(make, seed, extra=()):
    events = [
        RandomCrashes(device="a", mtbf_s=3.0, mttr_s=1.0),
        RandomCuts(link="ba", mtbf_s=2.0, mttr_s=1.0),
    ]
    sim = make(seed=seed, events=[*events, *extra])

    def worker():
        for _ in range(40):
            yield sim.device("a").compute(0.5)
            flow = yield sim.network.send("b", "a", 3.0)
            if flow.lost:
                yield sim.device("a").next_return()

    process = sim.process(worker())
    sim.run(stop=process)
    return sim.timeline


def test_the_same_seed_gives_the_same_timeline_and_another_seed_another(make):
    one, two, other = (random_run(make, seed) for seed in (1, 1, 2))
    assert (one.spans, one.transfers, one.marks) == (two.spans, two.transfers, two.marks)
    assert one.marks != other.marks
    assert {mark[2] for mark in one.marks} == {"crash", "return", "cut", "restore"}


def test_another_devices_failures_do_not_change_anyones_luck(make):
    alone = random_run(make, 3)
    together = random_run(make, 3, [RandomCrashes(device="b", mtbf_s=1e9, mttr_s=1.0)])
    assert alone.marks == together.marks


def test_named_streams_depend_on_seed_and_name_alone(make):
    first, second = make(seed=5), make(seed=5)
    second.random("other").random()
    assert first.random("x").random() == second.random("x").random()
    assert make(seed=5).random("x").random() != make(seed=6).random("x").random()


def test_run_until_a_time_stops_there_and_goes_on(make):
    sim = make()
    task = sim.device("a").compute(2.0)
    sim.run(until_s=1.0)
    assert (sim.now, task.triggered) == (1.0, False)
    sim.run()
    assert sim.now == 2.0


def test_tick_is_called_as_events_pass(make):
    sim = make()
    ticks = []

    def worker():
        for _ in range(100):
            yield sim.clock.timeout(1.0)

    sim.process(worker())
    sim.run(tick=lambda: ticks.append(sim.now), tick_events=10)
    assert len(ticks) == 10


def test_an_error_in_a_process_passes_through(make):
    sim = make()

    def worker():
        yield sim.clock.timeout(1.0)
        raise RuntimeError("our bug")

    sim.process(worker())
    with pytest.raises(RuntimeError, match="our bug"):
        sim.run()


def test_many_finish_in_one_instant_in_the_order_they_began(make):
    sim = make()
    ended = []
    for index in range(5):
        flow = sim.network.send("a", "b", 10.0)
        flow.callbacks.append(lambda _event, index=index: ended.append(index))
    sim.run()
    assert ended == [0, 1, 2, 3, 4]
    assert sim.now == 5.0


def ring():
    """Three devices in a chain `a - b - c`, and a way round from `a` to `c` over a switch."""
    ends = [("a", "b"), ("b", "c"), ("a", "x"), ("x", "y"), ("y", "c")]
    return Cluster(
        devices={name: Device(name=name, speed=1.0) for name in "abc"},
        links={source + target: Link(name=source + target, bandwidth_Bps=10.0) for source, target in ends},
        hops=tuple(Hop(source=source, target=target, link=source + target) for source, target in ends),
    )


def test_a_device_that_is_down_forwards_nothing():
    sim = Simulation(ring(), events=[Crash(at_s=1.0, device="b", for_s=5.0)])
    flow = sim.network.send("a", "c", 20.0)
    sim.run(stop=flow)
    assert (flow.end_s, flow.lost) == (7.0, False)
    assert sim.network.links["ab"].capacity_Bps == 10.0


def test_a_device_that_is_gone_for_good_is_gone_round():
    sim = Simulation(ring(), events=[Crash(at_s=1.0, device="b")])
    flow = sim.network.send("a", "c", 20.0)
    sim.run(stop=flow)
    assert (flow.end_s, flow.lost) == (1.0, True)
    again = sim.network.send("a", "c", 20.0)
    sim.run(stop=again)
    assert (again.end_s, again.route.links[0].link.name) == (3.0, "ax")
