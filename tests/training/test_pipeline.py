"""Pipelines that nothing disturbs: closed forms, staleness, memory, what a re-partition leaves as it was."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace

import pytest

from edgesim.cluster import Cluster
from edgesim.errors import OutOfMemory
from edgesim.events import Slow
from edgesim.planning.pipeline_orders import copies, windows
from edgesim.planning.pipeline_period import gpipe_makespan, steady_period
from edgesim.timeseries import Series
from edgesim.training import pipeline
from edgesim.training.pipeline_config import SCHEDULES, Config, Repartition, Replication
from tests.training.pipes import chain, star, train

ALONE = {"replication": Replication(chain=None, whole=None), "recovery": "none"}
STILL = {"repartition": Repartition(policy="never"), **ALONE}


@pytest.mark.parametrize("seed", range(200))
def test_the_steady_period_of_1f1b_is_that_of_the_formula(seed: int) -> None:
    draw = random.Random(seed)
    stages = draw.randint(2, 5)
    layers = draw.randint(stages, 8)
    points = tuple(sorted(draw.sample(range(layers - 1), stages - 1)))
    speeds = [1.0, *(draw.choice([1.0, 0.5, 0.25]) for _ in range(stages - 1))]
    rate = draw.choice([3e3, 1e4, 1e5])
    times = [draw.uniform(0.02, 0.3) for _ in range(layers)]
    sizes = [draw.randint(100, 3000) for _ in range(layers)]
    ran = train(
        "equal-time",
        cluster=wired(star(speeds), stages, rate),
        workload=chain(layers, times, sizes),
        iterations=160,
        points=points,
        **STILL,
    )
    cuts = [-1, *points, layers - 1]
    stage_s = [sum(times[a + 1 : b + 1]) / speed for a, b, speed in zip(cuts, cuts[1:], speeds, strict=False)]
    due = steady_period(stage_s, [2.0 * sizes[point] / rate for point in points])
    assert ran.period(120) == pytest.approx(due, rel=0.002)


def wired(cluster: Cluster, stages: int, rate: float) -> Cluster:
    """Return a cluster whose neighbours have a cable of their own, so that each way is one link."""
    from edgesim.cluster import Hop, Link

    links, hops = {}, []
    names = list(cluster.devices)[:stages]
    for a, b in [*itertools.pairwise(names), *zip(names[1:], names, strict=False)]:
        links[f"{a}-{b}"] = Link(name=f"{a}-{b}", bandwidth_Bps=rate)
        hops.append(Hop(source=a, target=b, link=f"{a}-{b}"))
    return Cluster(devices=cluster.devices, links=links, hops=tuple(hops))


@pytest.mark.parametrize("parts", [1, 2, 5, 8])
def test_the_makespan_of_gpipe_is_exact(parts: int) -> None:
    times, sizes, rate = [0.3, 0.1, 0.2, 0.4], [640, 1280, 320, 1], 1e4
    ran = train(
        "gpipe",
        cluster=wired(star([1.0, 0.5, 1.0]), 3, rate),
        workload=chain(4, times, sizes),
        iterations=3,
        points=(0, 2),
        micro_batches=parts,
        **STILL,
    )
    stage_s = [0.3, 0.6, 0.4]
    forward, backward = ([share * time / parts for time in stage_s] for share in (1 / 3, 2 / 3))
    links = [sizes[0] / rate / parts, sizes[2] / rate / parts]
    due = gpipe_makespan(forward, backward, links, links, parts)
    assert ran.ends() == pytest.approx([due, 2 * due, 3 * due])


def test_1f1b_with_a_flush_takes_no_longer_than_gpipe_and_holds_fewer_activations() -> None:
    both = {
        name: train(name, micro_batches=8, points=(1, 3), iterations=4, **STILL)
        for name in ("gpipe", "1f1b-flush")
    }
    assert both["1f1b-flush"].sim.now <= both["gpipe"].sim.now * 1.02
    first = {name: ran.sim.device("hub").peak_bytes for name, ran in both.items()}
    assert first["gpipe"] - first["1f1b-flush"] == pytest.approx(2000 * (8 - 3) / 8)


@pytest.mark.parametrize(
    ("settings", "due"),
    [
        ({}, [2, 1, 0]),
        ({"versions": "vertical-sync"}, [2, 2, 2]),
        ({"versions": "replicas"}, [0, 0, 0]),
        ({"execution": "2bw", "micro_batches": 4}, [1, 1, 1]),
        ({"execution": "gpipe", "micro_batches": 4}, [0, 0, 0]),
        ({"execution": "1f1b-flush", "micro_batches": 4}, [0, 0, 0]),
    ],
)
def test_staleness_is_that_of_the_window(settings: dict[str, object], due: list[int]) -> None:
    ran = train("equal-time", **settings, **STILL)
    steady = [row for row in ran.timeline.updates if 5 <= row[2] < 25]
    found = {name: {row[4] for row in steady if row[1] == name} for name in ("hub", "w1", "w2")}
    assert list(found.values()) == [{number} for number in due]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_layer_is_updated_once_by_every_batch(schedule: str) -> None:
    ran = train(schedule, iterations=12)
    assert ran.batches == 12
    assert not ran.stopped
    assert ran.line.weights.applied == [((0, 12),)] * 6
    rows = Counter((row[1], row[2]) for row in ran.timeline.updates)
    assert set(rows.values()) == {1}
    assert len(rows) == 12 * len(ran.line.stages)


def test_sends_overlap_compute() -> None:
    """A link that takes a tenth of a stage's time costs next to nothing, when windows leave room."""
    ran = train("exact", workload=chain(outputs=10_000), iterations=60, **ALONE)
    assert ran.period(40) == pytest.approx(0.2, rel=0.002)


def test_a_slow_device_gets_fewer_layers_once_it_has_been_measured() -> None:
    ran = train(speeds=(1.0, 1.0, 0.25), workload=chain(8), iterations=60)
    first, later = ran.summary["partitions"][:2]
    assert first["points"] == [1, 4]
    assert first["why"] == "start"
    assert later["why"] == "repartition"
    assert later["batch"] == 10
    assert later["capacity"] == pytest.approx([1.0, 1.0, 4.0])
    assert len(range(later["points"][1] + 1, 8)) == 1
    assert ran.line.weights.applied == [((0, 60),)] * 8


def test_a_move_leaves_every_weight_as_it_was_and_every_layer_with_one_owner() -> None:
    ran = train(speeds=(1.0, 1.0, 0.25), workload=chain(8), iterations=14)
    (row,) = ran.summary["repartitions"]
    assert row["kept"]
    assert row["bytes_moved"] == 2 * 1000 * row["moved_layers"]
    held = [layer for node in ran.line.nodes.values() for layer in node.live]
    assert sorted(held) == list(range(8))
    assert not any(ran.line.weights.lost)


def test_capacity_follows_availability_and_events() -> None:
    cluster = star((1.0, 1.0, 1.0))
    slower = replace(
        cluster.devices["w1"], availability=Series(times_s=(0.0, 8.0), values=(1.0, 0.2), period_s=None)
    )
    ran = train(
        cluster=replace(cluster, devices={**cluster.devices, "w1": slower}),
        events=[Slow(at_s=8.0, device="w2", to=0.5)],
        iterations=120,
        repartition=Repartition(first=10, every=20),
    )
    assert ran.summary["pipeline"]["capacity"] == pytest.approx({"hub": 1.0, "w1": 5.0, "w2": 2.0}, rel=0.01)
    assert len(ran.summary["partitions"]) > 1


def test_regret_moves_later_than_when_different_and_not_for_nothing() -> None:
    slow = {"speeds": (1.0, 1.0, 0.25), "workload": chain(8, parameters=4_000_000), "iterations": 80}
    soon, later = (
        train(**slow, repartition=Repartition(policy=policy, first=10, every=10))
        for policy in ("when-different", "regret")
    )
    moved = [ran.summary["partitions"][1]["batch"] for ran in (soon, later)]
    assert moved[0] == 10 < moved[1]
    stayed = [row for row in later.summary["repartitions"] if not row["kept"]]
    assert stayed
    assert all(row["bytes_moved"] == 0 for row in stayed)


def test_memory_is_known_before_and_held_during_the_run() -> None:
    cluster = star((1.0, 1.0, 1.0))
    config = Config(devices=tuple(cluster.devices), iterations=40, aggregate_every=10, **STILL)
    need = pipeline.memory_bytes(cluster, chain(), config)
    ran = train("ftpipehd", cluster=cluster, iterations=40, **STILL)
    assert {name: ran.sim.device(name).peak_bytes for name in need} == pytest.approx(need)


@pytest.mark.parametrize("schedule", ["ftpipehd", "2bw", "gpipe"])
def test_what_is_known_beforehand_is_enough_for_an_undisturbed_run(schedule: str) -> None:
    cluster = star((1.0, 1.0, 1.0))
    config = Config(devices=tuple(cluster.devices), schedule=schedule, iterations=40, **SCHEDULES[schedule])
    need = pipeline.memory_bytes(cluster, chain(), config)
    tight = replace(
        cluster,
        devices={name: replace(one, memory_bytes=need[name]) for name, one in cluster.devices.items()},
    )
    assert not train(schedule, cluster=tight, iterations=40).stopped


def test_a_device_without_room_for_its_stage_ends_the_run() -> None:
    with pytest.raises(OutOfMemory, match="hub is out of memory"):
        train("equal-time", cluster=star((1.0, 1.0, 1.0), memory_bytes=5000.0), **STILL)


def test_versions_held() -> None:
    assert [copies("1f1b", "stash", 3, window) for window in windows(3)] == [3, 2, 1]
    assert [copies("2bw", "stash", 3, window) for window in windows(3)] == [2, 2, 2]


def test_aggregation_takes_the_mean_of_as_many_versions_as_are_in_flight() -> None:
    ran = train("ftpipehd", iterations=30, aggregate_every=10, workload=chain(optimizer_s=0.03), **STILL)
    marks = [(name, label) for _, name, kind, label in ran.timeline.marks if kind == "aggregate"]
    assert Counter(marks) == {("hub", "3"): 3, ("w1", "2"): 3}
    spans = [row for row in ran.timeline.spans if row[1].kind == "aggregate" and row[0] == "hub"]
    assert spans[0][4] == pytest.approx(0.03 / 3 * (3 + 1) / 3)


def test_single_has_no_network_and_no_bubbles() -> None:
    ran = train("single", iterations=5)
    assert ran.sim.now == pytest.approx(5 * 0.6)
    assert not ran.timeline.transfers


def test_the_same_run_has_the_same_rows() -> None:
    one, other = (train("exact", speeds=(1.0, 0.5, 0.25)) for _ in range(2))
    assert one.timeline.drain() == other.timeline.drain()


def test_the_bound_holds() -> None:
    for schedule in SCHEDULES:
        ran = train(schedule, speeds=(1.0, 0.5, 0.25), iterations=60)
        crew = ran.training.contributions[-1]
        assert ran.period(20) >= ran.training.bounds.of(crew)["iteration_s"] * 0.999
