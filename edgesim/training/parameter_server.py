"""Synchronous training with one parameter server and N unlike workers (BSP).

An iteration of a worker: it pulls the parameters in segments, back to back; computes a segment's layers as
soon as all of it is there; computes backward from the last layer to the first; pushes each segment's
gradients when the lowest of its layers is done. When every worker's gradient has arrived the server updates
the parameters, and the next iteration begins for all. The plans of the segments are made before the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from simpy import Event

from edgesim.cluster import Device
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError
from edgesim.planning.segmentation import SCHEDULES
from edgesim.training import expectation
from edgesim.training.bounds import Bounds, at_best
from edgesim.training.expectation import Plans
from edgesim.training.rehearsal import choose
from edgesim.training.server import Server
from edgesim.training.worker import Worker, segments
from edgesim.workload import LayerTimer, ProfileTimer, Workload, device_time_s

POLICIES = ("wait", "drop", "resume")
"""What a worker's crash means for the iteration; see `Config.on_crash`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How to train."""

    server: str
    """Name of the device that holds the parameters."""
    workers: tuple[str, ...]
    """Names of the devices that compute gradients; N of them."""
    schedule: str = "dynacomm"
    """Strategy that cuts the model into segments, by its name in `planning.segmentation.SCHEDULES`."""
    iterations: int | None = None
    """Iterations to run; None: until the simulation is stopped."""
    on_crash: Literal["wait", "drop", "resume"] = "wait"
    """`wait`: the iteration waits for the worker, which then begins its part anew from its pull; `drop`: it
    goes on without it, and the worker is back from the iteration that opens after its return; `resume`: it
    waits, and the worker goes on with what it had (segments received and pushed, layers computed)."""

    def __post_init__(self) -> None:
        if not self.workers:
            raise EdgesimError("training.workers: no workers; name at least one device")
        if len(set(self.workers)) < len(self.workers):
            raise EdgesimError("training.workers: a device is named twice")
        if self.server in self.workers:
            raise EdgesimError(f"training.workers: {self.server} is the server and cannot be a worker too")
        if self.schedule not in SCHEDULES:
            raise EdgesimError(f"training.schedule: unknown {self.schedule!r}; known: {', '.join(SCHEDULES)}")
        if self.on_crash not in POLICIES:
            raise EdgesimError(f"training.on_crash: unknown {self.on_crash!r}; known: {', '.join(POLICIES)}")
        if self.iterations is not None and self.iterations < 1:
            raise EdgesimError(f"training.iterations: {self.iterations}; at least 1 is due")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """A training that has been set up in a simulation."""

    done: Event
    """Fires when the last iteration has ended; never, if there is no last one."""
    plans: Plans
    """By worker: the segments in which it pulls and pushes."""
    predicted_s: float
    """What the planner expects of an undisturbed iteration, in s: the slowest worker's pull, forward,
    backward and push under its cost model, and the update. Exact where workers do not contend for a link.
    Where they do, that of `dynacomm` is rehearsed, and the others' assumes constant shares of the links."""
    bounds: Bounds
    """Lower bounds of an iteration, by who takes part in it."""
    update_s: float
    """Time of the server's update, in s."""
    contributions: list[tuple[str, ...]]
    """Workers whose gradient counted in each finished iteration, in order of arrival; grows as it runs."""


def start(sim: Simulation, workload: Workload, timer: LayerTimer, config: Config) -> TrainingRun:
    """Plan the segments and start server and workers as processes of a simulation.

    Raises EdgesimError for devices that are not there or not connected; during the run OutOfMemory for a
    device that cannot hold its part, SimulationError when the server or all workers are gone for good.
    """
    cluster = sim.cluster
    for name in (config.server, *config.workers):
        if name not in cluster.devices:
            raise EdgesimError(f"training: there is no device {name!r}; name one of `devices`")
    update = update_s(workload, cluster.devices[config.server])
    alone = expectation.outlooks(cluster, workload, timer, config.server, config.workers)
    plans, predicted_s = _plan(sim, alone, config)
    bounds = at_best(cluster, sim.events, alone, config.server, update)
    bounds = replace(bounds, fixed=isinstance(timer, ProfileTimer))
    memory = memory_bytes(workload, config)
    server = Server(
        sim,
        config.server,
        layers=len(workload.layers),
        update_s=update,
        memory_bytes=memory[config.server],
        iterations=config.iterations,
        on_crash=config.on_crash,
    )
    for name in config.workers:
        server.workers.append(_worker(sim, server, workload, timer, config, plans, name))
    _launch(sim, server)
    return TrainingRun(
        done=server.done,
        plans=plans,
        predicted_s=predicted_s + update,
        bounds=bounds,
        update_s=update,
        contributions=server.history,
    )


def _plan(sim: Simulation, alone: expectation.Outlooks, config: Config) -> tuple[Plans, float]:
    """Return every worker's plan, and the iteration expected of them without the update, in s."""
    if not expectation.contended(sim.cluster, alone):
        expected = alone
    elif config.schedule == "dynacomm":
        return choose(sim.cluster, config.server, alone, config.schedule)
    else:
        expected = expectation.shared(sim.cluster, alone)
    plans = {name: one.planned(config.schedule) for name, one in expected.items()}
    return plans, expectation.predicted_s(expected, plans)


def _worker(
    sim: Simulation,
    server: Server,
    workload: Workload,
    timer: LayerTimer,
    config: Config,
    plans: Plans,
    name: str,
) -> Worker:
    forward, backward = plans[name]
    return Worker(
        sim,
        server,
        name,
        timer,
        segments(workload, forward),
        tuple(reversed(segments(workload, backward))),
        memory_bytes=workload.memory_bytes(),
        resumes=config.on_crash == "resume",
    )


def _launch(sim: Simulation, server: Server) -> None:
    sim.process(server.watch(), name=f"{server.name} watch")
    for worker in server.workers:
        sim.process(worker.live(), name=f"{worker.name} worker")
        sim.process(server.watch_worker(worker), name=f"{worker.name} watch")
    sim.process(server.serve(), name=f"{server.name} server")


def update_s(workload: Workload, server: Device) -> float:
    """Return the time of one update of all parameters on the server, in s.

    Profiled time / speed; from a datasheet 2 FLOP a parameter (w -= r g: one multiplication, one addition),
    and three times the parameters across memory (read w, g, write w). Nothing only if the workload says so.
    """
    if workload.optimizer_s == 0.0:
        return 0.0
    flop = 2.0 * sum(layer.parameters for layer in workload.layers)
    return device_time_s(server, workload.optimizer_s, flop, 3.0 * workload.parameter_bytes)


def memory_bytes(workload: Workload, config: Config) -> dict[str, float]:
    """Return the memory that each device of a training holds, in B.

    A worker: parameters, gradients, activations and the input of a batch. The server: parameters and the sum
    of the gradients, to which messages are added as they arrive; under `drop` also a buffer a worker, because
    part of a gradient must not count.
    """
    copies = 2 + (len(config.workers) if config.on_crash == "drop" else 0)
    needs: dict[str, float] = dict.fromkeys(config.workers, float(workload.memory_bytes()))
    needs[config.server] = float(copies * workload.parameter_bytes)
    return needs
