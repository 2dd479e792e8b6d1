"""One configuration of a pipeline in force: which stage is where, from one commit to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edgesim.engine.flow import Flow
from edgesim.planning.pipeline_orders import Pass
from edgesim.timeline import Tag
from edgesim.training.pipeline_node import Node
from edgesim.training.pipeline_stage import Before, Stage

if TYPE_CHECKING:
    from edgesim.training.pipeline_line import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Which stage has which layers and runs where."""

    points: tuple[int, ...]
    """0-based last layer of each stage but the last."""
    hosts: tuple[str, ...]
    """Device of each stage; a device may have several."""
    layers: int
    """L, layers of the model."""
    windows: tuple[int, ...]
    """Batches that each stage may have in flight."""
    period_s: float = 0.0
    """What the planner expects between two batches, in s."""

    @property
    def stages(self) -> tuple[range, ...]:
        """0-based layers of each stage."""
        firsts = (0, *(point + 1 for point in self.points))
        return tuple(range(a, b) for a, b in zip(firsts, (*firsts[1:], self.layers), strict=True))

    def owner(self, layer: int) -> str:
        """Return the device that has a layer."""
        return next(host for host, own in zip(self.hosts, self.stages, strict=True) if layer in own)

    def needs(self) -> dict[str, list[int]]:
        """Return the layers of each device, by name."""
        found: dict[str, list[int]] = {}
        for host, own in zip(self.hosts, self.stages, strict=True):
            found.setdefault(host, []).extend(own)
        return found


class Term:
    """The stages from one commit to the next."""

    def __init__(self, line: Line, setup: Setup, first: int, number: int, lives: Mapping[str, int]) -> None:
        self.line = line
        self.setup = setup
        self.windows = setup.windows
        self.first = first
        """Batch that it begins with."""
        self.number = number
        """How many terms there were before."""
        self.last = len(setup.hosts) - 1
        """The last stage."""
        self.lives = lives
        """Stay in memory in which each device takes part."""
        self.over = False
        self.frozen = False
        """Whether stages have been stopped for a change."""
        self.synced: dict[int, int] = {}
        """Version that each batch met at the first stage, for `vertical-sync`."""
        self.stages: list[Stage] = []
        self._flows: dict[Flow, None] = {}

    def start(self) -> None:
        """Put the stages on their devices and let them compute."""
        for index, (host, layers) in enumerate(zip(self.setup.hosts, self.setup.stages, strict=True)):
            self.stages.append(Stage(self, index, self.line.nodes[host], self.lives[host], layers))
        for stage in self.stages:
            self._launch(stage)

    def _launch(self, stage: Stage) -> None:
        self.line.sim.process(stage.run(), name=f"{stage.node.name} stage {stage.index}")

    def rehost(self, index: int, node: Node, life: int, before: Before) -> Stage:
        """Put a stage on another device, where it begins with a copy; `run` it with `resume`."""
        self.stages[index].stop()
        stage = Stage(self, index, node, life, self.stages[index].layers, before)
        self.stages[index] = stage
        hosts = (*self.setup.hosts[:index], node.name, *self.setup.hosts[index + 1 :])
        self.setup = Setup(
            points=self.setup.points,
            hosts=hosts,
            layers=self.setup.layers,
            windows=self.setup.windows,
            period_s=self.setup.period_s,
        )
        return stage

    def resume(self, stages: Iterable[Stage]) -> None:
        """Let stages that were put on other devices compute."""
        for stage in stages:
            self._launch(stage)

    def send(self, stage: Stage, one: Pass, nbytes: float, tag: Tag) -> None:
        """Send what a pass has made to the neighbour that needs it."""
        index = stage.index + (1 if one.forward else -1)
        target = self.stages[index]
        if target.seen[one.forward] >= (one.batch, one.part):
            return
        if target.node is stage.node:
            target.arrive(one)
            return
        flow = self.line.sim.network.stream(stage.node.name, target.node.name).send(nbytes, tag)
        self._flows[flow] = None
        flow.callbacks.append(partial(self._ended, flow, index, one))

    def _ended(self, flow: Flow, index: int, one: Pass, _event: object) -> None:
        self._flows.pop(flow, None)
        if self.over:
            return
        if flow.lost:
            self.line.central.broken(flow.source, flow.target)
            return
        self.line.links.seen(flow.source, flow.target, flow.bytes, flow.end_s - flow.start_s)
        self.stages[index].arrive(one)

    def close(self) -> None:
        """End every pass and every message of it."""
        self.over = True
        for stage in self.stages:
            stage.close()
        for flow in list(self._flows):
            self.line.sim.network.cancel(flow)
        self._flows.clear()
        for node in self.line.nodes.values():
            node.live.clear()
