"""Failures of small random pipelines at a thousand random instants."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from edgesim.events import ChangeLink, Crash, Slow
from edgesim.training.pipeline_config import SCHEDULES, Detection, Repartition, Replication
from tests.training.pipes import chain, conserved, star, train


def draw(seed: int) -> dict[str, Any]:
    """Return a random small pipeline with crashes, single, double and passing ones, at random instants."""
    pick = random.Random(seed)
    stages = pick.randint(2, 5)
    names = [f"w{number}" for number in range(1, stages)]
    schedule = pick.choice([name for name in SCHEDULES if name != "single"])
    times = [pick.uniform(0.0, 12.0) for _ in range(pick.randint(1, 3))]
    lasts = [None, None, 0.01, 0.1, 0.5, 2.0, 5.0]
    events: list[Any] = [
        Crash(at_s=time, device=pick.choice(names), for_s=pick.choice(lasts)) for time in times
    ]
    if pick.random() < 0.15:
        events.append(Slow(at_s=pick.uniform(0.0, 8.0), device=pick.choice(names), to=0.3, for_s=2.0))
    if pick.random() < 0.15:
        events.append(ChangeLink(at_s=pick.uniform(0.0, 8.0), link="w1.up", bandwidth_Bps=2e4, for_s=1.0))
    settings: dict[str, Any] = {
        "replication": Replication(
            policy=pick.choice(["periodic", "free"]),
            chain=pick.choice([1, 3, 7]),
            whole=pick.choice([None, 5, 10]),
        ),
        "detection": Detection(
            policy=pick.choice(["timer", "adaptive"]), probe_timeout_s=pick.choice([0.2, 1.0, 3.0])
        ),
        "repartition": Repartition(
            policy=pick.choice(["never", "when-different", "regret"]),
            first=pick.choice([2, 10]),
            every=pick.choice([3, 10]),
        ),
        "checkpoint_every": pick.choice([2, 5, 10]),
        "rebuild_s": pick.choice([0.0, 0.05]),
    }
    if pick.random() < 0.6:
        settings["recovery"] = pick.choice(["ftpipehd", "live-first", "lossless", "respipe", "checkpoint"])
    if schedule in ("gpipe", "1f1b-flush", "2bw"):
        settings["micro_batches"] = 5
    speeds = [1.0, *(pick.choice([1.0, 0.5, 0.3, 0.1]) for _ in names)]
    cluster = star(speeds, pick.choice([1e5, 1e6]), pick.choice([0.0, 0.003]))
    work = chain(pick.randint(stages, 8))
    return {"schedule": schedule, "cluster": cluster, "workload": work, "events": events, **settings}


@pytest.mark.parametrize("group", range(20))
def test_training_goes_on_or_says_why_not_at_a_thousand_random_instants(group: int) -> None:
    for seed in range(50 * group, 50 * group + 50):
        asked = draw(seed)
        ran = train(iterations=20, **asked)
        if ran.stopped:
            assert ran.stopped.startswith("Unrecoverable"), (seed, ran.stopped)
        else:
            assert ran.batches == 20, seed
            conserved(ran)
        sent, kept, lost = (sum(row[place] for row in ran.timeline.transfers) for place in (4, 5, 6))
        assert sent == pytest.approx(kept + lost)
        owners = Counter(layer for stage in ran.line.stages for layer in stage.layers)
        assert set(owners.values()) == {1}, seed
