"""Small clusters and workloads, and one call that trains on them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.timeline import Timeline
from edgesim.training import parameter_server
from edgesim.workload import Layer, ProfileTimer, Workload

settings.register_profile("no-deadline", deadline=None)  # no test depends on the wall clock
settings.load_profile("no-deadline")


def make_workload(forward, backward, sizes, optimizer_s=0.0, activation_bytes=0):
    layers = tuple(
        Layer(
            name=f"layer{number}",
            kind="Linear",
            forward_s=ahead,
            backward_s=back,
            forward_flop=1.0,
            backward_flop=2.0,
            parameters=size // 4,
            parameter_bytes=size,
            output_bytes=0,
            activation_bytes=activation_bytes,
        )
        for number, (ahead, back, size) in enumerate(zip(forward, backward, sizes, strict=True))
    )
    step_s = sum(forward) + sum(backward)
    return Workload(
        model="toy",
        batch_size=1,
        input_shape=(1,),
        dtype="float32",
        layers=layers,
        step_s=step_s,
        optimizer_s=optimizer_s,
    )


def make_cluster(workers, *, server_Bps=None, servers=1, occupancy_s=0.0, latency_s=0.0, **device):
    """Workers of (speed, B/s), each on its own cable to the server; or, given `server_Bps`, on a star.

    More servers than one, `server-2` and so on, need a star.
    """
    names = ["server", *(f"server-{number}" for number in range(2, servers + 1))]
    devices = {name: Device(name=name, speed=1.0) for name in names}
    links, hops = {}, []

    def access(name, bandwidth_Bps, middle):
        for way, source, target in (("up", name, middle), ("down", middle, name)):
            link = f"{name}.{way}"
            links[link] = Link(
                name=link, bandwidth_Bps=bandwidth_Bps, occupancy_s=occupancy_s, latency_s=latency_s
            )
            hops.append(Hop(source=source, target=target, link=link))

    middle = "server" if server_Bps is None else "switch"
    if server_Bps is not None:
        for name in names:
            access(name, server_Bps, middle)
    for number, (speed, bandwidth_Bps) in enumerate(workers, 1):
        devices[f"pi-{number}"] = Device(name=f"pi-{number}", speed=speed, **device)
        access(f"pi-{number}", bandwidth_Bps, middle)
    return Cluster(devices=devices, links=links, hops=tuple(hops))


@dataclass
class Trained:
    run: parameter_server.TrainingRun
    timeline: Timeline
    sim: Simulation
    ends_s: list[float]
    """When each iteration ended."""

    def marks(self, kind):
        return [
            (time_s, subject, label) for time_s, subject, what, label in self.timeline.marks if what == kind
        ]


def train(cluster, workload, *, events=(), until_s=None, **config):
    timeline = Timeline()
    sim = Simulation(cluster, timeline=timeline, events=events)
    workers = tuple(name for name in cluster.devices if not name.startswith("server"))
    servers = tuple(name for name in cluster.devices if name.startswith("server"))
    learner = config.pop("learner", None)
    settings: dict[str, Any] = {"servers": servers, "workers": workers, "iterations": 1, **config}
    asked = parameter_server.Config(**settings)
    run = parameter_server.start(sim, workload, ProfileTimer(workload), asked, learner)
    trained = Trained(run, timeline, sim, [])
    try:
        sim.run(stop=run.done, until_s=until_s)
    finally:
        trained.ends_s += [time_s for time_s, _, kind, _ in timeline.marks if kind == "iteration"]
    return trained


@dataclass(frozen=True)
class Kit:
    workload: Callable[..., Workload]
    cluster: Callable[..., Cluster]
    train: Callable[..., Trained]


@pytest.fixture(scope="session")
def kit():
    return Kit(make_workload, make_cluster, train)
