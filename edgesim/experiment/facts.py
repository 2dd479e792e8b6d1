"""What the finished simulation counted, as plain numbers for the report."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from edgesim.engine import Simulation
from edgesim.report.facts import DeviceFacts, LinkFacts, RunFacts
from edgesim.training.bounds import IterationBounds
from edgesim.training.parameter_server import TrainingRun

if TYPE_CHECKING:
    from edgesim.experiment.steady import Steady

SHOWN = 5
"""Most names in a note."""


def gather(sim: Simulation, training: TrainingRun | None, steady: Steady | None = None) -> RunFacts:
    """Return what the engine and the training system, if it had begun, know of a run at its end.

    That is this instant, or, where a steady run was cut short, the end of the last iteration it stands for.
    """
    if steady is None:
        facts = counted(sim)
    else:
        facts = prolonged(steady.before, steady.now, steady.repeats)
        facts = replace(facts, repeated=steady.repeats, period_s=steady.period_s if steady.repeats else None)
    return facts if training is None else replace(facts, **_planned(training))


def counted(sim: Simulation) -> RunFacts:
    """Return what the engine has counted until this instant."""
    now = sim.now
    flowing = sim.network.in_flight_bytes()
    return RunFacts(
        simulated_s=now,
        devices={
            name: DeviceFacts(
                busy_s=device.busy_until_now_s(), down_s=device.down_s, peak_memory_bytes=device.peak_bytes
            )
            for name, device in sim.devices.items()
        },
        links={
            name: LinkFacts(
                carried_bytes=link.carried_bytes + flowing.get(name, 0.0),
                capacity_bytes=link.capacity_bytes(now),
                startup_s=link.startup_s,
                bases=link.bases,
            )
            for name, link in sim.network.links.items()
        },
    )


def prolonged(before: RunFacts, now: RunFacts, times: int) -> RunFacts:
    """Return what would be counted if what came between `before` and `now` came so many times more.

    Every count grows by the same amount each time; peaks stay. Devices and links are those of `now`.
    """
    devices = {
        name: DeviceFacts(
            busy_s=_on(before.devices.get(name, DeviceFacts()).busy_s, one.busy_s, times),
            down_s=_on(before.devices.get(name, DeviceFacts()).down_s, one.down_s, times),
            peak_memory_bytes=one.peak_memory_bytes,
        )
        for name, one in now.devices.items()
    }
    links = {
        name: _carried_on(before.links.get(name, LinkFacts()), one, times) for name, one in now.links.items()
    }
    simulated_s = _on(before.simulated_s, now.simulated_s, times)
    return replace(now, simulated_s=simulated_s, devices=devices, links=links)


def _carried_on(before: LinkFacts, now: LinkFacts, times: int) -> LinkFacts:
    return replace(
        now,
        carried_bytes=_on(before.carried_bytes, now.carried_bytes, times),
        capacity_bytes=_on(before.capacity_bytes, now.capacity_bytes, times),
        startup_s=_on(before.startup_s, now.startup_s, times),
    )


def _on(before: float, now: float, times: int) -> float:
    """Go on by the same step; infinite stays infinite.

    >>> _on(1.0, 3.0, 2), _on(math.inf, math.inf, 2)
    (7.0, inf)
    """
    return now + times * (now - before) if math.isfinite(now) else now


def _planned(training: TrainingRun) -> dict[str, Any]:
    plans = {
        worker: {"forward": plans[0].cuts, "backward": plans[1].cuts}
        for worker, plans in training.plans.items()
    }
    if training.queue is not None:
        plans = {
            "every worker": {
                "push_bytes": training.queue.push_borders,
                "pull_bytes": training.queue.pull_borders,
            }
        }
    more = training.more()
    return {"predicted_s": training.predicted_s, "plans": plans, "more": more, **_bounds(training)}


def _bounds(training: TrainingRun) -> dict[str, Any]:
    """Return the lower bounds of the steady iteration, for the workers that took part.

    The steady iteration is the median of the later half; so each bound is the median of the bounds of the
    same iterations, as a median of figures that are not lower is not lower.
    """
    if training.no_bound:
        return {"bound_note": training.no_bound}
    done = training.contributions[len(training.contributions) // 2 :] or [tuple(training.bounds.alone)]
    each = [training.bounds.of(crew) for crew in done]
    found = {reason: median(one[reason] for one in each) for reason in each[0]}
    return {
        "bound_s": found.pop("iteration_s"),
        "bounds": found,
        "bound_note": _note(training.bounds, {frozenset(crew) for crew in done}),
    }


def _note(bounds: IterationBounds, crews: set[frozenset[str]]) -> str:
    """Say what the bounds take for granted, where that is not obvious."""
    said = []
    if crews != {frozenset(bounds.alone)}:
        said.append("for the devices that took part")
    if quicker := bounds.sped_up[:SHOWN]:
        more = f" and {len(bounds.sped_up) - SHOWN} more" if len(bounds.sped_up) > SHOWN else ""
        said.append(f"at the best rates of {', '.join(quicker)}{more}")
    return ", ".join(said)
