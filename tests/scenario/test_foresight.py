"""A forecast is refused where workers slow each other down, at check time, as the training itself would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgesim import scenario
from edgesim.scenario import build
from edgesim.scenario.check_foresight import contended
from edgesim.training import expectation
from edgesim.training.config import Config
from edgesim.training.parts import placement
from edgesim.workload import ProfileTimer
from edgesim.workload_file import load

PROFILE = Path(__file__).parents[2] / "scenarios" / "profiles" / "mobilenetv2-32.json"
NET = "  topology: star\n  bandwidth: 50 Mbit/s\n"
TRAINING = "{method: parameter-server, server: server}"
FORECAST = "{method: parameter-server, server: server, planner: {policy: forecast}}"
WORDS = (
    "13:76 training.planner.policy: 'forecast' plans each worker alone, but here their messages slow each "
    "other down; take 'adaptive', or give each worker a link of its own to the server"
)
NETWORKS = [
    NET,
    NET + "  startup: {latency: 1 ms}\n",
    NET + "  startup: {occupancy: 1 ms}\n",
    NET + "  devices:\n    server: {bandwidth: 150 Mbit/s}\n",
    NET + "  devices:\n    server: {bandwidth: 149 Mbit/s}\n",
    NET + "  devices:\n    server: {bandwidth: 150 Mbit/s, duplex: half}\n",
    NET + "  devices:\n    server: {bandwidth: {values: [[0 s, 1 Gbit/s], [1 s, 1 Mbit/s]]}}\n",
    "  topology: wifi\n  bandwidth: 50 Mbit/s\n",
]
COUNTS = [1, 3]


def text_of(changed: Callable[..., str], network: str, count: int, training: str = TRAINING) -> str:
    return changed((NET, network), ("count: 3", f"count: {count}"), (TRAINING, training))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("count", COUNTS)
def test_the_check_finds_what_the_training_would(
    changed: Callable[..., str], network: str, count: int
) -> None:
    asked = scenario.loads(text_of(changed, network, count), "f", ".")
    cluster, workload = build.cluster(asked), load(PROFILE)
    workers = tuple(name for name in cluster.devices if name != "server")
    config = Config(servers=("server",), workers=workers, schedule="dynacomm")
    alone = expectation.outlooks(cluster, placement(workload, 1), ProfileTimer(workload), config)
    assert contended(cluster, ("server",), workers) == expectation.contended(cluster, alone)


def test_both_kinds_of_network_are_among_them(changed: Callable[..., str]) -> None:
    clusters = [build.cluster(scenario.loads(text_of(changed, network, 3), "f", ".")) for network in NETWORKS]
    found = [contended(one, ("server",), ("pi-1", "pi-2", "pi-3")) for one in clusters]
    assert found == [True, True, True, False, True, False, False, True]


def test_it_is_said_with_place_and_remedy(
    changed: Callable[..., str], wrong: Callable[..., list[str]]
) -> None:
    said = wrong(text_of(changed, NET, 3, FORECAST))
    assert [one.partition(" ")[2] for one in said] == [WORDS.partition(" ")[2]]
    scenario.loads(text_of(changed, NETWORKS[3], 3, FORECAST), "f", ".")
