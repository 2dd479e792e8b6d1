"""The trace opens: valid JSON, no overlap on a track, the same bytes for the same rows."""

import gzip
import itertools
import json
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.report import perfetto
from edgesim.report.perfetto import _us, trace
from edgesim.report.tables import Tables
from edgesim.timeline import Tag, Timeline
from tests.report.synthetic import timeline


def events(data):
    return json.loads(gzip.decompress(data))["traceEvents"]


def read_ns(event):
    """As Perfetto does: microseconds times 1000, truncated."""
    start = int(event["ts"] * 1000.0)
    return start, start + int(event["dur"] * 1000.0)


def overlaps(all_events):
    tracks = defaultdict(list)
    for event in all_events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(read_ns(event))
    found = 0
    for rows in tracks.values():
        rows.sort()
        found += sum(one[1] > two[0] for one, two in itertools.pairwise(rows))
    return found


starts = st.floats(0, 1e5, allow_subnormal=False)
lengths = st.floats(0, 10, allow_subnormal=False)
names = st.sampled_from(["a", "b", 'c"\\'])
transfers = st.lists(st.tuples(names, names, starts, lengths), max_size=30)


@settings(deadline=None)
@given(transfers)
def test_no_slices_overlap_on_a_track(rows):
    made = Timeline()
    for source, target, start, length in rows:
        tag = Tag("pull", "1", 0, 1, 1)
        made.transfers.append((source, target, tag, 1, 1.0, 1.0, 0.0, start, start, start + length, "x"))
    found = events(trace(Tables.of(made)))
    assert overlaps(found) == 0
    assert sum(event["ph"] == "X" for event in found) == 2 * len(rows)


@given(st.integers(0, 10**15))
def test_a_nanosecond_survives(time_ns):
    assert int(_us(time_ns) * 1000.0) == time_ns


def test_trace_of_a_run():
    made = timeline(3, crash=True)
    made.mark(0.5, "wifi", "cut")
    tables = Tables.of(made)
    data = trace(tables, devices=("pi-1", "pi-2", "pi-3", "server", "idle"), server="server")
    assert data == trace(tables, devices=("pi-1", "pi-2", "pi-3", "server", "idle"), server="server")
    found = events(data)
    assert overlaps(found) == 0
    processes = [event["args"]["name"] for event in found if event["name"] == "process_name"]
    assert processes == ["server", "pi-1", "pi-2", "pi-3", "network"]
    tracks = {
        event["args"]["name"] for event in found if event["name"] == "thread_name" and event["pid"] == 1
    }
    assert tracks >= {"compute", "out 1", "out 2", "out 3"}
    marks = [event["name"] for event in found if event["ph"] == "i"]
    assert marks == [f"{row[2]} {row[3]}".strip() for row in made.marks]
    first = next(event for event in found if event["ph"] == "X" and event["cat"] == "forward")
    assert first["args"].keys() >= {"iteration", "work_s"}


def test_a_trace_too_long_keeps_the_earliest_and_says_so(monkeypatch):
    monkeypatch.setattr(perfetto, "SLICE_LIMIT", 50)
    made = timeline(3)
    data = trace(Tables.of(made))
    found = [event for event in events(data) if event["ph"] == "X"]
    assert 45 <= len(found) <= 55
    assert "truncated" in json.loads(gzip.decompress(data))["otherData"]
    assert {event["pid"] for event in found} == {1, 2, 3, 4}
