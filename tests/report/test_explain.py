"""The sentence against timelines whose story is known."""

from edgesim.report.explain import explain
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
