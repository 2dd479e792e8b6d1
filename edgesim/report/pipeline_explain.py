"""Why a pipeline takes as long as it does: its bottleneck, its bubbles, and what failures and moves cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgesim.report.activity import Activity, activities, length
from edgesim.report.fullness import FULL, Fullness, fullest, whole
from edgesim.report.iterations import Stretch, server_of, steady_stretch
from edgesim.report.numbers import amount, counted, duration, share
from edgesim.report.pipeline import (
    FALSE_ALARM,
    INTERRUPTED,
    MOVES,
    TERMS,
    layer_count,
    layers_of,
    plan_at,
    stage_devices,
    unrecoverable,
)
from edgesim.report.tables import Tables

NAMED = 4
"""Most stages whose bubbles are told one by one."""
CLOSE, SMALL = 0.02, 0.1
"""A period this far from what was expected is told; a term of less than that share of a recovery is not."""


class StageUse(NamedTuple):
    """What a stage does in steady state."""

    device: str
    stage: int
    """0-based; the position in the plan in force."""
    layers: str
    """1-based first and last, as text; empty where they are not known."""
    busy: float
    """Share of the time in which its device computes, 0 to 1."""

    @property
    def bubble(self) -> float:
        """Share of the time in which it is idle, 0 to 1."""
        return 1.0 - self.busy

    @property
    def name(self) -> str:
        """Who and what it is, for people."""
        layers = f", layers {self.layers}" if self.layers else ""
        return f"{self.device} (stage {self.stage}{layers})"


def stage_uses(tables: Tables, summary: Mapping[str, Any], stretch: Stretch) -> list[StageUse]:
    """Return what each stage of the plan in force does in a stretch, in the pipeline's order.

    A device that has several is there once.
    """
    did = activities(tables, stretch.start_s, stretch.end_s)
    plan = plan_at(summary, stretch.start_s)
    known = layers_of(plan, layer_count(summary)) if plan else []
    names = [name for name, _, _ in known] or [n for n in stage_devices(summary) or did if n in did]
    layers = [f"{first}-{last}" if last > first else f"{last}" for _, first, last in known]
    whole_s = stretch.end_s - stretch.start_s
    found: dict[str, StageUse] = {}
    for stage, name in enumerate(names):
        mine = layers[stage] if stage < len(layers) else ""
        if name in found:  # it took over those of another
            found[name] = found[name]._replace(layers=f"{found[name].layers} and {mine}")
            continue
        busy = length(did.get(name, Activity()).compute) / whole_s
        found[name] = StageUse(name, stage, mine, busy)
    return [*found.values()]


def pipeline_story(tables: Tables, summary: Mapping[str, Any], full: Fullness) -> list[str]:
    """Return sentences on a run in a pipeline: its steady state, then its failures and re-partitions."""
    stretch = steady_stretch(tables, server_of(tables, summary))
    after = [*_recovered(summary), *_moved(summary)]
    if stretch is None or stretch.end_s <= stretch.start_s:
        return [f"No batch was back within {duration(summary.get('simulated_s'))}.", *after]
    return [
        _steady(tables, summary, full, stretch),
        *_alone(summary, stretch),
        *_promised(summary, stretch),
        *after,
    ]


def _steady(tables: Tables, summary: Mapping[str, Any], full: Fullness, stretch: Stretch) -> str:
    stages = stage_uses(tables, summary, stretch)
    uses = full.during([(stretch.start_s, stretch.end_s)])
    link = fullest(uses)
    linked = uses[link].total if link is not None else 0.0
    busiest = max(stages, key=lambda one: one.busy)
    several = f"es {stretch.first} to {stretch.last}" if stretch.iterations > 1 else f" {stretch.last}"
    each_s = (stretch.end_s - stretch.start_s) / stretch.iterations
    head = f"A batch takes {duration(each_s)} (batch{several})"
    if link is not None and linked > busiest.busy and linked >= FULL:
        said = f"the bottleneck is a link: {whole(link, uses[link])}"
    elif len(stages) == 1:
        said = f"{busiest.device} alone computes for {share(busiest.busy)} of the time"
    elif busiest.busy >= FULL:
        said = f"the bottleneck is {busiest.name}, which computes for {share(busiest.busy)} of the time"
    else:
        said = (
            "nothing is busy all the time, as batches in flight wait for their way through the stages and "
            f"back; {busiest.name} is the busiest with {share(busiest.busy)}"
        )
    clauses = [f"{head}: {said}", *_bubbles(stages, busiest)]
    if link is not None and not said.endswith(whole(link, uses[link])):
        clauses.append(whole(link, uses[link]))
    return "; ".join(clauses) + "."


def _bubbles(stages: Sequence[StageUse], busiest: StageUse) -> list[str]:
    """Say how idle the other stages are, and all together."""
    if len(stages) < 2:
        return []
    others = sorted((one for one in stages if one is not busiest), key=lambda one: -one.bubble)[:NAMED]
    told = ", ".join(f"{one.device} {share(one.bubble)}" for one in sorted(others, key=lambda one: one.stage))
    mean = math.fsum(one.bubble for one in stages) / len(stages)
    which = " (of the idlest)" if len(stages) - 1 > NAMED else ""
    return [f"bubbles{which}: {told}, over all {len(stages)} stages {share(mean)} of their time"]


def _alone(summary: Mapping[str, Any], stretch: Stretch) -> list[str]:
    """Say what the central node alone would take, so that a pipeline is held against it."""
    found = summary.get("pipeline") or {}
    single_s, order = found.get("single_s"), list(found.get("order") or [])
    if not single_s or len(order) < 2:
        return []
    each_s = (stretch.end_s - stretch.start_s) / stretch.iterations
    times = max(single_s, each_s) / min(single_s, each_s)
    verdict = f"{times:.3g} times {'slower' if single_s > each_s else 'faster'}"
    return [f"{order[0]} alone would take {duration(single_s)}, {verdict}."]


def _promised(summary: Mapping[str, Any], stretch: Stretch) -> list[str]:
    """Say what the plan in force promised, where the run is clearly off it."""
    expected_s = plan_at(summary, stretch.start_s).get("period_s")
    each_s = (stretch.end_s - stretch.start_s) / stretch.iterations
    if not expected_s or abs(each_s / expected_s - 1.0) <= CLOSE:
        return []
    exact_s = (summary.get("pipeline") or {}).get("exact_period_s")
    last = (summary.get("partitions") or [{}])[-1]
    known = exact_s and last.get("time_s", math.inf) <= stretch.start_s
    differs = known and abs(exact_s / expected_s - 1.0) > CLOSE
    exact = f"; the exact period of that plan is {duration(exact_s)}" if differs else ""
    return [f"The planner expected {duration(expected_s)} a batch{exact}."]


def _recovered(summary: Mapping[str, Any]) -> list[str]:
    """Say how often the pipeline recovered, what took how long, and what was lost."""
    rows = summary.get("recoveries") or []
    alarms = [row for row in rows if row.get("kind") == FALSE_ALARM]
    done = [row for row in rows if row.get("outcome") == "recovered" and row not in alarms]
    said = []
    if done:
        total_s = math.fsum(row.get("total_s") or 0.0 for row in done)
        devices = ", ".join(dict.fromkeys(name for row in done for name in row.get("devices") or ()))
        again = sum(int(row.get("batches_recomputed") or 0) for row in done)
        lost = sum(int(row.get("updates_lost") or 0) for row in done)
        moved = math.fsum(row.get("bytes_moved") or 0.0 for row in done)
        said.append(
            f"{counted(len(done), 'failure')} ({devices}) {'was' if len(done) == 1 else 'were'} recovered "
            f"from in {duration(total_s)}{_terms(done, TERMS, total_s)}: {amount(moved, 'B')} moved, "
            f"{_batches(again)} recomputed, {counted(lost, 'update')} lost."
        )
    if alarms:
        lost_s = math.fsum(row.get("total_s") or 0.0 for row in alarms)
        verb = "was" if len(alarms) == 1 else "were"
        said.append(f"{counted(len(alarms), 'alarm')} {verb} false ({duration(lost_s)} in all).")
    said += _interrupted([row for row in rows if str(row.get("outcome") or "").startswith(INTERRUPTED)])
    if why := unrecoverable(summary):
        said.append(f"The training ended, as a failure could not be recovered from: {why}.")
    return said


def _interrupted(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how many recoveries another failure put an end to, and what they took until then."""
    if not rows:
        return []
    devices = ", ".join(dict.fromkeys(name for row in rows for name in row.get("devices") or ()))
    whose = f" from failures of {devices}" if devices else ""
    counts, verb = ("A recovery", "was") if len(rows) == 1 else (f"{len(rows)} recoveries", "were")
    took_s = math.fsum(row.get(f"{term}_s") or 0.0 for row in rows for term in TERMS)
    return [f"{counts}{whose} {verb} interrupted by another failure, after {duration(took_s)}."]


def _moved(summary: Mapping[str, Any]) -> list[str]:
    """Say how often layers moved, and what it took."""
    rows = [row for row in summary.get("repartitions") or [] if row.get("kept")]
    if not rows:
        return []
    total_s = math.fsum(row.get("total_s") or 0.0 for row in rows)
    moved = math.fsum(row.get("bytes_moved") or 0.0 for row in rows)
    times = "once" if len(rows) == 1 else f"{len(rows)} times"
    return [
        f"Layers moved to other devices {times} ({amount(moved, 'B')}), in "
        f"{duration(total_s)}{_terms(rows, MOVES, total_s)}."
    ]


def _batches(count: int) -> str:
    return f"{count} batch{'' if count == 1 else 'es'}"


def _terms(rows: Sequence[Mapping[str, Any]], terms: Sequence[str], total_s: float) -> str:
    """Return the larger terms of some rows in brackets, the longest first."""
    sums = {term: math.fsum(row.get(f"{term}_s") or 0.0 for row in rows) for term in terms}
    large = sorted((-value, term) for term, value in sums.items() if value > SMALL * total_s)
    return f" ({', '.join(f'{term} {duration(-value)}' for value, term in large)})" if large else ""
