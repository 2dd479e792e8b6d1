"""What holds in a pipeline: the settings of its schedule, with what the scenario sets beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from edgesim.planning.pipeline_schedules import Settings, settings
from edgesim.scenario.fields import Section
from edgesim.scenario.pipeline_section import Pipeline

_PLAIN = (
    "execution",
    "versions",
    "aggregate_every",
    "micro_batches",
    "windows",
    "epoch",
    "optimizer_state",
    "recovery",
    "checkpoint_every",
    "rebuild",
)
_PARTS = ("repartition", "replication", "detection")
_CALLED = {"global_": "whole", "probe_timeout": "probe_timeout_s", "rebuild": "rebuild_s"}
"""Keys that the settings know by another name."""
_PERIODS = ("aggregate_every", "chain", "whole")


@lru_cache(maxsize=4096)
def resolved(training: Pipeline) -> Settings:
    """Return all settings of a pipeline. Raises `PlanningError` for an unknown schedule."""
    base = settings(training.schedule)
    own: dict[str, Any] = _set(training, _PLAIN)
    for part in _PARTS:
        given = getattr(training, part)
        if given is not None:
            own[part] = replace(getattr(base, part), **_set(given, type(given).model_fields))
    if isinstance(training.partition, str):
        own["partition"] = training.partition
    elif training.partition is not None:
        own["points"] = training.partition
    found = replace(base, **own)
    # what a schedule has for another execution than the one that is set
    return replace(found, micro_batches=1) if found.execution == "1f1b" else replace(found, windows="stages")


def single(training: object) -> bool:
    """Return whether a training is a pipeline of one device, its central node."""
    try:
        return isinstance(training, Pipeline) and resolved(training).single
    except ValueError:  # an unknown schedule, which its check notes
        return False


def recovers(training: object) -> bool:
    """Return whether a training is a pipeline that goes on without a device that has failed."""
    try:
        return isinstance(training, Pipeline) and resolved(training).recovery != "none"
    except ValueError:  # as above
        return False


def _set(section: Section, keys: Iterable[str]) -> dict[str, Any]:
    """Return the values of some keys that are set, as the settings call them; `never` is None there."""
    found = {_CALLED.get(key, key): getattr(section, key) for key in keys}
    return {
        key: None if key in _PERIODS and value == "never" else value
        for key, value in found.items()
        if value is not None
    }
