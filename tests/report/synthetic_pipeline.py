"""Pipeline timelines made without the engine: strict 1F1B, a failure with its recovery, layers that move."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.report.facts import DeviceFacts, LinkFacts, RunFacts
from edgesim.timeline import Tag, Timeline

RATE_BPS = 12.5e6
PHASES = ("detect", "probe", "measure", "plan", "fetch", "commit", "refill")


@dataclass(frozen=True)
class Stage:
    """One stage: its device, its layers (1-based) and the times of a pass."""

    device: str
    first: int
    last: int
    forward_s: float
    backward_s: float

    @property
    def layers(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass
class Made:
    """A timeline under construction, and what a training system would put into the summary."""

    timeline: Timeline = field(default_factory=Timeline)
    more: dict[str, Any] = field(default_factory=dict)
    now_s: float = 0.0


def stages(devices, layers=20, forward_s=0.1, slow=()):
    """Equal stages, those on `slow` devices twice as long."""
    cuts = [round(layers * k / len(devices)) for k in range(len(devices) + 1)]
    return [
        Stage(
            name,
            a + 1,
            b,
            *(times * (2.0 if name in slow else 1.0) for times in (forward_s, 2.0 * forward_s)),
        )
        for name, (a, b) in zip(devices, pairwise(cuts), strict=True)
    ]


def order(stage, count, first, last):
    """The passes of a stage of `count` for batches first..last: strict 1F1B with K = S - s in flight."""
    window = count - stage
    batches = range(first, last + 1)
    found = [("forward", b) for b in batches[:window]]
    for b in batches:
        found.append(("backward", b))
        found += [("forward", b + window)] if b + window <= last else []
    return found


def run(chain, first, last, start_s=0.0, send_s=0.02, parts=1, replay=0):
    """Spans and transfers of strict 1F1B from batch first to last; the first `replay` are recomputed.

    A pass runs as soon as its stage is free and its input is there; the links carry one message at a time.
    """
    count = len(chain)
    todo = [order(s, count, first * parts, (last + 1) * parts - 1) for s in range(count)]
    at, free, done = [0] * count, [start_s] * count, {}
    links = {}
    spans, transfers, marks = [], [], []

    def send(kind, source, target, micro, ready):
        begin = max(ready, links.get((source, target), start_s))
        links[source, target] = end = begin + send_s
        a, b = chain[source].device, chain[target].device
        size = int(send_s * RATE_BPS)
        tag = Tag(kind, label(micro), micro // parts, chain[source].first, chain[source].last)
        transfers.append(
            (a, b, tag, size, float(size), float(size), 0.0, ready, begin, end, f"{a}.up; {b}.down")
        )
        return end

    def label(micro):
        return str(micro) if parts == 1 else f"{micro // parts}.{micro % parts}"

    moved = True
    while moved:
        moved = False
        for s in range(count):
            while at[s] < len(todo[s]):
                kind, micro = todo[s][at[s]]
                needs = (kind, micro, s)
                if kind == "forward" and s == 0:
                    ready = start_s
                elif kind == "backward" and s == count - 1:
                    ready = done["forward", micro, s]
                elif ("in", *needs) in done:
                    ready = done["in", *needs]
                else:
                    break
                begin = max(ready, free[s])
                length = (chain[s].forward_s if kind == "forward" else chain[s].backward_s) / parts
                free[s] = end = begin + length
                done[needs] = end
                again = "replay-" if micro // parts < first + replay else ""
                tag = Tag(again + kind, label(micro), micro // parts, chain[s].first, chain[s].last)
                spans.append((chain[s].device, tag, begin, end, length, 0.0))
                if kind == "forward" and s < count - 1:
                    done["in", "forward", micro, s + 1] = send("activation", s, s + 1, micro, end)
                if kind == "backward" and s:
                    done["in", "backward", micro, s - 1] = send("gradient", s, s - 1, micro, end)
                if kind == "backward" and (micro + 1) % parts == 0:
                    tag = Tag("update", str(micro // parts), micro // parts, chain[s].first, chain[s].last)
                    spans.append((chain[s].device, tag, end, end + 0.01, 0.01, 0.0))
                    free[s] = end + 0.01
                    marks.append((end + 0.01, s, micro // parts))
                at[s] += 1
                moved = True
    assert all(place == len(mine) for place, mine in zip(at, todo, strict=True)), "the recursion is stuck"
    return spans, transfers, marks


def add(made, chain, rows, *, loss=True):
    """Append rows in order of their end, updates and marks of iterations with them."""
    spans, transfers, marks = rows
    made.timeline.spans += sorted(spans, key=lambda row: row[3])
    made.timeline.transfers += sorted(transfers, key=lambda row: row[9])
    for at_s, s, batch in sorted(marks):
        known = loss and s == 0
        made.timeline.update(
            at_s, chain[s].device, batch, 1, len(chain) - 1 - s,
            2.0 * 0.97**batch if known else math.nan,
            1.0 - 0.9 * 0.95**batch if known and batch % 3 == 2 else math.nan,
        )  # fmt: skip
        if s == 0:
            made.timeline.mark(at_s, chain[0].device, "iteration", str(batch))
        made.now_s = max(made.now_s, at_s)


def cut(rows, at_s, failed, stop_s):
    """Rows as a failure of a device at `at_s` leaves them; the others stop at `stop_s`, when it is known."""
    spans, transfers, marks = rows
    kept_spans, kept = [], []
    for device, tag, begin, end, work, _ in spans:
        limit = at_s if device in failed else stop_s
        if begin < limit:
            left = max(end - limit, 0.0)
            kept_spans.append((device, tag, begin, min(end, limit), work, left))
    for row in transfers:
        a, b, tag, size, *_, queued, begin, end, route = row
        limit = at_s if {a, b} & set(failed) else stop_s
        if queued < limit and begin < limit:
            sent = float(size) if end <= limit else size * (limit - begin) / (end - begin)
            got = sent if end <= limit else 0.0
            kept.append((a, b, tag, size, sent, got, sent - got, queued, begin, min(end, limit), route))
    alive = {(row[0], row[1].iteration) for row in kept_spans if row[1].kind == "update" and not row[5]}
    return kept_spans, kept, [m for m in marks if m[0] <= stop_s and alive]


def chain_rows(chain):
    return {"points": [stage.last - 1 for stage in chain[:-1]], "order": [stage.device for stage in chain]}


def plan_text(chain, why):
    return f"{' '.join(str(stage.last - 1) for stage in chain[:-1])} ({why})"


def in_force(made, chain, time_s, batch, why, period_s):
    capacity = [1.0 + 0.5 * number for number in range(len(chain))]
    made.more["partitions"].append(
        {"time_s": time_s, "batch": batch, **chain_rows(chain), "capacity": capacity, "period_s": period_s,
         "why": why}
    )  # fmt: skip
    made.timeline.mark(time_s, chain[0].device, "partition", plan_text(chain, why))


def period(chain):
    return max(stage.forward_s + stage.backward_s + 0.01 for stage in chain)


def begin(chain, schedule="ftpipehd"):
    made = Made()
    made.more = {
        "pipeline": {}, "partitions": [], "repartitions": [], "recoveries": [],
        "replication": {"chain_bytes": 4_000_000, "whole_bytes": 2_000_000, "copies": 6},
        "global_copy": {"batch": 4, "bytes": 2_000_000},
    }  # fmt: skip
    in_force(made, chain, 0.0, 0, "start", period(chain))
    made.more["schedule"] = schedule
    return made


def finish(made, chain, schedule="ftpipehd"):
    count = len(chain)
    made.more["pipeline"] = {
        **chain_rows(chain), "schedule": schedule, "execution": "1f1b", "versions": "stash",
        "windows": [count - s for s in range(count)],
        "capacity": {stage.device: 1.0 + 0.5 * s for s, stage in enumerate(chain)},
        "stages": [
            {"stage": s, "device": one.device, "first": one.first, "last": one.last, "window": count - s,
             "memory_bytes": 5_000_000 * (s + 1)}
            for s, one in enumerate(chain)
        ],
        "period_s": period(chain), "exact_period_s": period(chain), "aggregations": 0,
    }  # fmt: skip
    made.more.pop("schedule", None)
    return made


def recover(made, chain, failed, at_s, batch, after, *, lasting=None, policy="ftpipehd", replayed=1):
    """The phases of a recovery from a crash at `at_s`, found out at `batch`; then `after` is in force."""
    lasting = {"detect": 0.5, "probe": 0.3, "measure": 0.1, "plan": 0.05, "fetch": 0.6, "commit": 0.1,
               "refill": 0.3, **(lasting or {})}  # fmt: skip
    central, made_at, starts = chain[0].device, at_s, {}
    made.timeline.mark(at_s, failed[0], "crash")
    for phase in PHASES:
        starts[phase] = made_at
        made_at += lasting[phase]
    found_s = starts["probe"]
    made.timeline.mark(at_s, central, "recovery", "detect")
    made.timeline.mark(found_s, central, "expired", str(batch))
    for phase in PHASES[1:]:
        made.timeline.mark(starts[phase], central, "recovery", phase)
        if phase == "probe":
            made.timeline.mark(found_s, central, "probe", "")
        if phase == "measure":
            for name in failed:
                made.timeline.mark(starts[phase], name, "failed", "no answer")
        if phase == "refill":
            in_force(made, after, starts[phase], batch, "recovery", period(after))
    made.timeline.mark(made_at, central, "recovery", "recovered")
    begin_s = starts["plan"]
    made.timeline.spans.append(
        (central, Tag("plan", "", batch), begin_s, starts["fetch"], lasting["plan"], 0.0)
    )
    last = after[-1].device
    size = 1_500_000
    fetch = Tag("fetch", f"{after[-1].layers}", batch, after[-1].first, after[-1].last)
    row = (central, last, fetch, size, float(size), float(size), 0.0, starts["fetch"], starts["fetch"])
    made.timeline.transfers.append((*row, starts["commit"], f"{central}.up; {last}.down"))
    for stage in after:
        tag = Tag("rebuild", stage.layers, batch, stage.first, stage.last)
        made.timeline.spans.append(
            (stage.device, tag, starts["commit"], starts["refill"], lasting["commit"], 0.0)
        )
    made.more["recoveries"].append(
        {
            "failed_s": at_s, "time_s": found_s, "devices": list(failed), "kind": "failed", "policy": policy,
            **{f"{phase}_s": lasting[phase] for phase in PHASES},
            "total_s": sum(lasting.values()), "batches_recomputed": replayed, "updates_lost": 2,
            "bytes_moved": size, **chain_rows(after), "outcome": "recovered",
        }
    )  # fmt: skip
    return starts["refill"], found_s


def failing(*, schedule="ftpipehd", policy="ftpipehd", lasting=None, batches=12, at_s=2.1, send_s=0.02):
    """Three stages; device a fails; hub and b go on; then layers move once more."""
    before, after = stages(["hub", "a", "b"], slow=("b",)), stages(["hub", "b"], forward_s=0.15)
    made = begin(before, schedule)
    length = {"detect": 0.5, **(lasting or {})}["detect"]
    rows = cut(run(before, 0, batches - 1, send_s=send_s), at_s, ("a",), at_s + length)
    back = [batch for at, s, batch in rows[2] if s == 0 and at < at_s]
    rows = (rows[0], rows[1], [m for m in rows[2] if m[0] <= at_s])
    add(made, before, rows)
    batch = max(back, default=-1) + 1
    resume_s, _ = recover(made, before, ("a",), at_s, batch, after, lasting=lasting, policy=policy)
    middle = batch + 3
    add(made, after, run(after, batch, middle, resume_s, send_s, replay=1))
    moved = [replace(after[0], last=12), replace(after[1], first=13, backward_s=0.25)]
    resume_s = repartition(made, after, moved, middle + 1)
    if middle + 1 < batches:
        add(made, moved, run(moved, middle + 1, batches - 1, resume_s, send_s))
    return finish(made, moved, schedule)


def repartition(made, before, after, batch):
    """Layers move between two batches: prepare, fetch, commit, refill."""
    central, at_s = before[0].device, made.now_s
    lasting = {"prepare": 0.05, "fetch": 0.2, "commit": 0.05, "refill": 0.1}
    now_s = at_s
    other = before[-1].device
    for phase, length in lasting.items():
        made.timeline.mark(now_s, central, "repartition", phase)
        if phase == "fetch":
            size = 400_000
            tag = Tag("fetch", "11-12", batch, 11, 12)
            made.timeline.transfers.append(
                (other, central, tag, size, float(size), float(size), 0.0, now_s, now_s, now_s + length,
                 f"{other}.up; {central}.down")
            )  # fmt: skip
        else:
            for way in ((central, other), (other, central)):
                tag = Tag("control", phase, batch)
                made.timeline.transfers.append(
                    (
                        *way,
                        tag,
                        64,
                        64.0,
                        64.0,
                        0.0,
                        now_s,
                        now_s,
                        now_s + 0.02,
                        f"{way[0]}.up; {way[1]}.down",
                    )
                )
        if phase == "refill":
            in_force(made, after, now_s, batch, "repartition", period(after))
        now_s += length
    made.timeline.mark(now_s, central, "repartition", "done")
    made.more["repartitions"].append(
        {
            "time_s": at_s, "batch": batch, "points_before": chain_rows(before)["points"],
            "points": chain_rows(after)["points"], "moved_layers": 2, "bytes_moved": 400_000,
            **{f"{phase}_s": length for phase, length in lasting.items()}, "total_s": sum(lasting.values()),
            "batches_recomputed": 0, "kept": True, "predicted_gain_s": 0.05,
        }
    )  # fmt: skip
    return now_s - lasting["refill"]


def steady(count=3, batches=12, *, parts=1, slow=(), send_s=0.02, forward_s=0.1, schedule="ftpipehd"):
    """A run without failures: `count` stages `d0`, `d1`, ..."""
    names = [f"d{number}" for number in range(count)]
    chain = stages(names, layers=max(20, 2 * count), slow=slow, forward_s=forward_s)
    made = begin(chain, schedule)
    add(made, chain, run(chain, 0, batches - 1, parts=parts, send_s=send_s))
    return finish(made, chain, schedule)


def cluster(devices):
    """Devices on a switch, each with its own link up and down."""
    links = {
        f"{name}.{way}": Link(name=f"{name}.{way}", bandwidth_Bps=RATE_BPS)
        for name in devices
        for way in ("up", "down")
    }
    hops = [Hop(source=name, target="switch", link=f"{name}.up") for name in devices]
    hops += [Hop(source="switch", target=name, link=f"{name}.down") for name in devices]
    return Cluster(devices={name: Device(name=name) for name in devices}, links=links, hops=tuple(hops))


def facts(made, *, server=None, **more):
    """What an engine would have counted for such a timeline."""
    names = list(dict.fromkeys([row[0] for row in made.timeline.spans]))
    on = cluster(names)
    end_s = max([row[0] for row in made.timeline.marks] + [row[3] for row in made.timeline.spans])
    busy = dict.fromkeys(names, 0.0)
    for row in made.timeline.spans:
        busy[row[0]] += row[3] - row[2]
    carried = dict.fromkeys(on.links, 0.0)
    for row in made.timeline.transfers:
        for link in row[10].split("; "):
            carried[link] += row[4]
    given = {
        "scenario": "synthetic", "seed": 7, "server": server, "simulated_s": end_s, "wall_s": 0.5,
        "devices": {name: DeviceFacts(busy_s=busy[name]) for name in names},
        "links": {
            name: LinkFacts(carried_bytes=carried[name], capacity_bytes=RATE_BPS * end_s) for name in on.links
        },
        "schedule": made.more["pipeline"]["schedule"], "bounds": {"compute": 0.2}, "more": made.more,
    }  # fmt: skip
    return RunFacts(**{**given, **more}), on
