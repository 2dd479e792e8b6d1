# ruff: noqa: E501 - messages are compared whole
"""Blocks of alternatives: what they stand for, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgesim import scenario
from edgesim.errors import ScenarioError

Wrong = Callable[..., list[str]]
Point = dict[str, object]


def points(text: str) -> list[Point]:
    stated = scenario.loads(text)
    found = list(scenario.variants(stated))
    for point, one in found:
        assert one.compare is None
        assert scenario.check(one) == []
        for path, value in point.items():
            there = scenario.override(one, path, value)
            assert scenario.paths.value_at(there, path) == scenario.paths.value_at(one, path)
    return [point for point, _ in found]


def test_blocks_are_the_union_of_their_products_and_every_run_has_every_axis(good: str) -> None:
    found = points(
        good
        + """compare:
  - {training.schedule: [ibatch, dynacomm], network.bandwidth: [1 MB/s, 0.05 Gbit/s]}
  - {'devices[pi].count': [1, 3], training.schedule: [dynacomm]}
"""
    )
    rows = [tuple(point.values()) for point in found]
    assert list(found[0]) == ["training.schedule", "network.bandwidth", "devices[pi].count"]
    assert rows == [
        ("ibatch", "1 MB/s", 3),
        ("ibatch", "0.05 Gbit/s", 3),
        ("dynacomm", "1 MB/s", 3),
        ("dynacomm", "0.05 Gbit/s", 3),
        ("dynacomm", "0.05 Gbit/s", 1),
    ]


def test_what_a_block_leaves_out_has_the_default_or_nothing(good: str) -> None:
    found = points(
        good + "compare: [{training.schedule: [ibatch]}, {network.latency: [5 ms]}, {seed: [0]}, {}]\n"
    )
    assert [tuple(point.values()) for point in found] == [
        ("ibatch", None, 0),
        ("dynacomm", "5 ms", 0),
        ("dynacomm", None, 0),
    ]


def test_a_block_may_put_a_whole_section_where_another_names_a_part_of_it(good: str) -> None:
    found = points(
        good
        + "compare: [{network.startup: [{occupancy: 1 ms}]}, {network.startup.occupancy: [1 ms, 2 ms]}]\n"
    )
    assert [point["network.startup.occupancy"] for point in found] == ["1 ms", "2 ms"]
    assert [point["network.startup"] for point in found] == [{"occupancy": "1 ms"}, {"occupancy": "2 ms"}]


def test_one_block_says_its_values_as_they_are_written(good: str) -> None:
    (point,) = points(good + "compare: {training.schedule: [ibatch]}\n")
    assert point == {"training.schedule": "ibatch"}


@pytest.mark.parametrize(
    ("compare", "said"),
    [
        (
            "[{seed: [1]}, {training.server: [pi-1, ghost]}]",
            "compare[1][training.server][1]: with 'ghost', training.server: there is no device 'ghost'; known here: 'server', 'pi-1', 'pi-2', 'pi-3'",
        ),
        (
            "[{'devices[pii].speed': [1]}]",
            "compare[0][devices[pii].speed]: there is no 'pii' in 'devices[pii].speed'; did you mean 'pi'?",
        ),
        ("[{seed: []}]", "compare[0].seed: has no alternatives; list at least one"),
        ("[{seed: 1}]", "compare[0].seed: must be a list, got 1; write for example"),
        ("[]", "compare: has too few items, got an empty list; write for example"),
        ("[5]", "compare[0]: must be a mapping of keys, got 5; write for example"),
        ("5", "compare: must be a mapping of keys, got 5; write for example"),
        (
            "[{network.topology: [chain], network.center: [server]}]",
            "compare[0]: with network.topology 'chain' and network.center 'server', network.center: has no effect",
        ),
        (
            "[{'devices[pi].speed': [2], 'devices[pi].compute': [1 GFLOP/s]}]",
            "compare[0][devices[pi].compute][0]: with '1 GFLOP/s', devices[pi].compute: `speed` and `compute` exclude each other; keep one",
        ),
        (
            "[{network.topology: [star], network.devices: [{pi: {latency: 1 ms}}], network.center: [pi-1, server, pi-9]}]",
            "compare[0][network.center][2]: with 'pi-9', network.center: there is no device 'pi-9'",
        ),
    ],
)
def test_says_where_an_alternative_is_wrong(good: str, compare: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario.loads(good + f"compare: {compare}\n")
    assert said in str(caught.value)


def test_values_that_need_each_other_may_be_compared_together(good: str) -> None:
    """A fan-out has no effect in a star, and has one in the tree of the same block."""
    found = points(good + "compare: [{network.topology: [tree], network.fan_out: [1, 3]}]\n")
    assert [point["network.fan_out"] for point in found] == [1, 3]


def test_blocks_come_back_from_yaml(good: str) -> None:
    stated = scenario.loads(good + "compare: [{seed: [1, 2]}, {training.schedule: [ibatch]}]\n")
    assert scenario.loads(stated.to_yaml()) == stated
