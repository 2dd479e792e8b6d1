"""Lanes: nothing overlaps on one, and there are no more than ever run at once."""

from hypothesis import given
from hypothesis import strategies as st

from edgesim.report.lanes import assign

times = st.integers(0, 30).map(float)
intervals = st.lists(st.tuples(times, times).map(lambda pair: (min(pair), max(pair))), max_size=40)


@given(intervals)
def test_no_two_intervals_of_a_lane_overlap(rows):
    lanes = assign(rows)
    for i, (start, end) in enumerate(rows):
        for j in range(i):
            if lanes[i] == lanes[j]:
                assert end <= rows[j][0] or rows[j][1] <= start


@given(intervals)
def test_as_few_lanes_as_run_at_once(rows):
    most = max((sum(a <= start < max(b, a + 0.5) for a, b in rows) for start, _ in rows), default=0)
    assert max(assign(rows), default=-1) + 1 <= most


@given(intervals)
def test_order_of_equal_rows_is_kept(rows):
    assert assign(rows) == assign(list(rows))
