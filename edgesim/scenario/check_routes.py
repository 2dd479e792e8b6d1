"""Checks of the ways between the server and its workers."""

from __future__ import annotations

from edgesim.scenario.finding import Finding
from edgesim.scenario.topologies import wires

MAX_SAID = 5
"""Workers without a route that are named; the others are counted."""


def check_reachable(finding: Finding) -> None:
    """Note each worker that cannot reach the server, or that it cannot reach."""
    scenario = finding.scenario
    if scenario.network.topology != "links":
        return
    forward: dict[str, list[str]] = {}
    backward: dict[str, list[str]] = {}
    for wire in wires(scenario, finding.names):
        ends = [(wire.source, wire.target)] + ([(wire.target, wire.source)] if wire.down else [])
        for source, target in ends:
            forward.setdefault(source, []).append(target)
            backward.setdefault(target, []).append(source)
    server = scenario.training.server
    down, up = _reached(server, forward), _reached(server, backward)
    nodes = set(forward) | set(backward)
    lost = [worker for worker in finding.workers if worker not in down or worker not in up]
    for worker in lost[:MAX_SAID]:
        direction = "from" if worker in up else "to"
        strangers = [node for node in sorted(nodes) if node not in finding.names.devices]
        hint = f"; or is the switch {strangers[0]!r} a misspelt device?" if strangers else ""
        message = (
            f"there is no route {direction} the server {server!r} for the worker {worker!r}; add a link{hint}"
        )
        finding.say(message, "network", "links")
    if len(lost) > MAX_SAID:
        finding.say(f"nor is there a route for {len(lost) - MAX_SAID} workers more", "network", "links")


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
