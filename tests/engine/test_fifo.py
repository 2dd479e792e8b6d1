"""First-in-first-out links: alone as fast as fair ones, together in order, and nothing lost or made."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.engine.fifo import CHUNK_BYTES, WINDOW_BYTES
from edgesim.events import ChangeLink, Crash, Cut
from edgesim.timeline import Timeline
from edgesim.timeseries import Series

RATE = 1e6
CHUNK_S = CHUNK_BYTES / RATE


def test_alone_a_message_takes_as_long_as_on_a_fair_link(make):
    sim = make(sharing="fifo", bandwidth_Bps=RATE, latency_s=0.5, occupancy_s=0.25)
    flow = sim.network.send("a", "b", 1e6)
    sim.run()
    assert flow.end_s == pytest.approx(1.75)
    assert (flow.sent_bytes, sim.network.links["ab"].carried_bytes) == (1e6, 1e6)


def test_two_hops_cost_one_chunk_more():
    cluster = Cluster(
        devices={name: Device(name=name, speed=1.0) for name in "abc"},
        links={name: Link(name=name, bandwidth_Bps=RATE, sharing="fifo") for name in ("ab", "bc")},
        hops=(Hop(source="a", target="b", link="ab"), Hop(source="b", target="c", link="bc")),
    )
    sim = Simulation(cluster)
    flow = sim.network.send("a", "c", 100 * CHUNK_BYTES)
    sim.run()
    assert flow.end_s == pytest.approx(101 * CHUNK_S)


def test_a_late_small_message_waits_behind_the_window_of_the_first(make):
    sim = make(sharing="fifo", bandwidth_Bps=RATE)
    sim.network.send("a", "b", 1e6)

    def late():
        yield sim.clock.timeout(0.1)
        flow = yield sim.network.send("a", "b", CHUNK_BYTES)
        return flow.end_s

    process = sim.process(late())
    sim.run()
    waited = process.value - 0.1
    assert WINDOW_BYTES / RATE < waited < (WINDOW_BYTES + 2 * CHUNK_BYTES) / RATE
    assert waited > 2 * 2 * CHUNK_S, "a fair link would have let it pass sooner"


def test_a_stream_keeps_the_queue_filled(make):
    sim = make(sharing="fifo", bandwidth_Bps=RATE, latency_s=0.125)
    stream = sim.network.stream("a", "b")
    flows = [stream.send(1e5) for _ in range(10)]
    sim.run()
    assert [flow.end_s for flow in flows] == pytest.approx([0.125 + 0.1 * (index + 1) for index in range(10)])


def test_a_slower_link_serves_the_rest_of_a_chunk_slower(make):
    sim = make(
        sharing="fifo", bandwidth_Bps=RATE, events=[ChangeLink(at_s=0.5, link="ab", bandwidth_Bps=RATE / 2)]
    )
    flow = sim.network.send("a", "b", 1e6)
    sim.run()
    assert flow.end_s == pytest.approx(1.5)


def test_bandwidth_over_time_and_cuts_are_followed(make):
    factor = Series(times_s=(0.0, 0.25), values=(1.0, 0.5), period_s=0.5)
    sim = make(
        sharing="fifo", bandwidth_Bps=RATE, factor=factor, events=[Cut(at_s=0.5, link="ab", for_s=1.0)]
    )
    flow = sim.network.send("a", "b", 1.125e6)
    sim.run(stop=flow)
    assert flow.end_s == pytest.approx(2.5)


def test_a_crash_counts_what_had_left_as_lost(make):
    sim = make(sharing="fifo", bandwidth_Bps=RATE, events=[Crash(at_s=10.5 * CHUNK_S, device="b", for_s=1.0)])
    stream = sim.network.stream("a", "b")
    flows = [stream.send(1e6) for _ in range(2)]
    sim.run()
    assert [flow.lost for flow in flows] == [True, True]
    assert [flow.sent_bytes for flow in flows] == [10 * CHUNK_BYTES, 0.0]


def test_in_a_network_of_both_kinds_a_fair_link_serves_messages_in_turn():
    cluster = Cluster(
        devices={name: Device(name=name, speed=1.0) for name in "abc"},
        links={
            "ab": Link(name="ab", bandwidth_Bps=RATE, sharing="fair"),
            "bc": Link(name="bc", bandwidth_Bps=100 * RATE, sharing="fifo"),
        },
        hops=(Hop(source="a", target="b", link="ab"), Hop(source="b", target="c", link="bc")),
    )
    sim = Simulation(cluster)
    long = sim.network.send("a", "c", 100 * CHUNK_BYTES)

    def late():
        yield sim.clock.timeout(10.5 * CHUNK_S)
        flow = yield sim.network.send("a", "b", 10 * CHUNK_BYTES)
        return flow.end_s / CHUNK_S

    process = sim.process(late())
    sim.run()
    assert process.value == pytest.approx(31.0, abs=1.1), "every second chunk is its own"
    assert long.end_s / CHUNK_S == pytest.approx(110.01)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 300_000)), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.01]),
)
def test_the_link_works_until_all_have_arrived(make, messages, startup):
    sim = make(sharing="fifo", bandwidth_Bps=RATE, occupancy_s=startup)
    ended = []

    def sender(at_s, size):
        yield sim.clock.timeout(at_s)
        flow = yield sim.network.send("a", "b", size)
        ended.append(flow)

    for message in messages:
        sim.process(sender(*message))
    sim.run()
    assert isinstance(sim.timeline, Timeline)
    total = sum(size for _, size in messages)
    assert sum(flow.received_bytes for flow in ended) == total
    work = total / RATE + startup * len(messages)
    first = min(at_s for at_s, _ in messages)
    last = max(at_s for at_s, _ in messages)
    end = max(flow.end_s for flow in ended)
    assert first + work - 1e-9 <= end <= last + work + 1e-9


def test_bytes_that_wait_before_a_slow_link_have_not_crossed_it():
    cluster = Cluster(
        devices={name: Device(name=name, speed=1.0) for name in "abc"},
        links={
            "ab": Link(name="ab", bandwidth_Bps=RATE, sharing="fifo"),
            "bc": Link(name="bc", bandwidth_Bps=RATE / 100, sharing="fifo"),
        },
        hops=(Hop(source="a", target="b", link="ab"), Hop(source="b", target="c", link="bc")),
    )
    sim = Simulation(cluster, events=[Crash(at_s=2.5 * 100 * CHUNK_S, device="c")])
    flow = sim.network.send("a", "c", 1e6)
    sim.run(stop=flow)
    assert flow.sent_bytes == sim.network.links["ab"].carried_bytes == WINDOW_BYTES + 2 * CHUNK_BYTES
    assert sim.network.links["bc"].carried_bytes == 2 * CHUNK_BYTES
