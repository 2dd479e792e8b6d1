"""Who is wired to whom: each topology as a sequence of wires, one function each.

A wire joins two nodes over one link (half duplex, one way, a shared medium) or two (full duplex).
N devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from edgesim.scenario.model import Scenario
from edgesim.scenario.names import Names
from edgesim.scenario.network_section import LinkSettings, NamedLink

SWITCH = "(switch)"
"""Node in the middle of a star without a center; no device can have this name."""


class Wire(NamedTuple):
    """A connection of two nodes, and the links that carry its two directions."""

    source: str
    target: str
    up: str
    """Link from source to target."""
    down: str | None
    """Link from target to source; the same as `up` where both share one, None where there is none."""
    own: LinkSettings | None
    """Settings of this wire where they differ from the network's."""
    base: str
    """Name that stands for both directions."""


def wires(scenario: Scenario, names: Names) -> Iterator[Wire]:
    """Yield the wires of a scenario in a fixed order; unknown names are left to `check`."""
    yield from TOPOLOGIES[scenario.network.topology](scenario, names)


def wire_count(scenario: Scenario, names: Names) -> int:
    """Return about how many wires there are, without making them."""
    count = len(names.devices)
    if scenario.network.topology == "mesh":
        return count * (count - 1) // 2
    if scenario.network.topology == "links":
        return sum(len(link.between or (1, 2)) ** 2 // 2 for link in scenario.network.links or ())
    return count


def own_settings(scenario: Scenario, names: Names) -> dict[str, LinkSettings]:
    """Return the settings of single devices' own links, by device; a device's own entry beats its group's."""
    declared = scenario.network.devices or {}
    own: dict[str, LinkSettings] = {}
    for name, settings in declared.items():
        own.update(dict.fromkeys(names.groups.get(name, ()), settings))
    own.update((name, settings) for name, settings in declared.items() if name in names.devices)
    return own


def access_point(scenario: Scenario) -> str:
    """Return the device at the access point of a wifi: the first training server; none without one."""
    return scenario.network.access_point or next(iter(scenario.training.hosts), "")


def _access(scenario: Scenario, device: str, middle: str, own: dict[str, LinkSettings]) -> Wire:
    settings = own.get(device)
    duplex = getattr(settings, "duplex", None) or scenario.network.duplex or "full"
    if scenario.network.topology == "wifi":
        up = down = "wifi"
    elif duplex == "shared":
        up = down = "shared"
    elif duplex == "half":
        up = down = device
    else:
        up, down = f"{device}.up", f"{device}.down"
    return Wire(device, middle, up, down, settings, device)


def _star(scenario: Scenario, names: Names) -> Iterator[Wire]:
    own = own_settings(scenario, names)
    middle = scenario.network.center or SWITCH
    for device in names.devices:
        if device != middle:
            yield _access(scenario, device, middle, own)


def _wifi(scenario: Scenario, names: Names) -> Iterator[Wire]:
    middle = access_point(scenario)
    for device in names.devices:
        if device != middle:
            yield _access(scenario, device, middle, {})


def _tree(scenario: Scenario, names: Names) -> Iterator[Wire]:
    own = own_settings(scenario, names)
    fan_out = scenario.network.fan_out or 2
    order = tuple(names.devices)
    for index, device in enumerate(order[1:]):
        yield _access(scenario, device, order[index // fan_out], own)


def _pair(scenario: Scenario, source: str, target: str) -> Wire:
    duplex = scenario.network.duplex or "full"
    base = f"{source}--{target}"
    if duplex == "full":
        return Wire(source, target, f"{source}->{target}", f"{target}->{source}", None, base)
    link = "shared" if duplex == "shared" else base
    return Wire(source, target, link, link, None, base)


def _chain(scenario: Scenario, names: Names) -> Iterator[Wire]:
    order = tuple(names.devices)
    for source, target in pairwise(order):
        yield _pair(scenario, source, target)


def _ring(scenario: Scenario, names: Names) -> Iterator[Wire]:
    order = tuple(names.devices)
    yield from _chain(scenario, names)
    if len(order) > 2:
        yield _pair(scenario, order[-1], order[0])


def _mesh(scenario: Scenario, names: Names) -> Iterator[Wire]:
    for source, target in combinations(names.devices, 2):
        yield _pair(scenario, source, target)


def link_base(link: NamedLink) -> str:
    """Return the name of an entry of `links`, or what stands for it."""
    return link.name or (f"{link.from_}-{link.to}" if link.from_ else "-".join(link.between or ()))


def _links(scenario: Scenario, names: Names) -> Iterator[Wire]:
    for link in scenario.network.links or ():
        base = link_base(link)
        duplex = link.duplex or scenario.network.duplex or "full"
        if link.between is not None:
            for source, target in combinations(link.between, 2):
                yield Wire(source, target, base, base, link, base)
        elif link.from_ is not None and link.to is not None:
            if duplex == "full":
                yield Wire(link.from_, link.to, f"{base}.up", f"{base}.down", link, base)
            else:
                one = "shared" if duplex == "shared" else base
                yield Wire(link.from_, link.to, one, None if duplex == "one-way" else one, link, base)


TOPOLOGIES: dict[str, Callable[[Scenario, Names], Iterator[Wire]]] = {
    "star": _star,
    "chain": _chain,
    "ring": _ring,
    "tree": _tree,
    "mesh": _mesh,
    "wifi": _wifi,
    "links": _links,
}
"""Topologies by name."""


def link_names(scenario: Scenario, names: Names) -> dict[str, tuple[str, ...]]:
    """Return the links that each name of a link, or of a wire, stands for."""
    found: dict[str, tuple[str, ...]] = {}
    bases: dict[str, tuple[str, ...]] = {}
    for wire in wires(scenario, names):
        both = (wire.up,) if wire.down in (None, wire.up) else (wire.up, wire.down or "")
        found.update((link, (link,)) for link in both)
        bases.setdefault(wire.base, both)
    for group, members in names.groups.items():
        joined = [link for member in members for link in bases.get(member, ())]
        if joined:
            bases.setdefault(group, tuple(dict.fromkeys(joined)))
    return {**bases, **found}


def expand_links(wanted: Sequence[str], links: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the links that names stand for, each once; unknown names fall out."""
    return tuple(dict.fromkeys(link for name in wanted for link in links.get(name, ())))
