from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim import scenario
from edgesim.errors import ScenarioError
from edgesim.scenario.paths import PathError, find
from edgesim.scenario.writer import HEADER


def test_override(good: str) -> None:
    stated = scenario.loads(good)
    assert scenario.override(stated, "training.schedule", "ibatch").training.schedule == "ibatch"
    assert scenario.override(stated, "devices[pi].memory", "2 GiB").devices[1].memory == 2**31
    assert scenario.override(stated, "devices[1].count", 5).devices[1].count == 5
    assert scenario.override(stated, "network.startup.latency", "1 ms").network.startup is not None
    assert scenario.override(stated, "devices[pi].memory", None).devices[1].memory is None
    assert stated == scenario.loads(good)


def test_override_of_several_is_checked_once_all_are_in_place(good: str) -> None:
    stated = scenario.overrides(
        scenario.loads(good),
        {"devices[pi].name": "phone", "training.workers": ["phone"], "stop.iterations": 1},
    )
    assert scenario.check(stated) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("training.schedul", "x", "training.schedul: unknown key; did you mean 'schedule'?"),
        ("training.synchronization", "x", "training.synchronization: unknown value, got 'x'; known here:"),
        (
            "devices[py].speed",
            1,
            "devices[py].speed: there is no 'py' in 'devices[py].speed'; known here: 'server', 'pi'",
        ),
        ("a b", 1, "a b: 'a b' is not a path; write for example 'training.schedule' or 'devices[pi].memory'"),
        ("", 1, "'' is not a path"),
        (
            "network.latency",
            5,
            "network.latency: a bare number has no unit, got 5; write for example '5 ms' or '5 s'",
        ),
    ],
)
def test_override_that_leads_nowhere(good: str, path: str, value: object, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario.override(scenario.loads(good), path, value)
    assert said in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    with contextlib.suppress(PathError):
        assert find({"a": [{"name": "b"}]}, text)


def test_variants(good: str) -> None:
    stated = scenario.loads(
        good + "compare: {training.schedule: [ibatch, dynacomm], network.bandwidth: [1 MB/s, 2 MB/s]}"
    )
    found = [
        (point, one.training.schedule, one.network.bandwidth, one.compare)
        for point, one in scenario.variants(stated)
    ]
    assert found == [
        ({"training.schedule": "ibatch", "network.bandwidth": "1 MB/s"}, "ibatch", 1e6, None),
        ({"training.schedule": "ibatch", "network.bandwidth": "2 MB/s"}, "ibatch", 2e6, None),
        ({"training.schedule": "dynacomm", "network.bandwidth": "1 MB/s"}, "dynacomm", 1e6, None),
        ({"training.schedule": "dynacomm", "network.bandwidth": "2 MB/s"}, "dynacomm", 2e6, None),
    ]
    assert len(list(scenario.variants(stated, {"seed": [1, 2, 3]}))) == 3


def seconds(low: float = 1e-3) -> st.SearchStrategy[str]:
    return st.builds(
        lambda x, unit: f"{x!r} {unit}", st.floats(low, 1e6), st.sampled_from(["s", "ms", "min", "h"])
    )


RATES = st.builds(
    lambda x, unit: f"{x!r} {unit}",
    st.floats(0.01, 1e6),
    st.sampled_from(["bit/s", "Mbit/s", "GB/s", "KiB/s"]),
)
SIZES = st.builds(
    lambda x, unit: f"{x!r} {unit}", st.floats(0.01, 1e6), st.sampled_from(["MiB", "GB", "kbit"])
)
WATTS = st.builds(lambda x: f"{x!r} W", st.floats(1e-3, 1e3))
RATES_OVER_TIME = st.builds(lambda a, b, t: {"values": [["0 s", a], [t, b]]}, RATES, RATES, seconds())
ANY_RATE = RATES | RATES_OVER_TIME | st.fixed_dictionaries({"up": RATES, "down": RATES_OVER_TIME})
LINE = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()) and text.isprintable())
DEVICE = st.fixed_dictionaries(
    {"speed": st.floats(1e-3, 1e3)},
    optional={
        "count": st.integers(1, 3),
        "memory": SIZES,
        "power": st.fixed_dictionaries({"busy": WATTS, "idle": WATTS}),
        "availability": st.floats(1e-3, 1) | st.just({"file": "trace.csv"}),
        "preset": LINE,
    },
)
EVENT = st.fixed_dictionaries(
    {"at": seconds(), "device": st.just("d0")},
    optional={
        "crash": st.fixed_dictionaries({}, optional={"for": seconds()}),
        "slow": st.fixed_dictionaries({"to": st.floats(0.01, 10)}, optional={"for": seconds()}),
        "random": st.fixed_dictionaries({"mtbf": seconds(), "mttr": seconds()}),
    },
)
VALUE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
AXES = st.dictionaries(st.sampled_from(["seed", "training.schedule"]), st.lists(VALUE, max_size=3))
SCENARIO = st.fixed_dictionaries(
    {
        "name": LINE,
        "workload": st.fixed_dictionaries(
            {"model": st.just("lenet")},
            optional={"input": st.lists(st.integers(1, 99), min_size=1, max_size=4)},
        ),
        "devices": st.lists(DEVICE, min_size=1, max_size=3).map(
            lambda found: [{"name": f"d{index}", **device} for index, device in enumerate(found)]
        ),
        "network": st.fixed_dictionaries(
            {"topology": st.sampled_from(["star", "wifi", "mesh"]), "bandwidth": ANY_RATE},
            optional={
                "latency": seconds(),
                "startup": st.fixed_dictionaries({}, optional={"latency": seconds()}),
            },
        ),
        "training": st.fixed_dictionaries({"method": st.just("parameter-server"), "server": st.just("d0")}),
        "stop": st.fixed_dictionaries({}, optional={"iterations": st.integers(1, 99), "time": seconds()}),
    },
    optional={
        "description": st.text(min_size=1).filter(str.strip),
        "seed": st.integers(0, 2**60),
        "events": st.lists(EVENT, max_size=3),
        "compare": AXES | st.lists(AXES, min_size=1, max_size=3),
    },
)


TOKENS = st.sampled_from(
    [
        "null",
        "5",
        ".nan",
        "1e400",
        "[]",
        "{}",
        "'",
        '"',
        "pi",
        "5 ms",
        "&a ",
        "*a",
        "!x ",
        "|",
        "- ",
        ": ",
        "\n",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_mutation_is_read_or_refused(data: st.DataObject) -> None:
    text = SEED
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text = text[:start] + data.draw(TOKENS | st.text(max_size=5)) + text[end:]
    try:
        stated = scenario.loads(text)
    except ScenarioError:
        return
    scenario.build.cluster(stated)
    scenario.build.events(stated)


SEED = """\
name: seed
workload: {model: lenet, batch_size: 8}
devices:
  - {name: server, speed: 1}
  - {name: pi, count: 3, preset: laptop, availability: {values: [[0 s, 1], [1 s, 0.5]]}}
network: {topology: star, bandwidth: {up: 5 Mbit/s, down: 5 MB/s}, devices: {pi-1: {latency: 5 ms}}}
training: {method: parameter-server, server: server, workers: [pi]}
events: [{at: 3 s, device: pi-1, crash: {for: 3 s}}, {at: 3 s, links: [pi], change: {bandwidth: 1 MB/s}}]
stop: {iterations: 10, time: 1 h}
compare: {"devices[pi].preset": [laptop, jetson-nano]}
"""


def test_the_seed_of_mutations_is_fine() -> None:
    assert scenario.loads(SEED).stop.time == 3600.0


@settings(deadline=None)
@given(SCENARIO)
def test_what_is_written_reads_back_equal(data: dict[str, Any]) -> None:
    stated = scenario.Scenario(**data)
    again = scenario.loads(stated.to_yaml(), meaning=False)
    assert again == stated
    assert hash(again) == hash(stated)
    assert again.to_yaml() == stated.to_yaml()


def test_save_moves_the_files_it_names(good: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "trace.csv").write_text("0,1\n1,0.5\n")
    text = good.replace("memory: 1 GiB", "availability: {file: trace.csv}")
    (tmp_path / "in" / "one.yaml").write_text(text)
    stated = scenario.load(tmp_path / "in" / "one.yaml")
    stated.save(tmp_path / "out" / "two.yaml")
    written = (tmp_path / "out" / "two.yaml").read_text()
    assert written.startswith(HEADER)
    assert "../in/trace.csv" in written
    again = scenario.load(tmp_path / "out" / "two.yaml")
    assert scenario.build.cluster(again) == scenario.build.cluster(stated)


def test_saved_with_units_as_people_write_them(good: str) -> None:
    written = scenario.loads(good).to_yaml()
    assert "bandwidth: 50 Mbit/s" in written
    assert "memory: 1 GiB" in written


def test_it_shows_itself(good: str) -> None:
    shown = scenario.loads(good.replace("name: good", "name: <b>"))._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "50 Mbit/s" in shown
