"""Undisturbed training: the simulated iteration is the predicted one, and the timeline says what happened."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.cluster import Cluster, Device
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError, OutOfMemory
from edgesim.planning.schedules import PHASED
from edgesim.planning.segmentation import plan
from edgesim.timeseries import constant
from edgesim.training import METHODS
from edgesim.training.parameter_server import Config, memory_bytes, update_s
from edgesim.workload import ProfileTimer

MB = 1_000_000
RIVALS = [name for name in PHASED if name != "dynacomm"]
GOLDEN = [
    # pull (MB at 1 MB/s), forward, start-up, and the makespan of each schedule, the same in both phases
    ([4, 1, 3, 2], [2, 5, 1, 3], 1, {"sequential": 22, "layer-by-layer": 17, "dynacomm": 17}),
    ([6, 2, 2, 2, 8], [1, 4, 1, 1, 2], 2, {"sequential": 31, "layer-by-layer": 32, "dynacomm": 26}),
    ([1] * 8, [2] * 8, 3, {"sequential": 27, "layer-by-layer": 34, "dynacomm": 22}),
    ([5] * 6, [2] * 6, 1, {"sequential": 43, "layer-by-layer": 38, "dynacomm": 35}),
]


@st.composite
def undisturbed(draw):
    """Unlike workers, each on a cable of its own: start-ups, latency, layer times of all sizes."""
    layers = draw(st.integers(1, 8))
    times = st.lists(st.floats(1e-4, 10.0), min_size=layers, max_size=layers)
    sizes = st.lists(st.integers(1, 10 * MB), min_size=layers, max_size=layers)
    workers = draw(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(1e5, 1e8)), min_size=1, max_size=4))
    links = {"occupancy_s": draw(st.floats(0.0, 1.0)), "latency_s": draw(st.floats(0.0, 1.0))}
    return draw(times), draw(times), draw(sizes), draw(st.floats(0.0, 1.0)), workers, links


@settings(max_examples=40)
@given(undisturbed(), st.sampled_from(PHASED))
def test_the_simulated_iteration_is_the_predicted_one_without_contention(kit, case, schedule):
    forward, backward, sizes, optimizer_s, workers, links = case
    workload = kit.workload(forward, backward, sizes, optimizer_s)
    cluster = kit.cluster(workers, **links)
    trained = kit.train(cluster, workload, schedule=schedule, iterations=2)
    first, second = trained.ends_s
    assert first == pytest.approx(trained.run.predicted_s, rel=1e-9)
    assert second - first == pytest.approx(first, rel=1e-9)
    assert trained.run.bounds.everybody["iteration_s"] <= first * (1 + 1e-9)
    best = kit.train(cluster, workload, schedule="dynacomm")
    assert best.ends_s[0] <= first * (1 + 1e-9)


@pytest.mark.parametrize(("pull", "forward", "startup", "makespans"), GOLDEN)
def test_golden_cases_on_the_simulated_network(kit, pull, forward, startup, makespans):
    workload = kit.workload(forward, forward, [size * MB for size in pull])
    cluster = kit.cluster([(1.0, 1e6)], occupancy_s=startup)
    for schedule, makespan in makespans.items():
        trained = kit.train(cluster, workload, schedule=schedule)
        assert trained.ends_s == [pytest.approx(2 * makespan)]
        ahead, back = trained.run.plans["pi-1"]
        assert ahead == plan(pull, forward, startup, schedule)
        assert back.makespan_s == makespan


def test_availability_that_holds_from_the_start_is_known_to_the_planner(kit):
    workload = kit.workload([1, 2], [2, 4], [MB, MB])
    trained = kit.train(kit.cluster([(1.0, 1e6)], availability=constant(0.5)), workload)
    assert trained.ends_s == [pytest.approx(trained.run.predicted_s)]


@pytest.mark.parametrize("seed", range(12))
def test_dynacomm_is_never_longer_than_a_rival_on_a_contended_uplink(kit, seed):
    rng = random.Random(seed)
    layers, spread = rng.randint(4, 20), rng.choice([0.3, 1.0, 1.5])
    sizes = [int(1e5 * rng.lognormvariate(0, spread)) + 1 for _ in range(layers)]
    forward = [rng.choice([0.02, 0.1, 0.5]) * rng.lognormvariate(0, spread) for _ in range(layers)]
    workload = kit.workload(forward, [2 * one for one in forward], sizes, optimizer_s=0.1)
    workers = [(2 ** rng.uniform(-2, 1), 1e6 * 2 ** rng.uniform(-2, 2)) for _ in range(8)]
    cluster = kit.cluster(
        workers,
        server_Bps=8e6 * 10 ** rng.uniform(-1.2, 0.3),
        occupancy_s=rng.choice([0.0, 1e-3, 1e-2]),
        latency_s=rng.choice([0.0, 5e-3]),
    )
    best = kit.train(cluster, workload)
    assert best.ends_s[0] == pytest.approx(best.run.predicted_s, rel=1e-6)
    assert best.run.bounds.everybody["iteration_s"] <= best.ends_s[0] * (1 + 1e-9)
    for schedule in RIVALS:
        rival = kit.train(cluster, workload, schedule=schedule)
        assert best.ends_s[0] <= rival.ends_s[0] * (1 + 1e-9)


def test_equal_workers_share_the_uplink_as_the_planner_expects(kit):
    workload = kit.workload([1.0], [1.0], [4 * MB])
    trained = kit.train(kit.cluster([(1.0, 4e6)] * 4, server_Bps=8e6), workload, schedule="sequential")
    assert trained.ends_s == [pytest.approx(2 + 1 + 1 + 2)]
    assert trained.run.predicted_s == pytest.approx(6.0)
    assert trained.run.bounds.everybody == pytest.approx(
        {"workers_s": 4.0, "links_s": 5.0, "iteration_s": 5.0}
    )


def test_the_timeline_holds_every_layer_segment_and_iteration(kit):
    workload = kit.workload([1, 1, 1], [2, 2, 2], [MB, MB, MB], optimizer_s=0.5)
    cluster = kit.cluster([(1.0, 1e6), (2.0, 2e6)], latency_s=0.25)
    trained = kit.train(cluster, workload, schedule="layer-by-layer", iterations=2)
    for name in ("pi-1", "pi-2"):
        for iteration in (0, 1):
            spans = [
                row for row in trained.timeline.spans if row[0] == name and row[1].iteration == iteration
            ]
            moved = [
                row
                for row in trained.timeline.transfers
                if name in (row[0], row[1]) and row[2].iteration == iteration
            ]
            check_iteration(spans, moved)
    updates = [row for row in trained.timeline.spans if row[0] == "server"]
    assert [row[1].kind for row in updates] == ["update", "update"]
    assert [row[3] - row[2] for row in updates] == [0.5, 0.5]
    assert [mark[1:] for mark in trained.marks("iteration")] == [("server", "0"), ("server", "1")]
    assert trained.run.contributions == [("pi-2", "pi-1"), ("pi-2", "pi-1")]


def check_iteration(spans, transfers):
    """Forward 1..L after each arrived, backward L..1, pushed top first after each was done."""
    passes = [(row[1].kind, row[1].first) for row in spans]
    assert passes == [("forward", layer) for layer in (1, 2, 3)] + [
        ("backward", layer) for layer in (3, 2, 1)
    ]
    assert [(row[2].kind, row[2].label) for row in transfers] == [
        *(("pull", layer) for layer in "123"),
        *(("push", layer) for layer in "321"),
    ]
    begins = {(row[1].kind, row[1].first): row[2] for row in spans}
    ends = {(row[1].kind, row[1].first): row[3] for row in spans}
    for row in transfers:
        queued, arrived = row[7], row[9]
        if row[2].kind == "pull":
            assert begins["forward", row[2].first] >= arrived
        else:
            assert queued == ends["backward", row[2].first]


def test_without_a_last_iteration_training_goes_on_until_the_end_of_time(kit):
    workload = kit.workload([1.0], [1.0], [MB])
    trained = kit.train(kit.cluster([(1.0, 1e6)]), workload, iterations=None, until_s=41.0)
    assert trained.ends_s == [4.0 * number for number in range(1, 11)]
    assert not trained.run.done.triggered


def test_memory_is_held_by_name_and_too_little_ends_the_run(kit):
    workload = kit.workload([1.0], [1.0], [MB], activation_bytes=3 * MB)
    trained = kit.train(kit.cluster([(1.0, 1e6)]), workload)
    assert trained.sim.device("pi-1").peak_bytes == 5 * MB
    assert trained.sim.device("server").peak_bytes == 2 * MB
    with pytest.raises(OutOfMemory, match=r"pi-1 .*parameters, gradients and activations"):
        kit.train(kit.cluster([(1.0, 1e6)], memory_bytes=4 * MB), workload)
    config = Config(servers=("server",), workers=("a", "b"), on_crash="drop")
    assert memory_bytes(workload, config) == {"a": 5 * MB, "b": 5 * MB, "server": 4 * MB}


def test_the_update_scales_with_the_server(kit):
    workload = kit.workload([1.0], [1.0], [4 * MB], optimizer_s=3.0)
    assert update_s(workload, Device(name="s", speed=2.0)) == 1.5
    assert update_s(workload, Device(name="s", compute_flops=1e6)) == 2.0
    assert update_s(workload, Device(name="s", compute_flops=1e9, memory_bandwidth_Bps=4e6)) == 3.0
    free = kit.workload([1.0], [1.0], [4 * MB], optimizer_s=0.0)
    assert update_s(free, Device(name="s", compute_flops=1.0)) == 0.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"workers": ()}, "no workers"),
        ({"workers": ("a", "a")}, "named twice"),
        ({"workers": ("server",)}, "is a server"),
        ({"schedule": "dynacom"}, "dynacom"),
        ({"on_crash": "ignore"}, "known: wait, drop, resume"),
        ({"iterations": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says):
    with pytest.raises(EdgesimError, match=says):
        Config(**{"servers": ("server",), "workers": ("a",), **settings})


def test_missing_devices_and_routes_are_refused(kit):
    workload = kit.workload([1.0], [1.0], [MB])
    start = METHODS["parameter-server"]
    devices = {name: Device(name=name, speed=1.0) for name in ("server", "a")}
    sim = Simulation(Cluster(devices=devices, links={}, hops=()))
    with pytest.raises(EdgesimError, match="there is no device 'b'"):
        start(sim, workload, ProfileTimer(workload), Config(servers=("server",), workers=("b",)))
    with pytest.raises(EdgesimError, match="no route from server to a"):
        start(sim, workload, ProfileTimer(workload), Config(servers=("server",), workers=("a",)))


@pytest.mark.parametrize("schedule", ["layer-by-layer", "p3"])
def test_contention_hides_the_latency_of_a_start_up_and_not_its_occupancy(kit, schedule):
    # Four workers fill one server link; each message costs 50 ms, which holds the link, or does not.
    workload = kit.workload([0.01] * 8, [0.01] * 8, [MB // 2] * 8)
    free, held, waited = (
        kit.train(
            kit.cluster([(1.0, 1e7)] * 4, server_Bps=1e7, **cost), workload, schedule=schedule, iterations=3
        )
        for cost in ({}, {"occupancy_s": 0.05}, {"latency_s": 0.025})
    )
    at_least = 4 * 8 * 0.05  # every message of every worker holds the server's link that long
    assert held.ends_s[-1] - free.ends_s[-1] > 2.9 * at_least
    assert waited.ends_s[-1] - free.ends_s[-1] < 3 * 0.3


def worst(times):
    return (times.layers,)


@pytest.mark.parametrize("adapts", [False, True])
def test_a_schedule_of_ones_own_is_what_runs_where_workers_contend(kit, monkeypatch, adapts):
    from edgesim.planning import schedules

    monkeypatch.setattr(schedules.own, "imported", lambda name: schedules.Phased(worst, adapts=adapts))
    workload = kit.workload([0.1] * 6, [0.1] * 6, [MB] * 6)
    cluster = kit.cluster([(1.0, 1e7)] * 4, server_Bps=1e7, occupancy_s=0.001)
    mine = kit.train(cluster, workload, schedule="mine:worst", iterations=2)
    assert {plan.cuts for plans in mine.run.plans.values() for plan in plans} == {(6,)}
    best = kit.train(cluster, workload, schedule="dynacomm", iterations=2)
    assert best.ends_s[-1] < mine.ends_s[-1]
