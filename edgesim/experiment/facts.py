"""What the finished simulation counted, as plain numbers for the report."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

from edgesim.engine import Simulation
from edgesim.report.facts import DeviceFacts, LinkFacts, RunFacts
from edgesim.training.bounds import Bounds
from edgesim.training.parameter_server import TrainingRun

SHOWN = 5
"""Most names in a note."""


def gather(sim: Simulation, training: TrainingRun | None) -> RunFacts:
    """Return what the engine and the training system, if it had begun, know of a run at this instant."""
    now = sim.now
    flowing = sim.network.in_flight_bytes()
    facts = RunFacts(
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
            )
            for name, link in sim.network.links.items()
        },
    )
    return facts if training is None else replace(facts, **_planned(training))


def _planned(training: TrainingRun) -> dict[str, Any]:
    plans = {
        worker: {"forward": plans[0].cuts, "backward": plans[1].cuts}
        for worker, plans in training.plans.items()
    }
    return {"predicted_s": training.predicted_s, "plans": plans, **_bounds(training)}


def _bounds(training: TrainingRun) -> dict[str, Any]:
    """Return the lower bounds of the steady iteration, for the workers that took part.

    The steady iteration is the median of the later half; so each bound is the median of the bounds of the
    same iterations, as a median of figures that are not lower is not lower.
    """
    if not training.bounds.fixed:
        return {"bound_note": "layers take another time each time they run (live), so no bound is known"}
    done = training.contributions[len(training.contributions) // 2 :] or [tuple(training.bounds.alone)]
    each = [training.bounds.of(crew) for crew in done]
    found = {reason: median(one[reason] for one in each) for reason in each[0]}
    return {
        "bound_s": found.pop("iteration_s"),
        "bounds": found,
        "bound_note": _note(training.bounds, {frozenset(crew) for crew in done}),
    }


def _note(bounds: Bounds, crews: set[frozenset[str]]) -> str:
    """Say what the bounds take for granted, where that is not obvious."""
    said = []
    if crews != {frozenset(bounds.alone)}:
        said.append("for the workers whose gradients counted")
    if quicker := bounds.sped_up[:SHOWN]:
        more = f" and {len(bounds.sped_up) - SHOWN} more" if len(bounds.sped_up) > SHOWN else ""
        said.append(f"at the best rates of {', '.join(quicker)}{more}")
    return ", ".join(said)
