"""What the finished simulation counted, as plain numbers for the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgesim.engine import Simulation
from edgesim.report.facts import DeviceFacts, LinkFacts, RunFacts
from edgesim.training.parameter_server import TrainingRun


def gather(sim: Simulation, training: TrainingRun | None) -> RunFacts:
    """Return what the engine and the training system, if it had begun, know of a run at this instant."""
    now = sim.now
    facts = RunFacts(
        simulated_s=now,
        devices={
            name: DeviceFacts(
                busy_s=device.busy_until_now_s(), down_s=device.down_s, peak_memory_bytes=device.peak_bytes
            )
            for name, device in sim.devices.items()
        },
        links={
            name: LinkFacts(carried_bytes=link.carried_bytes, capacity_bytes=link.capacity_bytes(now))
            for name, link in sim.network.links.items()
        },
    )
    return facts if training is None else replace(facts, **_planned(training))


def _planned(training: TrainingRun) -> dict[str, Any]:
    plans = {
        worker: {"forward": plans[0].cuts, "backward": plans[1].cuts}
        for worker, plans in training.plans.items()
    }
    bounds = {reason: bound for reason, bound in training.bounds.items() if reason != "iteration_s"}
    return {"bounds": bounds, "predicted_s": training.predicted_s, "plans": plans}
