"""Asynchronous and stale synchronous training, several servers, compressed gradients: by hand."""

from __future__ import annotations

import pytest

from edgesim.errors import EdgesimError
from edgesim.planning.schedules import PHASED, QUEUED
from edgesim.training.config import Compression, Config

MB = 1_000_000
# One layer: pull 1 s, forward 1 s, backward 1 s, push 1 s; of a worker of half the speed 1, 2, 2, 1.


@pytest.fixture
def toy(kit):
    def run(speeds=(1.0, 0.5), optimizer_s=0.0, **config):
        workload = kit.workload([1.0], [1.0], [MB], optimizer_s=optimizer_s)
        return kit.train(kit.cluster([(speed, 1e6) for speed in speeds]), workload, **config)

    return run


def updates(trained):
    return [(row[0], row[1], row[4]) for row in trained.timeline.updates]


def test_asynchronous_workers_do_not_wait(toy):
    trained = toy(synchronization="asp", iterations=2)
    # pi-1 at 4, 8, 12, ...; pi-2 at 6, 12, ...; two gradients make an iteration.
    assert updates(trained) == [(4.0, "pi-1", 0), (6.0, "pi-2", 1), (8.0, "pi-1", 1), (12.0, "pi-2", 1)]
    assert trained.ends_s == [6.0, 12.0]
    assert trained.run.contributions == [("pi-1", "pi-2")] * 2


@pytest.mark.parametrize(("bound", "ends_s"), [(0, [6.0, 12.0, 18.0]), (1, [6.0, 12.0, 16.0])])
def test_a_worker_is_at_most_so_far_ahead(toy, bound, ends_s):
    trained = toy(synchronization="ssp", staleness=bound, iterations=3)
    assert trained.ends_s == ends_s
    clocks = {"pi-1": 0, "pi-2": 0}
    for _, name, _ in updates(trained):
        clocks[name] += 1
        assert clocks["pi-1"] - clocks["pi-2"] <= bound + 1


def test_staleness_zero_is_nearly_bsp_and_a_large_one_is_asynchronous(toy):
    stale = toy(synchronization="ssp", staleness=100, iterations=6)
    free = toy(synchronization="asp", iterations=6)
    assert stale.timeline.updates == free.timeline.updates
    tight = toy(synchronization="ssp", staleness=0, iterations=6)
    assert tight.ends_s == toy(iterations=6).ends_s


def test_updates_of_gradients_that_come_together_queue_on_the_server(toy):
    trained = toy((1.0, 1.0), optimizer_s=0.5, synchronization="asp", iterations=1)
    assert [time_s for time_s, _, _ in updates(trained)] == [4.5, 5.0]


def test_a_schedule_without_a_barrier_is_bsp():
    with pytest.raises(EdgesimError, match="'p3' waits for all workers' pushes, which is bsp, not asp"):
        Config(servers=("s",), workers=("a",), schedule="p3", synchronization="asp")


@pytest.mark.parametrize("schedule", ["sequential", "layer-by-layer", "p3"])
def test_two_servers_send_and_receive_at_once(kit, schedule):
    workload = kit.workload([1.0, 1.0], [1.0, 1.0], [4 * MB, 4 * MB])
    one, two = (
        kit.train(
            kit.cluster([(1.0, 8e6)] * 2, server_Bps=4e6, servers=servers),
            workload,
            schedule=schedule,
            iterations=2,
        )
        for servers in (1, 2)
    )
    assert two.ends_s[1] < one.ends_s[1]
    hosts = {row[0] for row in two.timeline.transfers if row[2].kind == "pull"}
    assert hosts == {"server", "server-2"}
    for trained in (one, two):
        pulled = sum(row[3] for row in trained.timeline.transfers if row[2].kind == "pull")
        assert pulled >= 2 * 2 * 8 * MB
    if schedule == "sequential":  # 16 MB through 4 MB/s, or half of it through each of two
        assert one.ends_s[0] == 4.0 + 4.0 + 4.0
        assert two.ends_s[0] == 2.0 + 4.0 + 2.0


def test_each_server_updates_and_holds_its_share(kit):
    workload = kit.workload([1.0, 1.0], [1.0, 1.0], [3 * MB, MB], optimizer_s=4.0)
    trained = kit.train(kit.cluster([(1.0, 1e6)], server_Bps=1e6, servers=2), workload)
    spans = {row[0]: row[3] - row[2] for row in trained.timeline.spans if row[1].kind == "update"}
    assert spans == {"server": 3.0, "server-2": 1.0}
    assert trained.sim.device("server").peak_bytes == 6 * MB
    assert trained.sim.device("server-2").peak_bytes == 2 * MB


@pytest.mark.parametrize("schedule", ["sequential", "p3"])
def test_compressed_gradients_are_small_and_cost_their_codec(kit, schedule):
    workload = kit.workload([1.0], [1.0], [4 * MB])
    packing = Compression(ratio=0.25, encode_Bps=8e6, decode_Bps=4e6)
    trained = kit.train(kit.cluster([(1.0, 4e6)]), workload, schedule=schedule, compression=packing)
    kinds = {
        kind: sum(row[3] - row[2] for row in trained.timeline.spans if row[1].kind == kind)
        for kind in ("encode", "decode")
    }
    assert kinds == pytest.approx({"encode": 0.5, "decode": 1.0})
    pushed = sum(row[3] for row in trained.timeline.transfers if row[2].kind == "push")
    assert pushed == pytest.approx(MB)
    if schedule == "sequential":  # pull, forward, backward, encode, push, decode
        assert trained.ends_s == [1.0 + 1.0 + 1.0 + 0.5 + 0.25 + 1.0]
        assert trained.run.predicted_s == trained.ends_s[0]


@pytest.mark.parametrize("schedule", [*PHASED, *QUEUED])
@pytest.mark.parametrize("case", ["servers", "decoding", "contention"])
def test_what_is_predicted_is_what_happens_undisturbed(kit, schedule, case):
    workload = kit.workload([0.1] * 4, [0.2] * 4, [MB, 2 * MB, MB, 3 * MB], optimizer_s=0.1)
    star = {
        "server_Bps": 1e7,
        "servers": 3 if case == "servers" else 1,
        "occupancy_s": 0.01,
        "latency_s": 0.02,
    }
    packing = Compression(ratio=0.5, decode_Bps=1e7) if case == "decoding" else None
    workers = [(1.0, 1e7)] * (1 if case == "decoding" else 3)
    settings = {"schedule": schedule, "compression": packing, "iterations": 8}
    trained = kit.train(kit.cluster(workers, **star), workload, **settings)
    steady = trained.ends_s[-1] - trained.ends_s[-2]
    assert trained.run.predicted_s == pytest.approx(steady, rel=0.01 if schedule in QUEUED else 1e-9)
    assert trained.run.bounds.everybody["iteration_s"] <= steady


def test_the_planner_knows_of_compression(kit):
    workload = kit.workload([0.1] * 4, [0.1] * 4, [MB] * 4)
    cluster = kit.cluster([(1.0, 1e7)], occupancy_s=0.02)
    plain = kit.train(cluster, workload).run
    packed = kit.train(cluster, workload, compression=Compression(ratio=0.01)).run
    assert len(packed.plans["pi-1"][1].cuts) < len(plain.plans["pi-1"][1].cuts)
    assert packed.plans["pi-1"][0] == plain.plans["pi-1"][0]
