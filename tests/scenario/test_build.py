from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesim import events, scenario
from edgesim.cluster import Hop
from edgesim.scenario import build
from edgesim.scenario.presets import DIMENSIONS, PRESETS, rows
from edgesim.timeseries import Series

Changed = Callable[..., str]
PI = "{name: pi, count: 3, speed: 0.25, memory: 1 GiB}"
NET = "topology: star\n  bandwidth: 50 Mbit/s"
STAR = ["server.up", "server.down", "pi-1.up", "pi-1.down", "pi-2.up", "pi-2.down", "pi-3.up", "pi-3.down"]
LINKS = "topology: links\n  bandwidth: 1 MB/s\n  links: "


@pytest.mark.parametrize(
    ("network", "links", "there", "back"),
    [
        (NET, STAR, ("pi-1.up", "server.down"), ("server.up", "pi-1.down")),
        (
            NET + "\n  duplex: half",
            ["server", "pi-1", "pi-2", "pi-3"],
            ("pi-1", "server"),
            ("server", "pi-1"),
        ),
        (NET + "\n  center: server", STAR[2:], ("pi-1.up",), ("pi-1.down",)),
        (NET + "\n  center: server\n  duplex: shared", ["shared"], ("shared",), ("shared",)),
        (
            NET.replace("star", "chain"),
            ["server->pi-1", "pi-1->server", "pi-1->pi-2", "pi-2->pi-1", "pi-2->pi-3", "pi-3->pi-2"],
            ("pi-1->server",),
            ("server->pi-1",),
        ),
        (
            NET.replace("star", "ring") + "\n  duplex: half",
            ["server--pi-1", "pi-1--pi-2", "pi-2--pi-3", "pi-3--server"],
            ("server--pi-1",),
            ("server--pi-1",),
        ),
        (NET.replace("star", "tree"), STAR[2:], ("pi-1.up",), ("pi-1.down",)),
        (
            NET.replace("star", "mesh") + "\n  duplex: half",
            ["server--pi-1", "server--pi-2", "server--pi-3", "pi-1--pi-2", "pi-1--pi-3", "pi-2--pi-3"],
            ("server--pi-1",),
            ("server--pi-1",),
        ),
        (NET.replace("star", "wifi"), ["wifi"], ("wifi",), ("wifi",)),
        (NET.replace("star", "wifi") + "\n  access_point: server", ["wifi"], ("wifi",), ("wifi",)),
        (
            LINKS + "[{between: [pi-1, pi-2, pi-3, hub], name: lan}, {from: hub, to: server}]",
            ["lan", "hub-server.up", "hub-server.down"],
            ("lan", "hub-server.up"),
            ("hub-server.down", "lan"),
        ),
        (
            LINKS + "[{between: [pi-1, pi-2, pi-3, server], name: lan}, "
            "{from: pi-1, to: server, duplex: one-way, name: extra}]",
            ["lan", "extra"],
            ("lan",),
            ("lan",),
        ),
    ],
)
def test_topologies(
    changed: Changed, network: str, links: list[str], there: tuple[str, ...], back: tuple[str, ...]
) -> None:
    cluster = build.cluster(scenario.loads(changed((NET, network))))
    assert list(cluster.links) == links
    assert cluster.route("pi-1", "server") == there
    assert cluster.route("server", "pi-1") == back
    assert {hop.link for hop in cluster.hops} == set(links)


def test_a_tree_by_hand(changed: Changed) -> None:
    text = changed(("count: 3", "count: 6"), ("topology: star", "topology: tree\n  fan_out: 3"))
    cluster = build.cluster(scenario.loads(text))
    up = [(hop.source, hop.target) for hop in cluster.hops if hop.link.endswith(".up")]
    parents = {
        "pi-1": "server",
        "pi-2": "server",
        "pi-3": "server",
        "pi-4": "pi-1",
        "pi-5": "pi-1",
        "pi-6": "pi-1",
    }
    assert up == list(parents.items())
    assert cluster.route("pi-5", "server") == ("pi-5.up", "pi-1.up")


def test_a_ring_closes(changed: Changed) -> None:
    cluster = build.cluster(scenario.loads(changed(("topology: star", "topology: ring"))))
    assert Hop(source="pi-3", target="server", link="pi-3->server") in cluster.hops
    assert cluster.route("pi-3", "server") == ("pi-3->server",)


def test_settings_of_links(changed: Changed) -> None:
    network = """topology: star
  bandwidth: {up: 8 Mbit/s, down: 16 Mbit/s}
  latency: 5 ms
  startup: {occupancy: 1 ms, latency: 2 ms}
  devices:
    server: {bandwidth: 1 Gbit/s, latency: 1 ms, sharing: fifo}
    pi: {startup: {latency: 3 ms}}
    pi-2: {bandwidth: 4 Mbit/s, duplex: half}"""
    links = build.cluster(scenario.loads(changed((NET, network)))).links
    assert (links["pi-1.up"].bandwidth_Bps, links["pi-1.down"].bandwidth_Bps) == (1e6, 2e6)
    assert links["server.up"].bandwidth_Bps == links["server.down"].bandwidth_Bps == 125e6
    assert (links["server.up"].latency_s, links["server.up"].sharing) == (0.001, "fifo")
    assert (links["pi-1.up"].latency_s, links["pi-1.up"].sharing) == (0.005, "fair")
    assert (links["pi-1.up"].occupancy_s, links["pi-1.up"].startup_latency_s) == (0.001, 0.003)
    assert (links["server.up"].occupancy_s, links["server.up"].startup_latency_s) == (0.001, 0.002)
    assert (links["pi-2"].bandwidth_Bps, links["pi-2"].startup_latency_s) == (500e3, 0.002)
    assert "pi-2.up" not in links


def test_bandwidth_over_time(changed: Changed, tmp_path: Path) -> None:
    (tmp_path / "up.csv").write_text("time_s,Mbit\n0,8\n10,4\n")
    network = """topology: star
  bandwidth:
    up: {file: up.csv, unit: 1 Mbit/s, repeat: 20 s}
    down: {values: [[0 s, 2 MB/s], [5 s, 0 B/s]], repeat: 6 s}"""
    links = build.cluster(scenario.loads(changed((NET, network)), base=tmp_path)).links
    assert links["pi-1.up"].bandwidth_Bps == 1e6
    assert links["pi-1.up"].factor == Series(times_s=(0.0, 10.0), values=(1.0, 0.5), period_s=20.0)
    assert links["pi-1.down"].bandwidth_Bps == 2e6
    assert links["pi-1.down"].factor == Series(times_s=(0.0, 5.0), values=(1.0, 0.0), period_s=6.0)


def test_devices_from_presets_say_what_is_assumed(changed: Changed) -> None:
    text = changed(
        ("speed: 1}", "preset: workstation, memory: 8 GiB}"),
        (PI, "{name: pi, count: 2, preset: raspberry-pi-4, speed: 0.1}"),
    )
    devices = build.cluster(scenario.loads(text)).devices
    server, pi = devices["server"], devices["pi-2"]
    assert server.assumed == ("compute_flops", "busy_W", "idle_W")
    assert (server.compute_flops, server.memory_bytes, server.speed) == (4.5e12, 8 * 2**30, None)
    assert pi.assumed == ()
    assert (pi.speed, pi.compute_flops, pi.memory_bytes, pi.busy_W) == (0.1, None, 4 * 2**30, 6.4)


def test_availability(changed: Changed) -> None:
    text = changed(("speed: 0.25", "speed: 0.25, availability: {values: [[0 s, 1], [3 s, 0.5]]}"))
    devices = build.cluster(scenario.loads(text)).devices
    assert devices["pi-1"].availability == Series(times_s=(0.0, 3.0), values=(1.0, 0.5))
    assert devices["server"].availability is None


def test_events(changed: Changed) -> None:
    end = """stop: {iterations: 10}
events:
  - {at: 30 s, device: pi-2, crash: {for: 1 min}}
  - {at: 1 h, devices: [pi-1, pi-3], crash: {}}
  - {at: 10 s, device: pi-1, slow: {to: 0.5, for: 20 s}}
  - {at: 10 s, links: [pi-1], cut: {}}
  - {at: 5 s, link: server.up, change: {latency: 1 s}}
  - {link: server.down, random: {mtbf: 1 h, mttr: 2 min}}
  - {devices: [pi], random: {mtbf: 1 h, mttr: 2 min}}"""
    assert build.events(scenario.loads(changed(("stop: {iterations: 10}", end)))) == (
        events.Crash(at_s=30.0, device="pi-2", for_s=60.0),
        events.Crash(at_s=3600.0, device="pi-1"),
        events.Crash(at_s=3600.0, device="pi-3"),
        events.Slow(at_s=10.0, device="pi-1", to=0.5, for_s=20.0),
        events.Cut(at_s=10.0, link="pi-1.up"),
        events.Cut(at_s=10.0, link="pi-1.down"),
        events.ChangeLink(at_s=5.0, link="server.up", latency_s=1.0),
        events.RandomCuts(link="server.down", mtbf_s=3600.0, mttr_s=120.0),
        *(events.RandomCrashes(device=f"pi-{n}", mtbf_s=3600.0, mttr_s=120.0) for n in (1, 2, 3)),
    )


def test_many_devices_are_small(changed: Changed) -> None:
    stated = scenario.loads(changed(("count: 3", "count: 20000")))
    tracemalloc.start()
    cluster = build.cluster(stated)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cluster.devices) == 20001
    assert used / 20000 < 2000


def test_every_preset_has_every_figure_with_its_source() -> None:
    wanted = {
        *("raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5"),
        *("jetson-nano", "jetson-tx2", "jetson-xavier-nx", "jetson-agx-xavier", "jetson-orin-nano"),
        *("phone-low", "phone-mid", "phone-high", "laptop", "workstation"),
    }
    assert set(PRESETS) == wanted
    for preset in PRESETS.values():
        assert list(preset.figures) == list(DIMENSIONS)
        assert all(figure.value > 0 and len(figure.source) > 10 for figure in preset.figures.values())
        assert preset.figures["idle_W"].value < preset.figures["busy_W"].value
    assert {row["status"] for row in rows()} == {"measured", "published", "assumed"}


def test_a_check_loads_nothing_heavy(good: str) -> None:
    code = (
        "import sys; from edgesim import scenario; scenario.loads(sys.argv[1]); "
        "print(*({'torch', 'simpy', 'numpy', 'networkx', 'pint', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, good], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
