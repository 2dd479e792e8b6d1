"""Training without a server, undisturbed: closed forms, bounds, and where it beats a parameter server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError, OutOfMemory
from edgesim.planning.collective import Edge, affine, ring_s, tree_s
from edgesim.planning.segmentation import plan_backward
from edgesim.timeline import Timeline
from edgesim.timeseries import constant
from edgesim.training import all_reduce
from edgesim.training.all_reduce import Config, memory_bytes
from edgesim.workload import Lesson, ProfileTimer

MB = 1_000_000
SCHEDULES = ["sequential", "layer-by-layer", "ibatch", "mg-wfbp", "fusion-25mb", "fusion-64mb", "dynacomm"]


def star(workers, *, occupancy_s=0.0, latency_s=0.0, **device):
    """Workers pi-1, pi-2, ... of (speed, B/s) on full-duplex links to a switch."""
    devices, links, hops = {}, {}, []
    for number, (speed, rate) in enumerate(workers, 1):
        name = f"pi-{number}"
        devices[name] = Device(name=name, speed=speed, **device)
        for link, source, target in ((f"{name}.up", name, "switch"), (f"{name}.down", "switch", name)):
            links[link] = Link(name=link, bandwidth_Bps=rate, occupancy_s=occupancy_s, latency_s=latency_s)
            hops.append(Hop(source=source, target=target, link=link))
    return Cluster(devices=devices, links=links, hops=tuple(hops))


@dataclass
class Trained:
    run: Any
    timeline: Timeline
    sim: Simulation
    ends_s: list[float]

    def marks(self, kind):
        return [row[:2] + row[3:] for row in self.timeline.marks if row[2] == kind]


def train(cluster, workload, *, events=(), until_s=None, learner=None, **config):
    timeline = Timeline()
    sim = Simulation(cluster, timeline=timeline, events=events)
    chosen = Config(**{"workers": tuple(cluster.devices), "iterations": 1, **config})
    run = all_reduce.start(sim, workload, ProfileTimer(workload), chosen, learner)
    trained = Trained(run, timeline, sim, [])
    try:
        sim.run(stop=run.done, until_s=until_s)
    finally:
        trained.ends_s += [time_s for time_s, _, kind, _ in timeline.marks if kind == "iteration"]
    return trained


@st.composite
def undisturbed(draw):
    """Unlike workers on unlike links: start-ups, latency, layer times and sizes of all kinds."""
    layers = draw(st.integers(1, 7))
    times = st.lists(st.floats(1e-3, 10.0), min_size=layers, max_size=layers)
    parts = st.integers(1, MB // 6).map(lambda size: 60 * size)  # of which whole chunks can be made
    sizes = st.lists(parts, min_size=layers, max_size=layers)
    workers = draw(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(1e5, 1e8)), min_size=1, max_size=5))
    links = {"occupancy_s": draw(st.floats(0.0, 1.0)), "latency_s": draw(st.floats(0.0, 1.0))}
    return draw(times), draw(times), draw(sizes), draw(st.floats(0.0, 1.0)), workers, links


CASES = (undisturbed(), st.sampled_from(SCHEDULES), st.sampled_from(["ring", "tree"]))


@settings(max_examples=60)
@given(*CASES)
def test_unlike_workers_take_what_is_predicted_and_never_less_than_the_bounds(kit, case, schedule, algorithm):
    forward, backward, sizes, optimizer_s, workers, links = case
    workload = kit.workload(forward, backward, sizes, optimizer_s)
    trained = train(star(workers, **links), workload, schedule=schedule, algorithm=algorithm, iterations=3)
    first, second, third = trained.ends_s
    assert second - first == pytest.approx(trained.run.predicted_s, rel=1e-9)
    assert third - second == pytest.approx(trained.run.predicted_s, rel=1e-9)
    assert trained.run.bounds.everybody["iteration_s"] <= trained.run.predicted_s * (1 + 1e-9)
    assert trained.run.bounds.everybody["iteration_s"] <= first * (1 + 1e-9)
    assert trained.run.contributions == [tuple(trained.sim.cluster.devices)] * 3


@settings(max_examples=40)
@given(*CASES, st.integers(1, 5))
def test_equal_workers_overlap_as_the_planners_backward_phase_says(kit, case, schedule, algorithm, count):
    forward, backward, sizes, optimizer_s, workers, links = case
    workload = kit.workload(forward, backward, sizes, optimizer_s)
    speed, rate = workers[0]
    trained = train(star([(speed, rate)] * count, **links), workload, schedule=schedule, algorithm=algorithm)
    edge = Edge(rate, links["occupancy_s"], 2 * links["latency_s"])

    def cost_s(nbytes):
        if algorithm == "ring":
            return ring_s(nbytes, [edge] * count)
        return tree_s(nbytes, count, edge)

    line = affine(cost_s, sum(sizes))
    phase = plan_backward(
        [time_s / speed for time_s in backward],
        [line.byte_s * size for size in sizes],
        line.startup_s,
        schedule,
        sizes=sizes,
    )
    expected = sum(forward) / speed + phase.makespan_s + optimizer_s / speed
    assert trained.ends_s[0] == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25)
@given(undisturbed(), st.sampled_from(SCHEDULES), st.integers(2, 5))
def test_no_schedule_beats_dynacomm_among_equal_workers(kit, case, schedule, count):
    forward, backward, sizes, optimizer_s, workers, links = case
    workload = kit.workload(forward, backward, sizes, optimizer_s)
    cluster = star(workers[:1] * count, **links)
    best = train(cluster, workload, schedule="dynacomm").ends_s[0]
    assert best <= train(cluster, workload, schedule=schedule).ends_s[0] * (1 + 1e-9)


def test_one_worker_sends_nothing(kit):
    workload = kit.workload([1.0, 2.0], [3.0, 4.0], [MB, MB], optimizer_s=0.5)
    for algorithm in ("ring", "tree"):
        trained = train(star([(1.0, 1e6)]), workload, algorithm=algorithm, iterations=2)
        assert trained.ends_s == [10.5, 21.0]
        assert trained.timeline.transfers == []
        assert trained.run.bounds.everybody == {"workers_s": 10.5, "links_s": 0.0, "iteration_s": 10.5}


def test_an_iteration_by_hand(kit):
    """Two layers of 4 MB at 1 MB/s, two workers: an all-reduce of a layer takes 2 (4/2)/1 = 4 s."""
    workload = kit.workload([1.0, 1.0], [2.0, 3.0], [4 * MB, 4 * MB], optimizer_s=0.5)
    trained = train(star([(1.0, 1e6)] * 2), workload, schedule="layer-by-layer", iterations=2)
    # forward 0-2, backward of layer 2 2-5, of layer 1 5-7; layer 2 is added up 5-9, layer 1 9-13; update
    assert trained.ends_s == [13.5, 27.0]
    spans = [
        (row[1].kind, row[1].first, row[2], row[3]) for row in trained.timeline.spans if row[0] == "pi-1"
    ]
    assert spans[:5] == [
        ("forward", 1, 0.0, 1.0),
        ("forward", 2, 1.0, 2.0),
        ("backward", 2, 2.0, 5.0),
        ("backward", 1, 5.0, 7.0),
        ("update", 1, 13.0, 13.5),
    ]
    sent = [(row[2].label, row[7], row[9]) for row in trained.timeline.transfers if row[0] == "pi-1"]
    assert sent[:4] == [("2", 5.0, 7.0), ("2", 7.0, 9.0), ("1", 9.0, 11.0), ("1", 11.0, 13.0)]
    assert trained.marks("iteration") == [(13.5, "pi-1", "0"), (27.0, "pi-1", "1")]


def test_a_fast_worker_goes_on_as_soon_as_it_has_updated(kit):
    workload = kit.workload([1.0], [1.0], [MB], optimizer_s=1.0)
    trained = train(star([(0.5, 1e6), (1.0, 1e6)]), workload, iterations=2)
    # pi-1 computes 4 s, then 1 s to add up; pi-2 updates until 6 and begins, pi-1 until 7
    begins = [row[2] for row in trained.timeline.spans if row[0] == "pi-2" and row[1].kind == "forward"]
    assert begins == [0.0, 6.0]
    assert trained.ends_s == [7.0, 14.0]
    assert trained.run.predicted_s == 7.0


@pytest.mark.parametrize("algorithm", ["ring", "tree"])
def test_the_same_run_twice_is_the_same_to_the_last_bit(kit, algorithm):
    workload = kit.workload([0.1, 0.3], [0.2, 0.7], [MB, 3 * MB], optimizer_s=0.1)
    cluster = star([(1.0, 3e6), (0.7, 1e6), (1.3, 2e6)], occupancy_s=0.01, latency_s=0.003)
    one, two = (train(cluster, workload, algorithm=algorithm, iterations=4) for _ in range(2))
    assert one.timeline.spans == two.timeline.spans
    assert one.timeline.transfers == two.timeline.transfers
    assert one.timeline.marks == two.timeline.marks


def test_availability_that_holds_from_the_start_is_known_to_the_planner(kit):
    workload = kit.workload([1, 2], [2, 4], [MB, MB], optimizer_s=0.5)
    trained = train(star([(1.0, 1e6)] * 2, availability=constant(0.5)), workload)
    assert trained.ends_s == [pytest.approx(trained.run.predicted_s)]


@pytest.mark.parametrize("change", [{"sharing": "fifo"}, {"factor": constant(0.5)}])
def test_rings_that_chunk_or_contend_are_rehearsed(kit, change):
    workload = kit.workload([0.01, 0.02], [0.02, 0.04], [60_000, 30_000])
    cluster = star([(1.0, 1e6)] * 3, latency_s=0.001)
    shared = {name: replace(link, **change) for name, link in cluster.links.items()}
    cluster = replace(cluster, links=shared, hops=tuple(_halved(cluster.hops)))
    trained = train(cluster, workload, iterations=2)
    assert trained.ends_s[0] == pytest.approx(trained.run.predicted_s, rel=0.05)


def _halved(hops):
    """Let both directions use one link."""
    return [replace(hop, link=hop.link.replace("down", "up")) for hop in hops]


def test_memory_is_held_by_name_and_too_little_ends_the_run(kit):
    workload = kit.workload([1.0], [1.0], [MB], activation_bytes=3 * MB)
    assert memory_bytes(workload, Config(workers=("a", "b"))) == {"a": 5 * MB, "b": 5 * MB}
    assert train(star([(1.0, 1e6)] * 2), workload).sim.device("pi-2").peak_bytes == 5 * MB
    with pytest.raises(OutOfMemory, match=r"pi-1 .*parameters, gradients and activations"):
        train(star([(1.0, 1e6)] * 2, memory_bytes=4 * MB), workload)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"workers": ()}, "no workers"),
        ({"workers": ("a", "a")}, "named twice"),
        ({"algorithm": "star"}, "training.algorithm: unknown 'star'; known: ring, tree"),
        ({"schedule": "dynacom"}, "unknown schedule 'dynacom'"),
        ({"schedule": "p3"}, "takes a schedule with a barrier"),
        ({"on_crash": "ignore"}, "known: wait, drop, resume"),
        ({"iterations": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says):
    with pytest.raises(EdgesimError, match=says):
        Config(**{"workers": ("a",), **settings})


def test_missing_devices_and_routes_are_refused(kit):
    workload = kit.workload([1.0], [1.0], [MB])
    devices = {name: Device(name=name, speed=1.0) for name in ("a", "b")}
    sim = Simulation(Cluster(devices=devices, links={}, hops=()))
    with pytest.raises(EdgesimError, match="there is no device 'c'"):
        all_reduce.start(sim, workload, ProfileTimer(workload), Config(workers=("a", "c")))
    with pytest.raises(EdgesimError, match="no route from a to b"):
        all_reduce.start(sim, workload, ProfileTimer(workload), Config(workers=("a", "b")))


class Notebook:
    """A learner that writes down what it is asked."""

    def __init__(self):
        self.calls = []

    def pull(self, worker):
        self.calls.append(("pull", worker))

    def apply(self, workers, share=1.0):
        self.calls.append(("apply", tuple(workers), share))
        return Lesson(float(len(self.calls)), None)


def test_what_is_learnt_is_written_down_once_an_iteration(kit):
    workload = kit.workload([1.0], [1.0], [MB])
    learner = Notebook()
    trained = train(star([(1.0, 1e6), (0.5, 1e6)]), workload, iterations=2, learner=learner)
    pulls = [("pull", "pi-1"), ("pull", "pi-2")]
    step = ("apply", ("pi-1", "pi-2"), 1.0)
    assert learner.calls == [*pulls, step, *pulls, step, *pulls]
    rows = trained.timeline.updates
    assert [row[:6] for row in rows] == [(5.0, "pi-1", 0, 2, 0, 3.0), (10.0, "pi-1", 1, 2, 0, 6.0)]
    assert all(isnan(row[6]) for row in rows)


# --- beside a parameter server --------------------------------------------------------------------------


def both(kit, workload, server_Bps, *, schedule, latency_s=0.0):
    """Time of an iteration of four workers at 1 MB/s, with a server and as a ring, in s."""
    cluster = kit.cluster([(1.0, 1e6)] * 4, server_Bps=server_Bps, latency_s=latency_s)
    served = kit.train(cluster, workload, schedule=schedule).ends_s[0]
    workers = tuple(name for name in cluster.devices if name != "server")
    return served, train(cluster, workload, schedule=schedule, workers=workers).ends_s[0]


def test_a_ring_beats_a_server_whose_link_is_like_the_workers(kit):
    workload = kit.workload([1.0], [1.0], [4 * MB])
    assert both(kit, workload, 1e6, schedule="sequential") == pytest.approx((2 * 4 * 4 + 2.0, 2 * 3 + 2.0))


def test_a_ring_still_beats_a_large_server_where_nothing_overlaps(kit):
    workload = kit.workload([1.0], [1.0], [4 * MB])
    assert both(kit, workload, 1e8, schedule="sequential") == pytest.approx((2 * 4 + 2.0, 2 * 3 + 2.0))


def test_a_large_server_beats_a_ring_where_pulls_hide_behind_the_forward_pass(kit):
    workload = kit.workload([1.0] * 8, [1.0] * 8, [MB] * 8)
    served, ring = both(kit, workload, 1e8, schedule="layer-by-layer")
    assert served == pytest.approx(2 * (1.0 + 8.0))
    assert ring == pytest.approx(8.0 + 1.0 + 8 * 1.5)  # all of a ring's bytes wait for the backward pass


def test_a_server_beats_a_ring_where_start_ups_rule(kit):
    workload = kit.workload([1.0], [1.0], [MB])
    served, ring = both(kit, workload, 1e8, schedule="sequential", latency_s=0.5)
    assert served == pytest.approx(2 * (2 * 0.5 + 1.0) + 2.0)
    assert ring == pytest.approx(6 * (2 * 0.5 + 0.25) + 2.0)
