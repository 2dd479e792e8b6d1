"""Checks of the ways between the server and its workers."""

from __future__ import annotations

from edgesim.scenario.build import link_targets
from edgesim.scenario.finding import Finding
from edgesim.scenario.topologies import wires

MAX_SAID = 5
"""Workers without a route that are named; the others are counted."""


def check_reachable(finding: Finding) -> None:
    """Note each worker that cannot reach the server, or that it cannot reach."""
    if finding.scenario.network.topology != "links":
        return
    server = finding.scenario.training.server
    lost, nodes = _lost(finding, frozenset())
    strangers = sorted(node for node in nodes if node not in finding.names.devices)
    hint = f"; or is the switch {strangers[0]!r} a misspelt device?" if strangers else ""
    for worker, direction in list(lost.items())[:MAX_SAID]:
        message = (
            f"there is no route {direction} the server {server!r} for the worker {worker!r}; add a link{hint}"
        )
        finding.say(message, "network", "links")
    if len(lost) > MAX_SAID:
        finding.say(f"nor is there a route for {len(lost) - MAX_SAID} workers more", "network", "links")


def check_cut_off(finding: Finding) -> None:
    """Note a cut for good from the start that leaves a worker without a route, waited for in vain."""
    cut: dict[str, int] = {}
    for index, event in enumerate(finding.scenario.events):
        if event.at == 0 and event.cut is not None and event.cut.for_ is None:
            cut.update(dict.fromkeys(link_targets(event, finding.links), index))
    lost = _lost(finding, frozenset(cut))[0] if cut else {}
    if lost:
        worker = next(iter(lost))
        message = (
            f"the worker {worker!r} has no route to the server and back from the start for good; give `for`, "
            "or take it away"
        )
        finding.say(message, "events", max(cut.values()), "cut", key=True)


def _lost(finding: Finding, cut: frozenset[str]) -> tuple[dict[str, str], set[str]]:
    """Return the workers without a route, each with the direction it lacks, and all nodes with links."""
    forward: dict[str, list[str]] = {}
    backward: dict[str, list[str]] = {}
    for wire in wires(finding.scenario, finding.names):
        ends = [(wire.source, wire.target, wire.up), (wire.target, wire.source, wire.down)]
        for source, target, link in ends:
            if link is not None and link not in cut:
                forward.setdefault(source, []).append(target)
                backward.setdefault(target, []).append(source)
    server = finding.scenario.training.server
    down, up = _reached(server, forward), _reached(server, backward)
    both = up & down
    lost = {name: "to" if name not in up else "from" for name in finding.workers if name not in both}
    return lost, set(forward) | set(backward)


def check_medium(finding: Finding) -> None:
    """Note a shared medium that a message would cross twice, which the network does not model."""
    scenario = finding.scenario
    if scenario.network.duplex != "shared":
        return
    server = scenario.training.server
    pairs = [(wire.source, wire.target) for wire in wires(scenario, finding.names)]
    near = {end for pair in pairs if server in pair for end in pair}
    far = next((worker for worker in finding.workers if worker not in near), None)
    if far is not None:
        message = (
            f"a message of {far!r} to the server {server!r} would cross the one medium more than once; "
            "use topology `wifi`, or `duplex: half`"
        )
        finding.say(message, "network", "duplex")


def _reached(start: str, neighbours: dict[str, list[str]]) -> set[str]:
    reached, frontier = {start}, [start]
    while frontier:
        node = frontier.pop()
        for neighbour in neighbours.get(node, ()):
            if neighbour not in reached:
                reached.add(neighbour)
                frontier.append(neighbour)
    return reached
