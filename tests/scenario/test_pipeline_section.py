"""`method: pipeline`: what its section says, every wrong value at its place with a remedy, alternatives."""

# ruff: noqa: E501 - messages are compared whole
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from edgesim import scenario, workload_file
from edgesim.__main__ import main
from edgesim.errors import ScenarioError
from edgesim.experiment.training import configure
from edgesim.planning import partition
from edgesim.planning.cost import PlanningError
from edgesim.planning.pipeline_schedules import DESCRIPTIONS, SCHEDULES, Settings, settings
from edgesim.scenario import pipeline_section
from edgesim.scenario.names import hosts_of, workers_of
from edgesim.scenario.pipeline_section import Pipeline
from edgesim.scenario.pipeline_settings import resolved
from edgesim.training import pipeline_config
from tests.scenario.conftest import GOOD

DATA = Path(__file__).parents[1] / "data"
STATED = "method: pipeline, central: server"
Wrong = Callable[..., list[str]]


def text(more: str = "", rest: str = "", stated: str = STATED) -> str:
    """The good scenario with a pipeline, of which `more` is set, and `rest` after it."""
    section = f"{stated}, {more}" if more else stated
    return GOOD.replace("method: parameter-server, server: server", section) + rest


def config(more: str = "", rest: str = "", stated: str = STATED) -> pipeline_config.Config:
    made = configure(scenario.loads(text(more, rest, stated)))
    assert isinstance(made, pipeline_config.Config)
    return made


def variants(more: str, compare: str, stated: str = STATED) -> list[tuple[dict[str, Any], scenario.Scenario]]:
    found = list(scenario.variants(scenario.loads(text(more, f"compare: {compare}\n", stated))))
    assert all(scenario.check(one) == [] for _, one in found)
    return found


def keys(model: type[BaseModel]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


# what is said, and what follows from it


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_is_not_set_is_as_the_schedule_has_it(schedule: str) -> None:
    found = config(f"schedule: {schedule}")
    expected = settings(schedule)
    assert {one.name: getattr(found, one.name) for one in fields(Settings)} == {
        one.name: getattr(expected, one.name) for one in fields(Settings)
    }
    assert found.iterations == 10
    everybody = ("server", "pi-1", "pi-2", "pi-3")
    assert found.devices == (everybody[:1] if schedule == "single" else everybody)


def test_every_setting_reaches_the_training() -> None:
    stated = scenario.load(DATA / "pipeline.yaml")
    found = configure(stated)
    assert isinstance(found, pipeline_config.Config)
    assert found == pipeline_config.Config(
        devices=("hub", "laptop", "pi-1", "pi-2"),
        schedule="ftpipehd",
        execution="1f1b",
        points=(1, 2, 4),
        versions="stash",
        aggregate_every=3,
        micro_batches=1,
        windows="stages",
        epoch=2,
        optimizer_state=1.0,
        repartition=pipeline_config.Repartition(policy="when-different", first=2, every=3, momentum="carry"),
        replication=pipeline_config.Replication(policy="periodic", chain=2, whole=4, optimizer=True),
        recovery="ftpipehd",
        checkpoint_every=2,
        detection=pipeline_config.Detection(policy="timer", factor=2.0, z=5.0, probe_timeout_s=0.05),
        rebuild_s=0.005,
        iterations=12,
    )
    assert configure(scenario.loads(stated.to_yaml(), base=DATA)) == found


def test_the_example_sets_every_key() -> None:
    section = scenario.load(DATA / "pipeline.yaml").to_data()["training"]
    assert set(section) == keys(Pipeline)
    for part in ("repartition", "replication", "detection"):
        assert set(section[part]) == keys(getattr(pipeline_section, part.capitalize()))


def test_what_is_set_beats_the_schedule_part_by_part() -> None:
    found = config("schedule: exact, replication: {global: never}, detection: {z: 4}, aggregate_every: 7")
    expected = settings("exact")
    assert found.replication == replace(expected.replication, whole=None)
    assert found.detection == replace(expected.detection, z=4.0)
    assert (found.aggregate_every, found.partition, found.windows) == (7, "exact", "minimal")
    assert config("aggregate_every: never").aggregate_every is None
    assert config("partition: pipedream").partition == "pipedream"


def test_what_a_schedule_has_for_another_execution_does_not_hold() -> None:
    assert config("schedule: gpipe").micro_batches == 4
    assert config("schedule: gpipe, execution: 1f1b").micro_batches == 1
    assert config("schedule: exact").windows == "minimal"
    assert config("schedule: exact, execution: gpipe").windows == "stages"


def test_the_state_of_the_optimizer_follows_from_what_is_learnt() -> None:
    def state(more: str, learn: str) -> float:
        return config(more, f"learn: {{data: digits{learn}}}\n").optimizer_state

    assert config().optimizer_state == 1.0
    assert state("", "") == 0.0
    assert state("", ", momentum: 0.9") == 1.0
    assert state("optimizer_state: 2", "") == 2.0


@pytest.mark.parametrize(
    ("more", "devices"),
    [
        ("central: server", ["server", "pi-1", "pi-2", "pi-3"]),
        ("central: pi-2", ["pi-2", "server", "pi-1", "pi-3"]),
        ("central: pi-2, workers: [pi-3, server]", ["pi-2", "pi-3", "server"]),
        ("central: server, workers: [pi]", ["server", "pi-1", "pi-2", "pi-3"]),
        ("central: pi-1, partition: single", ["pi-1"]),
    ],
)
def test_the_central_node_comes_first_and_the_workers_in_their_order(more: str, devices: list[str]) -> None:
    stated = scenario.loads(text(stated=f"method: pipeline, {more}"))
    assert list(workers_of(stated)) == devices
    assert hosts_of(stated) == ()


def test_what_the_section_offers_is_what_there_is() -> None:
    def words(model: type[BaseModel], key: str) -> set[str]:
        choice = next(one for one in get_args(model.model_fields[key].annotation) if get_args(one))
        return set(get_args(choice))

    for key in ("execution", "versions", "windows", "recovery"):
        assert words(Pipeline, key) == set(get_args(getattr(pipeline_config, key.capitalize())))
    assert set(get_args(pipeline_section.PartitionMethod)) >= set(partition.METHODS)
    assert set(DESCRIPTIONS) == set(SCHEDULES)


def test_a_schedule_that_there_is_not_is_told() -> None:
    with pytest.raises(PlanningError, match="unknown schedule 'gpip' of a pipeline, did you mean 'gpipe'"):
        settings("gpip")


def test_schedules_of_a_pipeline_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "schedules"]) == 0
    said = capsys.readouterr().out
    assert "dynacomm" in said
    assert all(name in said for name in SCHEDULES)


# what is wrong


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("method: pipeline", "10:1 training.central: is missing; write for example `central: hub`"),
        (
            "method: pipeline, central: pi",
            "10:39 training.central: 'pi' stands for 3 devices, one is due; write 'pi-1'",
        ),
        (
            "method: pipeline, central: sever",
            "10:39 training.central: there is no device 'sever'; did you mean 'server'?",
        ),
        (
            f"{STATED}, workers: [pi, server]",
            "10:61 training.workers[1]: the central node 'server' cannot be a worker too; take it away",
        ),
        (
            f"{STATED}, workers: [pi, pi-1]",
            "10:61 training.workers[1]: 'pi-1' is a worker already by 'pi'; remove one",
        ),
        (
            f"{STATED}, workers: [pii]",
            "10:57 training.workers[0]: there is no device 'pii'; did you mean 'pi'?",
        ),
        (
            f"{STATED}, workers: []",
            "10:56 training.workers: has too few items, got an empty list; write for example `workers: [laptop, pi]`",
        ),
        (
            f"{STATED}, schedule: gpip",
            "10:57 training.schedule: there is no schedule 'gpip' of a pipeline; did you mean 'gpipe'?",
        ),
        (
            f"{STATED}, schedule: dynacomm",
            "10:57 training.schedule: there is no schedule 'dynacomm' of a pipeline; known here: "
            "'ftpipehd', 'ftpipehd-lossless', 'exact', 'pipedream', 'respipe', 'gpipe', '1f1b-flush', '2bw', "
            "'equal-time', 'equal-layers', 'single'",
        ),
    ],
)
def test_who_takes_part(stated: str, said: str, wrong: Wrong) -> None:
    assert wrong(text(stated=stated)) == [said]


ONLY_1F1B = "has no effect: only execution 1f1b has it, this is gpipe; remove it"
ALONE = "has no effect: all layers are on the central node; remove it, or choose another partition"
NEVER = "has no effect: layers never move; remove it, or choose another policy"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        # what has no effect
        ("schedule: gpipe, versions: stash", f"training.versions: {ONLY_1F1B}"),
        ("schedule: gpipe, aggregate_every: 3", f"training.aggregate_every: {ONLY_1F1B}"),
        ("execution: gpipe, windows: minimal", f"training.windows: {ONLY_1F1B}"),
        ("execution: gpipe, epoch: 3", f"training.epoch: {ONLY_1F1B}"),
        (
            "micro_batches: 2",
            "training.micro_batches: has no effect: 1f1b takes whole batches; remove it, or take execution gpipe, 1f1b-flush or 2bw",
        ),
        (
            "epoch: 5",
            "training.epoch: has no effect: only replicas are averaged at its end, this is stash; remove it",
        ),
        (
            "versions: replicas, aggregate_every: 5",
            "training.aggregate_every: has no effect: replicas are averaged at the end of an epoch; remove it, or write `epoch`",
        ),
        (
            "checkpoint_every: 5",
            "training.checkpoint_every: has no effect: only recovery checkpoint takes snapshots, this is ftpipehd; remove it",
        ),
        ("repartition: {}", "training.repartition: has no effect: it is empty; remove it"),
        ("repartition: {policy: never, first: 5}", f"training.repartition.first: {NEVER}"),
        ("schedule: pipedream, repartition: {every: 5}", f"training.repartition.every: {NEVER}"),
        ("schedule: pipedream, repartition: {momentum: reset}", f"training.repartition.momentum: {NEVER}"),
        (
            "recovery: none, repartition: {policy: never}, rebuild: 5 ms",
            "training.rebuild: has no effect: no device ever gets another stage; remove it, or choose a recovery",
        ),
        (
            "recovery: checkpoint, replication: {chain: 5}",
            "training.replication.chain: has no effect: recovery checkpoint goes back to snapshots, not to copies on the next device; remove it",
        ),
        (
            "recovery: none, replication: {chain: never, global: never, optimizer: false}",
            "training.replication.optimizer: has no effect: there are no copies; remove it, or write `chain: 100`",
        ),
        (
            "replication: {chain: never, policy: free}",
            "training.replication.policy: has no effect: it is about copies on the next device, and there are none; remove it",
        ),
        (
            "schedule: pipedream, replication: {global: 5}",
            "training.replication.global: has no effect: recovery checkpoint copies all every `checkpoint_every`; remove it",
        ),
        (
            "detection: {z: 4}",
            "training.detection.z: has no effect: only `adaptive` counts deviations, this is timer; remove it",
        ),
        (
            "schedule: exact, detection: {factor: 4}",
            "training.detection.factor: has no effect: only `timer` has it, this is adaptive; remove it",
        ),
        ("schedule: single, workers: [pi]", f"training.workers: {ALONE}"),
        ("partition: single, replication: {global: 5}", f"training.replication.global: {ALONE}"),
        # what does not go together
        (
            "schedule: 2bw, micro_batches: 3",
            "training.micro_batches: two versions suffice 2bw only with a micro-batch or more for each of 4 stages, got 3; write 4",
        ),
        (
            "execution: 2bw",
            "training.micro_batches: two versions suffice 2bw only with a micro-batch or more for each of 4 stages, got 1; write 4",
        ),
        (
            "schedule: gpipe, micro_batches: 9",
            "training.micro_batches: a batch of 8 has fewer samples than 9 parts; write at most 8",
        ),
        (
            "replication: {chain: never, global: never}",
            "training.recovery: ftpipehd recovers from copies, and there are none; write `replication: {chain: 100, global: 200}`, or recovery checkpoint",
        ),
        (
            "schedule: pipedream, recovery: lossless",
            "training.recovery: lossless recovers from the copy on the next device, and there is none; write `replication: {chain: 100}`, or recovery checkpoint",
        ),
        (
            "recovery: respipe, replication: {chain: never}",
            "training.recovery: respipe recovers from the copy on the next device, and there is none; write `replication: {chain: 100}`, or recovery checkpoint",
        ),
        (
            "partition: [1, 2]",
            "training.partition: 2 points make 3 stages, but there are 4 devices; name 3, or list the `workers`",
        ),
        (
            "partition: [1, 1, 2]",
            "training.partition[1]: must rise, but 1 is not above 1; each is the last layer of a stage",
        ),
        # what is no value
        (
            "partition: ftpiped",
            "training.partition: unknown value, got 'ftpiped'; did you mean 'ftpipehd'?",
        ),
        (
            "partition: []",
            "training.partition: has too few items, got an empty list; write for example `partition: exact`",
        ),
        ("partition: [a, 2]", "training.partition[0]: must be a whole number, got 'a'; write for example 1"),
        (
            "aggregate_every: 0",
            "training.aggregate_every: must be a whole number of batches, at least 1, or `never`, got 0",
        ),
        (
            "replication: {chain: nevr}",
            "training.replication.chain: must be a whole number of batches, at least 1, or `never`, got 'nevr'",
        ),
        (
            "replication: {global: true}",
            "training.replication.global: must be a whole number of batches, at least 1, or `never`, got true",
        ),
        (
            "replication: {whole: 5}",
            "training.replication.whole: unknown key; known here: 'policy', 'chain', 'global', 'optimizer'",
        ),
        ("detection: {factor: 1}", "training.detection.factor: must be more than 1, got 1"),
        ("optimizer_state: -1", "training.optimizer_state: must be 0 or more, got -1"),
        ("recovery: lossles", "training.recovery: unknown value, got 'lossles'; did you mean 'lossless'?"),
    ],
)
def test_says_what_is_wrong_at_its_place(more: str, said: str, wrong: Wrong) -> None:
    (found,) = wrong(text(more))
    place, _, message = found.partition(" ")
    assert message == said
    assert place.startswith("10:")


@pytest.mark.parametrize(
    "more",
    [
        "micro_batches: 1",
        "replication: {chain: never}",
        "replication: {global: never}",
        "schedule: pipedream, checkpoint_every: 5, rebuild: 5 ms",
        "schedule: pipedream, recovery: none, replication: {chain: 3}",
        "versions: replicas, epoch: 5",
        "schedule: pipedream, replication: {optimizer: false}",
        "schedule: single, execution: gpipe, micro_batches: 2",
        "execution: 2bw, partition: exact, micro_batches: 2",
        "workers: [pi-1, pi-2], partition: [1, 2]",
        "repartition: {policy: never, momentum: reset}",
    ],
)
def test_what_has_an_effect_is_not_complained_about(more: str) -> None:
    assert scenario.check(scenario.loads(text(more))) == []


def test_a_pipeline_of_one_device_is_single_or_an_error(wrong: Wrong) -> None:
    alone = text().replace("  - {name: pi, count: 3, speed: 0.25, memory: 1 GiB}\n", "")
    assert wrong(alone) == [
        "9:39 training.central: there is no device besides the central node; add one to `devices`, or take schedule single"
    ]
    single = alone.replace("central: server", "central: server, schedule: single")
    assert workers_of(scenario.loads(single)) == ("server",)


@pytest.mark.parametrize(
    ("profiled", "more", "said"),
    [
        (
            3,
            "",
            "training.workers: 4 devices make as many stages, but the model has 3 layers; list fewer `workers`, or take partition exact, which leaves some out",
        ),
        (3, "partition: exact", ""),
        (3, "schedule: single", ""),
        (3, "workers: [pi-1, pi-2]", ""),
        (
            6,
            "partition: [1, 2, 5]",
            "training.partition[2]: leaves no layer for the last stage: the model has 6, counted from 0; 4 is the last that can be named",
        ),
        (6, "partition: [1, 2, 4]", ""),
    ],
)
def test_layers_are_counted_where_they_are_known(
    profiled: int, more: str, said: str, tmp_path: Path, wrong: Wrong
) -> None:
    saved = workload_file.load(DATA / "six-layers.json")
    workload_file.save(replace(saved, layers=saved.layers[:profiled]), tmp_path / "known.json")
    written = text(more).replace("{model: lenet, batch_size: 8}", "{profile: known.json}")
    if said:
        (found,) = wrong(written, tmp_path)
        assert found.partition(" ")[2] == said
    else:
        assert scenario.check(scenario.loads(written, base=tmp_path)) == []


def test_blocks_are_what_is_counted(wrong: Wrong) -> None:
    merged = text("partition: [0, 1, 2]").replace("batch_size: 8", "batch_size: 8, blocks: [1, 3, 5]")
    assert len(wrong(merged)) == 1
    assert "the model has 3, counted from 0; 1 is the last" in wrong(merged)[0]


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ("{model: lenet, batch_size: 3}", "a batch of 3 has"),
        ("{model: lenet}", ""),
        ("{profile: six-layers.json}", ""),
        ("{profile: absent.json}", "absent.json"),
    ],
)
def test_the_batch_that_is_divided_is_that_of_the_workload(workload: str, said: str, wrong: Wrong) -> None:
    written = text("schedule: gpipe").replace("{model: lenet, batch_size: 8}", workload)
    if said:
        (found,) = wrong(written, DATA)
        assert said in found
    else:
        assert scenario.check(scenario.loads(written, base=DATA)) == []


def test_ways_between_stages(wrong: Wrong) -> None:
    wifi = text().replace("topology: star", "topology: wifi")
    assert wrong(wifi) == [
        "8:13 network.topology: a pipeline over wifi would cross the medium twice; use topology `star`, `chain` or `mesh`"
    ]
    assert scenario.loads(wifi.replace("central: server", "central: server, schedule: single"))
    links = "topology: links\n  links: [{between: [pi-1, pi-2, pi-3]}]"
    (first, *others) = wrong(text().replace("topology: star", links))
    assert "there is no route to the central node 'server' for the worker 'pi-1'; add a link" in first
    assert len(others) == 2


def test_a_device_cut_off_for_good_is_what_recovery_is_for(wrong: Wrong) -> None:
    cut = "events: [{at: 0 s, links: [pi-1], cut: {}}]\n"
    assert scenario.check(scenario.loads(text(rest=cut))) == []
    (found,) = wrong(text("recovery: none", cut))
    assert "the worker 'pi-1' has no route to 'server' and back from the start for good" in found


# learning


DUE = "the stages of a pipeline are layers of the workload's own model, which learns; remove it"


@pytest.mark.parametrize(
    ("learn", "said"),
    [
        ("shards: dirichlet", ["learn.shards: has no effect: the central node has all the data; remove it"]),
        ("alpha: 3", ["learn.alpha: has no effect: the central node has all the data; remove it"]),
        ("model: small-cnn", [f"learn.model: {DUE}"]),
        ("model: lenet", ["learn.model: has no effect: it is the workload's own; remove it"]),
        ("shards: iid", []),
        ("momentum: 0.9", []),
    ],
)
def test_a_pipeline_learns_the_workload_from_the_data_of_one_device(
    learn: str, said: list[str], wrong: Wrong
) -> None:
    written = text(rest=f"learn: {{data: digits, {learn}}}\n")
    found = wrong(written) if said else [str(one) for one in scenario.check(scenario.loads(written))]
    assert [one.partition(" ")[2] for one in found] == said


def test_a_profile_whose_model_cannot_learn_is_told_where_it_is_named(wrong: Wrong) -> None:
    written = text("partition: exact", "learn: {data: digits}\n")
    written = written.replace("{model: lenet, batch_size: 8}", "{profile: six-layers.json}")
    assert wrong(written, DATA) == [
        "3:21 workload.profile: the profile's 'six-layers' is no name of the zoo; its layers are those that learn, so take another"
    ]


# alternatives


def test_settings_that_only_some_schedules_have_drop_out_of_the_others() -> None:
    more = "workers: [pi], replication: {chain: 5, global: 9}, detection: {z: 4}, micro_batches: 8, versions: stash"
    found = variants(more, "{training.schedule: [ftpipehd, exact, gpipe, single]}")
    left = [set(one.to_data()["training"]) - {"method", "central", "schedule"} for _, one in found]
    assert left == [
        {"workers", "replication", "versions"},
        {"workers", "replication", "versions", "detection"},
        {"workers", "micro_batches"},
        set(),
    ]
    assert [len(workers_of(one)) for _, one in found] == [4, 4, 4, 1]


def test_a_part_of_a_section_drops_out_alone() -> None:
    found = variants(
        "detection: {z: 4, probe_timeout: 1 s}", "{training.detection.policy: [adaptive, timer]}"
    )
    assert [one.to_data()["training"]["detection"] for _, one in found] == [
        {"policy": "adaptive", "z": 4.0, "probe_timeout": "1 s"},
        {"policy": "timer", "probe_timeout": "1 s"},
    ]


def test_what_no_alternative_uses_is_told(wrong: Wrong) -> None:
    (found,) = wrong(
        text("workers: [pi], schedule: single", "compare: {training.execution: [1f1b, gpipe]}\n")
    )
    assert found.endswith(f"training.workers: {ALONE}")
    both = wrong(text("schedule: gpipe, windows: minimal", "compare: {training.schedule: [gpipe, 2bw]}\n"))
    assert [one.partition(": has")[0].split()[-1] for one in both] == ["training.windows"] * 2


def test_what_an_alternative_sets_itself_must_have_an_effect_there(wrong: Wrong) -> None:
    rest = "compare: {training.schedule: [ftpipehd, gpipe], training.versions: [stash, vertical-sync]}\n"
    (found,) = wrong(text("", rest))
    assert "compare[training.schedule][1]: with 'gpipe', training.versions: has no effect" in found


def test_every_alternative_of_the_example_is_right() -> None:
    found = list(scenario.variants(scenario.load(DATA / "pipeline.yaml")))
    assert len(found) == 16
    assert [problem for _, one in found for problem in scenario.check(one)] == []
    assert all(isinstance(configure(one), pipeline_config.Config) for _, one in found)


@pytest.mark.parametrize(
    ("workers", "all_reduce"), [("", None), (", workers: [pi-3, pi-1]", ["server", "pi-3", "pi-1"])]
)
def test_the_same_devices_train_without_a_pipeline(workers: str, all_reduce: list[str] | None) -> None:
    stated = f"{STATED}, schedule: gpipe, micro_batches: 2{workers}"
    (_, former), (point, other) = variants("", "{training.method: [pipeline, all-reduce]}", stated)
    assert point == {"training.method": "all-reduce"}
    expected = {"method": "all-reduce"} | ({"workers": all_reduce} if all_reduce else {})
    assert other.to_data()["training"] == expected
    assert set(workers_of(other)) == set(workers_of(former))


@pytest.mark.parametrize(
    ("stated", "central", "devices"),
    [
        ("method: parameter-server, server: server", "server", ["server", "pi-1", "pi-2", "pi-3"]),
        ("method: parameter-server, server: server", "pi-2", ["pi-2", "pi-1", "pi-3"]),
        ("method: parameter-server, server: server, workers: [pi]", "pi-2", ["pi-2", "pi-1", "pi-3"]),
        ("method: parameter-server, server: server, workers: [pi-3]", "server", ["server", "pi-3"]),
        ("method: all-reduce", "pi-2", ["pi-2", "server", "pi-1", "pi-3"]),
        ("method: all-reduce, workers: [pi-3, pi-2], on_crash: wait", "pi-2", ["pi-2", "pi-3"]),
    ],
)
def test_the_same_devices_train_in_a_pipeline(stated: str, central: str, devices: list[str]) -> None:
    base = scenario.loads(text(stated=stated.replace(", on_crash: wait", "")))
    values = {"training.method": "pipeline", "training.central": central}
    other = scenario.ensure(scenario.overrides(base, values))
    assert list(workers_of(other)) == devices
    assert isinstance(other.training, Pipeline)
    assert other.training.schedule == "ftpipehd"


def test_a_pipeline_of_one_worker_becomes_one_of_the_others() -> None:
    base = scenario.loads(text(stated="method: all-reduce, workers: [pi-1]"))
    values = {"training.method": "pipeline", "training.central": "pi-1"}
    assert workers_of(scenario.ensure(scenario.overrides(base, values)))[0] == "pi-1"


def test_back_to_a_server_needs_one_and_to_a_pipeline_a_central_node() -> None:
    base = scenario.loads(text())
    with pytest.raises(ScenarioError, match=r"training\.server: is missing"):
        scenario.ensure(scenario.override(base, "training.method", "parameter-server"))
    values = {"training.method": "parameter-server", "training.server": "server"}
    there = scenario.ensure(scenario.overrides(base, values))
    assert workers_of(there) == ("pi-1", "pi-2", "pi-3")
    with pytest.raises(ScenarioError, match=r"training\.central: is missing"):
        scenario.override(there, "training.method", "pipeline")


def test_whole_sections_of_three_methods_stand_beside_each_other() -> None:
    server = "{method: parameter-server, server: server, workers: [pi]}"
    ring = "{method: all-reduce, workers: [pi], schedule: ibatch}"
    sections = f"{{{STATED}, workers: [pi], replication: {{global: never}}}}, {server}, {ring}"
    assert [point for point, _ in variants("", f"{{training: [{sections}]}}")] == [
        {"training.method": "pipeline", "training.schedule": "ftpipehd"},
        {"training.method": "parameter-server", "training.schedule": "dynacomm"},
        {"training.method": "all-reduce", "training.schedule": "ibatch"},
    ]


def test_settings_by_their_path_in_the_file_are_what_is_compared() -> None:
    found = variants("", "[{training.replication.global: [50, never]}, {training.replication.chain: [7]}]")
    assert [point["training.replication.global"] for point, _ in found] == [50, "never", None]
    section = (
        "{method: pipeline, central: server, replication: {global: 50}}, {method: pipeline, central: server}"
    )
    (one, other) = variants("", f"{{training: [{section}]}}")
    assert (one[0], other[0]) == ({"training.replication.global": 50}, {"training.replication.global": None})


def test_the_schema_knows_a_pipeline() -> None:
    import jsonschema

    from edgesim.scenario import schema

    validator = jsonschema.Draft7Validator(schema.json_schema())
    stated = scenario.load(DATA / "pipeline.yaml").to_data()
    assert list(validator.iter_errors(json.loads(json.dumps(stated)))) == []
    stated["training"]["replication"]["chain"] = "nevr"
    assert not validator.is_valid(json.loads(json.dumps(stated)))


def test_resolving_leaves_the_section_alone() -> None:
    section = Pipeline(method="pipeline", central="server", replication={"chain": 3})
    assert resolved(section).replication.chain == 3
    assert settings("ftpipehd").replication.chain == 100
