"""Real training through simulated pipelines: what the schedules teach, through failures and moves."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from edgesim import workload_file
from edgesim.events import Crash
from edgesim.learning import PipelineSgd, Recipe, Student, load_data
from edgesim.planning.pipeline_schedules import Detection, Repartition, Replication
from edgesim.workload import Workload
from tests.training.pipes import Ran, star, train

QUICK = Detection(policy="adaptive", probe_timeout_s=0.1)
STILL = Repartition(policy="never")
SHAPE = (1, 16, 16)


@cache
def lenet() -> Workload:
    return workload_file.load("scenarios/profiles/lenet.json")


def learn(
    schedule: str, *, batches: int = 16, model: str = "lenet", **settings: Any
) -> tuple[Ran, PipelineSgd]:
    data = load_data("digits", Path())
    recipe = Recipe(learning_rate=0.05, momentum=0.9, evaluate_every=1000, iterations=batches, seed=3)
    groups = [layer.members for layer in lenet().layers]
    student = Student("lenet", SHAPE, data.classes, 3)
    learner = PipelineSgd(student, SHAPE, data, 32, recipe, groups, keep=64)
    asked = {"cluster": star((1.0, 1.0, 1.0), 1e8), **settings}
    ran = train(schedule, workload=lenet(), iterations=batches, learner=learner, **asked)
    assert not ran.stopped
    assert ran.batches == batches
    return ran, learner


def losses(ran: Ran) -> list[float]:
    return [row[5] for row in ran.timeline.updates if row[5] == row[5]]


def half(ran: Ran) -> float:
    """Return an instant in the middle of a run."""
    return ran.ends()[ran.batches // 2] + 1e-5


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b-flush"])
@pytest.mark.parametrize("parts", [1, 4, 5])
def test_a_flush_makes_a_pipeline_learn_what_one_device_learns(schedule: str, parts: int) -> None:
    alone, one = learn("single")
    piped, many = learn(schedule, micro_batches=parts)
    torch.testing.assert_close(many.vector, one.vector, rtol=1e-4, atol=1e-5)
    assert losses(piped) == pytest.approx(losses(alone), rel=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, {"versions": "vertical-sync"}, {"execution": "2bw", "micro_batches": 4}]
)
def test_staleness_changes_what_is_learnt(settings: dict[str, Any]) -> None:
    _, one = learn("single")
    _, many = learn("equal-time", **settings)
    assert not torch.allclose(many.vector, one.vector, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"aggregate_every": 4},
        {"versions": "vertical-sync"},
        {"execution": "2bw", "micro_batches": 4},
        {"execution": "gpipe", "micro_batches": 2},
        {"execution": "1f1b-flush", "micro_batches": 4},
    ],
)
@pytest.mark.parametrize("device", ["w1", "w2"])
@pytest.mark.parametrize("for_s", [None, 0.0005])
def test_recovery_without_loss_is_bit_identical(
    settings: dict[str, Any], device: str, for_s: float | None
) -> None:
    asked = {
        "recovery": "lossless",
        "detection": QUICK,
        "repartition": STILL,
        "replication": Replication(chain=3, whole=None),
        "aggregate_every": None,
        **settings,
    }
    calm, one = learn("ftpipehd", **asked)
    torn, other = learn("ftpipehd", events=[Crash(at_s=half(calm), device=device, for_s=for_s)], **asked)
    assert [row["policy"] for row in torn.recoveries if row["kind"] != "false-alarm"] == ["lossless"]
    assert torn.sim.now > calm.sim.now
    assert torch.equal(one.vector, other.vector)
    assert losses(calm) == losses(torn)


@pytest.mark.parametrize("schedule", ["pipedream", "gpipe", "1f1b-flush", "2bw"])
def test_a_flushed_pipeline_goes_back_to_a_snapshot_and_ends_where_it_would_have(schedule: str) -> None:
    calm, one = learn(schedule)
    crash = [Crash(at_s=half(calm), device="w1", for_s=0.0005)]
    torn, other = learn(schedule, events=crash, checkpoint_every=4, detection=QUICK)
    assert torn.recoveries[0]["batches_recomputed"] > 0
    if schedule == "pipedream":  # in flight there were versions that the snapshot has not
        assert losses(torn)[:4] == losses(calm)[:4]
    else:
        assert torch.allclose(one.vector, other.vector, rtol=1e-4, atol=1e-5)


def test_updates_that_are_lost_show_in_what_is_learnt() -> None:
    calm, one = learn("ftpipehd", detection=QUICK)
    torn, other = learn("ftpipehd", events=[Crash(at_s=half(calm), device="w1")], detection=QUICK)
    assert torn.recoveries[0]["updates_lost"] > 0
    assert not torch.equal(one.vector, other.vector)


def test_a_move_changes_no_weight() -> None:
    """Under a flush a pipeline learns the same, wherever its layers are and whenever they move."""
    slow = star((1.0, 1.0, 0.1), 1e8)
    asked = {"execution": "gpipe", "micro_batches": 2, "aggregate_every": None, "cluster": slow}
    still, one = learn("ftpipehd", repartition=STILL, **asked)
    moved, other = learn("ftpipehd", repartition=Repartition(first=4, every=4), **asked)
    assert [row for row in moved.summary["repartitions"] if row["kept"]]
    assert torch.equal(one.vector, other.vector)
    assert losses(still) == losses(moved)


def test_momentum_that_is_reset_is_another_training() -> None:
    slow = star((1.0, 1.0, 0.1), 1e8)
    asked = {"execution": "gpipe", "micro_batches": 2, "aggregate_every": None, "cluster": slow}
    policies = [Repartition(first=4, every=4, momentum=kind) for kind in ("carry", "reset")]
    (_, carried), (_, reset) = (learn("ftpipehd", repartition=policy, **asked) for policy in policies)
    assert not torch.equal(carried.vector, reset.vector)


def test_the_lossless_schedule_itself_ends_with_the_same_bits_after_its_one_move() -> None:
    slow = star((1.0, 1.0, 0.1), 1e8)
    asked = {"cluster": slow, "batches": 30, "detection": QUICK}
    calm, one = learn("ftpipehd-lossless", **asked)
    crash = [Crash(at_s=calm.ends()[20] + 1e-5, device="w1")]
    torn, other = learn("ftpipehd-lossless", events=crash, **asked)
    assert [row["kept"] for row in torn.summary["repartitions"]] == [True]
    assert "lossless" in [row["policy"] for row in torn.recoveries if row["kind"] == "failed"]
    assert torch.equal(one.vector, other.vector)


def test_a_device_that_returns_during_a_replay_does_not_break_into_it() -> None:
    asked = {
        "recovery": "lossless",
        "repartition": Repartition(first=2, every=2),
        "replication": Replication(chain=7, whole=None),
        "detection": QUICK,
        "cluster": star((1.0, 0.5, 0.1), 1e8),
        "batches": 30,
    }
    calm, _ = learn("ftpipehd", **asked)
    torn, _ = learn("ftpipehd", events=[Crash(at_s=half(calm), device="w1", for_s=0.02)], **asked)
    assert not any(torn.line.weights.lost)
    assert torn.line.weights.applied == [((0, 30),)] * 5
