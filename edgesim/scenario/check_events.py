"""Checks of the `training`, `events` and `stop` sections."""

from __future__ import annotations

import math

from edgesim.scenario.build import link_targets, targets
from edgesim.scenario.check_series import Declared
from edgesim.scenario.event_section import Event
from edgesim.scenario.explain import did_you_mean
from edgesim.scenario.finding import Finding
from edgesim.scenario.topologies import access_point, wires

_ON_DEVICES, _ON_LINKS = ("crash", "slow"), ("change", "cut")
_SELECTORS = ("device", "devices", "link", "links")
MAX_OUTCOMES = 5_000_000


def check_training(finding: Finding) -> bool:
    """Note what is wrong with the training; return whether its devices can be relied on."""
    training, before = finding.scenario.training, len(finding.problems)
    finding.device(training.server, ("training", "server"))
    seen: dict[str, str] = {}
    for index, name in enumerate(training.workers or ()):
        path = ("training", "workers", index)
        if not finding.device(name, path, group=True):
            continue
        members = finding.names.expand([name])
        if training.server in members:
            finding.say(f"the server {training.server!r} cannot be a worker too; take it away", *path)
        twice = next((member for member in members if member in seen), None)
        if twice is not None:
            finding.say(f"{twice!r} is a worker already by {seen[twice]!r}; remove one", *path)
        seen.update(dict.fromkeys(members, name))
    if len(finding.problems) == before and not finding.workers:
        finding.say("there is no device besides the server; add a worker to `devices`", "training", "server")
    return len(finding.problems) == before


def check_stop(finding: Finding) -> None:
    """Note a run that would never end."""
    stop = finding.scenario.stop
    if stop.iterations is None and stop.time is None:
        finding.say("needs `iterations` or `time`, or the run never ends; write `iterations: 50`", "stop")


def check_events(finding: Finding, *, sound: bool) -> None:
    """Note what is wrong with events; `sound` says whether the names of links can be relied on."""
    usable: list[tuple[int, Event]] = []
    for index, event in enumerate(finding.scenario.events):
        before = len(finding.problems)
        _form(finding, event, index)
        _names(finding, event, index, sound)
        if len(finding.problems) == before:
            _content(finding, event, index)
            usable.append((index, event))
    _order(finding, usable, sound)
    _policy(finding)
    if len(usable) == len(finding.scenario.events):
        _never(finding)


def _form(finding: Finding, event: Event, index: int) -> None:
    path = ("events", index)
    actions = [key for key in (*_ON_DEVICES, *_ON_LINKS, "random") if getattr(event, key) is not None]
    chosen = [key for key in _SELECTORS if getattr(event, key) is not None]
    if not actions:
        finding.say("needs an action: crash, slow, change, cut or random; for good is `crash: {}`", *path)
    for extra in actions[1:]:
        finding.say(
            f"one event is one action, but {actions[0]} is there too; make two", *path, extra, key=True
        )
    if not chosen:
        finding.say("needs a target: device, devices, link or links", *path)
    for extra in chosen[1:]:
        finding.say(
            f"one of {chosen[0]} and {extra} is enough; make two events or use a list", *path, extra, key=True
        )
    if event.at is None and actions and actions[0] != "random":
        finding.say("is missing; write when it happens, for example `at: 30 s`", *path, "at")
    if event.at is not None and actions == ["random"]:
        finding.no_effect("random outages choose their own times; remove it", *path, "at")
    stop = finding.scenario.stop.time
    if event.at is not None and stop is not None and event.at >= stop:
        finding.say(f"never happens: the run stops at {stop:g} s; make it earlier", *path, "at")
    if len(actions) == len(chosen) == 1 and actions[0] != "random":
        fits = _ON_DEVICES if chosen[0].startswith("device") else _ON_LINKS
        if actions[0] not in fits:
            kind = "devices" if fits is _ON_DEVICES else "links"
            words = " and ".join(fits)
            finding.say(f"does not happen to {kind}; {kind} have {words}", *path, actions[0], key=True)


def _names(finding: Finding, event: Event, index: int, sound: bool) -> None:
    path = ("events", index)
    if event.device is not None:
        finding.device(event.device, (*path, "device"))
    for position, name in enumerate(event.devices or ()):
        finding.device(name, (*path, "devices", position), group=True)
    if event.devices and len(set(event.devices)) < len(event.devices):
        finding.say("has a name twice; remove one", *path, "devices")
    if not sound:
        return
    if event.link is not None and finding.links.get(event.link) != (event.link,):
        _one_link(finding, event.link, index)
    for position, name in enumerate(event.links or ()):
        if name not in finding.links:
            remedy = did_you_mean(name, list(finding.links)[:2000])
            finding.say(f"there is no link {name!r}; {remedy}", *path, "links", position)
    if event.links and len(set(event.links)) < len(event.links):
        finding.say("has a name twice; remove one", *path, "links")


def _one_link(finding: Finding, name: str, index: int) -> None:
    both = finding.links.get(name)
    if both is None:
        message = f"there is no link {name!r}; {did_you_mean(name, list(finding.links)[:2000])}"
    else:
        message = (
            f"{name!r} stands for {len(both)} links, one is due; write '{both[0]}', or `links: [{name}]`"
        )
    finding.say(message, "events", index, "link")


def _content(finding: Finding, event: Event, index: int) -> None:
    path = ("events", index)
    if event.slow is not None and event.slow.to == 1:
        finding.no_effect("1 is the device's own speed; write for example 0.5", *path, "slow", "to")
    if event.change is not None and event.change.bandwidth is None and event.change.latency is None:
        finding.say("needs `bandwidth` or `latency`", *path, "change")
    idle = next((name for name in targets(event, finding.names) if _idle(finding, name)), None)
    if idle is not None:
        key = "device" if event.device is not None else "devices"
        finding.no_effect(f"{idle!r} takes no part in the training; make it a worker", *path, key)


def _idle(finding: Finding, device: str) -> bool:
    """Return whether nothing that happens to a device can matter: it neither trains nor forwards."""
    training, network = finding.scenario.training, finding.scenario.network
    if training.workers is None or device == training.server or device in finding.worker_set:
        return False
    if network.topology == "star":
        return device != network.center
    return network.topology == "wifi" and device != access_point(finding.scenario)


def _order(finding: Finding, usable: list[tuple[int, Event]], sound: bool) -> None:
    """Note what happens to a device or link that is gone, or is under random outages already."""
    gone: dict[tuple[str, str], tuple[float, float]] = {}
    random: set[tuple[str, str]] = set()
    links = finding.links if sound and any(event.link or event.links for _, event in usable) else {}
    changed = _changed(usable, links)
    for index, event in sorted(usable, key=lambda item: (item[1].at or 0.0, item[0])):
        happens_to = [("device", name) for name in targets(event, finding.names)]
        happens_to += [("link", name) for name in link_targets(event, links)]
        for target in happens_to:
            if event.random is not None:
                if target in random:
                    finding.say(
                        f"{target[1]!r} has random outages already; remove one", "events", index, "random"
                    )
                    break
                random.add(target)
            elif not _after(finding, event, index, target, gone):
                break
        if event.change is not None and event.change.latency is None and happens_to:
            _same(finding, event, index, [name for _, name in happens_to], changed)


def _after(
    finding: Finding,
    event: Event,
    index: int,
    target: tuple[str, str],
    gone: dict[tuple[str, str], tuple[float, float]],
) -> bool:
    """Note an event on something that is gone at the time; remember an outage. False: a problem was noted."""
    at = event.at or 0.0
    since, until = gone.get(target, (0.0, 0.0))
    outage = event.crash or event.cut
    action = "crash" if event.crash else "slow" if event.slow else "change" if event.change else "cut"
    end = math.inf if outage is not None and outage.for_ is None else at + ((outage and outage.for_) or 0.0)
    word = "down" if target[0] == "device" else "cut"
    if until == math.inf and target in gone:
        message = f"{target[1]!r} is {word} for good since {since:g} s; make this earlier or that shorter"
        finding.say(message, "events", index, action, key=True)
        return False
    if outage is not None and target in gone and end <= until:
        finding.no_effect(
            f"{target[1]!r} is {word} from {since:g} s to {until:g} s anyway", "events", index, action
        )
        return False
    if outage is not None:
        gone[target] = (at, end)
    return True


def _changed(usable: list[tuple[int, Event]], links: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """Return how many events change each link."""
    count: dict[str, int] = {}
    for _, event in usable:
        if event.change is not None:
            for name in link_targets(event, links):
                count[name] = count.get(name, 0) + 1
    return count


def _same(finding: Finding, event: Event, index: int, names: list[str], changed: dict[str, int]) -> None:
    """Note a change to the bandwidth that the links have anyway."""
    assert event.change is not None
    figures = [finding.bandwidths.get(name) for name in names]
    if all(figure == event.change.bandwidth for figure in figures) and all(
        changed[name] == 1 for name in names
    ):
        finding.no_effect("it is the bandwidth the link has anyway", "events", index, "change", "bandwidth")


def _policy(finding: Finding) -> None:
    training = finding.scenario.training
    if "on_crash" not in training.model_fields_set:
        return
    trained = {training.server, *finding.workers}
    crashing = [
        event for event in finding.scenario.events if event.crash is not None or event.random is not None
    ]
    if not any(trained.intersection(targets(event, finding.names)) for event in crashing):
        finding.no_effect(
            "no device that trains crashes; remove it, or add a crash to `events`", "training", "on_crash"
        )


def _never(finding: Finding) -> None:
    """Note a stop that can never come: the server, or all workers, are gone for good from the start."""
    if finding.scenario.stop.time is not None:
        return
    gone: set[str] = set()
    for index, event in enumerate(finding.scenario.events):
        if event.at == 0 and event.crash is not None and event.crash.for_ is None:
            gone.update(targets(event, finding.names))
            server = finding.scenario.training.server
            if server in gone or gone.issuperset(finding.workers):
                who = f"the server {server!r} is" if server in gone else "all workers are"
                message = (
                    f"{who} gone for good from the start, so `stop` can never come; give `for` or `stop.time`"
                )
                finding.say(message, "events", index, "crash", key=True)
                return


def present_bandwidths(finding: Finding) -> dict[str, float]:
    """Return the bandwidth of each link that has one constant figure, in B/s."""
    found: dict[str, float] = {}
    network = finding.scenario.network
    for wire in wires(finding.scenario, finding.names):
        declared: Declared = network.bandwidth
        if wire.own is not None and wire.own.bandwidth is not None:
            declared = wire.own.bandwidth
        for name, direction in ((wire.up, "up"), (wire.down, "down")):
            figure = getattr(declared, direction, declared)
            if name is not None and isinstance(figure, float):
                found.setdefault(name, figure)
    return found
