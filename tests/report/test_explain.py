"""The sentence against timelines whose story is known."""

from edgesim.report.explain import explain
from edgesim.report.fullness import Fullness
from edgesim.report.iterations import servers_of
from edgesim.report.metrics import overlap
from edgesim.report.tables import Tables
from edgesim.timeline import Tag, Timeline

LINKS = {
    "s.up": {"bandwidth_Bps": 100.0},
    "a.down": {"bandwidth_Bps": 10.0},
    "b.down": {"bandwidth_Bps": 100.0},
}
SUMMARY = {"server": "s", "links": LINKS, "simulated_s": 10.0}


def pull(made, worker, size, start, end):
    tag = Tag("pull", "1-2", 0, 1, 2)
    made.transfers.append(
        ("s", worker, tag, size, size, size, 0.0, start, start, end, f"s.up; {worker}.down")
    )


def compute(made, worker, start, end):
    made.spans.append((worker, Tag("forward", "1-2", 0, 1, 2), start, end, end - start, 0.0))


def test_straggler_on_a_full_link():
    made = Timeline()
    pull(made, "b", 80, 0.0, 1.0)
    compute(made, "b", 1.0, 4.0)
    pull(made, "a", 60, 0.0, 6.0)
    compute(made, "a", 6.0, 10.0)
    made.mark(10.0, "s", "iteration", "0")
    text = explain(Tables.of(made), SUMMARY)
    assert text.startswith("a is the straggler: it spends 60 % of iteration 1 (10 s) pulling over a.down ")
    assert "a.down (100 % full meanwhile), and computes for 40 %;" in text
    assert "the other worker waits 6 s for it" in text
    assert "the fullest is a.down with 60 % of its capacity." in text


def test_one_worker_that_computes():
    made = Timeline()
    pull(made, "b", 100, 0.0, 1.0)
    compute(made, "b", 1.0, 9.0)
    made.mark(10.0, "s", "iteration", "0")
    text = explain(Tables.of(made), SUMMARY)
    assert text.startswith("b computes for 80 % of iteration 1 (10 s) and waits for transfers for 10 %;")
    assert "then all wait 1 s for s to update" in text


def test_nobody_waits_when_all_are_alike():
    made = Timeline()
    for worker in ("a", "b"):
        compute(made, worker, 0.0, 10.0)
    made.mark(10.0, "s", "iteration", "0")
    text = explain(Tables.of(made), SUMMARY)
    assert text.startswith(
        "most of the 2 workers finish together, so hardly anybody waits: a computes for 100 %"
    )


def test_pulling_and_pushing_are_both_named():
    made = Timeline()
    pull(made, "a", 50, 0.0, 5.0)
    compute(made, "a", 5.0, 6.0)
    made.transfers.append(("a", "s", Tag("push"), 80, 80, 80, 0.0, 6.0, 6.0, 10.0, "a.up"))
    made.mark(10.0, "s", "iteration", "0")
    links = {"a.up": {"bandwidth_Bps": 20.0}, "a.down": {"bandwidth_Bps": 10.0}}
    text = explain(Tables.of(made), {"server": "s", "links": links})
    assert text.startswith(
        "a spends 50 % of iteration 1 (10 s) pulling over a.down (100 % full meanwhile) "
        "and 40 % pushing over a.up (100 % full meanwhile), and computes for 10 %;"
    )


def test_full_link_is_named():
    made = Timeline()
    pull(made, "a", 500, 0.0, 10.0)
    pull(made, "b", 450, 0.0, 10.0)
    compute(made, "a", 9.0, 10.0)
    compute(made, "b", 9.0, 10.0)
    made.mark(10.0, "s", "iteration", "0")
    links = {"s.up": {"bandwidth_Bps": 100.0}, "a.down": {"bandwidth_Bps": None}}
    assert "s.up is full (95 % of its capacity)." in explain(Tables.of(made), {"server": "s", "links": links})


def test_nothing_happened():
    assert explain(Tables.of(Timeline()), {"simulated_s": 3.0}) == "No iteration ended within 3 s."
    idle = Timeline()
    idle.mark(1.0, "s", "iteration", "0")
    assert explain(Tables.of(idle), SUMMARY) == "No worker did anything in iteration 1 (1 s)."


def several_servers():
    """Worker `a` pulls half from each of two servers; `s2` decodes for 7 s, up to the end."""
    made = Timeline()
    tag = Tag("pull", "1", 0, 1, 1)
    made.transfers.append(("s1", "a", tag, 20, 20, 20, 0.0, 0.0, 0.0, 2.0, "s1.up; a.down"))
    made.transfers.append(("s2", "a", tag, 20, 20, 20, 0.0, 2.0, 2.0, 4.0, "s2.up; a.down"))
    compute(made, "a", 3.0, 6.0)
    made.spans.append(("s2", Tag("decode", "1", 0, 1, 1), 2.0, 9.0, 7.0, 0.0))
    made.mark(10.0, "s1", "iteration", "0")
    return Tables.of(made)


def test_no_server_is_taken_for_a_worker():
    tables = several_servers()
    text = explain(tables, {"server": "s1", "servers": ["s1", "s2"], "links": {}})
    assert text.startswith("a computes for 30 % of iteration 1 (10 s) and waits for transfers for 30 %;")
    assert "s2 is" not in text
    assert "worker waits" not in text
    assert "then all wait 4 s for the 2 servers to update" in text
    assert servers_of(tables, {"server": "s1"}) == (
        "s1",
        "s2",
    )  # of a killed run: who sent, and never trained
    # a transfers for 4 s, in 1 s of which it computes; s2 transfers for 2 s and computes all the while
    assert overlap(tables, ("s1", "s2")) == 1 / 4
    assert overlap(tables, ("s1",)) == 3 / 6


def test_a_link_is_as_full_as_it_could_be_then():
    made = Timeline()
    pull(made, "a", 60, 0.0, 10.0)
    compute(made, "a", 9.0, 10.0)
    made.mark(0.0, "a.down", "change", "48 bit/s")
    made.mark(10.0, "s", "iteration", "0")
    links = {"a.down": {"bandwidth_Bps": 100.0, "changes": [[0.0, 6.0]], "least_Bps": 6.0}}
    text = explain(Tables.of(made), {"server": "s", "links": links})
    assert "of iteration 1 (10 s), while a.down has 48 bit/s, pulling over a.down (100 % full" in text
    assert text.endswith("a.down is full (100 % of its capacity).")


def test_time_in_which_a_link_is_cut_is_no_capacity():
    made = Timeline()
    pull(made, "a", 50, 0.0, 10.0)
    made.mark(2.0, "a.down", "cut", "for 5 s")
    made.mark(7.0, "a.down", "restore", "link")
    made.mark(10.0, "s", "iteration", "0")
    full = Fullness(Tables.of(made), {"links": {"a.down": {"bandwidth_Bps": 20.0}}}, None)
    assert full.during([(0.0, 10.0)])["a.down"].data == 0.5  # 50 of 5 s x 20 B/s


def test_start_ups_that_hold_a_link_are_named():
    made = Timeline()
    for start in range(8):
        pull(made, "a", 40, start, start + 1.0)
    compute(made, "a", 8.0, 10.0)
    made.mark(10.0, "s", "iteration", "0")
    links = {"s.up": {"bandwidth_Bps": 80.0, "occupancy_s": 0.5}, "a.down": {"bandwidth_Bps": 80.0}}
    text = explain(Tables.of(made), {"server": "s", "links": links})
    assert "pulling over s.up (100 % full meanwhile: data 50 %, start-ups 50 %)" in text
    assert "of the fullest, s.up, 40 % carries data, start-ups hold it for 40 %." in text


def test_who_is_lost_for_good_is_named():
    made = Timeline()
    compute(made, "a", 0.0, 1.0)
    made.mark(1.0, "s", "iteration", "0")
    made.mark(1.5, "b", "drop", "no route left")
    made.mark(1.6, "c", "drop", "iteration 1")
    text = explain(Tables.of(made), {"server": "s"})
    assert text.endswith(". The others go on without b from 1.5 s on (no route left).")


def test_what_varies_too_often_for_marks_is_told_with_its_range():
    made = Timeline()
    pull(made, "a", 60, 0.0, 10.0)
    made.mark(10.0, "s", "iteration", "0")
    links = {
        "a.down": {"bandwidth_Bps": 1e6, "mean_Bps": 6.0, "least_Bps": 125.0, "most_Bps": 1e6, "bytes": 60}
    }
    devices = {"a": {"least_availability": 0.4, "most_availability": 1.0, "busy_s": 1.0}}
    text = explain(Tables.of(made), {"server": "s", "links": links, "devices": devices})
    assert text.endswith(
        "The bandwidth of a.down varies between 1 kbit/s and 8 Mbit/s. "
        "The availability of a varies between 40 % and 100 %."
    )
