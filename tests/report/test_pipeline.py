"""What a pipeline's rows and summary say, against timelines whose story is known."""

import itertools
import math

import pytest

from edgesim.comparison import Comparison, Run
from edgesim.report.bands import plans
from edgesim.report.explain import explain
from edgesim.report.faults import costs, one_by_one
from edgesim.report.iterations import servers_of, steady_stretch, typical
from edgesim.report.learning import learning
from edgesim.report.metrics import summary
from edgesim.report.pipeline import (
    RECOVERY,
    REPARTITION,
    TERMS,
    in_order,
    interruptions,
    is_pipeline,
    phases,
    piped,
    unrecoverable,
)
from edgesim.report.pipeline_explain import stage_uses
from edgesim.report.tables import Tables
from edgesim.result import Result, headline
from edgesim.timeline import Timeline
from tests.report import synthetic, synthetic_pipeline


def result(made, **more):
    """The result of a run with such a timeline."""
    facts, cluster = synthetic_pipeline.facts(made, **more)
    tables = Tables.of(made.timeline)
    return Result(scenario="", summary=summary(tables, cluster, facts), tables=tables)


@pytest.fixture(scope="module")
def failed():
    """A run of three stages of which the second fails; then layers move."""
    return result(synthetic_pipeline.failing())


@pytest.fixture(scope="module")
def quiet():
    """A run of three stages of which the second is the slowest."""
    return result(synthetic_pipeline.steady(3, 30, slow=("d1",)))


def test_a_pipeline_is_told_from_other_training(failed, quiet):
    other = Tables.of(synthetic.timeline(3, crash=True))
    assert piped(failed.tables)
    assert piped(quiet.tables)
    assert not piped(other)
    single = synthetic_pipeline.steady(1, 5)
    assert not single.timeline.transfers
    assert is_pipeline(Tables.of(single.timeline), {})
    assert not one_by_one(failed.tables)


@pytest.mark.parametrize("server", [None, "hub"])
def test_the_central_node_trains_like_the_others(server):
    run = result(synthetic_pipeline.failing(), server=server)
    assert servers_of(run.tables, run.summary) == ()
    assert run.summary["servers"] == []
    assert run.summary["overlap"] == result(synthetic_pipeline.failing()).summary["overlap"]
    assert in_order(run.summary) == ("hub", "a", "b")


def test_phases_follow_each_other_and_add_up_to_the_summary(failed):
    row = failed.summary["recoveries"][0]
    mine = [phase for phase in phases(failed.tables) if phase.kind == RECOVERY]
    assert [phase.name for phase in mine] == list(TERMS[:-1]), "nothing was computed again"
    assert mine[0].start_s == row["failed_s"]
    for phase, later in itertools.pairwise(mine):
        assert phase.end_s == later.start_s
    for phase in mine:
        assert phase.end_s - phase.start_s == pytest.approx(row[f"{phase.name}_s"])
    over = interruptions(failed.tables)
    assert over[RECOVERY] == [(mine[0].start_s, mine[-1].end_s)]
    assert len(over[REPARTITION]) == 1


def marks(*rows):
    made = Timeline()
    for time_s, kind, label in rows:
        made.mark(time_s, "hub", kind, label)
    return Tables.of(made)


def test_a_failure_was_unseen_from_its_crash_until_the_probe():
    tables = marks((3.0, "crash", ""), (5.0, "recovery", "probe"), (6.0, "recovery", "recovered"))
    assert phases(tables) == [
        ("recovery", "detect", 3.0, 5.0),
        ("recovery", "probe", 5.0, 6.0),
    ]


def test_a_false_alarm_ends_its_phases_and_a_recovery_ends_a_move():
    tables = marks(
        (1.0, "recovery", "probe"), (2.0, "recovery", "false-alarm"),
        (3.0, "repartition", "fetch"), (4.0, "recovery", "probe"),
    )  # fmt: skip
    assert phases(tables) == [
        ("recovery", "probe", 1.0, 2.0),
        ("repartition", "fetch", 3.0, 4.0),
        ("recovery", "probe", 4.0, math.inf),
    ]


def test_plans_are_read_from_what_was_computed(failed):
    told = [text for _, text in plans(failed.tables)]
    assert told == ["1-7 | 8-13 | 14-20", "1-10 | 11-20 (recovery)", "1-12 | 13-20 (repartition)"]


def test_steady_state_is_neither_the_filling_nor_the_draining_nor_a_recovery(failed, quiet):
    stretch = steady_stretch(quiet.tables)
    assert stretch is not None
    assert stretch.last == 26
    assert stretch.end_s - stretch.start_s == pytest.approx(0.61 * stretch.iterations)
    found = steady_stretch(failed.tables)
    assert found is not None
    assert found.start_s >= failed.summary["repartitions"][0]["time_s"] + 0.4
    usual = typical(failed.tables)
    assert usual is not None
    assert usual.number == 11


def test_shares_of_stages_are_those_of_the_recursion(quiet):
    uses = stage_uses(quiet.tables, quiet.summary, steady_stretch(quiet.tables))
    assert [one.device for one in uses] == ["d0", "d1", "d2"]
    assert [one.layers for one in uses] == ["1-7", "8-13", "14-20"]
    assert [one.busy for one in uses] == pytest.approx([0.31 / 0.61, 1.0, 0.31 / 0.61])


def test_the_bottleneck_is_the_busiest_stage(quiet):
    text = quiet.explain()
    assert text == quiet.summary["explanation"]
    assert "A batch takes 610 ms" in text
    assert "the bottleneck is d1 (stage 1, layers 8-13), which computes for 100 % of the time" in text
    assert "bubbles: d0 49 %, d2 49 %, over all 3 stages 33 % of their time" in text
    assert "straggler" not in text
    assert "server" not in text


def test_the_bottleneck_is_a_link_that_is_full():
    run = result(synthetic_pipeline.steady(3, 30, send_s=0.4))
    assert "the bottleneck is a link: " in run.explain()
    assert "is full" in run.explain()


def test_nothing_is_full_where_batches_wait_for_their_round_trip():
    made = synthetic_pipeline.steady(3, 30, send_s=0.2)
    links = {name: {"bandwidth_Bps": 1e9} for name in ("d0.up", "d1.down")}
    text = explain(Tables.of(made.timeline), {**made.more, "links": links})
    assert "nothing is busy all the time" in text


def test_recoveries_and_moves_are_told(failed):
    text = failed.explain()
    assert "1 failure (a) was recovered from in 1.95 s" in text
    assert "1.5 MB moved, 1 batch recomputed, 2 updates lost" in text
    assert "Layers moved to other devices once (400 kB), in 400 ms" in text
    made = synthetic_pipeline.failing()
    made.more["recoveries"][0]["outcome"] = "unrecoverable: the central node failed"
    assert "could not be recovered from: the central node failed." in result(made).explain()


def test_a_run_without_a_batch_says_so():
    made = synthetic_pipeline.steady(3, 1)
    made.timeline.marks[:] = [row for row in made.timeline.marks if row[2] != "iteration"]
    text = explain(Tables.of(made.timeline), {**made.more, "simulated_s": 0.5})
    assert text == "No batch was back within 500 ms."


def test_an_interrupted_recovery_is_told():
    made = synthetic_pipeline.failing()
    row = {**made.more["recoveries"][0], "outcome": "interrupted by another failure", "devices": ["a"]}
    made.more["recoveries"].insert(0, row)
    text = result(made).explain()
    assert "A recovery from failures of a was interrupted by another failure, after 1.95 s." in text
    made.more["recoveries"].insert(0, {**row, "devices": ["b"]})
    again = result(made).explain()
    assert "2 recoveries from failures of b, a were interrupted by another failure, after 3.9 s." in again


def test_a_false_alarm_costs_its_probe_alone():
    made = synthetic_pipeline.steady(3, 9)
    ends = sorted(row[0] for row in made.timeline.marks if row[2] == "iteration")
    alarm = (ends[4] + 0.004, ends[4] + 0.012)
    rows = made.timeline.marks
    rows[:] = [(time_s + (0.5 if time_s > ends[4] else 0.0), *rest) for time_s, *rest in rows]
    rows += [(alarm[0], "hub", RECOVERY, "probe"), (alarm[1], "hub", RECOVERY, "false-alarm")]
    found = costs(Tables.of(made.timeline), made.more)
    assert found["false-alarm"] == pytest.approx(0.008 / 9)
    assert found[""] == pytest.approx((0.5 - 0.008) / 9, rel=0.2)
    assert RECOVERY not in found


def test_batches_that_are_computed_again_are_a_phase_of_their_own():
    tables = marks(
        (1.0, "recovery", "refill"), (2.0, "recovery", "recompute"), (5.0, "recovery", "recovered")
    )  # fmt: skip
    assert [(phase.name, phase.end_s - phase.start_s) for phase in phases(tables)] == [
        ("refill", 1.0), ("recompute", 3.0),
    ]  # fmt: skip


def test_what_was_lost_is_laid_to_recoveries_and_moves(failed):
    found = costs(failed.tables, failed.summary)
    lost = found["recovery"] * 12
    slower = failed.summary["recoveries"][0]["total_s"]
    assert 0.5 * slower < lost < 2.0 * slower
    assert 0.0 < found["repartition"] < found["recovery"]


def test_tables_of_a_run(failed):
    found = failed.recoveries
    assert len(found) == 1
    assert found.total_s[0] == pytest.approx(1.95)
    assert found[[f"{term}_s" for term in TERMS]].sum(axis=1)[0] == pytest.approx(found.total_s[0])
    assert found.order[0] == "hub, b"
    assert found.points[0] == "9"
    every = failed.partitions
    assert every.groupby("plan").layers.sum().tolist() == [20, 20, 20]  # each layer has one owner
    assert every[every.plan == 1].device.tolist() == ["hub", "b"]
    assert failed.repartitions.kept.tolist() == [True]
    assert "pipeline" in headline(failed.summary)


def test_tables_of_another_run_are_empty_with_their_columns():
    made = synthetic.timeline(2)
    cluster = synthetic.star(2)
    tables = Tables.of(made)
    run = Result(scenario="", summary=summary(tables, cluster, synthetic.facts(made, cluster)), tables=tables)
    assert run.recoveries.empty
    assert "total_s" in run.recoveries.columns
    assert run.partitions.empty
    assert run.repartitions.empty
    assert "pipeline" not in headline(run.summary)


def test_one_update_a_batch_however_many_stages(quiet):
    found = learning(quiet.tables)
    assert found is not None
    assert found["updates"] == 30
    assert found["staleness"]["by_device"] == {"d2": 0.0, "d1": 1.0, "d0": 2.0}
    assert found["staleness"]["max"] == 2


def compared(**outcomes):
    """A comparison of recoveries by policy, each with the terms that differ."""
    runs = []
    for policy, (lasting, outcome) in outcomes.items():
        made = synthetic_pipeline.failing(schedule=policy, policy=policy, lasting=lasting)
        made.more["recoveries"][0]["outcome"] = outcome
        runs.append(Run(axes={"training.schedule": policy}, result=result(made)))
    return Comparison(runs=tuple(runs), name="recoveries")


def test_who_recovers_sooner_wins_and_it_is_said_why():
    found = compared(ftpipehd=({}, "recovered"), checkpoint=({"fetch": 3.0}, "recovered"))
    assert found.best is not None
    assert found.best.label == "ftpipehd"
    assert "ftpipehd wins" in found.winner
    assert "recoveries take ftpipehd 1.95 s (fetch 600 ms, 1.5 MB moved," in found.winner
    assert "checkpoint 4.35 s (fetch 3 s" in found.winner
    assert "faults cost" in found.winner
    assert "(recoveries " in found.winner


def test_a_run_that_ended_for_good_is_no_winner_however_quick():
    lost = "unrecoverable: two neighbours failed"
    found = compared(ftpipehd=({}, "recovered"), respipe=({"fetch": 0.1}, lost))
    assert unrecoverable(found.runs[1].result.summary) == "two neighbours failed"
    assert found.best is not None
    assert found.best.label == "ftpipehd"
    assert "only ftpipehd reached its end" in found.winner
    assert "respipe failed after 12 iterations (two neighbours failed)" in found.winner


def test_bubbles_set_pipelines_apart():
    made = {"even": (), "uneven": ("d1",)}
    runs = [
        Run(axes={"training.schedule": name}, result=result(synthetic_pipeline.steady(3, 30, slow=slow)))
        for name, slow in made.items()
    ]
    said = Comparison(runs=tuple(runs)).winner
    assert "in steady state the stages of even are idle for 6 % of the time, of uneven 33 %" in said
