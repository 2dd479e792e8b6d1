# ruff: noqa: E501 - messages are compared whole
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesim import scenario, workload_file
from edgesim.errors import ScenarioError
from edgesim.workload import Layer, Workload

Wrong = Callable[..., list[str]]
Changed = Callable[..., str]

PI = "{name: pi, count: 3, speed: 0.25, memory: 1 GiB}"
NET = "topology: star\n  bandwidth: 50 Mbit/s"
END = "stop: {iterations: 10}"


def events(*lines: str) -> tuple[str, str]:
    return END, END + "\nevents:\n" + "".join(f"  - {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # devices
        (
            PI,
            "{name: pi}",
            "6:5 devices[pi]: needs one of `preset`, `speed` and `compute`; write for example `preset: raspberry-pi-4`",
        ),
        (
            PI,
            "{name: server, speed: 1}",
            "6:12 devices[server].name: the name 'server' must be unique, but 'server' has it already; rename one",
        ),
        (
            PI,
            PI + "\n  - {name: pi-2, speed: 1}",
            "7:12 devices[pi-2].name: the name 'pi-2' must be unique, but 'pi' has it already; rename one",
        ),
        (
            PI,
            "{name: pi, preset: rasberry-pi-4}",
            "6:24 devices[pi].preset: unknown preset 'rasberry-pi-4'; did you mean 'raspberry-pi-4'?",
        ),
        (
            PI,
            "{name: pi, speed: 1, compute: 1 GFLOP/s}",
            "6:26 devices[pi].compute: `speed` and `compute` exclude each other; keep one",
        ),
        (
            PI,
            "{name: pi, speed: 1, memory_bandwidth: 1 GB/s}",
            "6:26 devices[pi].memory_bandwidth: has no effect: with `speed`, layers take their profiled time; remove it, or give `compute`",
        ),
        (
            PI,
            "{name: pi, preset: laptop, speed: 1, memory: 1 GiB, power: {busy: 2 W, idle: 1 W}}",
            "6:16 devices[pi].preset: has no effect: every figure of it is given here; remove it",
        ),
        (
            PI,
            "{name: pi, speed: 1, power: {busy: 1 W, idle: 2 W}}",
            "6:51 devices[pi].power.idle: must not be above the busy power; swap the two",
        ),
        (
            PI,
            "{name: pi, speed: 1, availability: 0}",
            "6:40 devices[pi].availability: must be more than 0, or the device never computes, got 0; take the device away",
        ),
        (
            PI,
            "{name: pi, speed: 1, availability: {values: [[1 s, 1], [2 s, 0.5]]}}",
            "6:50 devices[pi].availability.values[0]: the first time must be 0 s; say what holds from the start",
        ),
        (
            PI,
            "{name: pi, speed: 1, availability: {values: [[0 s, 1], [0 s, 0.5]]}}",
            "6:60 devices[pi].availability.values[1]: times must rise, but this one is not after the one before",
        ),
        (
            PI,
            "{name: pi, speed: 1, availability: {values: [[0 s, 1], [5 s, 0.5]], repeat: 5 s}}",
            "6:81 devices[pi].availability.repeat: must be more than the last time, 5 s",
        ),
        (
            PI,
            "{name: pi, speed: 1, availability: {values: [[0 s, 1], [5 s, 0]]}}",
            "6:49 devices[pi].availability.values: is 0 for ever from its last time on; give `repeat` or a last value above 0",
        ),
        (
            PI,
            "{name: pi, speed: 1, availability: {values: [[0 s, 1], [5 s, 1]]}}",
            "6:41 devices[pi].availability.values: has no effect: the values are all the same; write one value",
        ),
        (
            PI,
            "{name: pi, speed: 1, count: 1000000}",
            "4:1 devices: 1000001 devices are more than 1000000; lower a `count`",
        ),
        # workload
        (
            "model: lenet, batch_size: 8",
            "batch_size: 8",
            "3:11 workload: needs a `model` or a `profile`; write for example `model: lenet`",
        ),
        (
            "batch_size: 8",
            "timing: profile",
            "3:1 workload.profile: is missing, and timing is `profile`; make one with `edgesim profile`, or choose `measured`",
        ),
        (
            "model: lenet, batch_size: 8",
            "profile: a.json, timing: live",
            "3:1 workload.model: is missing, and timing is `live`; name the model, for example `model: lenet`",
        ),
        (
            "batch_size: 8",
            "profile: a.json, timing: measured",
            "3:26 workload.profile: has no effect: timing is `measured`; remove one of the two",
        ),
        (
            "model: lenet",
            "model: 'my models:build'",
            "3:19 workload.model: must be a name of the zoo or `package.module:callable`, got 'my models:build'",
        ),
        (
            "batch_size: 8",
            "blocks: [1, 3, 3, 2]",
            "3:41 workload.blocks[2]: block 3 ends in layer 3, the one before it in 3; let them rise",
        ),
        (
            "batch_size: 8",
            "blocks: [1, 2, 3]",
            "3:26 workload.blocks: has no effect: each block is one layer; remove it, or leave out layers that are "
            "not the last of a block",
        ),
        (
            "batch_size: 8",
            "blocks: [0, 3]",
            "3:35 workload.blocks[0]: must be between 1 and 10000000, got 0",
        ),
        # network
        (
            NET,
            "topology: star",
            "7:1 network.bandwidth: is missing, and the link of 'server' has none of its own; write for example `bandwidth: 50 Mbit/s`",
        ),
        (
            "topology: star",
            "topology: ring\n  fan_out: 2",
            "9:3 network.fan_out: has no effect: only topology `tree` has it, this is `ring`; remove it",
        ),
        (
            "topology: star",
            "topology: star\n  center: pi",
            "9:11 network.center: 'pi' stands for 3 devices, one is due; write 'pi-1'",
        ),
        (
            "topology: star",
            "topology: star\n  center: sever",
            "9:11 network.center: there is no device 'sever'; did you mean 'server'?",
        ),
        (
            "topology: star",
            "topology: star\n  duplex: shared",
            "9:11 network.duplex: one medium has no switch; name the device in the `center`, or use topology `wifi`",
        ),
        (
            "topology: star",
            "topology: wifi\n  duplex: half",
            "9:3 network.duplex: has no effect: wifi is always one shared medium; remove it",
        ),
        (
            "topology: star",
            "topology: wifi\n  access_point: pi-1",
            "9:17 network.access_point: must be the training server 'server', got 'pi-1': what is relayed crosses the medium twice, which is not modelled; remove it",
        ),
        (
            "topology: star",
            "topology: chain\n  duplex: shared",
            "9:11 network.duplex: a message of 'pi-2' to 'server' would cross the one medium more than once; use topology `wifi`, or `duplex: half`",
        ),
        (
            NET,
            "topology: wifi\n  bandwidth: {up: 1 MB/s, down: 2 MB/s}",
            "9:14 network.bandwidth: both directions share one link, so there is one bandwidth; write for example `50 Mbit/s`",
        ),
        (
            NET,
            "topology: star\n  duplex: half\n  bandwidth: {up: 1 MB/s, down: 2 MB/s}",
            "10:14 network.bandwidth: both directions share one link, so there is one bandwidth; write for example `50 Mbit/s`",
        ),
        (
            "topology: star",
            "topology: star\n  startup: {}",
            "9:3 network.startup: has no effect: it is empty; write `{occupancy: 1 ms}` or remove it",
        ),
        (
            "topology: star",
            "topology: star\n  devices: {sever: {latency: 1 s}}",
            "9:20 network.devices.sever: there is no device 'sever'; did you mean 'server'?",
        ),
        (
            "topology: star",
            "topology: star\n  center: server\n  devices: {server: {latency: 1 s}}",
            "10:13 network.devices.server: has no effect: 'server' is in the center and has no link of its own; remove it",
        ),
        (
            "topology: star",
            "topology: tree\n  devices: {server: {latency: 1 s}}",
            "9:13 network.devices.server: has no effect: 'server' is the root of the tree and has no link of its own; remove it",
        ),
        (
            "topology: star",
            "topology: star\n  devices: {pi: {}}",
            "9:13 network.devices.pi: has no effect: it is empty; write for example `{bandwidth: 1 Gbit/s}`",
        ),
        (
            "topology: star",
            "topology: star\n  latency: 1 s\n  devices: {pi: {latency: 2 s}, server: {latency: 3 s}}",
            "9:3 network.latency: has no effect: every link has its own; remove it",
        ),
        (
            "topology: star",
            "topology: links",
            "7:1 network.links: is missing, and the topology is `links`; list them: `links: [{from: pi, to: server}]`",
        ),
        (
            "topology: star",
            "topology: links\n  links: [{from: pi-1, to: pi-1}]",
            "9:28 network.links[pi-1-pi-1].to: leads from 'pi-1' to itself; name another node",
        ),
        (
            "topology: star",
            "topology: links\n  links: [{from: pi, to: server}]",
            "9:18 network.links[pi-server].from: 'pi' stands for 3 devices, one is due; write 'pi-1'",
        ),
        (
            "topology: star",
            "topology: links\n  links: [{from: pi-1}]",
            "9:11 network.links[0].to: is missing; write `to: ` and the name of a device or switch",
        ),
        (
            "topology: star",
            "topology: links\n  links: [{from: pi-1, to: server}, {from: pi-1, to: server}]",
            "9:44 network.links[pi-1-server].from: the name 'pi-1-server' must be unique; give one of the two another `name`",
        ),
        (
            "topology: star",
            "topology: links\n  links: [{between: [pi-1, pi-2, pi-3]}]",
            "9:10 network.links: there is no route to the server 'server' for the worker 'pi-1'; add a link",
        ),
        (
            "topology: star",
            "topology: links\n  links: [{between: [pi-1, pi-2, server]}, {from: pi-3, to: server, duplex: one-way}]",
            "9:10 network.links: there is no route from the server 'server' for the worker 'pi-3'; add a link",
        ),
        (
            "topology: star",
            "topology: links\n  links: [{between: [pi-1, pi-1]}]",
            "9:28 network.links[0].between[1]: 'pi-1' is there twice; remove one",
        ),
        # training
        (
            "server: server}",
            "server: pi}",
            "10:46 training.server: 'pi' stands for 3 devices, one is due; write 'pi-1'",
        ),
        (
            "server: server}",
            "server: server, workers: [pi, server]}",
            "10:68 training.workers[1]: the server 'server' cannot be a worker too; take it away",
        ),
        (
            "server: server}",
            "server: server, workers: [pi, pi-2]}",
            "10:68 training.workers[1]: 'pi-2' is a worker already by 'pi'; remove one",
        ),
        (
            "server: server}",
            "server: server, on_crash: drop}",
            "10:54 training.on_crash: has no effect: no device that trains crashes; remove it, or add a crash to `events`",
        ),
        (
            f"\n  - {PI}",
            "",
            "9:46 training.server: there is no device besides the server; add a worker to `devices`",
        ),
        # stop
        (
            "iterations: 10",
            "",
            "11:7 stop: needs `iterations` or `time`, or the run never ends; write `iterations: 50`",
        ),
        # events
        (
            *events("{at: 1 s, device: pi-1}"),
            "13:5 events[pi-1 at 1 s]: needs an action: crash, slow, change, cut or random; for good is `crash: {}`",
        ),
        (*events("{at: 1 s, crash: {}}"), "13:5 events[0]: needs a target: device, devices, link or links"),
        (
            *events("{device: pi-1, crash: {}}"),
            "13:5 events[pi-1].at: is missing; write when it happens, for example `at: 30 s`",
        ),
        (
            *events("{at: 1 s, device: pi-1, crash: {}, slow: {to: 2}}"),
            "13:40 events[pi-1 at 1 s].slow: one event is one action, but crash is there too; make two",
        ),
        (
            *events("{at: 1 s, device: pi-1, link: pi-1.up, crash: {}}"),
            "13:29 events[pi-1 at 1 s].link: one of device and link is enough; make two events or use a list",
        ),
        (
            *events("{at: 1 s, device: pi-1, cut: {}}"),
            "13:29 events[pi-1 at 1 s].cut: does not happen to devices; devices have crash and slow",
        ),
        (
            *events("{at: 1 s, device: pi, crash: {}}"),
            "13:23 events[pi at 1 s].device: 'pi' stands for 3 devices, one is due; write 'pi-1'",
        ),
        (
            *events("{at: 1 s, link: pi-1, cut: {}}"),
            "13:21 events[pi-1 at 1 s].link: 'pi-1' stands for 2 links, one is due; write 'pi-1.up', or `links: [pi-1]`",
        ),
        (
            *events("{at: 1 s, link: pi-1.pu, cut: {}}"),
            "13:21 events[pi-1.pu at 1 s].link: there is no link 'pi-1.pu'; did you mean 'pi-1.up'?",
        ),
        (
            *events("{at: 1 s, links: [pi, x], cut: {}}"),
            "13:27 events[pi,x at 1 s].links[1]: there is no link 'x'; known here: 'server', 'pi-1', 'pi-2', 'pi-3', 'pi', 'server.up', 'server.down', 'pi-1.up', 'pi-1.down', 'pi-2.up', 'pi-2.down', 'pi-3.up' and 1 more",
        ),
        (
            *events("{at: 1 s, devices: [pi-1, pi-1], crash: {}}"),
            "13:24 events[pi-1,pi-1 at 1 s].devices: has a name twice; remove one",
        ),
        (
            *events("{at: 1 s, device: pi-1, random: {mtbf: 1 h, mttr: 1 s}}"),
            "13:6 events[pi-1 at 1 s].at: has no effect: random outages choose their own times; remove it",
        ),
        (
            *events(
                "{device: pi-1, random: {mtbf: 1 h, mttr: 1 s}}",
                "{devices: [pi], random: {mtbf: 2 h, mttr: 1 s}}",
            ),
            "14:29 events[pi at random].random: 'pi-1' has random outages already; remove one",
        ),
        (
            *events("{at: 1 s, device: pi-1, slow: {to: 1}}"),
            "13:36 events[pi-1 at 1 s].slow.to: has no effect: 1 is the device's own speed; write for example 0.5",
        ),
        (
            *events("{at: 1 s, link: pi-1.up, change: {for: 3 s}}"),
            "13:38 events[pi-1.up at 1 s].change: needs `bandwidth` or `latency`",
        ),
        (
            *events("{at: 1 s, link: pi-1.up, change: {bandwidth: 6.25 MB/s}}"),
            "13:30 events[pi-1.up at 1 s].change: has no effect: the link has these figures anyway; remove it",
        ),
        (
            *events("{at: 1 s, device: pi-1, crash: {}}", "{at: 2 s, device: pi-1, slow: {to: 2}}"),
            "14:29 events[pi-1 at 2 s].slow: 'pi-1' is down for good since 1 s; make this earlier or that shorter",
        ),
        (
            *events(
                "{at: 1 s, device: pi-1, crash: {for: 9 s}}", "{at: 2 s, device: pi-1, crash: {for: 1 s}}"
            ),
            "14:29 events[pi-1 at 2 s].crash: has no effect: 'pi-1' is down from 1 s to 10 s anyway",
        ),
        (
            *events("{at: 0 s, device: server, crash: {}}"),
            "13:31 events[server at 0 s].crash: the server 'server' is gone for good from the start, so `stop` can never come; give `for` or `stop.time`",
        ),
        (
            *events("{at: 0 s, devices: [pi], crash: {}}"),
            "13:30 events[pi at 0 s].crash: all workers are gone for good from the start, so `stop` can never come; give `for` or `stop.time`",
        ),
        # compare
        (
            END,
            END + "\ncompare: {training.schedul: [ibatch]}",
            "12:30 compare[training.schedul][0]: with 'ibatch', training.schedul: unknown key; did you mean 'schedule'?",
        ),
        (
            END,
            END + "\ncompare: {training.schedule: [ibatch, ibatch]}",
            "12:39 compare[training.schedule][1]: has no effect: 'ibatch' is there twice; remove one",
        ),
        (
            END,
            END + "\ncompare: {training.schedule: []}",
            "12:30 compare[training.schedule]: has no alternatives; list at least one",
        ),
        (
            END,
            END + "\ncompare: {'devices[pii].speed': [1]}",
            "12:11 compare[devices[pii].speed]: there is no 'pii' in 'devices[pii].speed'; did you mean 'pi'?",
        ),
        (
            END,
            END + "\ncompare: {training.server: [pi-1, ghost]}",
            "12:35 compare[training.server][1]: with 'ghost', training.server: there is no device 'ghost'; known here: 'server', 'pi-1', 'pi-2', 'pi-3'",
        ),
        (
            END,
            END + "\ncompare: {name: [a]}",
            "12:11 compare.name: 'name' cannot be compared; name a setting of the experiment",
        ),
        (
            END,
            END + "\ncompare: {network.bandwidth: [5]}",
            "12:31 compare[network.bandwidth][0]: with 5, network.bandwidth: a bare number has no unit, got 5; write for example '5 Mbit/s' or '5 Gbit/s'",
        ),
    ],
)
def test_says_what_only_meaning_tells(wrong: Wrong, changed: Changed, old: str, new: str, said: str) -> None:
    assert said in wrong(changed((old, new)))


def test_a_schedule_that_is_unknown(wrong: Wrong, changed: Changed) -> None:
    (said,) = wrong(changed((END, END + "\ncompare: {training.schedule: [ibatch, dynacom]}")))
    place = "12:39 compare[training.schedule][1]: with 'dynacom', training.schedule: "
    assert said.startswith(place + "unknown schedule 'dynacom', did you mean 'dynacomm'?")


def test_a_change_of_latency_that_is_none(wrong: Wrong, changed: Changed) -> None:
    text = changed(
        (NET, NET + "\n  latency: 5 ms"), events("{at: 1 s, links: [pi], change: {latency: 0.005 s}}")
    )
    (said,) = wrong(text)
    assert said.startswith("14:")
    assert said.endswith(".change: has no effect: the link has these figures anyway; remove it")
    scenario.loads(text.replace("0.005 s", "6 ms"))


def test_never_after_the_end(wrong: Wrong, changed: Changed) -> None:
    text = changed((END, "stop: {time: 1 min}\nevents: [{at: 60 s, device: pi-1, crash: {}}]"))
    assert wrong(text) == [
        "12:15 events[pi-1 at 60 s].at: never happens: the run stops at 60 s; make it earlier"
    ]


def test_a_cut_that_leaves_a_worker_alone(wrong: Wrong, changed: Changed) -> None:
    text = changed(events("{at: 0 s, link: pi-2.down, cut: {}}"))
    assert wrong(text) == [
        "13:32 events[pi-2.down at 0 s].cut: the worker 'pi-2' has no route to 'server' and back from the start "
        "for good; give `for`, or take it away"
    ]
    scenario.loads(text.replace("cut: {}", "cut: {for: 1 s}"))
    ring = changed(("topology: star", "topology: ring"), events("{at: 0 s, link: server->pi-1, cut: {}}"))
    scenario.loads(ring)


def test_an_idle_device_cannot_matter(wrong: Wrong, changed: Changed) -> None:
    text = changed(
        ("server: server}", "server: server, workers: [pi-1, pi-2]}"),
        events("{at: 1 s, devices: [pi], slow: {to: 2}}"),
    )
    assert wrong(text) == [
        "13:15 events[pi at 1 s].devices: has no effect: 'pi-3' takes no part in the training; make it a worker"
    ]


def test_live_that_never_runs_a_layer(wrong: Wrong, changed: Changed) -> None:
    text = changed(
        ("batch_size: 8", "timing: live"),
        ("speed: 1}", "preset: workstation}"),
        ("speed: 0.25", "compute: 1 GFLOP/s"),
    )
    assert wrong(text) == [
        "3:26 workload.timing: has no effect: every device that trains is timed from its `compute`; "
        "give one a `speed`"
    ]


def test_a_mesh_too_large(wrong: Wrong, changed: Changed) -> None:
    assert wrong(changed(("count: 3", "count: 5000"), ("topology: star", "topology: mesh"))) == [
        "8:13 network.topology: has 12502500 links, more than 1000000; use `star` or `tree`"
    ]


def test_too_many_combinations(wrong: Wrong, changed: Changed) -> None:
    seeds = ", ".join(str(number) for number in range(2501))
    text = changed((END, END + f"\ncompare: {{seed: [{seeds}], training.schedule: [ibatch, dynacomm]}}"))
    assert wrong(text) == ["12:1 compare: 5002 combinations are more than 5000; shorten an axis"]


def test_problems_are_in_the_order_of_the_file(wrong: Wrong, changed: Changed) -> None:
    text = changed((PI, "{name: pi}"), ("server: server}", "server: x}"), ("iterations: 10", ""))
    assert [int(said.split(":")[0]) for said in wrong(text)] == [6, 10, 11]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    layer = Layer(
        name="fc",
        kind="Linear",
        forward_s=0.1,
        backward_s=0.2,
        forward_flop=1e9,
        backward_flop=2e9,
        parameters=2**20,
        parameter_bytes=2**22,
        output_bytes=2**20,
        activation_bytes=2**23,
    )
    workload = Workload(
        model="lenet", batch_size=8, input_shape=(3, 32, 32), dtype="float32", layers=(layer,), step_s=0.3
    )
    workload_file.save(workload, tmp_path / "lenet.json")
    return tmp_path


def test_a_profile_that_fits(profile: Path, changed: Changed) -> None:
    stated = scenario.loads(changed(("model: lenet", "model: lenet, profile: lenet.json")), base=profile)
    assert stated.workload.resolved_timing == "profile"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "model: lenet",
            "profile: lenet.json, model: vgg19",
            "3:40 workload.model: the profile was made with lenet; remove it, or profile the model again",
        ),
        (
            "batch_size: 8",
            "profile: lenet.json, batch_size: 16",
            "3:59 workload.batch_size: the profile was made with 8, and 'pi-1' takes its times from it; remove this, "
            "profile the model again, or give the device a `compute` instead of a `speed`",
        ),
        (
            "batch_size: 8",
            "profile: lenet.json, input: [1, 28, 28]",
            "3:54 workload.input: the profile was made with [3, 32, 32]; remove it, or profile the model again",
        ),
        (
            "batch_size: 8",
            "profile: lenet.json, blocks: [2, 5]",
            "3:59 workload.blocks[1]: the last block ends in layer 5, the profile has 1; end in 1",
        ),
    ],
)
def test_a_profile_of_something_else(
    wrong: Wrong, changed: Changed, profile: Path, old: str, new: str, said: str
) -> None:
    assert wrong(changed((old, new)), profile) == [said]


def test_another_batch_where_every_worker_has_a_compute(
    wrong: Wrong, changed: Changed, profile: Path
) -> None:
    """Only the server, whose update does not hang on the batch, may take its time from the profile."""
    text = changed(
        ("batch_size: 8", "profile: lenet.json, batch_size: 16"), ("speed: 0.25", "preset: laptop")
    )
    scenario.loads(text, base=profile)
    small = text.replace("memory: 1 GiB", "memory: 20 MiB")
    scenario.loads(small.replace(", batch_size: 16", ""), base=profile)
    assert [said.partition(" needs ")[2] for said in wrong(small, profile)] == [
        "24 MiB, it has 20 MiB; give it more memory, or a smaller batch or model"
    ]


def test_a_memory_that_cannot_hold_the_model(wrong: Wrong, changed: Changed, profile: Path) -> None:
    text = changed(("batch_size: 8", "profile: lenet.json"), ("memory: 1 GiB", "memory: 10 MiB"))
    assert wrong(text, profile) == [
        "6:47 devices[pi].memory: cannot hold lenet: training needs 16 MiB, it has 10 MiB; "
        "give it more memory, or a smaller batch or model"
    ]
    text = changed(("batch_size: 8", "profile: lenet.json"), ("speed: 1}", "speed: 1, memory: 7 MiB}"))
    assert wrong(text, profile) == [
        "5:38 devices[server].memory: cannot hold lenet: parameters and gradients need 8 MiB, it has 7 MiB; "
        "give it more memory, or a smaller batch or model"
    ]


def test_a_profile_that_is_none(wrong: Wrong, changed: Changed, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(json.dumps({"format": "other"}), encoding="utf-8")
    for name in ("bad.json", "none.json"):
        (said,) = wrong(changed(("batch_size: 8", f"profile: {name}")), tmp_path)
        assert said.startswith("3:35 workload.profile: ")
        assert name in said


@pytest.mark.parametrize(
    "text",
    [
        "topology: chain\n  bandwidth: 50 Mbit/s",
        "topology: ring\n  bandwidth: 50 Mbit/s\n  duplex: half",
        "topology: tree\n  fan_out: 3\n  bandwidth: {up: 1 Mbit/s, down: 5 Mbit/s}",
        "topology: mesh\n  bandwidth: 50 Mbit/s\n  duplex: shared",
        "topology: wifi\n  bandwidth: 50 Mbit/s",
        "topology: wifi\n  bandwidth: 50 Mbit/s\n  access_point: server",
        "topology: star\n  center: server\n  duplex: shared\n  bandwidth: 50 Mbit/s",
        "topology: star\n  devices: {pi: {bandwidth: 1 MB/s}, server: {bandwidth: 1 GB/s}}",
        "topology: links\n  bandwidth: 1 MB/s\n  links: [{between: [pi-1, pi-2, hub]}, {from: hub, to: server}, {from: pi-3, to: hub}]",
    ],
)
def test_networks_that_are_fine(changed: Changed, text: str) -> None:
    assert scenario.loads(changed((NET, text)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("model: lenet", "model: lennet", "model 'lennet': unknown, did you mean 'lenet'?"),
        (
            "model: lenet",
            "model: lenet, input: [3, 8, 8]",
            "input [3, 8, 8] does not fit: it takes any channels",
        ),
    ],
)
def test_a_model_or_input_that_the_zoo_does_not_know(
    wrong: Wrong, changed: Changed, old: str, new: str, said: str
) -> None:
    (problem,) = wrong(changed((old, new)))
    assert problem.split()[1] == ("workload.input:" if "input" in new else "workload.model:")
    assert said in problem


def test_a_device_too_small_for_the_parameters_of_a_model(wrong: Wrong, changed: Changed) -> None:
    (problem,) = wrong(changed(("model: lenet", "model: vgg-19"), ("memory: 1 GiB", "memory: 512 MiB")))
    assert "cannot hold vgg-19: parameters and gradients alone need 1096.1 MiB, it has 512 MiB" in problem


def test_misspelt_and_missing_keys_hide_no_problem_of_meaning() -> None:
    text = """\
version: 1
workload: {modle: lenet}
devices:
  - {nmae: server, speed: 1}
  - {name: pi, preset: raspbery-pi-4}
  - {name: pi, sped: 0.5}
network: {topolgy: star, bandwidth: 5 Mbit/s}
training: {server: srver}
events:
  - {at: 1 s, device: pi-9, crash: {}}
"""
    with pytest.raises(ScenarioError) as caught:
        scenario.loads(text, "a.yaml")
    assert [f"{problem.where}: {problem.message.split(';')[0]}" for problem in caught.value.problems] == [
        "name: is missing",
        "stop: is missing",
        "workload.modle: unknown key",
        "devices[0].nmae: unknown key",
        "devices[pi].preset: unknown preset 'raspbery-pi-4'",
        "devices[pi].name: the name 'pi' must be unique, but 'pi' has it already",
        "devices[pi].sped: unknown key",
        "network.topolgy: unknown key",
        "training.method: is missing",
        "training.server: there is no device 'srver'",
        "events[pi-9 at 1 s].device: there is no device 'pi-9'",
    ]


def test_several_servers_on_one_medium(wrong: Wrong, changed: Changed) -> None:
    said = wrong(
        changed(
            ("server: server", "servers: [server, pi-1], workers: [pi-2, pi-3]"),
            ("topology: star", "topology: wifi"),
        )
    )
    assert any("'pi-1' is not at the access point" in problem for problem in said), said
