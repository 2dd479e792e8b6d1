"""What an alternative takes over from the scenario that it changes, where method or schedule are others.

Settings that the other method does not have drop out, and the same devices train. A `planner` drops out of
the alternatives whose schedule plans nothing during the run, if another alternative has one that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from edgesim.planning.cost import PlanningError
from edgesim.planning.schedules import Phased, Schedule, pick
from edgesim.scenario.training_section import METHODS, ParameterServer

METHOD, SCHEDULE = "training.method", "training.schedule"
Block = Mapping[str, Sequence[Any]]


@contextmanager
def switched(data: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Put values, by dotted path, into plain data inside this; if the method is another one, what only the
    former has is gone before that, and workers are named after it."""
    hosts = () if "training" in values else _leave(data, values.get(METHOD))
    yield
    if hosts and "training.workers" not in values:
        _name_workers(data, hosts)


def _leave(data: Any, method: object) -> tuple[str, ...]:
    """Take out of a `training` section what another method does not have.

    Returns the hosts of the parameters that are gone, where their being hosts has decided who trains.
    """
    training = data.get("training") if isinstance(data, dict) else None
    if not isinstance(training, dict) or not isinstance(method, str) or method not in METHODS:
        return ()
    former = METHODS.get(str(training.get("method")), ParameterServer)
    if former is METHODS[method]:
        return ()
    hosts = training.get("servers") or [training.get("server")]
    for key in set(former.model_fields) - set(METHODS[method].model_fields):
        training.pop(key, None)
    if training.get("workers") is not None:
        return ()
    return tuple(host for host in hosts if isinstance(host, str))


def _name_workers(data: Any, hosts: tuple[str, ...]) -> None:
    """Let all devices but some train, groups under their own names."""
    found: list[str] = []
    for device in data["devices"] if isinstance(data.get("devices"), list) else ():
        name, count = (device.get("name"), device.get("count")) if isinstance(device, dict) else (None, None)
        if not isinstance(name, str) or name in hosts:
            continue
        if isinstance(count, int) and any(host.startswith(f"{name}-") for host in hosts):
            members = [f"{name}-{number}" for number in range(1, count + 1)]
            outside = [member for member in members if member not in hosts]
            found += [name] if outside == members else outside
        else:
            found.append(name)
    if found:
        data["training"]["workers"] = found


def adapts(schedule: Schedule) -> bool:
    """Return whether a schedule plans again during the run."""
    return isinstance(schedule, Phased) and schedule.adapts


def planner_drops(training: Any, blocks: Sequence[Block]) -> bool:
    """Return whether alternatives may go without the `planner` of the scenario: another one uses it."""
    if getattr(training, "planner", None) is None:
        return False
    return any(
        _plans(schedule)
        for block in blocks
        if "training" not in block and training.method in block.get(METHOD, (training.method,))
        for schedule in block.get(SCHEDULE, (training.schedule,))
    )


def idle(values: Mapping[str, Any]) -> bool:
    """Return whether values by dotted path bring a schedule that plans nothing, and no planner."""
    own = any(path == "training" or path.startswith("training.planner") for path in values)
    return SCHEDULE in values and not own and not _plans(values[SCHEDULE])


def _plans(schedule: object) -> bool:
    """Return whether a name is that of a schedule that plans during the run, or of none."""
    try:
        return adapts(pick(str(schedule)))
    except PlanningError:
        return True
