"""Checks of `method: pipeline`: who takes part, and what of its settings goes with what."""

from __future__ import annotations

from itertools import pairwise

from edgesim.planning.pipeline_schedules import SCHEDULES, Settings
from edgesim.scenario.check_devices import saved_profile
from edgesim.scenario.explain import did_you_mean
from edgesim.scenario.finding import Finding
from edgesim.scenario.pipeline_section import Pipeline
from edgesim.scenario.pipeline_settings import resolved
from edgesim.scenario.unused import unused

DEFAULT_BATCH = 32
"""Samples in a batch where neither scenario nor profile says; see `workload.batch_size`."""


def check_stages(finding: Finding, training: Pipeline) -> None:
    """Note a pipeline whose devices cannot make its stages; the names in it are known."""
    single = training.schedule in SCHEDULES and resolved(training).single
    if len(finding.workers) == 1 and not single:
        message = "there is no device besides the central node; add one to `devices`, or take schedule single"
        finding.say(message, "training", "central")
    if len(finding.workers) > 1 and finding.scenario.network.topology == "wifi":
        message = "a pipeline over wifi would cross the medium twice; use topology `star`, `chain` or `mesh`"
        finding.say(message, "network", "topology")


def check_pipeline(finding: Finding, training: Pipeline, *, sound: bool) -> None:
    """Note what is wrong with the settings of a pipeline; `sound` says whether its devices are right."""
    if training.schedule not in SCHEDULES:
        remedy = did_you_mean(training.schedule, list(SCHEDULES))
        finding.say(
            f"there is no schedule {training.schedule!r} of a pipeline; {remedy}", "training", "schedule"
        )
        return
    held = resolved(training)
    for path, why in unused(training).items():
        if path not in finding.used_by_alternatives:
            finding.no_effect(why, "training", *path.split("."))
    _empty(finding, training)
    _copies(finding, held)
    _points(finding, training)
    if sound and not held.single:
        _counts(finding, held)
    _parts(finding, held)


def _empty(finding: Finding, training: Pipeline) -> None:
    for name in ("repartition", "replication", "detection"):
        section = getattr(training, name)
        if section is not None and not section.model_fields_set:
            finding.no_effect("it is empty; remove it", "training", name)


def _copies(finding: Finding, held: Settings) -> None:
    """Note a recovery that has no copies to recover from."""
    if held.single:
        return
    chain, whole = held.replication.chain, held.replication.whole
    if held.recovery in ("ftpipehd", "live-first") and chain is None and whole is None:
        lacking, remedy = "copies, and there are none", "{chain: 100, global: 200}"
    elif held.recovery in ("lossless", "respipe") and chain is None:
        lacking, remedy = "the copy on the next device, and there is none", "{chain: 100}"
    else:
        return
    message = (
        f"{held.recovery} recovers from {lacking}; write `replication: {remedy}`, or recovery checkpoint"
    )
    finding.say(message, "training", "recovery")


def _points(finding: Finding, training: Pipeline) -> None:
    """Note points that do not rise, or lie behind the last layer but one, where the layers are known."""
    points = training.partition if isinstance(training.partition, tuple) else ()
    for index, (one, other) in enumerate(pairwise(points), 1):
        if other <= one:
            message = f"must rise, but {other} is not above {one}; each is the last layer of a stage"
            finding.say(message, "training", "partition", index)
            return
    layers = _layers(finding)
    if points and layers is not None and points[-1] > layers - 2:
        message = (
            f"leaves no layer for the last stage: the model has {layers}, counted from 0; "
            f"{layers - 2} is the last that can be named"
        )
        finding.say(message, "training", "partition", len(points) - 1)


def _counts(finding: Finding, held: Settings) -> None:
    """Note more or fewer devices than the stages need."""
    devices, layers = len(finding.workers), _layers(finding)
    if held.points is not None and len(held.points) != devices - 1:
        message = (
            f"{len(held.points)} points make {len(held.points) + 1} stages, but there are {devices} devices; "
            f"name {devices - 1}, or list the `workers`"
        )
        finding.say(message, "training", "partition")
    elif held.points is None and layers is not None and layers < devices and held.partition != "exact":
        message = (
            f"{devices} devices make as many stages, but the model has {layers} layers; list fewer "
            "`workers`, or take partition exact, which leaves some out"
        )
        finding.say(message, "training", "workers")


def _parts(finding: Finding, held: Settings) -> None:
    """Note micro-batches that are fewer than 2BW needs, or more than there are samples."""
    stages, batch = len(finding.workers), _batch(finding)
    optional = held.points is None and held.partition == "exact"
    if held.execution == "2bw" and held.micro_batches < stages and not optional:
        message = (
            f"two versions suffice 2bw only with a micro-batch or more for each of {stages} stages, got "
            f"{held.micro_batches}; write {stages}"
        )
        finding.say(message, "training", "micro_batches")
    elif batch is not None and held.micro_batches > batch:
        message = (
            f"a batch of {batch} has fewer samples than {held.micro_batches} parts; write at most {batch}"
        )
        finding.say(message, "training", "micro_batches")


def _batch(finding: Finding) -> int | None:
    """Return the samples of a batch; None where the profile that says cannot be read."""
    workload = finding.scenario.workload
    if workload.batch_size is not None:
        return workload.batch_size
    if workload.profile is None:
        return DEFAULT_BATCH
    saved = saved_profile(finding.scenario)
    return None if saved is None else saved.batch_size


def _layers(finding: Finding) -> int | None:
    """Return the layers of the model, or the blocks that they are merged into, where that is known."""
    if finding.scenario.workload.blocks is not None:
        return len(finding.scenario.workload.blocks)
    saved = saved_profile(finding.scenario)
    return None if saved is None else len(saved.layers)
