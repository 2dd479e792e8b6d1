"""Training while devices crash and links are cut: by hand, and at random times."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.errors import OutOfMemory, SimulationError
from edgesim.events import ChangeLink, Crash, Cut, RandomCrashes, RandomCuts, Slow
from edgesim.planning.schedules import SCHEDULES, Phased, Queued
from edgesim.planning.slices import sliced
from edgesim.training.config import Compression

MB = 1_000_000
# One layer: pull 1 s, forward 1 s, backward 1 s, push 1 s.


@pytest.fixture(scope="session")
def toy(kit):
    def run(*events, workers=2, **config):
        workload = kit.workload([1.0], [1.0], [MB])
        return kit.train(kit.cluster([(1.0, 1e6)] * workers), workload, events=events, **config)

    return run


def crash(at_s, for_s=None, device="pi-1"):
    return Crash(at_s=at_s, device=device, for_s=for_s)


@pytest.mark.parametrize(
    ("at_s", "waited_s", "resumed_s"),
    [
        (0.5, 2.5 + 4.0, 2.5 + 4.0),  # pulling: everything is to be done
        (1.5, 3.5 + 4.0, 3.5 + 3.0),  # forward: the pulled segment is kept
        (2.5, 4.5 + 4.0, 4.5 + 2.0),  # backward: the forward pass is kept too
        (3.5, 5.5 + 4.0, 5.5 + 1.0),  # pushing: only the push is to be repeated
    ],
)
def test_a_crashed_worker_is_waited_for_and_begins_anew_or_resumes(toy, at_s, waited_s, resumed_s):
    waited = toy(crash(at_s, 2.0), on_crash="wait", iterations=2)
    assert waited.ends_s == [waited_s, waited_s + 4.0]
    resumed = toy(crash(at_s, 2.0), on_crash="resume", iterations=2)
    assert resumed.ends_s == [resumed_s, resumed_s + 4.0]
    for trained in (waited, resumed):
        assert [sorted(names) for names in trained.run.contributions] == [["pi-1", "pi-2"]] * 2
        assert trained.run.contributions[0] == ("pi-2", "pi-1")
        assert trained.marks("drop") == []


@pytest.mark.parametrize("at_s", [0.5, 1.5, 2.5, 3.5])
def test_a_dropped_worker_is_back_in_the_iteration_after_its_return(toy, at_s):
    trained = toy(crash(at_s, 2.0), on_crash="drop", iterations=3)
    assert trained.ends_s == [4.0, 8.0, 12.0]
    back = 0 if at_s + 2.0 <= 4.0 else 1
    full = ("pi-1", "pi-2")
    assert trained.run.contributions == [("pi-2",), *[("pi-2",)] * back, *[full] * (2 - back)]
    assert trained.marks("drop") == [(at_s, "pi-1", "iteration 0")]


def test_a_crash_after_the_last_push_changes_nothing_but_the_next_iteration(kit):
    workload = kit.workload([1.0], [1.0], [MB])
    cluster = kit.cluster([(1.0, 1e6), (0.5, 1e6)])  # pi-2 needs 6 s
    trained = kit.train(cluster, workload, events=[crash(4.5, 0.5)], iterations=2)
    assert trained.ends_s == [6.0, 12.0]
    late = kit.train(cluster, workload, events=[crash(4.5, 5.0)], iterations=2)
    assert late.ends_s == [6.0, 13.5]
    dropped = kit.train(cluster, workload, events=[crash(4.5, 5.0)], iterations=2, on_crash="drop")
    assert dropped.run.contributions == [("pi-1", "pi-2"), ("pi-2",)]


def test_when_all_are_dropped_the_iteration_begins_anew_with_the_first_that_returns(toy):
    trained = toy(crash(0.5, 5.0), crash(1.5, 1.0, "pi-2"), on_crash="drop", iterations=2)
    assert trained.ends_s == [2.5 + 4.0, 6.5 + 4.0]
    assert trained.run.contributions == [("pi-2",), ("pi-1", "pi-2")]
    assert [mark[1:] for mark in trained.marks("iteration")] == [("server", "0"), ("server", "1")]


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
def test_a_worker_gone_for_good_is_dropped_under_any_policy(toy, policy):
    trained = toy(crash(1.5), on_crash=policy, iterations=2)
    assert trained.ends_s == [4.0, 8.0]
    assert trained.run.contributions == [("pi-2",), ("pi-2",)]
    assert trained.marks("drop") == [(1.5, "pi-1", "crashed for good")]


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
def test_a_crash_for_good_while_down_is_noticed(toy, policy):
    trained = toy(crash(1.5, 1.0), crash(2.0), on_crash=policy)
    assert trained.ends_s == [4.0]
    assert trained.run.contributions == [("pi-2",)]


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
def test_without_workers_the_run_ends_and_says_why(toy, policy):
    with pytest.raises(SimulationError, match=r"no worker is left after 1 iteration: pi-2 .*pi-1 crashed"):
        toy(crash(5.0, device="pi-2"), crash(6.0), on_crash=policy, iterations=3)


def test_without_a_server_the_run_ends_and_says_why(toy):
    with pytest.raises(
        SimulationError, match=r"parameter server server crashed for good at 6 s, after 1 iter"
    ):
        toy(crash(6.0, device="server"), iterations=3)


@pytest.mark.parametrize(
    ("at_s", "end_s"),
    [
        (0.5, 1.5 + 4.0),  # what was being pulled is sent again
        (1.5, 4.0),  # nobody needed the server
        (3.5, 4.5 + 1.0),  # what was being pushed is sent again
    ],
)
def test_a_server_that_returns_is_waited_for(toy, at_s, end_s):
    trained = toy(crash(at_s, 1.0, "server"), iterations=2)
    assert trained.ends_s == [end_s, end_s + 4.0]


def test_an_update_lost_to_a_crash_is_done_again(kit):
    workload = kit.workload([1.0], [1.0], [MB], optimizer_s=2.0)
    down = crash(5.0, 1.0, "server")
    trained = kit.train(kit.cluster([(1.0, 1e6)]), workload, events=[down])
    assert trained.ends_s == [6.0 + 2.0]
    assert [row[-1] for row in trained.timeline.spans if row[0] == "server"] == [1.0, 0.0]


def test_a_cut_for_a_time_stalls_and_goes_on(toy):
    trained = toy(Cut(at_s=0.5, link="pi-1.down", for_s=2.0), iterations=2)
    assert trained.ends_s == [6.0, 10.0]


@pytest.mark.parametrize(("link", "at_s"), [("pi-1.down", 0.5), ("pi-1.up", 3.5), ("pi-1.up", 0.5)])
def test_a_worker_cut_off_for_good_is_dropped(toy, link, at_s):
    trained = toy(Cut(at_s=at_s, link=link), iterations=2)
    assert trained.run.contributions == [("pi-2",), ("pi-2",)]
    assert [mark[1:] for mark in trained.marks("drop")] == [("pi-1", "no route left")]


def test_segments_that_were_queued_on_a_cut_link_do_not_hang(kit):
    workload = kit.workload([1.0] * 4, [1.0] * 4, [MB] * 4)
    for link, at_s in (("pi-1.down", 1.5), ("pi-1.up", 9.5)):
        trained = kit.train(
            kit.cluster([(1.0, 1e6)] * 2),
            workload,
            events=[Cut(at_s=at_s, link=link)],
            schedule="layer-by-layer",
        )
        assert trained.run.contributions == [("pi-2",)]


def test_memory_that_a_crash_emptied_is_held_again(kit):
    workload = kit.workload([1.0], [1.0], [MB])
    cluster = kit.cluster([(1.0, 1e6)])
    trained = kit.train(cluster, workload, events=[crash(1.5, 1.0), crash(2.0, 0.1, "server")], iterations=2)
    assert trained.sim.device("pi-1").used_bytes == 2 * MB
    assert trained.sim.device("server").used_bytes == 2 * MB
    cluster.devices["server"] = replace(cluster.devices["server"], memory_bytes=MB)
    with pytest.raises(OutOfMemory, match="server"):
        kit.train(cluster, workload)


def test_slow_devices_and_links_take_longer(toy):
    assert toy(Slow(at_s=1.0, device="pi-1", to=0.5)).ends_s == [6.0]
    assert toy(ChangeLink(at_s=0.0, link="pi-1.down", bandwidth_Bps=0.5e6)).ends_s == [5.0]


# --- at random ------------------------------------------------------------------------------------------


@st.composite
def faults(draw):
    """Crashes, cuts, slow-downs and changes of one direction, overlapping as they like."""
    at = st.floats(0.0, 30.0)
    length = st.floats(0.01, 5.0)
    device = st.sampled_from(["pi-1", "pi-2", "pi-3", "server"])
    link = st.sampled_from(["pi-1.up", "pi-1.down", "pi-2.up", "server.down", "server.up"])
    one = st.one_of(
        st.builds(Crash, at_s=at, device=device, for_s=length),
        st.builds(Cut, at_s=at, link=link, for_s=length),
        st.builds(Slow, at_s=at, device=device, to=st.floats(0.1, 2.0), for_s=length),
        st.builds(ChangeLink, at_s=at, link=link, bandwidth_Bps=st.floats(2e5, 2e7), for_s=length),
    )
    for_good = st.builds(Crash, at_s=at, device=st.sampled_from(["pi-2", "pi-3"]), for_s=st.none())
    cut_off = st.builds(Cut, at_s=at, link=st.sampled_from(["pi-2.up", "pi-3.down"]), for_s=st.none())
    return draw(st.lists(st.one_of(one, one, one, for_good, cut_off), max_size=8))


@pytest.fixture(scope="module", autouse=True)
def slices():
    """Slices so small that the toy models have many, and some that may be handed over ahead."""
    SCHEDULES["slices"] = Queued(sliced(100_000))
    SCHEDULES["slices-ahead"] = Queued(sliced(100_000, 250_000))
    yield
    del SCHEDULES["slices"], SCHEDULES["slices-ahead"]


SETTINGS = st.fixed_dictionaries(
    {
        "on_crash": st.sampled_from(["wait", "drop", "resume"]),
        "schedule": st.sampled_from([*SCHEDULES, "slices", "slices-ahead"]),
        "compression": st.sampled_from([None, None, Compression(ratio=0.5, encode_Bps=1e7, decode_Bps=1e7)]),
    }
)


@settings(max_examples=250)
@given(faults(), SETTINGS, st.sampled_from([1, 2]))
def test_nothing_hangs_and_no_gradient_counts_twice(kit, events, asked, servers):
    trained = train_with_faults(kit, events, servers, **asked)
    gone = gone_for_good(events)
    for names in trained.run.contributions:
        assert len(set(names)) == len(names)
        assert names
        if asked["on_crash"] != "drop":
            assert {"pi-1", "pi-2", "pi-3"} - gone <= set(names)
    check_work(trained, in_order=asked["on_crash"] != "drop")


@settings(max_examples=100)
@given(faults(), SETTINGS, st.sampled_from([1, 2]), st.sampled_from(["asp", "ssp"]), st.integers(0, 2))
def test_stale_gradients_count_once_and_nothing_hangs(kit, events, asked, servers, kind, bound):
    if not isinstance(SCHEDULES[asked["schedule"]], Phased):
        asked = {**asked, "schedule": "dynacomm"}
    stale = {"synchronization": kind, "staleness": bound}
    trained = train_with_faults(kit, events, servers, **asked, **stale)
    assert all(len(names) == 3 for names in trained.run.contributions)
    counted = [name for names in trained.run.contributions for name in names]
    pushed = {}
    for row in trained.timeline.transfers:
        if row[2].kind == "push" and row[5] == row[3]:
            pushed.setdefault(row[0], set()).add(row[2].iteration)
    for name in set(counted):  # each of its gradients is of another iteration of its own
        assert counted.count(name) <= len(pushed[name])
    if kind == "ssp" and not gone_for_good(events):
        clocks = dict.fromkeys(["pi-1", "pi-2", "pi-3"], 0)
        for name in counted:
            clocks[name] += 1
            assert clocks[name] - min(clocks.values()) <= bound + 1


def train_with_faults(kit, events, servers, **asked):
    workload = kit.workload([0.2, 0.5, 0.1], [0.4, 1.0, 0.2], [MB, 2 * MB, MB // 2], optimizer_s=0.1)
    workers = [(1.0, 4e6), (0.5, 2e6), (2.0, 1e6)]
    star = {"server_Bps": 4e6, "servers": servers, "occupancy_s": 0.01, "latency_s": 0.005}
    trained = kit.train(
        kit.cluster(workers, **star), workload, events=events, iterations=4, until_s=1000.0, **asked
    )
    assert trained.run.done.triggered
    assert [mark[2] for mark in trained.marks("iteration")] == ["0", "1", "2", "3"]
    check_bytes(trained)
    return trained


def gone_for_good(events):
    gone = {event.device for event in events if isinstance(event, Crash) and event.for_s is None}
    return gone | {event.link[:4] for event in events if isinstance(event, Cut) and event.for_s is None}


def check_work(trained, in_order):
    """Every gradient that counted was computed in full at least once, and all of it arrived."""
    whole, arrived = {}, {}
    for name, tag, _, _, _, left_s in trained.timeline.spans:
        if left_s == 0.0 and tag.kind in ("forward", "backward"):
            whole.setdefault((name, tag.iteration), set()).add((tag.kind, tag.first))
    for row in trained.timeline.transfers:
        if row[2].kind == "push" and row[5] == row[3]:
            arrived.setdefault((row[0], row[2].iteration), {})[row[2].label, row[1]] = row[2]
    everything = {(kind, layer) for kind in ("forward", "backward") for layer in (1, 2, 3)}
    for number, names in enumerate(trained.run.contributions):
        for name in names:
            # without a barrier an iteration of which no gradient was whole has a number all the same
            turns = [number] if in_order else range(number, number + 20)
            assert any(
                whole.get((name, turn)) == everything
                and {
                    layer for tag in arrived[name, turn].values() for layer in range(tag.first, tag.last + 1)
                }
                == {1, 2, 3}
                for turn in turns
            )


def check_bytes(trained):
    """Every message is received whole or lost; what was sent is what was received and what was lost."""
    for row in trained.timeline.transfers:
        size, sent, received, lost = row[3:7]
        assert received in (0.0, size)
        assert sent == pytest.approx(received + lost)


@pytest.mark.parametrize("policy", ["wait", "drop", "resume"])
def test_random_failures_for_a_long_time(kit, policy):
    workload = kit.workload([0.2, 0.5], [0.4, 1.0], [MB, 2 * MB])
    cluster = kit.cluster([(1.0, 2e6), (0.5, 2e6), (2.0, 1e6)], server_Bps=4e6)
    events = [RandomCrashes(device=name, mtbf_s=30.0, mttr_s=5.0) for name in cluster.devices]
    events.append(RandomCuts(link="server.up", mtbf_s=50.0, mttr_s=2.0))
    trained = kit.train(cluster, workload, events=events, iterations=60, on_crash=policy)
    assert len(trained.run.contributions) == 60
    assert any(len(names) == 3 for names in trained.run.contributions)
    assert (policy == "drop") == any(len(names) < 3 for names in trained.run.contributions)
