"""Training without a barrier: by hand, beside the pure cost model, and against the lower bound."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim import workload_file
from edgesim.plan import QueuePlan
from edgesim.planning.bounds import duplex_s
from edgesim.planning.cost import Costs
from edgesim.planning.overlap_model import period_s
from edgesim.planning.schedules import SCHEDULES, Queued
from edgesim.planning.slices import sliced

MB = 1_000_000
PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"


@pytest.fixture
def schedule(monkeypatch):
    """Makes a schedule of the given borders, or of any function from costs to a plan; returns its name."""

    def make(split, credit_bytes=0.0):
        if not callable(split):
            plan = QueuePlan(push_borders=split[0], pull_borders=split[1], credit_bytes=credit_bytes)
            split = lambda costs: plan  # noqa: E731
        monkeypatch.setitem(SCHEDULES, "mine", Queued(split))
        return "mine"

    return make


def lengths(trained):
    return [after - before for before, after in pairwise([0.0, *trained.ends_s])]


def test_layers_are_pulled_while_others_are_still_pushed(kit, schedule):
    # Two layers of 1 MB on 1 MB/s: pulls 1 s each, forward 1 s each, backward 1 s each, pushes 1 s each.
    workload = kit.workload([1.0, 1.0], [1.0, 1.0], [MB, MB])
    borders = (MB, 2 * MB)
    trained = kit.train(
        kit.cluster([(1.0, 1e6)]), workload, schedule=schedule((borders, borders)), iterations=3
    )
    # Iteration 0: pulled at 1 and 2, forward until 3, backward until 5, pushed 4-5 and 5-6: ends at 6.
    # Layer 2 is pulled at 5-6, layer 1 at 6-7: forward 7-9, backward until 11, pushed until 12.
    assert trained.ends_s == [6.0, 12.0, 18.0]
    pulls = [(row[2].label, row[8], row[9]) for row in trained.timeline.transfers if row[2].kind == "pull"]
    assert pulls[:4] == [("1", 0.0, 1.0), ("2", 1.0, 2.0), ("2", 5.0, 6.0), ("1", 6.0, 7.0)]


def test_the_lowest_layer_goes_first_and_nothing_that_has_begun_is_interrupted(kit, schedule):
    workload = kit.workload([0.0, 0.0, 0.0], [0.5, 1.0, 1.0], [MB, 4 * MB, 2 * MB])
    borders = (MB, 3 * MB, 5 * MB, 7 * MB)
    run = kit.train(kit.cluster([(1.0, 1e6)]), workload, schedule=schedule((borders, borders)), iterations=1)
    pushes = [(row[2].label, row[8] - 7.0) for row in run.timeline.transfers if row[2].kind == "push"]
    # Layer 3 leaves at 1 and takes 2 s; then layer 2 is there too, and layer 1 overtakes its second slice.
    assert pushes == [("3", 1.0), ("1", 3.0), ("2.1", 4.0), ("2.2", 6.0)]


def test_what_was_handed_over_is_not_overtaken(kit, schedule):
    workload = kit.workload([0.0, 0.0, 0.0], [0.5, 1.0, 1.0], [MB, 4 * MB, 2 * MB])
    borders = (MB, 3 * MB, 5 * MB, 7 * MB)
    name = schedule((borders, borders), credit_bytes=4 * MB)
    run = kit.train(kit.cluster([(1.0, 1e6)]), workload, schedule=name, iterations=1)
    pushes = [(row[2].label, row[8] - 7.0) for row in run.timeline.transfers if row[2].kind == "push"]
    assert pushes == [("3", 1.0), ("2.1", 3.0), ("1", 5.0), ("2.2", 6.0)]


def test_a_pull_waits_for_the_pushes_of_all_workers(kit, schedule):
    workload = kit.workload([1.0, 1.0], [1.0, 1.0], [MB, MB])
    borders = (MB, 2 * MB)
    cluster = kit.cluster([(1.0, 1e6), (0.5, 1e6)])
    trained = kit.train(cluster, workload, schedule=schedule((borders, borders)), iterations=3)
    pushed = {}
    for row in trained.timeline.transfers:
        tag = row[2]
        if tag.kind == "push":
            key = (tag.iteration, tag.first)
            pushed[key] = max(pushed.get(key, 0.0), row[9])
    later = [row for row in trained.timeline.transfers if row[2].kind == "pull" and row[2].iteration > 0]
    assert later
    for row in later:
        assert row[7] >= pushed[row[2].iteration - 1, row[2].first]
    assert trained.run.contributions == [("pi-1", "pi-2")] * 3


def on_one_link(cluster):
    """Both directions of the one worker's cable share it."""
    hops = tuple(replace(hop, link="pi-1.up") for hop in cluster.hops)
    return replace(cluster, links={"pi-1.up": cluster.links["pi-1.up"]}, hops=hops)


TIMES = st.lists(
    st.tuples(st.floats(0.01, 2.0), st.floats(0.01, 2.0), st.integers(1, 40)), min_size=1, max_size=5
)


@st.composite
def borders(draw, total):
    cuts = draw(st.lists(st.integers(1, total), max_size=6))
    return tuple(sorted({*cuts, total}))


@settings(max_examples=150)
@given(
    TIMES,
    st.data(),
    st.floats(0.0, 0.3),
    st.floats(0.0, 1.5),
    st.sampled_from([0.0, 5e5, 2e6]),
    st.booleans(),
)
def test_the_simulated_period_is_that_of_the_cost_model(
    kit, layers, data, startup_s, latency_s, credit, duplex
):
    ahead, back, kilos = zip(*layers, strict=True)
    sizes = tuple(size * 100_000 for size in kilos)
    push, pull = data.draw(borders(sum(sizes))), data.draw(borders(sum(sizes)))
    workload = kit.workload(ahead, back, sizes)
    plan = QueuePlan(push_borders=push, pull_borders=pull, credit_bytes=credit)
    SCHEDULES["drawn"] = Queued(lambda costs: plan)
    try:
        cluster = kit.cluster([(1.0, 1e6)], occupancy_s=startup_s, latency_s=latency_s)
        if not duplex:
            cluster = on_one_link(cluster)
        trained = kit.train(cluster, workload, schedule="drawn", iterations=8)
    finally:
        del SCHEDULES["drawn"]
    costs = Costs(
        sizes=sizes,
        elements=tuple(size // 4 for size in sizes),
        forward_s=ahead,
        backward_s=back,
        pull_Bps=1e6,
        push_Bps=1e6,
        pull_startup_s=startup_s,
        push_startup_s=startup_s,
        pull_latency_s=latency_s,
        push_latency_s=latency_s,
        duplex=duplex,
    )
    assert lengths(trained)[-1] == pytest.approx(period_s(costs, push, pull, credit), rel=1e-9)


@pytest.mark.parametrize("name", ["vgg-19", "googlenet", "inception-v4", "resnet-152"])
def test_tiny_slices_without_start_up_attain_the_bound(kit, schedule, name):
    workload = workload_file.load(PROFILES / f"{name}.json")
    rate, speed = 1.25e8, 50.0
    cluster = kit.cluster([(speed, rate)])
    tiny = max(sum(layer.parameters for layer in workload.layers) // 20_000, 1)
    trained = kit.train(
        cluster, workload_without_update(workload), schedule=schedule(sliced(tiny)), iterations=3
    )
    times = [[size / rate for size in (layer.parameter_bytes for layer in workload.layers)]] * 2
    ahead = [layer.forward_s / speed for layer in workload.layers]
    back = [layer.backward_s / speed for layer in workload.layers]
    bound = duplex_s(times[0], ahead, back, times[1], 0.0)
    assert bound <= lengths(trained)[-1] * (1 + 1e-9)
    assert lengths(trained)[-1] == pytest.approx(bound, rel=1e-3)


def workload_without_update(workload):
    return replace(workload, optimizer_s=0.0)


def test_an_update_of_each_message_is_on_the_clock(kit, schedule):
    workload = kit.workload([1.0], [1.0], [4 * MB], optimizer_s=2.0)
    cuts = tuple(accumulate([MB] * 4))
    trained = kit.train(kit.cluster([(1.0, 1e6)]), workload, schedule=schedule((cuts, cuts)), iterations=2)
    updates = [row for row in trained.timeline.spans if row[1].kind == "update"]
    assert [row[3] - row[2] for row in updates] == [0.5] * 8
    # Pushed at 7, 8, 9, 10, each updated 0.5 s later; pulled 7.5-11.5 in the same order.
    assert trained.ends_s[0] == 10.5
    assert lengths(trained)[1] == pytest.approx(4.0 + 0.5 + 1.0 + 2.0)
