"""Why a run took as long as it did, in a sentence: who waits for whom, and which link is full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from edgesim.report.activity import Activity, activities, common, length, link_bytes, union
from edgesim.report.faults import CAUSES, costs
from edgesim.report.iterations import Iteration, server_of, typical
from edgesim.report.numbers import duration, share
from edgesim.report.tables import Tables
from edgesim.timeline import ROUTE_JOIN

FULL, CLOSE, SMALL = 0.9, 0.02, 0.1
"""A link is full from here; workers this close (in iterations) finish together; less is not worth a word
where two things are named."""


def explain(tables: Tables, summary: Mapping[str, Any]) -> str:
    """Return one sentence on the typical iteration (see `iterations.typical`), from its timeline alone.

    Where faults made the mean iteration longer than that, another sentence before it says by how much.
    `summary` gives the server and the declared bandwidths; a share of a link is that of its declared
    bandwidth, so a link slowed by an event never looks fuller than it was declared.
    """
    server = server_of(tables, summary)
    one = typical(tables, server)
    if one is None:
        return f"No iteration ended within {duration(summary.get('simulated_s'))}."
    everyone = activities(tables, one.start_s, one.end_s)
    workers = {name: did for name, did in everyone.items() if name != server and did.end_s > one.start_s}
    if not workers:
        return f"No worker did anything in iteration {one.number + 1} ({duration(one.end_s - one.start_s)})."
    ends = {name: did.end_s for name, did in workers.items()}
    if server is None:
        ends |= {name: end_s for name, end_s in _gradients(tables, one).items() if name in workers}
    last = max(workers, key=lambda name: ends[name])
    bandwidths = _bandwidths(summary)
    disturbed = _disturbed(tables, summary)
    tables = tables.between(one.start_s, one.end_s)
    served = server is not None
    clauses = [_lead(one, ends, last) + _spends(tables, one, workers[last], last, bandwidths, served)]
    clauses += _waiting(one, ends, last) + _server(one, ends[last], server)
    clauses += _fullest_link(tables, one, bandwidths)
    return disturbed + "; ".join(clauses) + "."


def _disturbed(tables: Tables, summary: Mapping[str, Any]) -> str:
    """Say what faults cost the run, where that is worth a word; else nothing."""
    times = summary.get("iteration_s") or {}
    mean_s, steady_s = times.get("mean"), times.get("steady")
    if not mean_s or not steady_s or abs(mean_s / steady_s - 1.0) < CLOSE:
        return ""
    lost = {CAUSES[kind]: cost_s for kind, cost_s in costs(tables, summary).items() if kind in CAUSES}
    parts = [f"{cause} {duration(cost_s)}" for cause, cost_s in lost.items() if cost_s >= CLOSE * steady_s]
    if not parts:
        return ""
    return (
        f"Faults make the mean iteration {duration(mean_s)} long ({', '.join(parts)} an iteration); "
        "of an undisturbed one: "
    )


def _gradients(tables: Tables, one: Iteration) -> dict[str, float]:
    """Return when each worker had all gradients of an iteration, in s: what the others wait for."""
    inside = tables.between(one.start_s, one.end_s)
    return {
        device: end_s
        for device, kind, number, end_s in inside.rows("spans", "device", "kind", "iteration", "end_s")
        if kind == "backward" and number == one.number
    }


def _lead(one: Iteration, ends: Mapping[str, float], last: str) -> str:
    if len(ends) == 1:
        return f"{last} "
    if _wait_s(ends, last) < CLOSE * (one.end_s - one.start_s):
        return f"most of the {len(ends)} workers finish together, so hardly anybody waits: {last} "
    return f"{last} is the straggler: it "


def _spends(
    tables: Tables,
    one: Iteration,
    did: Activity,
    device: str,
    bandwidths: Mapping[str, float],
    served: bool,
) -> str:
    """Say what a worker spends the iteration on: compute, and transfers that no compute hides."""
    whole = one.end_s - one.start_s
    pulling, pushing = _outside(did.into, did.compute), _outside(did.out, union([*did.compute, *did.into]))
    computes = share(length(did.compute) / whole)
    of_it = f"of iteration {one.number + 1} ({duration(whole)})"
    waits = length(pulling) + length(pushing)
    if length(did.compute) >= waits:
        return f"computes for {computes} {of_it} and waits for transfers for {share(waits / whole)}"
    ways = [("pull", "pulling", pulling), ("push", "pushing", pushing)]
    if not served:
        ways = [("push", "adding up gradients", _outside(did.transfer, did.compute))]
    parts = [
        f"{share(length(during) / whole)}{{}} {verb}{_tightest(tables, device, way, during, bandwidths)}"
        for way, verb, during in ways
        if length(during) >= SMALL * whole
    ]
    said = " and ".join(part.format(f" {of_it}" if place == 0 else "") for place, part in enumerate(parts))
    return f"spends {said}, and computes for {computes}"


def _wait_s(ends: Mapping[str, float], last: str) -> float:
    """Return how long half of the other workers wait for the last one, in s."""
    return ends[last] - median(end_s for name, end_s in ends.items() if name != last)


def _outside(inner: list[tuple[float, float]], other: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return where `inner` holds and `other` does not."""
    found = []
    for start, end in inner:
        at = start
        for begin, finish in common([(start, end)], other):
            if begin > at:
                found.append((at, begin))
            at = finish
        if end > at:
            found.append((at, end))
    return found


def _tightest(
    tables: Tables,
    device: str,
    way: str,
    during: Sequence[tuple[float, float]],
    bandwidths: Mapping[str, float],
) -> str:
    """Name the fullest link on the device's own routes while it waits for its data."""
    end = "target" if way == "pull" else "source"
    mine: dict[str, None] = {}
    touching = tables.between(during[0][0], during[-1][1])
    for owner, route in touching.rows("transfers", end, "route"):
        if owner == device:
            mine.update(dict.fromkeys(route.split(ROUTE_JOIN)))
    carried = link_bytes(tables, during)
    use = {
        link: carried.get(link, 0.0) / (bandwidths[link] * length(during))
        for link in mine
        if link in bandwidths
    }
    if not use:
        return f" over {', '.join(mine)}" if mine else ""
    link = max(use, key=lambda name: use[name])
    return f" over {link} ({share(min(use[link], 1.0))} full meanwhile)"


def _waiting(one: Iteration, ends: Mapping[str, float], last: str) -> list[str]:
    others = len(ends) - 1
    if not others or (wait := _wait_s(ends, last)) < CLOSE * (one.end_s - one.start_s):
        return []
    if others == 1:
        return [f"the other worker waits {duration(wait)} for it"]
    return [f"the other {others} workers wait {duration(wait)} (median) for it"]


def _server(one: Iteration, last_s: float, server: str | None) -> list[str]:
    tail = one.end_s - last_s
    if server is None or tail < 0.05 * (one.end_s - one.start_s):
        return []
    return [f"then all wait {duration(tail)} for {server} to update"]


def _fullest_link(tables: Tables, one: Iteration, bandwidths: Mapping[str, float]) -> list[str]:
    whole = one.end_s - one.start_s
    carried = link_bytes(tables, [(one.start_s, one.end_s)])
    use = {link: sent / (bandwidths[link] * whole) for link, sent in carried.items() if link in bandwidths}
    if not use:
        return []
    link = max(use, key=lambda name: use[name])
    value = min(use[link], 1.0)
    if value >= FULL:
        return [f"{link} is full ({share(value)} of its capacity)"]
    return [f"no link is full all the time, the fullest is {link} with {share(value)} of its capacity"]


def _bandwidths(summary: Mapping[str, Any]) -> dict[str, float]:
    links = summary.get("links") or {}
    return {name: link["bandwidth_Bps"] for name, link in links.items() if link.get("bandwidth_Bps")}
