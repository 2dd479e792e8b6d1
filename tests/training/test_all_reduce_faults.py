"""Training without a server while devices crash and links are cut: by hand, and at random times."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.errors import SimulationError
from edgesim.events import ChangeLink, Crash, Cut, RandomCrashes, RandomCuts, Slow
from edgesim.timeline import Timeline
from edgesim.training import all_reduce
from edgesim.workload import ProfileTimer

MB = 1_000_000
# Two workers, one layer: forward 1 s, backward 1 s, all-reduce 2 x (1/2 MB) / 1 MB/s = 1 s, update 1 s.


class Trained:
    """A run, and what came of it."""

    def __init__(self, cluster, workload, *, events=(), until_s=None, **config):
        self.timeline = Timeline()
        self.sim = Simulation(cluster, timeline=self.timeline, events=events)
        settings = {"workers": tuple(cluster.devices), **config}
        chosen = all_reduce.Config(**settings)
        self.run = all_reduce.start(self.sim, workload, ProfileTimer(workload), chosen)
        self.sim.run(stop=self.run.done, until_s=until_s)
        self.ends_s = [mark[0] for mark in self.marks("iteration")]

    def marks(self, kind):
        return [row[:2] + row[3:] for row in self.timeline.marks if row[2] == kind]

    def sent(self, kind):
        return [row for row in self.timeline.transfers if row[2].kind == kind]


def star(workers, *, occupancy_s=0.0, latency_s=0.0):
    devices, links, hops = {}, {}, []
    for number, (speed, rate) in enumerate(workers, 1):
        name = f"pi-{number}"
        devices[name] = Device(name=name, speed=speed)
        for link, source, target in ((f"{name}.up", name, "switch"), (f"{name}.down", "switch", name)):
            links[link] = Link(name=link, bandwidth_Bps=rate, occupancy_s=occupancy_s, latency_s=latency_s)
            hops.append(Hop(source=source, target=target, link=link))
    return Cluster(devices=devices, links=links, hops=tuple(hops))


@pytest.fixture(scope="session")
def toy(kit):
    def run(*events, workers=2, **config):
        workload = kit.workload([1.0], [1.0], [MB], optimizer_s=1.0)
        return Trained(star([(1.0, 1e6)] * workers), workload, events=events, **config)

    return run


def crash(at_s, for_s=None, device="pi-1"):
    return Crash(at_s=at_s, device=device, for_s=for_s)


@pytest.mark.parametrize("algorithm", ["ring", "tree"])
@pytest.mark.parametrize(
    ("at_s", "waited_s", "resumed_s"),
    [
        (0.5, 2.5 + 4.0, 2.5 + 4.0),  # forward: everything is to be done
        (1.5, 3.5 + 4.0, 3.5 + 3.0),  # backward: the forward pass is kept
        (2.5, 4.5 + 4.0, 4.5 + 2.0),  # adding up: the gradients are kept, the collective begins again
        (3.5, 5.5 + 1.0, 5.5 + 1.0),  # update: the sums are on disk
    ],
)
def test_a_crashed_worker_is_waited_for(toy, at_s, waited_s, resumed_s, algorithm):
    more = {"ring": 0.0, "tree": 1.0}[algorithm]  # a tree of two takes 2 s to add up
    for policy, end_s in (("wait", waited_s), ("resume", resumed_s)):
        at = at_s + (more if at_s == 3.5 else 0.0)
        trained = toy(crash(at, 2.0), on_crash=policy, iterations=2, algorithm=algorithm)
        assert trained.ends_s == [end_s + more, end_s + 4.0 + 2 * more]
        assert trained.run.contributions == [("pi-1", "pi-2")] * 2
        assert trained.marks("drop") == []
        check_bytes(trained)


@pytest.mark.parametrize(
    ("at_s", "ends_s", "first"),
    [
        (0.5, [3.0, 6.0, 11.0], ("pi-2",)),
        (1.5, [3.0, 6.0, 11.0], ("pi-2",)),
        (2.5, [3.5, 6.5, 11.5], ("pi-2",)),
        (3.5, [4.0, 7.0, 12.0], ("pi-1", "pi-2")),
    ],
)
def test_a_dropped_worker_fetches_the_parameters_and_is_back(toy, at_s, ends_s, first):
    """The iteration closes without it; in the one that opens after its return all wait for its fetch."""
    trained = toy(crash(at_s, 2.0), on_crash="drop", iterations=3)
    assert trained.ends_s == ends_s
    assert trained.run.contributions == [first, ("pi-2",), ("pi-1", "pi-2")]
    assert [mark[1:] for mark in trained.marks("drop")] == [("pi-1", f"iteration {int(at_s == 3.5)}")]
    (pull,) = trained.sent("pull")
    assert (pull[:2], pull[2].iteration, pull[5]) == (("pi-2", "pi-1"), 2, MB)
    assert pull[9] == ends_s[1] + 1.0
    check_bytes(trained)


@pytest.mark.parametrize(("policy", "end_s"), [("wait", 7.0), ("resume", 5.0), ("drop", 3.0)])
def test_a_crash_in_the_instant_in_which_the_gradients_are_there_loses_only_memory(toy, policy, end_s):
    trained = toy(crash(2.0, 1.0), on_crash=policy, iterations=1)
    assert trained.ends_s == [end_s]


def test_an_update_that_ends_in_the_instant_of_a_crash_is_done(toy):
    trained = toy(crash(4.0, 1.0), on_crash="wait", iterations=1)
    assert trained.ends_s == [4.0]


def test_the_fetch_comes_from_the_nearest_worker_before(toy):
    trained = toy(crash(0.5, 1.0, "pi-3"), crash(0.6, 1.0, "pi-2"), workers=4, on_crash="drop", iterations=3)
    assert sorted(row[:2] for row in trained.sent("pull")) == [("pi-1", "pi-2"), ("pi-1", "pi-3")]
    assert trained.run.contributions[0] == ("pi-1", "pi-4")
    assert trained.run.contributions[-1] == ("pi-1", "pi-2", "pi-3", "pi-4")


def test_a_fetch_that_a_crash_breaks_is_begun_again_from_another(toy):
    # pi-2 returns in iteration 0, fetches from pi-1 in 1; pi-1 crashes meanwhile
    trained = toy(crash(0.5, 1.0, "pi-2"), crash(4.5, 0.25), workers=3, on_crash="drop", iterations=3)
    pulls = [(row[:2], row[5] > 0.0) for row in trained.sent("pull")]
    assert pulls[:2] == [(("pi-1", "pi-2"), False), (("pi-3", "pi-2"), True)]
    assert trained.run.contributions == [("pi-1", "pi-3"), ("pi-2", "pi-3"), ("pi-1", "pi-2", "pi-3")]


def test_an_update_that_all_crash_over_is_made_by_the_first_that_returns(toy):
    """Sums at 3; pi-1 crashes at 3.25, pi-2 at 3.5; pi-2 is back at 4, pi-1 joins the next iteration."""
    trained = toy(crash(3.25, 1.5), crash(3.5, 0.5, "pi-2"), on_crash="drop", iterations=3)
    assert trained.ends_s[0] == 5.0
    assert [row[:2] for row in trained.sent("pull")] == [("pi-2", "pi-1")]
    assert trained.run.contributions[0] == ("pi-1", "pi-2")
    alone = toy(crash(2.5, 1.0), workers=1, on_crash="drop", iterations=2)
    assert alone.ends_s == [4.5, 7.5]


@pytest.mark.parametrize(("policy", "again"), [("wait", 2), ("resume", 1)])
def test_buckets_that_were_added_up_stay_so(kit, policy, again):
    workload = kit.workload([1.0, 1.0], [1.0, 1.0], [MB, MB])
    # forward 0-2, backward 2-4, layer 2 added up 3-4, layer 1 4-5
    trained = Trained(
        star([(1.0, 1e6)] * 2),
        workload,
        events=[crash(4.5, 1.0)],
        schedule="layer-by-layer",
        on_crash=policy,
        iterations=1,
    )
    arrived = [(row[2].label, row[0]) for row in trained.sent("all-reduce") if row[5] == row[3]]
    assert sorted(arrived) == sorted(
        [(label, name) for label in "12" for name in ("pi-1", "pi-2") for _ in (0, 1)]
    )
    passes = [row[1].kind for row in trained.timeline.spans if row[0] == "pi-1"]
    assert passes.count("forward") == 2 * again
    assert trained.ends_s == [5.5 + 4.0 * (again - 1) + 1.0]


def test_survivors_close_the_ring_for_what_is_left(kit):
    workload = kit.workload([1.0, 1.0], [1.0, 1.0], [3 * MB, 3 * MB])
    # layer 2 is added up 3-7 among three, layer 1 begins at 7, again at 8 among two: 3 s
    trained = Trained(
        star([(1.0, 1e6)] * 3), workload, events=[crash(8.0, 90.0)], schedule="layer-by-layer",
        on_crash="drop", iterations=1,
    )  # fmt: skip
    assert trained.ends_s == [11.0]
    whole = [row for row in trained.sent("all-reduce") if row[5] == row[3] and row[2].label == "1"]
    assert {row[:2] for row in whole if row[9] > 8.0} == {("pi-2", "pi-3"), ("pi-3", "pi-2")}
    assert trained.run.contributions == [("pi-2", "pi-3")]


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
@pytest.mark.parametrize("algorithm", ["ring", "tree"])
@pytest.mark.parametrize("at_s", [0.5, 1.5, 2.2, 2.8])
def test_a_worker_gone_for_good_is_dropped_under_any_policy(toy, policy, algorithm, at_s):
    trained = toy(crash(at_s, None), on_crash=policy, algorithm=algorithm, iterations=2)
    end_s = max(at_s, 2.0) + 1.0
    assert trained.ends_s == [pytest.approx(end_s), pytest.approx(end_s + 3.0)]
    assert trained.run.contributions == [("pi-2",), ("pi-2",)]
    assert trained.marks("drop") == [(at_s, "pi-1", "crashed for good")]
    assert [mark[1] for mark in trained.marks("iteration")] == ["pi-2", "pi-2"]


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
def test_a_worker_gone_for_good_in_its_update_has_contributed(toy, policy):
    trained = toy(crash(3.5), on_crash=policy, iterations=2)
    assert trained.ends_s == [4.0, 7.0]
    assert trained.run.contributions == [("pi-1", "pi-2"), ("pi-2",)]


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
def test_a_crash_for_good_while_down_is_noticed(toy, policy):
    trained = toy(crash(1.5, 1.0), crash(2.0), on_crash=policy, iterations=1)
    assert trained.ends_s == [3.0]
    assert trained.run.contributions == [("pi-2",)]


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
@pytest.mark.parametrize("at_s", [4.5, 5.5, 6.5])  # forward, backward, update
def test_without_workers_the_run_ends_and_says_why(toy, policy, at_s):
    with pytest.raises(SimulationError, match=r"no worker is left after 1 iteration: pi-2 .*pi-1 crashed"):
        toy(crash(4.2, device="pi-2"), crash(at_s), on_crash=policy, iterations=2)


def test_a_lone_worker_lost_in_its_last_update_leaves_nobody(toy):
    with pytest.raises(SimulationError, match="no worker is left after 0 iterations"):
        toy(crash(2.5), workers=1, iterations=1)


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
def test_when_all_crash_the_first_that_returns_goes_on(toy, policy):
    trained = toy(crash(0.5, 5.0), crash(1.5, 1.0, "pi-2"), on_crash=policy, iterations=2)
    both = {"wait": 5.5 + 2.0, "resume": 5.5 + 2.0}
    if policy == "drop":  # pi-2 begins anew at 2.5, pi-1 joins the iteration that opens after its return
        assert trained.run.contributions[0] == ("pi-2",)
        assert trained.ends_s[0] == 2.5 + 3.0
    else:
        assert trained.ends_s[0] == both[policy] + 2.0
        assert trained.run.contributions == [("pi-1", "pi-2")] * 2
    assert [mark[2] for mark in trained.marks("iteration")] == ["0", "1"]


def test_a_cut_for_a_time_stalls_and_goes_on(toy):
    trained = toy(Cut(at_s=2.25, link="pi-1.up", for_s=2.0), iterations=2)
    assert trained.ends_s == [6.0, 10.0]
    assert all(row[6] == 0.0 for row in trained.timeline.transfers)


@pytest.mark.parametrize("at_s", [0.5, 2.5, 3.5])
@pytest.mark.parametrize("algorithm", ["ring", "tree"])
@pytest.mark.parametrize("link", ["pi-2.up", "pi-2.down"])
def test_a_worker_cut_off_for_good_is_lost(toy, at_s, algorithm, link):
    trained = toy(Cut(at_s=at_s, link=link), workers=3, algorithm=algorithm, iterations=2)
    assert trained.run.contributions[-1] == ("pi-1", "pi-3")
    assert [mark[1:] for mark in trained.marks("drop")] == [("pi-2", "no route left")]
    check_bytes(trained)


def test_of_two_cut_from_each_other_the_first_goes_on(toy):
    trained = toy(Cut(at_s=0.5, link="pi-1.up"), iterations=1)
    assert trained.run.contributions == [("pi-1",)]


def test_a_cut_that_leaves_another_way_only_costs_time(kit):
    """Each pair has a cable; with that from pi-1 to pi-2 gone, messages go by way of pi-3."""
    names = ["pi-1", "pi-2", "pi-3"]
    pairs = [(one, two) for one in names for two in names if one != two]
    cluster = Cluster(
        devices={name: Device(name=name, speed=1.0) for name in names},
        links={f"{one}>{two}": Link(name=f"{one}>{two}", bandwidth_Bps=1e6) for one, two in pairs},
        hops=tuple(Hop(source=one, target=two, link=f"{one}>{two}") for one, two in pairs),
    )
    workload = kit.workload([1.0], [1.0], [3 * MB])
    trained = Trained(cluster, workload, events=[Cut(at_s=2.5, link="pi-1>pi-2")], iterations=2)
    assert trained.run.contributions == [tuple(names)] * 2
    assert trained.marks("drop") == []
    assert trained.ends_s == [2.5 + 4.0, 6.5 + 2.0 + 4.0]
    ways = [row[-1] for row in trained.sent("all-reduce") if row[:2] == ("pi-1", "pi-2")]
    assert set(ways) == {"pi-1>pi-2", "pi-1>pi-3; pi-3>pi-2"}


def test_memory_that_a_crash_emptied_is_held_again(toy):
    for policy in ("wait", "drop", "resume"):
        trained = toy(crash(1.5, 1.0), on_crash=policy, iterations=3)
        assert trained.sim.device("pi-1").used_bytes == 2 * MB


def test_slow_devices_and_links_take_longer(toy):
    assert toy(Slow(at_s=0.0, device="pi-1", to=0.5), iterations=1).ends_s == [4.0 + 1.0 + 2.0]
    slow = ChangeLink(at_s=0.0, link="pi-1.down", bandwidth_Bps=0.5e6)
    assert toy(slow, iterations=1).ends_s == [2.0 + 2.0 + 1.0]


# --- at random ------------------------------------------------------------------------------------------


@st.composite
def faults(draw):
    """Crashes and cuts for a time and for good, slow-downs, overlapping as they like."""
    at = st.floats(0.0, 30.0)
    length = st.floats(0.01, 5.0)
    device = st.sampled_from(["pi-1", "pi-2", "pi-3", "pi-4"])
    link = st.sampled_from(["pi-1.up", "pi-1.down", "pi-2.up", "pi-4.up", "pi-4.down"])
    one = st.one_of(
        st.builds(Crash, at_s=at, device=device, for_s=length),
        st.builds(Cut, at_s=at, link=link, for_s=length),
        st.builds(Slow, at_s=at, device=device, to=st.floats(0.1, 2.0), for_s=length),
    )
    for_good = st.builds(Crash, at_s=at, device=st.sampled_from(["pi-2", "pi-3"]), for_s=st.none())
    cut_off = st.builds(Cut, at_s=at, link=st.sampled_from(["pi-2.up", "pi-3.down"]), for_s=st.none())
    return draw(st.lists(st.one_of(one, one, one, for_good, cut_off), max_size=8))


POLICIES = st.sampled_from(["wait", "drop", "resume"])


@settings(max_examples=150)
@given(
    faults(),
    POLICIES,
    st.sampled_from(["ring", "tree"]),
    st.sampled_from(["sequential", "layer-by-layer", "dynacomm"]),
)
def test_nothing_hangs_and_no_gradient_counts_twice(kit, events, policy, algorithm, schedule):
    workload = kit.workload([0.2, 0.5, 0.1], [0.4, 1.0, 0.2], [MB, 2 * MB, MB // 2], optimizer_s=0.1)
    cluster = star([(1.0, 4e6), (0.5, 2e6), (2.0, 1e6), (1.0, 2e6)], occupancy_s=0.01, latency_s=0.005)
    trained = Trained(
        cluster, workload, events=events, iterations=4, on_crash=policy, algorithm=algorithm,
        schedule=schedule, until_s=1000.0,
    )  # fmt: skip
    assert trained.run.done.triggered
    gone = {event.device for event in events if isinstance(event, Crash) and event.for_s is None}
    gone |= {event.link[:4] for event in events if isinstance(event, Cut) and event.for_s is None}
    assert len(trained.run.contributions) == 4
    for names in trained.run.contributions:
        assert len(set(names)) == len(names)
        assert names
        if policy != "drop":
            assert {"pi-1", "pi-2", "pi-3", "pi-4"} - gone <= set(names)
    assert [mark[2] for mark in trained.marks("iteration")] == ["0", "1", "2", "3"]
    assert trained.ends_s == sorted(trained.ends_s)
    check_work(trained)
    check_bytes(trained)
    if all(len(names) == 4 for names in trained.run.contributions):
        assert trained.ends_s[-1] >= 4 * trained.run.bounds.everybody["iteration_s"] * (1 - 1e-9)


def check_work(trained):
    """Every gradient that counted was computed in full; each layer was added up by all who count."""
    whole = {}
    for name, tag, _, _, _, left_s in trained.timeline.spans:
        if left_s == 0.0:
            whole.setdefault((name, tag.iteration), set()).add((tag.kind, tag.first))
    everything = {(kind, layer) for kind in ("forward", "backward") for layer in (1, 2, 3)}
    arrived = {}
    for row in trained.timeline.transfers:
        if row[5] == row[3] and row[2].kind != "pull":
            layers = range(row[2].first, row[2].last + 1)
            for name in row[:2]:
                arrived.setdefault((name, row[2].iteration), set()).update(layers)
    for iteration, names in enumerate(trained.run.contributions):
        for name in names:
            assert everything <= whole[name, iteration]
            assert len(names) == 1 or arrived[name, iteration] == {1, 2, 3}
    updates = [(row[0], row[1].iteration) for row in trained.timeline.spans if whole_update(row)]
    assert len(set(updates)) == len(updates)
    assert set(updates) <= {
        (name, number) for number, crew in enumerate(trained.run.contributions) for name in crew
    }


def whole_update(row):
    return row[1].kind == "update" and row[5] == 0.0


def check_bytes(trained):
    """Every message is received whole or lost; what was sent is what was received and what was lost."""
    for row in trained.timeline.transfers:
        size, sent, received, lost = row[3:7]
        assert received in (0.0, size)
        assert sent == pytest.approx(received + lost)


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
@pytest.mark.parametrize("algorithm", ["ring", "tree"])
def test_random_failures_for_a_long_time(kit, policy, algorithm):
    workload = kit.workload([0.2, 0.5], [0.4, 1.0], [MB, 2 * MB], optimizer_s=0.05)
    cluster = star([(1.0, 2e6), (0.5, 2e6), (2.0, 1e6), (1.0, 4e6)])
    events = [RandomCrashes(device=name, mtbf_s=30.0, mttr_s=5.0) for name in cluster.devices]
    events.append(RandomCuts(link="pi-2.up", mtbf_s=50.0, mttr_s=2.0))
    trained = Trained(cluster, workload, events=events, iterations=60, on_crash=policy, algorithm=algorithm)
    assert len(trained.run.contributions) == 60
    assert any(len(names) == 4 for names in trained.run.contributions)
    assert (policy == "drop") == any(len(names) < 4 for names in trained.run.contributions)
