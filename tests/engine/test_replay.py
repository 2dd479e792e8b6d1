"""The network model against SimGrid's results and against a naive simulation of its definition."""

import json
from fractions import Fraction
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.engine.network import replay

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "fluid_network.json").read_text())


@pytest.mark.parametrize("scenario", REFERENCE["scenarios"], ids=lambda scenario: scenario["name"])
def test_replay_agrees_with_simgrid(scenario):
    finish = replay(scenario["links"], scenario["flows"], scenario.get("link_events"))
    for flow in scenario["flows"]:
        assert finish[flow["id"]] == pytest.approx(flow["finish"], abs=REFERENCE["tolerance_s"])


def max_min_rates(flows, capacity):
    """Water-filling straight from the definition, in exact fractions: {flow id: rate}."""
    rates, rest = {}, dict(capacity)
    todo = {flow["id"]: flow for flow in flows}
    while todo:
        users = {link: sum(link in flow["route"] for flow in todo.values()) for link in rest}
        shares = {link: rest[link] / users[link] for link in rest if users[link]}
        limits = [Fraction(flow["max_rate"]) for flow in todo.values() if "max_rate" in flow]
        level = min([*shares.values(), *limits])
        full = [link for link, share in shares.items() if share == level]
        for flow in list(todo.values()):
            if flow.get("max_rate", inf) == level or any(link in full for link in flow["route"]):
                rates[flow["id"]] = level
                for link in flow["route"]:
                    rest[link] -= level
                del todo[flow["id"]]
    return rates


def naive_replay(links, flows, events):
    """Recompute every rate at every start, end and change, in exact fractions."""
    capacity = {name: Fraction(link["bw"]) for name, link in links.items()}
    latency = {name: Fraction(link["lat"]) for name, link in links.items()}
    starts = {
        flow["id"]: Fraction(flow["start"]) + sum(latency[name] for name in flow["route"]) for flow in flows
    }
    left = {flow["id"]: Fraction(flow["bytes"]) for flow in flows}
    by_id = {flow["id"]: flow for flow in flows}
    waiting, changes = sorted(starts, key=starts.get), sorted(events, key=lambda event: event["time"])
    active, finish, now = [], {}, Fraction(0)
    while waiting or active:
        rates = max_min_rates([by_id[flow] for flow in active], capacity)
        ends = [now + left[flow] / rates[flow] for flow in active]
        following = min(
            [*ends, *(starts[flow] for flow in waiting[:1]), *(Fraction(c["time"]) for c in changes[:1])]
        )
        for flow in active:
            left[flow] -= rates[flow] * (following - now)
        now = following
        for flow in [flow for flow in active if not left[flow]]:
            finish[flow] = float(now)
            active.remove(flow)
        while waiting and starts[waiting[0]] <= now:
            active.append(waiting.pop(0))
        while changes and changes[0]["time"] <= now:
            change = changes.pop(0)
            capacity[change["link"]] = Fraction(change["bw"])
    return finish


NAMES = ["a", "b", "c", "d"]
numbers = st.integers(1, 40).map(float)


@st.composite
def networks(draw):
    links = {
        name: {"bw": draw(numbers), "lat": draw(st.sampled_from([0.0, 0.0, 0.25, 1.0]))} for name in NAMES
    }
    routes = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
    flows = []
    for index in range(draw(st.integers(1, 8))):
        flow = {
            "id": index,
            "route": draw(routes),
            "start": draw(st.integers(0, 12)) / 2,
            "bytes": draw(numbers),
        }
        if draw(st.booleans()):
            flow["max_rate"] = draw(numbers)
        flows.append(flow)
    changes = st.fixed_dictionaries(
        {"time": st.integers(1, 20).map(float), "link": st.sampled_from(NAMES), "bw": numbers}
    )
    return links, flows, draw(st.lists(changes, max_size=3, unique_by=lambda change: change["time"]))


def test_flows_that_only_one_joined_go_apart_when_it_ends_and_another_begins():
    """At 3 s the flow over both links ends, and in the same instant one begins on the first of them."""
    links = {"a": {"bw": 2.0, "lat": 0.0}, "b": {"bw": 2.0, "lat": 0.0}}
    flows = [
        {"id": "first", "route": ["a"], "start": 2.0, "bytes": 2.0, "max_rate": 1.0},
        {"id": "second", "route": ["b"], "start": 2.0, "bytes": 2.0},
        {"id": "both", "route": ["a", "b"], "start": 2.0, "bytes": 1.0},
        {"id": "new", "route": ["a"], "start": 3.0, "bytes": 1.0},
    ]
    assert replay(links, flows) == {"first": 4.0, "second": 3.5, "both": 3.0, "new": 4.0}


@settings(max_examples=300, deadline=None)
@given(networks())
def test_replay_agrees_with_the_definition(network):
    links, flows, events = network
    expected = naive_replay(links, flows, events)
    finish = replay(links, flows, events)
    for flow in flows:
        assert finish[flow["id"]] == pytest.approx(expected[flow["id"]], rel=1e-9, abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_star_with_slow_leaves_agrees_with_the_definition(data):
    """Many paths on one hub, held back by links of their own: the level and its caps."""
    leaves = [f"leaf-{index}" for index in range(6)]
    links = {name: {"bw": data.draw(numbers), "lat": 0.0} for name in ["hub", *leaves]}
    flows = [
        {
            "id": index,
            "route": ["hub", data.draw(st.sampled_from(leaves))],
            "start": data.draw(st.integers(0, 20)) / 4,
            "bytes": data.draw(numbers),
        }
        for index in range(data.draw(st.integers(1, 20)))
    ]
    events = [
        {"time": 2.0, "link": data.draw(st.sampled_from(["hub", *leaves])), "bw": data.draw(numbers)},
        {"time": 3.0, "link": data.draw(st.sampled_from(["hub", *leaves])), "bw": data.draw(numbers)},
    ]
    expected = naive_replay(links, flows, events)
    finish = replay(links, flows, events)
    for flow in flows:
        assert finish[flow["id"]] == pytest.approx(expected[flow["id"]], rel=1e-9, abs=1e-9)


def test_a_flow_over_a_dead_link_never_ends_and_one_over_a_mended_link_does():
    links = {"a": {"bw": 1.0}}
    flow = {"id": 0, "route": ["a"], "start": 0.0, "bytes": 2.0}
    assert replay(links, [flow], [{"time": 1.0, "link": "a", "bw": 0.0}]) == {0: inf}
    events = [{"time": 1.0, "link": "a", "bw": 0.0}, {"time": 5.0, "link": "a", "bw": 1.0}]
    assert replay(links, [flow], events) == {0: 6.0}


@pytest.mark.parametrize(
    "flow",
    [
        {"id": 0, "route": [], "start": 0.0, "bytes": 1.0},
        {"id": 0, "route": ["a"], "start": -1.0, "bytes": 1.0},
        {"id": 0, "route": ["a"], "start": 0.0, "bytes": float("nan")},
    ],
)
def test_figures_that_mean_nothing_are_refused(flow):
    with pytest.raises(ValueError, match=r"no route|at least 0"):
        replay({"a": {"bw": 1.0}}, [flow])


def test_a_remainder_smaller_than_the_clock_can_tell_ends_at_once():
    links = {"a": {"bw": 1e9}}
    flows = [
        {"id": 0, "route": ["a"], "start": 1e4, "bytes": 1e-6},
        {"id": 1, "route": ["a"], "start": 1e4, "bytes": 2e-6},
        {"id": 2, "route": ["a"], "start": 1e4, "bytes": 1e9},
    ]
    assert replay(links, flows) == {0: 1e4, 1: 1e4, 2: pytest.approx(1e4 + 1)}
