"""Failures of pipelines: worked examples, every policy, and a thousand random instants."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from edgesim.events import Crash, Cut, Slow
from edgesim.training.pipeline_config import Detection, Repartition, Replication
from tests.training.pipes import Ran, chain, conserved, star, train

QUICK = Detection(probe_timeout_s=1.0)
TERMS = ("detect_s", "probe_s", "measure_s", "plan_s", "fetch_s", "commit_s", "refill_s", "recompute_s")
BYTES = [928, 896, 5136, 8832, 10000, 14848, 14848, 21056, 54272, 54272, 54272]
BYTES += [66624, 118272, 118272, 155264, 320000, 320000, 473920, 412160, 12810]
"""Parameters of MobileNetV2's 20 blocks."""


def vector(down: list[str]) -> tuple[Ran, dict[str, Any]]:
    """Run the worked example, L = 20 and points [6, 13], with copies made, until devices fail."""
    work = chain(20, 0.05, 1000, [4 * count for count in BYTES])
    ran = train(
        "ftpipehd",
        workload=work,
        points=(6, 13),
        iterations=40,
        events=[Crash(at_s=8.0, device=name) for name in down],
        replication=Replication(chain=5, whole=10, optimizer=False),
        repartition=Repartition(policy="never"),
        cluster=star((1.0, 1.0, 1.0), bandwidth_Bps=1e8),
        optimizer_state=0.0,
        detection=QUICK,
    )
    assert not ran.stopped
    conserved(ran)
    return ran, ran.recoveries[0]


def test_worker_1_fails_and_nothing_crosses_the_network() -> None:
    ran, row = vector(["w1"])
    assert row["points"] == [9]
    assert row["order"] == ["hub", "w2"]
    assert row["bytes_moved"] == 0
    assert not [one for one in ran.timeline.transfers if one[2].kind == "fetch"]


def test_worker_2_fails_and_its_layers_come_from_the_central_node() -> None:
    ran, row = vector(["w2"])
    assert row["points"] == [9]
    (fetch,) = [one for one in ran.timeline.transfers if one[2].kind == "fetch"]
    assert fetch[:2] == ("hub", "w1")
    assert (fetch[2].first, fetch[2].last) == (15, 20)
    assert fetch[3] == row["bytes_moved"] == 4 * sum(BYTES[14:])


def test_both_fail_and_the_central_node_goes_on_alone() -> None:
    ran, row = vector(["w1", "w2"])
    assert row["points"] == []
    assert row["order"] == ["hub"]
    assert row["bytes_moved"] == 0
    assert ran.batches == 40


def test_every_term_adds_up_and_is_marked() -> None:
    ran, row = vector(["w2"])
    assert all(row[term] is not None for term in TERMS)
    assert row["total_s"] == pytest.approx(sum(row[term] for term in TERMS))
    assert row["detect_s"] == pytest.approx(row["time_s"] - row["failed_s"])
    marks = [label for _, _, kind, label in ran.timeline.marks if kind == "recovery"]
    assert marks == ["probe", "measure", "plan", "fetch", "commit", "refill", "recovered"]
    end = next(time for time, _, kind, label in ran.timeline.marks if label == "recovered")
    assert end - row["failed_s"] == pytest.approx(row["total_s"])
    assert row["probe_s"] > 1.0
    (batch,) = [int(label) for _, _, kind, label in ran.timeline.marks if kind == "expired"]
    again = {one[1].iteration for one in ran.timeline.spans if one[0] == "hub" and one[2] > row["time_s"]}
    assert min(again) == batch
    assert row["batches_recomputed"] == 3


def test_updates_since_the_copy_are_lost_and_no_others() -> None:
    ran, row = vector(["w2"])
    lost = ran.line.weights.lost
    assert row["updates_lost"] == max(lost) > 0
    assert lost[:7] == [0] * 7
    assert lost[14:] == [lost[19]] * 6


def test_a_timer_waits_twice_the_mean_round_trip() -> None:
    ran, row = vector(["w1"])
    oldest = min(
        one[2] for one in ran.timeline.spans if one[0] == "hub" and one[1].iteration == expired_batch(ran)
    )
    trips = [trip for trip in round_trips(ran)[3:] if trip[1] < row["time_s"]]
    mean = sum(end - start for start, end in trips) / len(trips)
    assert row["time_s"] - oldest == pytest.approx(2.0 * mean)


def expired_batch(ran: Ran) -> int:
    return next(int(label) for _, _, kind, label in ran.timeline.marks if kind == "expired")


def round_trips(ran: Ran) -> list[tuple[float, float]]:
    starts = {
        row[1].iteration: row[2] for row in ran.timeline.spans if row[0] == "hub" and row[1].kind == "forward"
    }
    ends = {
        row[1].iteration: row[3]
        for row in ran.timeline.spans
        if row[0] == "hub" and row[1].kind == "backward"
    }
    return [(starts[batch], ends[batch]) for batch in ends]


@pytest.mark.parametrize("schedule", ["ftpipehd", "ftpipehd-lossless", "respipe", "pipedream", "gpipe"])
def test_a_restarted_device_takes_part_again(schedule: str) -> None:
    ran = train(schedule, events=[Crash(at_s=3.0, device="w1", for_s=0.02)], detection=QUICK, iterations=30)
    assert not ran.stopped
    assert ran.recoveries[0]["kind"] == "restarted"
    conserved(ran)


@pytest.mark.parametrize("schedule", ["ftpipehd", "pipedream", "exact"])
@pytest.mark.parametrize("down", [("w1", "w2"), ("w1", "w3"), ("w2", "w4"), ("w1", "w2", "w3", "w4")])
def test_adjacent_and_distant_failures_are_survived(schedule: str, down: tuple[str, ...]) -> None:
    ran = train(
        schedule,
        speeds=(1.0,) * 5,
        events=[Crash(at_s=4.0, device=name) for name in down],
        detection=QUICK,
        iterations=40,
    )
    assert not ran.stopped
    assert ran.batches == 40
    assert set(ran.summary["pipeline"]["order"]) == {"hub", "w1", "w2", "w3", "w4"} - set(down)
    conserved(ran)


def test_respipe_survives_distant_failures_and_not_adjacent_ones() -> None:
    both = {
        down: train(
            "respipe",
            speeds=(1.0,) * 5,
            events=[Crash(at_s=4.0, device=name) for name in down],
            detection=QUICK,
        )
        for down in (("w1", "w3"), ("w2", "w3"))
    }
    apart, together = both.values()
    assert not apart.stopped
    assert apart.summary["pipeline"]["order"] == ["hub", "w2", "w2", "w4", "w4"]
    assert together.stopped.startswith("Unrecoverable: layers 2 (counted from 0)")
    assert together.recoveries[-1]["outcome"].startswith("unrecoverable: ")


def test_a_checkpoint_is_gone_back_to_and_nothing_is_lost() -> None:
    ran = train(
        "pipedream",
        events=[Crash(at_s=4.0, device="w1")],
        checkpoint_every=10,
        detection=QUICK,
        iterations=40,
    )
    (row,) = ran.recoveries
    assert row["updates_lost"] == 0
    assert row["batches_recomputed"] == 18 + 3 - 10
    assert row["recompute_s"] > row["refill_s"]
    assert row["failed_s"] + row["total_s"] == pytest.approx(ran.ends()[18])
    assert ran.line.weights.applied == [((0, 40),)] * 6
    assert Counter(kind for _, _, kind, _ in ran.timeline.marks)["iteration"] == 40


def test_replay_loses_nothing_and_its_passes_are_marked() -> None:
    ran = train(
        "ftpipehd-lossless",
        events=[Crash(at_s=4.0, device="w1")],
        replication=Replication(chain=7, whole=None),
        iterations=40,
    )
    assert ran.line.weights.applied == [((0, 40),)] * 6
    kinds = Counter(one[1].kind for one in ran.timeline.spans)
    assert kinds["replay-forward"]
    assert kinds["replay-backward"]
    assert kinds["forward"] == 3 * 40 + lost_passes(ran)
    assert ran.recoveries[0]["policy"] == "lossless"


def lost_passes(ran: Ran) -> int:
    """Return how many forward passes were cut short."""
    return sum(one[1].kind == "forward" and one[5] > 0.0 for one in ran.timeline.spans)


def test_replay_falls_back_where_a_copy_is_lost_as_well() -> None:
    ran = train(
        "ftpipehd-lossless",
        speeds=(1.0,) * 4,
        events=[Crash(at_s=4.0, device=name) for name in ("w1", "w2")],
        replication=Replication(policy="free", whole=5),
        iterations=30,
    )
    assert not ran.stopped
    assert ran.recoveries[0]["policy"] == "live-first (no copy or log to replay from)"
    conserved(ran)


@pytest.mark.parametrize("schedule", ["ftpipehd", "gpipe", "respipe", "single"])
def test_without_the_central_node_training_ends_at_once(schedule: str) -> None:
    ran = train(schedule, events=[Crash(at_s=2.5, device="hub", for_s=1.0)])
    assert ran.sim.now == 2.5
    assert "the central node hub has failed" in ran.stopped
    assert ran.recoveries[-1]["outcome"].startswith("unrecoverable: the central node hub")


def test_the_last_global_copy_is_kept_when_the_central_node_fails() -> None:
    ran = train(
        "ftpipehd",
        events=[Crash(at_s=5.0, device="hub")],
        replication=Replication(chain=5, whole=10),
    )
    assert ran.summary["global_copy"] == {"batch": 20, "bytes": 12000.0}


def test_a_slow_device_is_a_false_alarm_and_no_failure() -> None:
    ran = train("ftpipehd", events=[Slow(at_s=3.0, device="w1", to=0.1, for_s=5.0)], iterations=40)
    assert {row["kind"] for row in ran.recoveries} == {"false-alarm"}
    assert {row["outcome"] for row in ran.recoveries} == {"false alarm"}
    assert not any(ran.line.weights.lost)
    assert ran.line.weights.applied == [((0, 40),)] * 6


def test_a_device_that_can_no_longer_be_reached_counts_as_failed() -> None:
    events = [Cut(at_s=3.0, link="w1.up"), Cut(at_s=3.0, link="w1.down")]
    ran = train("ftpipehd", events=events, detection=QUICK, iterations=30)
    assert not ran.stopped
    assert ran.recoveries[0]["devices"] == ["w1"]
    assert ran.summary["pipeline"]["order"] == ["hub", "w2"]
    conserved(ran)


def test_a_pipeline_that_stands_still_says_so() -> None:
    ran = train("ftpipehd", events=[Slow(at_s=3.0, device="w1", to=1e-9)], detection=QUICK)
    assert "does not come back, though every device answers" in ran.stopped


def test_a_device_that_comes_back_gets_layers_again() -> None:
    ran = train("ftpipehd", events=[Crash(at_s=3.0, device="w1", for_s=5.0)], detection=QUICK, iterations=60)
    whys = [(row["why"], row["order"]) for row in ran.summary["partitions"]]
    assert whys[1] == ("recovery", ["hub", "w2"])
    assert whys[2] == ("repartition", ["hub", "w1", "w2"])
    conserved(ran)


def test_copies_follow_every_commit() -> None:
    ran = train("ftpipehd", events=[Crash(at_s=3.0, device="w1")], detection=QUICK, iterations=20)
    commit = next(time for time, _, kind, label in ran.timeline.marks if "recovery)" in label)
    copies = [one for one in ran.timeline.transfers if one[2].kind == "replica" and one[7] == commit]
    assert {one[0] for one in copies} == {"hub", "w2"}


def test_free_copies_cost_no_time_and_periodic_ones_may() -> None:
    heavy = chain(6, 0.1, 20_000, 400_000)
    none, free, whole = (
        train("ftpipehd", workload=heavy, iterations=60, replication=kind, windows="minimal")
        for kind in (
            Replication(chain=None, whole=None),
            Replication(policy="free", chain=100, whole=None),
            Replication(chain=20, whole=20),
        )
    )
    assert free.summary["replication"]["chain_every"] < 20
    assert free.summary["replication"]["copies"] > whole.summary["replication"]["copies"] / 2
    assert free.period(40) <= none.period(40) * 1.01
    assert whole.sim.now > none.sim.now


def test_neighbours_report_broken_sends_before_a_timer_would_expire() -> None:
    both = [
        train("ftpipehd", events=[Crash(at_s=3.0, device="w1")], detection=replace(QUICK, policy=policy))
        for policy in ("timer", "adaptive")
    ]
    timer, adaptive = (ran.recoveries[0]["detect_s"] for ran in both)
    assert adaptive < timer


def test_the_model_of_the_start_is_no_copy_while_anybody_holds_updates() -> None:
    """A failure before the first global copy costs the updates of the failed stage since its replica."""
    ran = train(
        "ftpipehd",
        speeds=(1.0,) * 4,
        workload=chain(8),
        events=[Crash(at_s=7.0, device="w2")],
        replication=Replication(chain=5, whole=1000),
        detection=QUICK,
        iterations=50,
    )
    lost = ran.line.weights.lost
    failed = ran.recoveries[0]
    assert failed["devices"] == ["w2"]
    assert 0 < max(lost) <= 10
    conserved(ran)


def test_a_device_that_was_only_out_of_reach_comes_back() -> None:
    events = [Cut(at_s=3.0, link=f"w1.{way}", for_s=4.0) for way in ("up", "down")]
    ran = train("ftpipehd", events=events, detection=QUICK, iterations=150)
    orders = [row["order"] for row in ran.summary["partitions"]]
    assert ["hub", "w2"] in orders
    assert ran.summary["pipeline"]["order"] == ["hub", "w1", "w2"]
    conserved(ran)


def test_one_failure_right_after_a_move_does_not_end_training() -> None:
    asked: dict[str, Any] = {
        "speeds": (1.0, 0.5, 0.25),
        "workload": chain(8, 0.1, 1000, 100_000),
        "iterations": 40,
        "detection": QUICK,
    }
    for policy in ("periodic", "free"):
        replication = Replication(policy=policy, chain=5, whole=None)
        for recovery in ("ftpipehd", "lossless"):
            settings = {**asked, "replication": replication, "recovery": recovery}
            calm = train("ftpipehd", **settings)
            moved = next(row["time_s"] for row in calm.summary["partitions"] if row["why"] == "repartition")
            for later in (0.01, 0.1, 0.4, 1.0):
                torn = train("ftpipehd", events=[Crash(at_s=moved + later, device="w1")], **settings)
                assert not torn.stopped, (policy, recovery, later, torn.stopped)
                conserved(torn)


def test_lossless_recovery_copies_again_so_that_the_next_failure_finds_a_copy() -> None:
    ran = train(
        "ftpipehd-lossless",
        speeds=(1.0,) * 4,
        events=[Crash(at_s=4.0, device="w1"), Crash(at_s=7.0, device="w2")],
        replication=Replication(chain=50, whole=None),
        repartition=Repartition(policy="never"),
        detection=replace(QUICK, policy="adaptive", probe_timeout_s=0.2),
        iterations=40,
    )
    assert not ran.stopped
    conserved(ran)


def test_versions_are_averaged_once_a_batch() -> None:
    ran = train(
        "ftpipehd",
        speeds=(1.0, 0.5, 0.4, 0.3),
        workload=chain(10),
        repartition=Repartition(first=9, every=10),
        events=[Crash(at_s=9.0, device="w1", for_s=0.01)],
        detection=QUICK,
        iterations=40,
    )
    spans = [row for row in ran.timeline.marks if row[2] == "aggregate"]
    times = Counter((name, time) for time, name, _, _ in spans)
    assert set(times.values()) == {1}
    assert len(spans) <= 3 * 4


def test_exact_is_not_slower_than_the_paper_for_devices_that_it_does_not_know_yet() -> None:
    fleet = (0.5, 0.25, 0.8, 1.0, 0.3, 0.5, 0.25)
    paper, exact = (
        train(name, speeds=fleet, workload=chain(16, outputs=10_000), iterations=250)
        for name in ("ftpipehd", "exact")
    )
    assert exact.period(100) <= paper.period(100) * 1.001
    assert exact.sim.now <= paper.sim.now * 1.05
