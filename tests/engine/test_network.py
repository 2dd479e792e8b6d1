"""Messages: latency, start-up, streams, loss, and bytes that add up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.events import ChangeLink, Crash, Cut
from edgesim.timeline import TRANSFER_COLUMNS, flat_transfer
from edgesim.timeseries import Series


def transfers(sim):
    return [dict(zip(TRANSFER_COLUMNS, flat_transfer(row), strict=True)) for row in sim.timeline.transfers]


def test_a_message_takes_latency_then_occupancy_then_its_bytes(make):
    sim = make(latency_s=2.0, occupancy_s=0.5, startup_latency_s=0.25)
    flow = sim.network.send("a", "b", 30.0)
    sim.run()
    assert (flow.start_s, flow.end_s, flow.received_bytes) == (2.25, 5.75, 30.0)


def test_a_startup_is_paid_once_a_message_however_many_links():
    names = ("ab", "bc")
    cluster = Cluster(
        devices={name: Device(name=name, speed=1.0) for name in "abc"},
        links={
            name: Link(name=name, bandwidth_Bps=10.0, latency_s=1.0, occupancy_s=0.5, startup_latency_s=0.25)
            for name in names
        },
        hops=tuple(Hop(source=name[0], target=name[1], link=name) for name in names),
    )
    sim = Simulation(cluster)
    flow = sim.network.send("a", "c", 10.0)
    sim.run()
    assert flow.end_s == 2.0 + 0.25 + 0.5 + 1.0


def test_bytes_in_flight_are_known_at_any_time(make):
    sim = make()
    for _ in range(2):
        sim.network.send("a", "b", 10.0)
    sim.run(until_s=0.5)
    assert sim.network.in_flight_bytes() == {"ab": 5.0}
    assert sim.network.links["ab"].carried_bytes == 0.0


def test_an_empty_message_takes_the_latency(make):
    sim = make(latency_s=2.0)
    flow = sim.network.send("a", "b", 0.0)
    sim.run()
    assert flow.end_s == 2.0


def test_a_stream_sends_back_to_back_and_hides_latency_behind_the_backlog(make):
    sim = make(latency_s=2.0, occupancy_s=0.5)
    stream = sim.network.stream("a", "b")
    flows = [stream.send(10.0) for _ in range(3)]
    sim.run()
    assert [flow.end_s for flow in flows] == [3.5, 5.0, 6.5]


def test_concurrent_messages_share_and_a_stream_does_not(make):
    sim = make()
    both = [sim.network.send("a", "b", 10.0) for _ in range(2)]
    sim.run()
    assert [flow.end_s for flow in both] == [2.0, 2.0]


def test_startups_of_concurrent_messages_share_the_senders_link(make):
    sim = make(occupancy_s=1.0)
    both = [sim.network.send("a", "b", 10.0) for _ in range(2)]
    sim.run()
    assert [flow.end_s for flow in both] == [4.0, 4.0]
    assert sim.network.links["ab"].startup_s == 2.0


def test_a_crash_loses_what_is_on_its_way_and_what_is_queued(make):
    sim = make(events=[Crash(at_s=1.5, device="b", for_s=1.0)])
    stream = sim.network.stream("a", "b")
    flows = [stream.send(10.0) for _ in range(3)]
    sim.run()
    assert [flow.lost for flow in flows] == [False, True, True]
    assert [flow.sent_bytes for flow in flows] == [10.0, 5.0, 0.0]
    assert sim.network.links["ab"].carried_bytes == 15.0
    assert [row["lost_bytes"] for row in transfers(sim)] == [0.0, 5.0, 0.0]


def test_a_message_to_a_device_that_is_down_is_lost_at_once_and_after_its_return_it_arrives(make):
    sim = make(events=[Crash(at_s=0.0, device="b", for_s=1.0)])

    def sender():
        yield sim.clock.timeout(0.5)
        first = yield sim.network.send("a", "b", 10.0)
        assert first.lost
        yield sim.device("b").next_return()
        second = yield sim.network.send("a", "b", 10.0)
        assert not second.lost
        return sim.now

    process = sim.process(sender())
    sim.run()
    assert process.value == 2.0


def test_a_message_waiting_its_latency_is_lost_in_a_crash(make):
    sim = make(latency_s=5.0, events=[Crash(at_s=1.0, device="a", for_s=1.0)])
    flow = sim.network.send("a", "b", 10.0)
    sim.run(stop=flow)
    assert (flow.lost, flow.sent_bytes, flow.end_s) == (True, 0.0, 1.0)


def test_a_short_cut_stalls_and_a_cut_for_good_loses(make):
    sim = make(events=[Cut(at_s=0.5, link="ab", for_s=3.0)])
    flow = sim.network.send("a", "b", 10.0)
    sim.run(stop=flow)
    assert (flow.end_s, flow.lost) == (4.0, False)
    sim = make(events=[Cut(at_s=0.5, link="ab")])
    stream = sim.network.stream("a", "b")
    flows = [stream.send(10.0), stream.send(10.0)]
    sim.run(stop=flows[1])
    assert [(flow.lost, flow.sent_bytes) for flow in flows] == [(True, 5.0), (True, 0.0)]


def test_a_cut_for_good_sends_later_messages_another_way():
    hops = [("a", "b", "ab"), ("a", "c", "ac"), ("c", "b", "cb")]
    cluster = Cluster(
        devices={name: Device(name=name, speed=1.0) for name in "abc"},
        links={name: Link(name=name, bandwidth_Bps=10.0) for _, _, name in hops},
        hops=tuple(Hop(source=source, target=target, link=link) for source, target, link in hops),
    )
    sim = Simulation(cluster, events=[Cut(at_s=1.0, link="ab")])

    def sender():
        yield sim.clock.timeout(2.0)
        flow = yield sim.network.send("a", "b", 10.0)
        return flow.route.name

    process = sim.process(sender())
    sim.run()
    assert process.value == "ac; cb"


def test_a_change_of_bandwidth_and_latency_holds_for_its_time(make):
    change = ChangeLink(at_s=1.0, link="ab", bandwidth_Bps=5.0, latency_s=1.0, for_s=2.0)
    sim = make(events=[change])
    running = sim.network.send("a", "b", 30.0)

    def later():
        yield sim.clock.timeout(1.5)
        flow = yield sim.network.send("a", "b", 0.0)
        return flow.end_s

    process = sim.process(later())
    sim.run(stop=running)
    assert running.end_s == 4.0
    assert process.value == 2.5
    assert sim.network.links["ab"].capacity_bytes(4.0) == 10.0 + 10.0 + 10.0


def test_bandwidth_over_time_is_followed_also_after_an_idle_hour(make):
    factor = Series(times_s=(0.0, 1.0), values=(1.0, 0.5), period_s=2.0)
    sim = make(factor=factor)
    first = sim.network.send("a", "b", 15.0)
    sim.run(stop=first)
    assert first.end_s == 2.0

    def later():
        yield sim.clock.timeout(3601.0 - sim.now)
        flow = yield sim.network.send("a", "b", 10.0)
        return flow.end_s

    process = sim.process(later())
    sim.run()
    assert process.value == pytest.approx(3602.5)
    assert sim.network.links["ab"].capacity_bytes(4.0) == pytest.approx(30.0)


def test_cancel_ends_a_message_as_lost_once(make):
    sim = make()
    flow = sim.network.send("a", "b", 10.0)

    def killer():
        yield sim.clock.timeout(0.25)
        sim.network.cancel(flow)
        sim.network.cancel(flow)

    sim.process(killer())
    sim.run()
    assert (flow.lost, flow.sent_bytes) == (True, 2.5)
    assert len(sim.timeline.transfers) == 1


def test_negative_sizes_are_refused(make):
    with pytest.raises(ValueError, match="-1"):
        make().network.send("a", "b", -1.0)


sends = st.tuples(
    st.sampled_from(["ab", "ba"]),
    st.integers(0, 20).map(lambda tick: tick / 4),
    st.integers(0, 30),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(sends, min_size=1, max_size=12), st.integers(0, 20), st.sampled_from([0.0, 0.25]))
def test_bytes_sent_are_received_or_lost_and_links_carry_no_more_than_they_can(
    make, messages, crash, startup
):
    events = [Crash(at_s=crash / 4, device="b", for_s=1.0), Cut(at_s=2.0, link="ba", for_s=0.5)]
    sim = make(events=events, occupancy_s=startup, latency_s=startup)

    def sender(way, at_s, size, streamed):
        yield sim.clock.timeout(at_s)
        ends = (way[0], way[1])
        yield sim.network.stream(*ends).send(size) if streamed else sim.network.send(*ends, size)

    for message in messages:
        sim.process(sender(*message))
    sim.run()
    rows = transfers(sim)
    assert len(rows) == len(messages)
    for row in rows:
        assert row["sent_bytes"] == pytest.approx(row["received_bytes"] + row["lost_bytes"])
        assert row["queued_s"] <= row["start_s"] <= row["end_s"]
    for name, link in sim.network.links.items():
        carried = sum(row["sent_bytes"] for row in rows if name in row["route"].split("; "))
        assert link.carried_bytes == pytest.approx(carried)
        assert link.carried_bytes <= link.capacity_bytes(sim.now) * (1 + 1e-9)
