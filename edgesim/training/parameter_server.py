"""Training with parameter servers and N unlike workers.

An iteration of a worker: it pulls the parameters; computes a layer as soon as it is there; computes backward
from the last layer to the first; pushes the gradients. How the transfers are cut and ordered is up to the
schedule: in segments with a barrier between iterations, or as messages in queues without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simpy import Event

from edgesim.cluster import Cluster, Device
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError
from edgesim.plan import QueuePlan
from edgesim.planning.schedules import Phased, Queued
from edgesim.training import expectation
from edgesim.training.bounds import IterationBounds, at_best
from edgesim.training.config import POLICIES, SYNCHRONIZATIONS, Compression, Config, Planner
from edgesim.training.crew import hire
from edgesim.training.expectation import Outlooks, Plans
from edgesim.training.overlapping import Situation, unbarred
from edgesim.training.parts import Placement, placement
from edgesim.training.planners import believed, running
from edgesim.training.rehearsal import choose, rehearsable, stage
from edgesim.training.server import Server
from edgesim.training.watching import Watcher
from edgesim.workload import LayerTimer, Learner, ProfileTimer, Workload, device_time_s

__all__ = [
    "POLICIES",
    "SYNCHRONIZATIONS",
    "Compression",
    "Config",
    "Planner",
    "TrainingRun",
    "memory_bytes",
    "start",
    "update_s",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """A training that has been set up in a simulation."""

    done: Event
    """Fires when the last iteration has ended; never, if there is no last one."""
    plans: Plans
    """By worker: the segments in which it pulls and pushes at the start; empty without a barrier."""
    predicted_s: float
    """What the planner expects of an undisturbed iteration, in s: the slowest worker's pull, forward,
    backward and push under its cost model, and the update; without a barrier the steady period. Where
    messages slow each other down it is rehearsed, unless there are too many: then constant shares of the
    links are assumed."""
    bounds: IterationBounds
    """Lower bounds of an iteration, by who takes part in it."""
    no_bound: str = ""
    """Why these are none; empty where they hold."""
    update_s: float
    """Time of the update, in s: that of the slowest server."""
    contributions: list[tuple[str, ...]]
    """Workers whose gradient counted in each finished iteration, in order of arrival; grows as it runs."""
    queue: QueuePlan | None = None
    """The messages of a schedule without a barrier; None with one."""
    book: Callable[[int, float], None] = field(default=lambda index, time_s: None)
    """Enter one more iteration like the last one, that ends at a time in s, into history and learning."""
    more: Callable[[], dict[str, Any]] = field(default=dict)
    """Return what the summary says beside all this, at any instant: plain values by key."""
    saved: Callable[[], Sequence[object]] = field(default=tuple)
    """Return the copies of the weights that are left when a training cannot go on, for a learner to keep."""
    repeats: Callable[[], bool] = field(default=lambda: False)
    """Tell whether iterations follow from each other alone: nobody decides anything new any more."""

    @property
    def repeatable(self) -> bool:
        """True: undisturbed iterations that have repeated will go on to do so."""
        return self.repeats()


def start(
    sim: Simulation, workload: Workload, timer: LayerTimer, config: Config, learner: Learner | None = None
) -> TrainingRun:
    """Plan, and start servers and workers as processes of a simulation.

    Raises EdgesimError for devices that are not there or not connected; during the run OutOfMemory for a
    device that cannot hold its part, SimulationError when a server or all workers are gone for good.
    """
    cluster = sim.cluster
    for name in (*config.servers, *config.workers):
        if name not in cluster.devices:
            raise EdgesimError(f"training: there is no device {name!r}; name one of `devices`")
    placed = placement(workload, len(config.servers))
    updates = updates_s(workload, cluster, config, placed)
    known = believed(cluster, config)
    alone = expectation.outlooks(known, placed, timer, config)
    plans, predicted_s = _planned(known, workload, placed, alone, config, max(updates))
    bounds = at_best(sim.cluster, sim.events, alone, config, placed, max(updates))
    memory = memory_bytes(workload, config)
    planner = None
    if not isinstance(plans, QueuePlan):
        planner = running(sim, known, placed, alone, config, plans)
    watcher = None if planner is None else Watcher(planner, len(placed.sizes))
    server = hire(
        sim, placed, timer, config, plans, update_s=updates, memory=memory, watcher=watcher, learner=learner
    )
    fixed = isinstance(timer, ProfileTimer) and config.synchronization == "bsp"
    return TrainingRun(
        done=server.done,
        plans={} if isinstance(plans, QueuePlan) else plans,
        predicted_s=predicted_s,
        bounds=replace(bounds, barrier=not isinstance(plans, QueuePlan)),
        no_bound=_no_bound(timer, config),
        update_s=max(updates),
        contributions=server.books.history,
        queue=plans if isinstance(plans, QueuePlan) else None,
        book=lambda index, time_s: _book(server, time_s),
        repeats=lambda: fixed and (planner is None or planner.settled),
    )


def _book(server: Server, time_s: float) -> None:
    server.books.iteration(server.books.history[-1], time_s)


def _planned(
    cluster: Cluster,
    workload: Workload,
    placement: Placement,
    alone: Outlooks,
    config: Config,
    update: float,
) -> tuple[Plans | QueuePlan, float]:
    """Return the plans, and the iteration expected of them, in s."""
    schedule = config.picked
    if isinstance(schedule, Queued):
        elements = tuple(layer.parameters for layer in workload.layers)
        return unbarred(Situation(cluster, placement, alone, config, elements, update), schedule)
    together = expectation.entangled(cluster, alone, config)
    if together and schedule.adapts:
        plans, predicted_s = choose(stage(cluster, placement, alone, config), config.schedule)
        return plans, predicted_s + update
    expected = expectation.shared(cluster, alone) if together else alone
    plans = {name: one.planned(config.schedule) for name, one in expected.items()}
    if together and rehearsable(plans):
        predicted_s = stage(cluster, placement, alone, config).phased(plans)[0]
    else:
        predicted_s = expectation.predicted_s(expected, plans)
    return plans, predicted_s + update


def _no_bound(timer: LayerTimer, config: Config) -> str:
    """Return why no lower bound is known, nothing where one is."""
    if not isinstance(timer, ProfileTimer):
        return "layers take another time each time they run (live), so no bound is known"
    if config.synchronization != "bsp":
        return f"under {config.synchronization} workers do not wait for each other, so no bound is known"
    return ""


def update_s(workload: Workload, server: Device) -> float:
    """Return the time of one update of all parameters on a device, in s.

    Profiled time / speed; from a datasheet 2 FLOP a parameter (w -= r g: one multiplication, one addition),
    and three times the parameters across memory (read w, g, write w). Nothing only if the workload says so.
    """
    if workload.optimizer_s == 0.0:
        return 0.0
    flop = 2.0 * sum(layer.parameters for layer in workload.layers)
    return device_time_s(server, workload.optimizer_s, flop, 3.0 * workload.parameter_bytes)


def updates_s(workload: Workload, cluster: Cluster, config: Config, placed: Placement) -> tuple[float, ...]:
    """Return the time of an update on each server, in s: in proportion to the bytes that it holds."""
    total = sum(placed.bytes)
    return tuple(
        update_s(workload, cluster.devices[name]) * (held / total if total else 1.0)
        for name, held in zip(config.servers, placed.bytes, strict=True)
    )


def memory_bytes(workload: Workload, config: Config) -> dict[str, float]:
    """Return the memory that each device of a training holds, in B.

    A worker: parameters, gradients, activations and the input of a batch. A server: its parameters and the
    sum of the gradients, to which messages are added as they arrive. Under `drop`, asp and ssp also a buffer
    a worker, because part of a gradient must not count; without a barrier also the parameters of the
    iteration that is going on, for a worker that begins it again.
    """
    copies = 2
    if isinstance(config.picked, Phased):
        if config.on_crash == "drop" or config.synchronization != "bsp":
            copies += len(config.workers)
    else:
        copies += 1
    needs: dict[str, float] = dict.fromkeys(config.workers, float(workload.memory_bytes()))
    placed = placement(workload, len(config.servers))
    for name, held in zip(config.servers, placed.bytes, strict=True):
        needs[name] = float(copies * held)
    return needs
