"""Servers and workers of one training as processes of a simulation, ready to go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesim.engine import Simulation
from edgesim.plan import QueuePlan
from edgesim.training.asynchronous import AsynchronousServer
from edgesim.training.books import Books
from edgesim.training.config import Config
from edgesim.training.expectation import Plans
from edgesim.training.hosts import Host
from edgesim.training.parts import Placement
from edgesim.training.queue_server import QueueServer
from edgesim.training.queue_worker import QueueWorker
from edgesim.training.server import Server
from edgesim.training.watching import Watcher
from edgesim.training.worker import Worker
from edgesim.workload import LayerTimer, Learner


def hire(
    sim: Simulation,
    placement: Placement,
    timer: LayerTimer,
    config: Config,
    plans: Plans | QueuePlan,
    *,
    update_s: Sequence[float],
    memory: Mapping[str, float] | None = None,
    watcher: Watcher | None = None,
    learner: Learner | None = None,
) -> Server:
    """Start the processes of servers and workers with their plans; return the servers.

    `update_s` is the time of an update on each server, in s; `memory` what each device holds, in B, nothing
    without it.
    """
    needs = memory or {}
    hosts = [
        Host(sim, name, update_s=time_s, memory_bytes=needs.get(name, 0.0))
        for name, time_s in zip(config.servers, update_s, strict=True)
    ]
    books = Books(sim, hosts[0].name, config.workers, learner)
    if isinstance(plans, QueuePlan):
        return _queued(sim, QueueServer(sim, hosts, books, config, placement, plans), timer, plans, needs)
    kind = Server if config.synchronization == "bsp" else AsynchronousServer
    server = kind(sim, hosts, books, config, len(placement.sizes))
    workers = [
        Worker(
            sim, server, name, timer, config, needs.get(name, 0.0), placement, plans[name], watcher=watcher
        )
        for name in config.workers
    ]
    server.workers.extend(workers)
    _launch(sim, server, workers)
    return server


def _queued(
    sim: Simulation,
    server: QueueServer,
    timer: LayerTimer,
    plan: QueuePlan,
    needs: Mapping[str, float],
) -> Server:
    config = server.config
    workers = [QueueWorker(sim, server, name, timer, config, needs.get(name, 0.0)) for name in config.workers]
    for name in config.workers:
        for host in config.servers:
            sim.network.stream(host, name).credit_bytes = plan.credit_bytes
            sim.network.stream(name, host).credit_bytes = plan.credit_bytes
    server.workers.extend(workers)
    server.queue_workers.extend(workers)
    _launch(sim, server, workers)
    return server


def _launch(sim: Simulation, server: Server, workers: Sequence[Worker | QueueWorker]) -> None:
    for host in server.hosts:
        sim.process(server.watch(host), name=f"{host.name} watch")
    for worker in workers:
        sim.process(worker.live(), name=f"{worker.name} worker")
        sim.process(server.watch_worker(worker), name=f"{worker.name} watch")
    sim.process(server.serve(), name=f"{server.name} server")
