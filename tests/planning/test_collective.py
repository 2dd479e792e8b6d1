"""Closed forms of all-reduce against each other, and against step-by-step replays by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.collective import (
    Edge,
    affine,
    children,
    chunk_bytes,
    end_s,
    least_end_s,
    parent,
    ready_s,
    ring_s,
    ring_steps,
    tree_bound,
    tree_s,
)
from edgesim.planning.segmentation import plan_backward

EDGES = st.builds(Edge, st.floats(0.5, 8.0), st.floats(0.0, 2.0), st.floats(0.0, 2.0))
TIMES = st.floats(0.0, 10.0)


def replay_ring(nbytes, edges):
    """Longest path over all messages, by memo: the k-th on edge i after the k-1-st on i and on i - 1."""
    count = len(edges)
    known = {}

    def end(i, k):
        if k < 0:
            return 0.0
        i %= count
        if (i, k) not in known:
            edge = edges[i]
            begin = max(end(i - 1, k - 1) + edge.latency_s, end(i, k - 1))
            known[i, k] = begin + edge.startup_s + chunk_bytes(nbytes, count) / edge.rate_Bps
        return known[i, k]

    return max(end(i, 2 * count - 3) for i in range(count))


@given(st.lists(EDGES, min_size=2, max_size=7), st.integers(0, 50))
def test_a_ring_of_unlike_edges_takes_its_longest_chain(edges, nbytes):
    assert ring_s(nbytes, edges) == pytest.approx(replay_ring(nbytes, edges), rel=1e-12)


@given(EDGES, st.integers(2, 9), st.integers(0, 50))
def test_equal_edges_take_every_step_in_turn(edge, count, nbytes):
    closed = 2 * (count - 1) * (edge.latency_s + edge.startup_s + chunk_bytes(nbytes, count) / edge.rate_Bps)
    assert ring_s(nbytes, [edge] * count) == pytest.approx(closed, rel=1e-12)
    assert replay_ring(nbytes, [edge] * count) == pytest.approx(closed, rel=1e-12)


@given(st.lists(EDGES, min_size=2, max_size=7), st.integers(0, 50))
def test_a_ring_is_at_least_its_slowest_edge_and_at_most_as_if_all_were_like_it(edges, nbytes):
    steps, chunk = ring_steps(len(edges)), chunk_bytes(nbytes, len(edges))
    held = max(edge.startup_s + chunk / edge.rate_Bps for edge in edges)
    time_s = ring_s(nbytes, edges)
    assert steps * held <= time_s * (1 + 1e-12)
    assert time_s <= steps * (held + max(edge.latency_s for edge in edges)) * (1 + 1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_full_tree_takes_a_time_a_level(depth):
    edge, nbytes = Edge(2.0, 0.5, 0.25), 8.0
    level = 2 * edge.latency_s + 3 * edge.startup_s + 4 * nbytes / edge.rate_Bps
    assert tree_s(nbytes, 2 ** (depth + 1) - 1, edge) == pytest.approx(depth * level, rel=1e-12)


@given(EDGES, st.integers(1, 20), st.integers(0, 50))
def test_a_tree_of_equal_edges_is_at_its_bound_but_for_a_start_up_a_level(edge, count, nbytes):
    same, rates = [edge] * (count - 1), [edge.rate_Bps] * count
    line = tree_bound(nbytes, same, same, rates, rates)
    bound, time_s = line.startup_s + line.byte_s * nbytes, tree_s(nbytes, count, edge)
    depth = count.bit_length() - 1
    assert 2 * depth * edge.time_s(nbytes) <= bound * (1 + 1e-12)
    assert bound <= time_s * (1 + 1e-12)
    if (count + 1).bit_count() == 1:  # a full tree
        assert time_s - bound == pytest.approx(depth * edge.startup_s, abs=1e-9)


def test_every_place_but_the_root_has_one_parent():
    for count in range(1, 20):
        found = [child for place in range(count) for child in children(place, count)]
        assert found == list(range(1, count))
        assert all(place in children(parent(place), count) for place in range(1, count))


@given(st.lists(EDGES, min_size=2, max_size=6), st.integers(1, 50), st.integers(0, 50))
def test_the_line_that_planners_use_is_met_at_its_ends_and_never_below(edges, chunks, fewer):
    most, inside = chunks * len(edges), max(chunks - fewer, 0) * len(edges)
    line = affine(lambda nbytes: ring_s(nbytes, edges), most)
    assert line.startup_s == ring_s(0.0, edges)
    assert line.startup_s + line.byte_s * most == pytest.approx(ring_s(most, edges))
    assert line.startup_s + line.byte_s * inside >= ring_s(inside, edges) * (1 - 1e-12)


def test_no_bytes_add_no_time_to_the_start_up():
    assert affine(lambda nbytes: 3.0, 0.0) == (3.0, 0.0)


@given(st.integers(1, 8).flatmap(lambda n: st.lists(st.tuples(TIMES, TIMES), min_size=n, max_size=n)))
def test_what_is_ready_when_falls_to_the_begin_of_the_backward_pass(times):
    ahead, back = zip(*times, strict=True)
    ready = ready_s([1.0], [ahead], [back])
    assert ready[-1] == pytest.approx(1.0 + sum(ahead))
    assert ready[0] == pytest.approx(1.0 + sum(ahead) + sum(back))
    assert all(later >= sooner for later, sooner in pairwise(ready))


SCHEDULES = st.sampled_from(["sequential", "layer-by-layer", "dynacomm"])


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(
            st.lists(st.floats(0.01, 5.0), min_size=n, max_size=n),
            st.lists(st.integers(1, 40).map(lambda size: 12 * size), min_size=n, max_size=n),
        )
    ),
    st.lists(EDGES, min_size=2, max_size=4),
    SCHEDULES,
)
def test_one_workers_buckets_end_as_the_backward_phase_says_and_never_before_the_bound(case, edges, schedule):
    back, sizes = case
    like = [edges[0]] * len(edges)
    line = affine(lambda nbytes: ring_s(nbytes, like), sum(sizes))
    plan = plan_backward(back, [line.byte_s * size for size in sizes], line.startup_s, schedule)
    ready = ready_s([0.0], [[0.0] * len(back)], [back])
    end = end_s(ready, plan.cuts, sizes, lambda nbytes: ring_s(nbytes, like))
    assert end == pytest.approx(plan.makespan_s, rel=1e-9)
    for ring in (like, edges):  # the bound holds for unlike edges too
        end = end_s(ready, plan.cuts, sizes, lambda nbytes: ring_s(nbytes, ring))  # noqa: B023
        bound = least_end_s(ready, sizes, lambda nbytes: ring_s(nbytes, ring))  # noqa: B023
        assert bound <= end * (1 + 1e-12)
