"""Synchronous training without a server: N workers add up their gradients among themselves, ring or tree.

An iteration of a worker: forward over all layers, backward from the last to the first. The gradients go in
buckets; each is all-reduced when every worker has it, one after the other (as the one stream of NCCL or gloo
does it). When the last one is there each worker updates its own copy of the parameters and begins its next
iteration; nothing is pulled. The buckets are planned before the run, as the segments of a backward phase in
which a message costs what an all-reduce of its bytes costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError
from edgesim.plan import Segmentation
from edgesim.planning.collective import Edge, affine, end_s, ready_s, ring_s
from edgesim.planning.schedules import Queued, pick
from edgesim.planning.segmentation import plan_backward
from edgesim.training.all_reduce_bounds import at_best
from edgesim.training.books import Books
from edgesim.training.collectives import ALGORITHMS, edges, rehearse, undisturbed
from edgesim.training.config import POLICIES
from edgesim.training.expectation import Channel, channel
from edgesim.training.parameter_server import TrainingRun, update_s
from edgesim.training.passes import Passes, measure
from edgesim.training.peer import Peer
from edgesim.training.peer_round import Buckets
from edgesim.training.peers import Group
from edgesim.workload import LayerTimer, Learner, ProfileTimer, Workload

SAMPLE_BYTES = 8e6
"""Most bytes of a bucket that is rehearsed where messages go in chunks, which takes long, in B."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How to train."""

    workers: tuple[str, ...]
    """Names of the devices that train, N of them; their order makes the ring, or fills the tree from the
    root, row by row."""
    algorithm: Literal["ring", "tree"] = "ring"
    """`ring`: each worker sends 2(N-1) chunks of 1/N of a bucket to the next; `tree`: sums of whole buckets
    go up a binary tree, results down."""
    schedule: str = "dynacomm"
    """Strategy that cuts the gradients into buckets, one with a barrier, by a name that
    `planning.schedules.pick` knows."""
    iterations: int | None = None
    """Iterations to run; None: until the simulation is stopped."""
    on_crash: Literal["wait", "drop", "resume"] = "wait"
    """`wait`: the others wait for the worker, which computes its part again; `drop`: the ring or tree closes
    without it, and the worker is back from the iteration that opens after its return, once it has fetched the
    parameters from the nearest worker before it; `resume`: the others wait, and the worker goes on with what
    it had. Buckets that were added up stay so; one that was on its way begins again."""

    def __post_init__(self) -> None:
        if not self.workers:
            raise EdgesimError("training.workers: no workers; name at least one device")
        if len(set(self.workers)) < len(self.workers):
            raise EdgesimError("training.workers: a device is named twice")
        if self.algorithm not in ALGORITHMS:
            raise EdgesimError(
                f"training.algorithm: unknown {self.algorithm!r}; known: {', '.join(ALGORITHMS)}"
            )
        if self.on_crash not in POLICIES:
            raise EdgesimError(f"training.on_crash: unknown {self.on_crash!r}; known: {', '.join(POLICIES)}")
        if self.iterations is not None and self.iterations < 1:
            raise EdgesimError(f"training.iterations: {self.iterations}; at least 1 is due")
        if isinstance(pick(self.schedule), Queued):
            raise EdgesimError(
                f"training.schedule: {self.schedule!r} sends to a server; all-reduce takes a schedule with a "
                "barrier, such as dynacomm"
            )


def start(
    sim: Simulation, workload: Workload, timer: LayerTimer, config: Config, learner: Learner | None = None
) -> TrainingRun:
    """Plan the buckets and start the workers as processes of a simulation.

    Raises EdgesimError for devices that are not there or not connected; during the run OutOfMemory for a
    device that cannot hold its part, SimulationError when all workers are gone for good.
    """
    passes = measure(sim.cluster, workload, timer, config.workers)
    sizes = tuple(layer.parameter_bytes for layer in workload.layers)
    plan, predicted_s = _plan(sim.cluster, config, sizes, passes)
    books = Books(sim, config.workers[0], config.workers, learner)
    books.pull(config.workers)
    group = Group(
        sim,
        books,
        Buckets(sizes, plan),
        algorithm=config.algorithm,
        iterations=config.iterations,
        on_crash=config.on_crash,
    )
    memory = memory_bytes(workload, config)
    for name in config.workers:
        update = update_s(workload, sim.cluster.devices[name])
        group.peers[name] = Peer(sim, group, name, timer, update_s=update, memory_bytes=memory[name])
    _launch(sim, group)
    fixed = isinstance(timer, ProfileTimer)
    return TrainingRun(
        done=group.done,
        plans={name: (_forward(one), plan) for name, one in passes.items()},
        predicted_s=predicted_s,
        bounds=at_best(sim.cluster, sim.events, config.algorithm, sizes, passes),
        no_bound="" if fixed else "layers take another time each time they run (live), so no bound is known",
        update_s=max(peer.update_s for peer in group.peers.values()),
        contributions=books.history,
        book=lambda index, time_s: books.iteration(books.history[-1], time_s),
        repeats=lambda: fixed and group.together,
    )


def _launch(sim: Simulation, group: Group) -> None:
    for name, peer in group.peers.items():
        sim.process(peer.live(), name=f"{name} worker")
        sim.process(group.watch(name), name=f"{name} watch")
    sim.process(group.run(), name="all-reduce")


def _plan(
    cluster: Cluster, config: Config, sizes: tuple[int, ...], passes: Mapping[str, Passes]
) -> tuple[Segmentation, float]:
    """Return the buckets, and the time between two iterations that is expected of them, in s.

    The backward pass that they are planned for is that of the slowest worker at each layer.
    """
    cost_s = _cost(cluster, config, float(sum(sizes)))
    line = affine(cost_s, float(sum(sizes)))
    ready = ready_s(
        [one.update_s for one in passes.values()],
        [one.forward_s for one in passes.values()],
        [one.backward_s for one in passes.values()],
    )
    plan = plan_backward(
        [max(later - sooner, 0.0) for later, sooner in pairwise(ready)],
        [line.byte_s * size for size in sizes],
        line.startup_s,
        config.schedule,
        sizes=sizes,
    )
    return plan, end_s(ready, plan.cuts, sizes, cost_s)


def _forward(passes: Passes) -> Segmentation:
    """Return the forward pass as one segment: nothing is pulled."""
    return Segmentation(cuts=(len(passes.forward_s),), makespan_s=sum(passes.forward_s), method="")


def _cost(cluster: Cluster, config: Config, most_bytes: float) -> Callable[[float], float]:
    """Return what an all-reduce of so many bytes costs, in s; exact but for rings that contend, or chunks.

    A ring whose edges share no link has a closed form. Others are rehearsed: a tree bucket by bucket, a ring,
    which sends N times as many messages, and messages in chunks for no bytes and for many, with a line
    between.
    """
    workers, algorithm = config.workers, config.algorithm
    ways = [channel(cluster, source, target) for source, target in edges(algorithm, workers)]
    if algorithm == "ring" and _apart(cluster, ways):
        costs = [Edge(way.rate_Bps, way.startup_s, way.latency_s) for way in ways]
        return lambda nbytes: ring_s(nbytes, costs)
    network = undisturbed(cluster, [way.route for way in ways])

    @cache
    def rehearsed(nbytes: float) -> float:
        return rehearse(network, algorithm, workers, nbytes)

    chunks = _in_chunks(cluster)
    if algorithm == "tree" and not chunks:
        return rehearsed
    line = affine(rehearsed, min(most_bytes, SAMPLE_BYTES) if chunks else most_bytes)
    return lambda nbytes: line.startup_s + line.byte_s * nbytes


def _apart(cluster: Cluster, ways: Sequence[Channel]) -> bool:
    """Tell whether no two ways share a link, so that closed forms hold."""
    links = [link for way in ways for link in way.route]
    return len(set(links)) == len(links) and not _in_chunks(cluster)


def _in_chunks(cluster: Cluster) -> bool:
    return any(link.sharing == "fifo" for link in cluster.links.values())


def memory_bytes(workload: Workload, config: Config) -> dict[str, float]:
    """Return the memory that each device of a training holds, in B.

    Parameters, gradients, activations and the input of a batch. What comes in is added to the gradients as it
    arrives, so no buffer is counted for it.
    """
    return dict.fromkeys(config.workers, float(workload.memory_bytes()))
