"""Checks of the `learn` section: is the data there, and can the model learn from it."""

from __future__ import annotations

from typing import NamedTuple

from edgesim import catalogue, idx
from edgesim.errors import DataError, ProfileError
from edgesim.scenario.finding import Finding
from edgesim.scenario.learn_section import Learn
from edgesim.scenario.pipeline_section import Pipeline

CHANNELS = (1, 3)
"""Grey images, as they are or as colours that are all alike."""


class Taught(NamedTuple):
    """The model that is to learn."""

    model: str
    input_shape: tuple[int, ...] | None
    """None: that of the model itself."""


def check_learn(finding: Finding) -> None:
    """Note what is wrong with the real training, if there is any; of its files the sizes are read."""
    learn = finding.scenario.learn
    if learn is None:
        return
    pipeline = isinstance(finding.scenario.training, Pipeline)
    _settings(finding, learn)
    if pipeline:
        _pipeline(finding, learn)
    train = _samples(finding, learn)
    if train is not None and len(finding.workers) > train and not pipeline:
        message = (
            f"has {train} samples to train on, fewer than the {len(finding.workers)} workers; take other data"
        )
        finding.say(message, "learn", "data")
    taught = _taught(finding, learn)
    if taught is not None:
        _model(finding, learn, taught)


def _settings(finding: Finding, learn: Learn) -> None:
    if learn.momentum == 1.0:
        finding.say("must be below 1, got 1; write for example 0.9", "learn", "momentum")
    training = finding.scenario.training
    if learn.shards == "dirichlet" and learn.alpha is None and not isinstance(training, Pipeline):
        finding.say("is missing; dirichlet needs it, write for example `alpha: 0.5`", "learn", "alpha")
    if learn.shards != "dirichlet" and learn.alpha is not None and not isinstance(training, Pipeline):
        finding.no_effect(
            f"shards are {learn.shards}; remove it, or write `shards: dirichlet`", "learn", "alpha"
        )
    if learn.target_accuracy == 0.0:
        finding.say("must be more than 0; write for example 0.95", "learn", "target_accuracy")
    stop = finding.scenario.stop.iterations
    if "evaluate_every" in learn.model_fields_set and stop is not None and learn.evaluate_every > stop:
        why = f"the run ends after {stop} iterations and is looked at then; make it less, or remove it"
        finding.no_effect(why, "learn", "evaluate_every")


def _pipeline(finding: Finding, learn: Learn) -> None:
    """Note what the stages of one model, fed by one device, have no use for."""
    for key, value in (("shards", learn.shards != "iid"), ("alpha", learn.alpha is not None)):
        if value:
            finding.no_effect("the central node has all the data; remove it", "learn", key)
    model = finding.scenario.workload.model
    if learn.model is not None and learn.model != model:
        message = "the stages of a pipeline are layers of the workload's own model, which learns; remove it"
        finding.say(message, "learn", "model", key=True)


def _samples(finding: Finding, learn: Learn) -> int | None:
    """Return the number of samples to train on; None where there is no such data."""
    try:
        folder = catalogue.data_folder(learn.data, finding.document.base)
        if folder is None:
            return catalogue.DATA_SETS[learn.data].train
        return idx.survey(folder).train
    except DataError as error:
        finding.say(str(error), "learn", "data")
        return None


def _taught(finding: Finding, learn: Learn) -> Taught | None:
    """Return what is to learn; None where the workload does not say."""
    workload = finding.scenario.workload
    if learn.model is not None:
        if learn.model == workload.model:
            finding.no_effect("it is the workload's own; remove it", "learn", "model")
        return Taught(learn.model, None)
    if workload.model is not None and workload.profile is None:
        return Taught(workload.model, workload.input)
    if workload.profile is None:
        return None
    from edgesim import workload_file

    try:
        saved = workload_file.load(finding.scenario.resolve(workload.profile))
    except (ProfileError, OSError, ValueError):  # the check of the workload says it
        return None
    return Taught(saved.model, tuple(saved.input_shape))


def _model(finding: Finding, learn: Learn, taught: Taught) -> None:
    if catalogue.is_import_path(taught.model):
        shape = taught.input_shape
    else:
        try:
            known = catalogue.entry(taught.model)
        except ProfileError as error:
            _unknown(finding, learn, taught.model, error)
            return
        shape = taught.input_shape or known.input_shape
    if shape is not None and (len(shape) != 3 or shape[0] not in CHANNELS):
        why = (
            f"{taught.model} takes samples of {list(shape)}, but the data are grey images, and "
            "[1, height, width] or [3, height, width] is due"
        )
        _other(finding, why, "name a model of images")


def _unknown(finding: Finding, learn: Learn, model: str, error: ProfileError) -> None:
    """Note a model without a name, unless the check of the workload says so already."""
    if learn.model is not None:
        finding.say(str(error), "learn", "model")
    elif finding.scenario.workload.profile is not None:
        _other(finding, f"the profile's {model!r} is no name of the zoo", "name the model that is to learn")


def _other(finding: Finding, why: str, remedy: str) -> None:
    """Note that another model is to learn than that of the workload: in a pipeline only that can."""
    if isinstance(finding.scenario.training, Pipeline):
        key = "model" if finding.scenario.workload.profile is None else "profile"
        finding.say(f"{why}; its layers are those that learn, so take another", "workload", key)
    else:
        finding.say(f"is missing; {why}; {remedy}", "learn", "model")
