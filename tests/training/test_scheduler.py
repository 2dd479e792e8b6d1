"""Planning during the run, by simulation: what it recovers, what it costs, and that it can let well alone."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

import edgesim
from edgesim.errors import Deadlock, EdgesimError
from edgesim.events import ChangeLink, Crash, Slow
from edgesim.timeseries import Series
from edgesim.training.config import Compression, Planner
from edgesim.training.scheduler import PLANNING_S, span
from edgesim.workload_file import load

PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"
SCENARIO = PROFILES.parent / "bandwidth-steps.yaml"
MODELS = ("googlenet", "inception-v4", "mobilenetv2-32", "resnet-152", "vgg-19")
POLICIES = ("once", "last-sample", "min-max", "forecast", "adaptive")


def cable(kit, workload, share, *, times_s=None, factors=(1.0,), period_s=None, workers=1, server_share=None):
    """Workers on cables over which all transfers of one phase take `share` of its computing, at best.

    `times_s` and `factors` vary the bandwidth of all cables, in iterations of computing alone.
    """
    forward_s = sum(layer.forward_s for layer in workload.layers)
    rate_Bps = workload.parameter_bytes / (share * forward_s)
    server = None if server_share is None else rate_Bps * server_share
    cluster = kit.cluster([(1.0, rate_Bps)] * workers, occupancy_s=forward_s / 50, server_Bps=server)
    if times_s is None:
        return cluster
    factor = Series(times_s=tuple(times_s), values=tuple(factors), period_s=period_s)
    links = {name: replace(link, factor=factor) for name, link in cluster.links.items()}
    return replace(cluster, links=links)


def planned(trained):
    """Time spent on planning in each iteration that has any, in s."""
    spent = {}
    for row in trained.timeline.spans:
        if row[1].kind == "plan":
            spent[row[1].iteration] = spent.get(row[1].iteration, 0.0) + row[3] - row[2]
    return spent


def periods(trained):
    return [end - start for start, end in zip([0.0, *trained.ends_s], trained.ends_s, strict=False)]


def train(kit, cluster, workload, policy, *, belief=1.0, iterations=6, **more):
    planner = Planner(policy=policy, bandwidth_belief=belief)
    return kit.train(cluster, workload, planner=planner, iterations=iterations, **more)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("share", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("belief", [0.5, 2.0])
def test_misjudged_bandwidth_is_recovered_within_five_iterations(kit, name, share, belief):
    workload = load(PROFILES / f"{name}.json")
    cluster = cable(kit, workload, share)
    truth = periods(train(kit, cluster, workload, "once"))[0]
    found = periods(train(kit, cluster, workload, "adaptive", belief=belief))
    assert found[0] >= truth * (1 - 1e-9)
    assert max(found[2:]) <= 1.001 * truth
    assert found[1] <= 1.02 * truth


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("workers", [{"workers": 1}, {"workers": 3, "server_share": 1.5}])
def test_when_nothing_moved_nothing_is_planned_and_every_instant_is_the_same(kit, name, workers):
    workload = load(PROFILES / f"{name}.json")
    cluster = cable(kit, workload, 1.0, **workers)
    once = train(kit, cluster, workload, "once", iterations=4)
    adaptive = train(kit, cluster, workload, "adaptive", iterations=4)
    assert not planned(adaptive)
    assert adaptive.timeline.spans == once.timeline.spans
    assert adaptive.timeline.transfers == once.timeline.transfers


def test_a_worker_plans_while_it_waits_for_messages(kit):
    workload = load(PROFILES / "resnet-152.json")
    trained = train(kit, cable(kit, workload, 1.0), workload, "adaptive", belief=0.5)
    spans = [row for row in trained.timeline.spans if row[1].kind == "plan"]
    ends = [row[3] for row in trained.timeline.spans if row[1].kind == "backward" and row[1].iteration == 0]
    assert [(row[0], row[1].iteration, row[2]) for row in spans] == [
        ("pi-1", 0, max(ends)),  # its pulls, while its last pushes are on their way
        ("pi-1", 1, trained.ends_s[0]),  # its pushes, while the first parameters are
    ]
    for row in spans:
        assert row[3] - row[2] == pytest.approx(len(workload.layers) * PLANNING_S)
    pulls = [row for row in trained.timeline.transfers if row[2].kind == "pull" and row[2].iteration == 1]
    assert spans[0][3] < trained.ends_s[0] == min(row[7] for row in pulls)
    forward = [row[2] for row in trained.timeline.spans if row[1].kind == "forward" and row[1].iteration == 1]
    assert spans[1][3] < min(forward)


@pytest.mark.parametrize("slow", [1.0, 1e-4])
def test_planning_that_takes_longer_than_the_device_waits_delays_it(kit, slow):
    """A device that computes layers as fast, but plans at `slow` times the speed of the profiled host."""
    workload = load(PROFILES / "resnet-152.json")
    cluster = cable(kit, workload, 1.0)
    faster = replace(
        workload,
        layers=tuple(
            replace(one, forward_s=one.forward_s * slow, backward_s=one.backward_s * slow)
            for one in workload.layers
        ),
    )
    cluster = replace(
        cluster, devices={**cluster.devices, "pi-1": replace(cluster.devices["pi-1"], speed=slow)}
    )
    trained = train(kit, cluster, faster, "adaptive", belief=0.5, iterations=2)
    spans = [row for row in trained.timeline.spans if row[1].kind == "plan"]
    pulls = [row[8] for row in trained.timeline.transfers if row[2].kind == "pull" and row[2].iteration == 1]
    assert (min(pulls) > trained.ends_s[0]) == (slow < 1.0)
    assert min(pulls) == pytest.approx(max(trained.ends_s[0], spans[0][3]))


def test_changes_of_plan_are_marked_and_nothing_else_is(kit):
    workload = load(PROFILES / "resnet-152.json")
    cluster = cable(kit, workload, 1.0)
    marks = train(kit, cluster, workload, "adaptive", belief=0.5).marks("plan")
    rate = span([cluster.links["pi-1.up"].bandwidth_Bps])
    assert [subject for _, subject, _ in marks] == ["pi-1", "pi-1"]
    assert [label.split()[0] for _, _, label in marks] == ["pull", "push"]
    assert all(label.endswith(f"segments, {rate}") for _, _, label in marks)
    for policy in POLICIES:
        kept = train(kit, cluster, workload, policy).marks("plan")
        assert len(kept) == (2 if policy == "min-max" else 0)


def test_a_plan_made_once_loses_by_a_lasting_step(kit):
    workload = load(PROFILES / "resnet-152.json")
    cluster = cable(kit, workload, 4.0, times_s=[0.0, 100.0], factors=[1.0, 4.0])
    found = {policy: train(kit, cluster, workload, policy, iterations=20) for policy in POLICIES}
    lasts = {policy: periods(one)[-1] for policy, one in found.items()}
    assert lasts["adaptive"] < 0.9 * lasts["once"]
    check_order(found)


def test_chasing_the_last_sample_loses_where_bandwidth_flips(kit):
    workload = load(PROFILES / "resnet-152.json")
    cluster = cable(kit, workload, 1.0, times_s=[0.0, 12.0], factors=[1.0, 0.25], period_s=31.0)
    found = {policy: train(kit, cluster, workload, policy, iterations=30) for policy in POLICIES}
    assert found["adaptive"].ends_s[-1] < 0.95 * found["last-sample"].ends_s[-1]
    check_order(found)


def check_order(found):
    """forecast <= adaptive <= the worst of the others."""
    ends = {policy: one.ends_s[-1] for policy, one in found.items()}
    assert ends["forecast"] <= ends["adaptive"] * (1 + 1e-9)
    assert ends["adaptive"] <= max(ends[policy] for policy in ("once", "last-sample", "min-max"))


def test_a_device_that_slows_down_is_planned_for(kit):
    workload = load(PROFILES / "googlenet.json")
    cluster = cable(kit, workload, 1.0)
    slow = [Slow(at_s=10.0, device="pi-1", to=0.25)]
    adaptive = train(kit, cluster, workload, "adaptive", events=slow, iterations=12)
    once = train(kit, cluster, workload, "once", events=slow, iterations=12)
    assert 1 <= len(planned(adaptive)) <= 8
    assert periods(adaptive)[-1] <= periods(once)[-1]


@pytest.mark.parametrize("on_crash", ["wait", "drop", "resume"])
@pytest.mark.parametrize("at_s", [2.0, 5.0])
def test_a_worker_crashes_and_returns_while_plans_follow(kit, on_crash, at_s):
    workload = load(PROFILES / "googlenet.json")
    cluster = cable(kit, workload, 1.0, workers=2)
    events = [
        Crash(at_s=at_s, device="pi-1", for_s=3.0),
        ChangeLink(at_s=20.0, link="pi-1.down", bandwidth_Bps=1e5),
    ]
    trained = train(
        kit, cluster, workload, "adaptive", belief=0.5, iterations=12, events=events, on_crash=on_crash
    )
    assert len(trained.run.contributions) == 12
    assert all(len(set(some)) == len(some) for some in trained.run.contributions)
    assert len(planned(trained)) >= 2


@pytest.mark.parametrize("phase", [0, 1])
def test_a_crash_over_planning_asks_for_the_plan_again(kit, phase):
    workload = load(PROFILES / "resnet-152.json")
    cluster = cable(kit, workload, 1.0)
    undisturbed = train(kit, cluster, workload, "adaptive", belief=0.5, iterations=4)
    first = [row for row in undisturbed.timeline.spans if row[1].kind == "plan"][phase]
    events = [Crash(at_s=(first[2] + first[3]) / 2, device="pi-1", for_s=1.0)]
    trained = train(kit, cluster, workload, "adaptive", belief=0.5, iterations=4, events=events)
    spans = [row for row in trained.timeline.spans if row[1].kind == "plan"]
    assert [row[5] > 0.0 for row in spans] == [index == phase for index in range(3)]
    assert periods(trained)[-1] == pytest.approx(periods(undisturbed)[-1])


def test_compressing_counts_as_computing(kit):
    workload = load(PROFILES / "mobilenetv2-32.json")
    cluster = cable(kit, workload, 1.0)
    packing = Compression(ratio=0.25, encode_Bps=workload.parameter_bytes / 0.1)
    truth = train(kit, cluster, workload, "once", compression=packing)
    kept = train(kit, cluster, workload, "adaptive", compression=packing)
    found = train(kit, cluster, workload, "adaptive", belief=0.5, compression=packing)
    assert not planned(kept)
    assert periods(found)[-1] == pytest.approx(periods(truth)[-1], rel=1e-3)


@pytest.mark.parametrize("synchronization", ["asp", "ssp"])
@pytest.mark.parametrize("policy", ["adaptive", "last-sample", "min-max"])
def test_workers_out_of_step_plan_alone(kit, synchronization, policy):
    workload = load(PROFILES / "mobilenetv2-32.json")
    cluster = cable(kit, workload, 1.0, workers=3, server_share=1.5)
    trained = train(
        kit, cluster, workload, policy, belief=0.5, iterations=6, synchronization=synchronization, staleness=1
    )
    assert len(trained.run.contributions) == 6
    assert "server" not in {row[0] for row in trained.timeline.spans if row[1].kind == "plan"}


def test_a_policy_that_is_none_and_a_belief_in_no_bandwidth_are_refused():
    with pytest.raises(EdgesimError, match=r"planner.policy: unknown 'adaptiv'"):
        Planner(policy="adaptiv")
    with pytest.raises(EdgesimError, match=r"bandwidth_belief: 0.0; above 0"):
        Planner(bandwidth_belief=0.0)


def test_the_shipped_scenario_shows_who_loses_where():
    ends = {}
    for run in edgesim.compare(SCENARIO, pictures=False):
        assert run.result is not None
        axes = dict(run.axes)
        policy = axes.pop("training.planner.policy")
        ends.setdefault(str(axes), {})[policy] = run.result.summary["simulated_s"]
    step, flips, low, high = ends.values()
    assert step["once"] > 1.2 * step["adaptive"]
    assert flips["last-sample"] > 1.2 * flips["adaptive"]
    assert flips["last-sample"] > 1.1 * flips["once"]
    for found in (step, flips):
        assert found["forecast"] < found["adaptive"] < 1.05 * found["forecast"]
    for found in (low, high):
        assert found["once"] > 1.1 * found["adaptive"]


@pytest.mark.parametrize("belief", [0.5, 2.0])
def test_a_forecast_of_the_course_learns_how_fast_the_link_is_on_the_whole(kit, belief):
    workload = load(PROFILES / "mobilenetv2-32.json")
    cluster = cable(kit, workload, 1.0, times_s=[0.0, 0.2], factors=[1.0, 0.25], period_s=0.5)
    knowing = train(kit, cluster, workload, "forecast", iterations=12)
    learning = train(kit, cluster, workload, "forecast", belief=belief, iterations=12)
    assert learning.ends_s[-1] <= 1.05 * knowing.ends_s[-1]
    for one in (knowing, learning):
        assert 0.0 < sum(planned(one).values()) < 0.02 * one.ends_s[-1]


def test_a_link_that_dies_for_ever_is_no_reason_to_fail_over_a_forecast(kit):
    workload = kit.workload([1.0, 1.0], [1.0, 1.0], [10**6, 10**6])
    cluster = kit.cluster([(1.0, 1e6)])
    dying = Series(times_s=(0.0, 30.0), values=(1.0, 0.0))
    cluster = replace(
        cluster, links={name: replace(link, factor=dying) for name, link in cluster.links.items()}
    )
    with pytest.raises(Deadlock, match=r"waits for pu(ll|sh)"):  # and no error of the planner
        train(kit, cluster, workload, "forecast", iterations=None)


# --- where workers contend ------------------------------------------------------------------------------


@pytest.mark.parametrize("belief", [0.5, 2.0])
@pytest.mark.parametrize("name", ["mobilenetv2-32", "googlenet"])
def test_contending_workers_recover_together(kit, name, belief):
    workload = load(PROFILES / f"{name}.json")
    cluster = cable(kit, workload, 1.0, workers=4, server_share=2.0)
    truth = periods(train(kit, cluster, workload, "once"))[0]
    trained = train(kit, cluster, workload, "adaptive", belief=belief, iterations=8)
    assert periods(trained)[-1] <= 1.02 * truth
    assert {row[0] for row in trained.timeline.spans if row[1].kind == "plan"} <= {"server"}


def test_a_step_of_the_shared_link_is_followed_by_all_at_once(kit):
    workload = load(PROFILES / "mobilenetv2-32.json")
    cluster = cable(kit, workload, 4.0, workers=4, server_share=2.0)
    rate_Bps = cluster.links["server.up"].bandwidth_Bps
    faster = [
        ChangeLink(at_s=8.0, link=f"server.{way}", bandwidth_Bps=4 * rate_Bps) for way in ("up", "down")
    ]
    once = train(kit, cluster, workload, "once", events=faster, iterations=20)
    adaptive = train(kit, cluster, workload, "adaptive", events=faster, iterations=20)
    assert periods(adaptive)[-1] <= periods(once)[-1]
    assert planned(adaptive)


def test_another_worker_going_slow_is_told_from_a_slow_server_link(kit):
    workload = load(PROFILES / "mobilenetv2-32.json")
    cluster = cable(kit, workload, 1.0, workers=4, server_share=2.0)
    rate_Bps = cluster.links["pi-2.down"].bandwidth_Bps
    slower = [ChangeLink(at_s=5.0, link="pi-2.down", bandwidth_Bps=rate_Bps / 10)]
    once = train(kit, cluster, workload, "once", events=slower, iterations=12)
    adaptive = train(kit, cluster, workload, "adaptive", events=slower, iterations=12)
    assert periods(adaptive)[-1] <= periods(once)[-1] * (1 + 1e-9)


@pytest.mark.parametrize("on_crash", ["wait", "drop"])
def test_workers_that_are_left_go_on_planning_and_come_to_rest(kit, on_crash):
    workload = load(PROFILES / "mobilenetv2-32.json")
    cluster = cable(kit, workload, 4.0, workers=4, server_share=2.0)
    rate_Bps = cluster.links["server.up"].bandwidth_Bps
    more = [ChangeLink(at_s=20.0, link=f"server.{way}", bandwidth_Bps=6 * rate_Bps) for way in ("up", "down")]
    gone = Crash(at_s=6.0, device="pi-4", for_s=None)
    more = {"events": [gone, *more], "iterations": 40, "on_crash": on_crash}
    once = train(kit, cluster, workload, "once", **more)
    adaptive = train(kit, cluster, workload, "adaptive", **more)
    assert [len(some) for some in adaptive.run.contributions].count(3) >= 35
    assert periods(adaptive)[-1] < periods(once)[-1]
    assert [subject for at_s, subject, _ in adaptive.marks("plan") if at_s > 20.0] == ["server"]
    assert adaptive.run.repeatable


def test_a_forecast_for_workers_that_contend_is_refused(kit):
    workload = load(PROFILES / "mobilenetv2-32.json")
    cluster = cable(kit, workload, 1.0, workers=4, server_share=2.0)
    with pytest.raises(EdgesimError, match="take 'adaptive'"):
        train(kit, cluster, workload, "forecast")


@pytest.mark.parametrize("seed", [3, 10, 17, 25])
@pytest.mark.parametrize("belief", [0.5, 2.0])
def test_unlike_workers_behind_one_link_recover_within_five_iterations(kit, seed, belief):
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
    truth = periods(train(kit, cluster, workload, "once", iterations=1))[0]
    found = periods(train(kit, cluster, workload, "adaptive", belief=belief, iterations=6))
    assert found[4] <= 1.02 * truth
    assert found[5] <= 1.02 * truth
