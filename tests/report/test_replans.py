"""How often plans changed, from the rows of a run."""

from edgesim.report.replans import replans
from edgesim.report.tables import Tables
from edgesim.timeline import Tag, Timeline


def test_changes_count_by_device_and_planning_by_its_time():
    timeline = Timeline()
    for at_s, subject, kind in ((1.0, "pi", "plan"), (2.0, "server", "iteration"), (3.0, "pi", "plan")):
        timeline.mark(at_s, subject, kind)
    timeline.mark(4.0, "server", "plan")
    for kind, start_s, end_s in (("plan", 0.5, 1.0), ("forward", 1.0, 2.0), ("plan", 2.5, 2.75)):
        timeline.spans.append(("pi", Tag(kind), start_s, end_s, end_s - start_s, 0.0))
    found = replans(Tables.of(timeline))
    assert found == {"changes": 3, "by_device": {"pi": 2, "server": 1}, "planning_s": 0.75}


def test_a_run_without_any_has_none():
    assert replans(Tables.of(Timeline())) == {"changes": 0, "by_device": {}, "planning_s": 0.0}
