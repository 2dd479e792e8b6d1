"""Interval arithmetic against counting on a grid."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from edgesim.report.activity import activities, common, hidden_share, length, link_bytes, outside, union
from edgesim.report.tables import Tables
from edgesim.timeline import Tag, Timeline

pairs = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda p: (float(min(p)), float(max(p))))
rows = st.lists(pairs, max_size=12)


def cells(intervals):
    return {cell for start, end in intervals for cell in range(int(start), int(end))}


@given(rows)
def test_union_covers_the_same_cells_once(some):
    joined = union(some)
    assert cells(joined) == cells(some)
    assert length(joined) == len(cells(some))
    assert all(a[1] < b[0] for a, b in itertools.pairwise(joined))


@given(rows, rows)
def test_common_and_outside_split_an_interval_set(one, other):
    one, other = union(one), union(other)
    assert cells(common(one, other)) == cells(one) & cells(other)
    assert cells(outside(one, other)) == cells(one) - cells(other)


def example():
    made = Timeline()
    tag = Tag("pull", "1", 0, 1, 1)
    made.transfers.append(("s", "w", tag, 100, 100.0, 100.0, 0.0, 0.0, 0.0, 4.0, "s.up; w.down"))
    made.spans.append(("w", Tag("forward", "1", 0, 1, 1), 3.0, 6.0, 3.0, 0.0))
    return Tables.of(made)


def test_hidden_share_is_transfer_under_compute():
    did = activities(example(), 0.0, 10.0)
    assert did["w"].into == [(0.0, 4.0)]
    assert did["s"].out == [(0.0, 4.0)]
    assert did["w"].end_s == 6.0
    assert hidden_share([did["w"]]) == 0.25
    assert hidden_share([]) is None


def test_link_bytes_are_spread_over_the_time_of_a_message():
    carried = link_bytes(example(), [(1.0, 2.0), (3.0, 9.0)])
    assert carried == {"s.up": 50.0, "w.down": 50.0}
    assert link_bytes(example(), []) == {}
    assert math.isclose(link_bytes(example(), [(0.0, 4.0)])["s.up"], 100.0)
