"""Rings and trees on the simulated network: their closed forms, their messages, and lost ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.planning.collective import Edge, chunk_bytes, ring_s, tree_bound, tree_s
from edgesim.timeline import Tag, Timeline
from edgesim.training.collectives import ALGORITHMS, edges, rehearse
from edgesim.training.expectation import channel


def star(rates, *, occupancy_s=0.0, latency_s=0.0, half_duplex=False):
    """Workers w1, w2, ... around a switch, each with (up, down) in B/s."""
    devices = {f"w{number}": Device(name=f"w{number}", speed=1.0) for number in range(1, len(rates) + 1)}
    links, hops = {}, []
    for name, (up, down) in zip(devices, rates, strict=True):
        for way, rate in ((name if half_duplex else f"{name}.up", up), (f"{name}.down", down)):
            if not (half_duplex and way.endswith(".down")):
                links[way] = Link(name=way, bandwidth_Bps=rate, occupancy_s=occupancy_s, latency_s=latency_s)
        hops.append(Hop(source=name, target="switch", link=name if half_duplex else f"{name}.up"))
        hops.append(Hop(source="switch", target=name, link=name if half_duplex else f"{name}.down"))
    return Cluster(devices=devices, links=links, hops=tuple(hops))


def costs(cluster, algorithm="ring"):
    ways = [channel(cluster, *edge) for edge in edges(algorithm, list(cluster.devices))]
    return [Edge(way.rate_Bps, way.startup_s, way.latency_s) for way in ways]


def reduce(cluster, algorithm, nbytes, *, timeline=None):
    sim = Simulation(cluster, timeline=timeline)
    collective = ALGORITHMS[algorithm](sim, list(cluster.devices), nbytes, Tag("all-reduce", "1-3", 4, 1, 3))
    sim.run(stop=collective.ended)
    return sim, collective


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("occupancy_s", "latency_s"), [(0.0, 0.0), (0.25, 0.0), (0.125, 0.5)])
def test_a_ring_of_equal_workers_takes_2n_2_steps(count, occupancy_s, latency_s):
    cluster = star([(4.0, 4.0)] * count, occupancy_s=occupancy_s, latency_s=latency_s)
    sim, collective = reduce(cluster, "ring", 120.0)
    assert not collective.broken
    assert sim.now == pytest.approx(
        2 * (count - 1) * (occupancy_s + 120.0 / count / 4.0 + 2 * latency_s), rel=1e-12
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 12, 15])
@pytest.mark.parametrize(("occupancy_s", "latency_s"), [(0.0, 0.0), (0.25, 0.0), (0.125, 0.5)])
def test_a_tree_of_equal_workers_takes_its_closed_form(count, occupancy_s, latency_s):
    cluster = star([(4.0, 4.0)] * count, occupancy_s=occupancy_s, latency_s=latency_s)
    sim, _ = reduce(cluster, "tree", 40.0)
    assert sim.now == pytest.approx(tree_s(40.0, count, Edge(4.0, occupancy_s, 2 * latency_s)), rel=1e-12)


RATES = st.lists(st.tuples(st.floats(1.0, 9.0), st.floats(1.0, 9.0)), min_size=1, max_size=6)
LINKS = st.fixed_dictionaries({"occupancy_s": st.floats(0.0, 1.0), "latency_s": st.floats(0.0, 1.0)})


@settings(max_examples=60)
@given(RATES, LINKS, st.integers(0, 60))
def test_unlike_links_take_the_longest_chain_of_messages(rates, links, nbytes):
    cluster = star(rates, **links)
    sim, _ = reduce(cluster, "ring", nbytes)
    assert sim.now == pytest.approx(ring_s(nbytes, costs(cluster)), rel=1e-12)
    sim, _ = reduce(cluster, "tree", nbytes)
    each = costs(cluster, "tree")
    half = len(each) // 2
    line = tree_bound(nbytes, each[:half], each[half:], [down for _, down in rates], [up for up, _ in rates])
    assert sim.now >= (line.startup_s + line.byte_s * nbytes) * (1 - 1e-12)


def test_the_slowest_link_of_a_ring_rules():
    cluster = star([(8.0, 8.0), (8.0, 8.0), (1.0, 8.0), (8.0, 8.0)])
    assert reduce(cluster, "ring", 32.0)[0].now == 2 * 3 * 8.0 / 1.0


def test_half_duplex_links_carry_both_ways_in_turn():
    full, half = star([(4.0, 4.0)] * 3), star([(4.0, 4.0)] * 3, half_duplex=True)
    assert rehearse(half, "ring", ["w1", "w2", "w3"], 36.0) == pytest.approx(
        2 * rehearse(full, "ring", ["w1", "w2", "w3"], 36.0)
    )


def test_two_in_a_tree_take_as_long_as_one_message_each_way():
    assert rehearse(star([(4.0, 2.0), (8.0, 1.0)]), "tree", ["w1", "w2"], 8.0) == 8.0 / 2.0 + 8.0 / 1.0


@given(st.integers(1, 9), st.sampled_from(list(ALGORITHMS)))
def test_messages_carry_their_bytes_and_say_what_they_are_for(count, algorithm):
    timeline = Timeline()
    reduce(star([(4.0, 4.0)] * count), algorithm, 60.0, timeline=timeline)
    rows = timeline.transfers
    each = {"ring": count * chunk_bytes(60.0, count), "tree": 60.0}[algorithm]
    assert sum(row[5] for row in rows) == 2 * (count - 1) * each
    assert {row[2][1:] for row in rows} <= {("1-3", 4, 1, 3)}
    pairs = set(edges(algorithm, [f"w{number}" for number in range(1, count + 1)]))
    assert {row[:2] for row in rows} == pairs
    if algorithm == "ring":
        assert {row[2].kind for row in rows} <= {"all-reduce"}
        for pair in pairs:
            assert sum(row[:2] == pair for row in rows) == 2 * (count - 1)
    elif count > 1:
        assert [row[2].kind for row in rows] == ["reduce"] * (count - 1) + ["broadcast"] * (count - 1)


def test_nobody_hears_of_a_sum_before_every_part_of_it_has_come():
    """In a ring, a chunk that comes home has passed every other worker: N - 1 steps add, N - 1 hand round."""
    timeline = Timeline()
    reduce(star([(2.0, 4.0), (4.0, 1.0), (3.0, 3.0)]), "ring", 12.0, timeline=timeline)
    came = {}
    for source, target, _, *_, queued_s, _, end_s, _ in timeline.transfers:
        came.setdefault((source, target), []).append((queued_s, end_s))
    for source, before in (("w1", "w3"), ("w2", "w1"), ("w3", "w2")):
        target = {"w1": "w2", "w2": "w3", "w3": "w1"}[source]
        for step in range(1, 4):
            assert came[source, target][step][0] == came[before, source][step - 1][1]


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_an_aborted_collective_loses_what_is_on_its_way_and_leaves_the_streams_free(algorithm):
    timeline = Timeline()
    cluster = star([(4.0, 4.0)] * 4, occupancy_s=0.1, latency_s=0.1)
    sim = Simulation(cluster, timeline=timeline)
    members = list(cluster.devices)
    first = ALGORITHMS[algorithm](sim, members, 40.0)
    sim.run(until_s=5.0)
    first.abort()
    first.abort()
    sim.run(stop=first.ended)
    assert first.broken
    assert sim.now == 5.0
    assert any(row[6] > 0.0 for row in timeline.transfers)
    second = ALGORITHMS[algorithm](sim, members, 40.0)
    sim.run(stop=second.ended)
    assert not second.broken
    assert sim.now - 5.0 == pytest.approx(rehearse(cluster, algorithm, members, 40.0))
    for row in timeline.transfers:
        assert row[5] in (0.0, row[3])
        assert row[4] == pytest.approx(row[5] + row[6])


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_a_lost_message_breaks_a_collective(algorithm):
    cluster = star([(4.0, 4.0)] * 3)
    sim = Simulation(cluster)
    collective = ALGORITHMS[algorithm](sim, list(cluster.devices), 40.0)
    sim.run(until_s=1.0)
    sim.network.cut_for_good("w2.up")
    sim.run(stop=collective.ended)
    assert collective.broken
    assert sim.now == 1.0
    again = ALGORITHMS[algorithm](sim, list(cluster.devices), 40.0)  # there is no way: broken at once
    sim.run(stop=again.ended)
    assert again.broken
