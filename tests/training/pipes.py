"""Small pipelines for tests: a star of devices, a chain of equal layers, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.errors import SimulationError
from edgesim.events import Event
from edgesim.timeline import Timeline
from edgesim.training import pipeline
from edgesim.training.parameter_server import TrainingRun
from edgesim.training.pipeline_config import SCHEDULES, Config
from edgesim.training.pipeline_line import Line
from edgesim.training.pipeline_weights import between
from edgesim.workload import Layer, PipelineLearner, ProfileTimer, Workload


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A pipeline that was run."""

    sim: Simulation
    training: TrainingRun
    timeline: Timeline
    stopped: str

    @property
    def line(self) -> Line:
        return self.training.more.__self__.line  # type: ignore[attr-defined, no-any-return]

    @property
    def summary(self) -> dict[str, Any]:
        return self.training.more()

    @property
    def recoveries(self) -> list[dict[str, Any]]:
        return self.summary["recoveries"]  # type: ignore[no-any-return]

    @property
    def batches(self) -> int:
        return len(self.training.contributions)

    def ends(self) -> list[float]:
        return [time for time, _, kind, _ in self.timeline.marks if kind == "iteration"]

    def period(self, over: int) -> float:
        ends = self.ends()[: -len(self.line.config.devices)]
        return (ends[-1] - ends[-1 - over]) / over


def star(speeds: Sequence[float], bandwidth_Bps: float = 1e6, latency_s: float = 0.0, **more: Any) -> Cluster:
    names = ["hub", *(f"w{number}" for number in range(1, len(speeds)))]
    devices = {
        name: Device(name=name, speed=speed, **more) for name, speed in zip(names, speeds, strict=True)
    }
    links: dict[str, Link] = {}
    hops: list[Hop] = []
    for name in names:
        for way, source, target in (("up", name, "switch"), ("down", "switch", name)):
            link = f"{name}.{way}"
            links[link] = Link(name=link, bandwidth_Bps=bandwidth_Bps, latency_s=latency_s)
            hops.append(Hop(source=source, target=target, link=link))
    return Cluster(devices=devices, links=links, hops=tuple(hops))


def chain(
    layers: int = 6,
    seconds: Sequence[float] | float = 0.1,
    outputs: Sequence[int] | int = 1000,
    parameters: Sequence[int] | int = 1000,
    optimizer_s: float = 0.0,
) -> Workload:
    times = [seconds] * layers if isinstance(seconds, float) else list(seconds)
    sizes = [outputs] * layers if isinstance(outputs, int) else list(outputs)
    weights = [parameters] * layers if isinstance(parameters, int) else list(parameters)
    made = tuple(
        Layer(
            name=f"layer{number}",
            kind="Linear",
            forward_s=time / 3,
            backward_s=2 * time / 3,
            forward_flop=1.0,
            backward_flop=2.0,
            parameters=weight // 4,
            parameter_bytes=weight,
            output_bytes=size,
            activation_bytes=size,
        )
        for number, (time, size, weight) in enumerate(zip(times, sizes, weights, strict=True))
    )
    return Workload(
        model="chain",
        batch_size=8,
        input_shape=(1,),
        dtype="float32",
        layers=made,
        step_s=sum(times),
        optimizer_s=optimizer_s,
    )


def train(
    schedule: str = "ftpipehd",
    *,
    speeds: Sequence[float] = (1.0, 1.0, 1.0),
    workload: Workload | None = None,
    iterations: int = 30,
    events: Iterable[Event] = (),
    learner: PipelineLearner | None = None,
    cluster: Cluster | None = None,
    **settings: Any,
) -> Ran:
    """Run a pipeline to its end, or to the error that it is declared to stop with."""
    timeline = Timeline()
    sim = Simulation(cluster or star(speeds), timeline=timeline, events=events)
    asked = {**SCHEDULES[schedule], **settings}
    config = Config(devices=tuple(sim.cluster.devices), schedule=schedule, iterations=iterations, **asked)
    work = workload or chain()
    training = pipeline.start(sim, work, ProfileTimer(work), config, learner)
    stopped = ""
    try:
        sim.run(stop=training.done, until_s=1e5)
    except SimulationError as error:
        stopped = f"{type(error).__name__}: {error}"
    return Ran(sim=sim, training=training, timeline=timeline, stopped=stopped)


def conserved(ran: Ran) -> None:
    """Check that every update is held once, or was lost and is said to be."""
    batches = ran.batches
    for applied, lost in zip(ran.line.weights.applied, ran.line.weights.lost, strict=True):
        assert between(applied, 0, batches) + lost == batches
        assert all(a < b for a, b in applied)
        assert all(end < first for (_, end), (first, _) in pairwise(applied))
