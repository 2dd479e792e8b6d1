"""A pipeline in a simulation: what its stages, its copies and its central node share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgesim.engine import Simulation
from edgesim.planning.pipeline_orders import Pass
from edgesim.training.pipeline_calls import Calls
from edgesim.training.pipeline_config import Config
from edgesim.training.pipeline_costs import Costs
from edgesim.training.pipeline_links import Links
from edgesim.training.pipeline_node import Node
from edgesim.training.pipeline_stage import Stage
from edgesim.training.pipeline_term import Setup, Term
from edgesim.training.pipeline_weights import Weights
from edgesim.training.replicating import Replicator
from edgesim.workload import PipelineLearner

if TYPE_CHECKING:
    from edgesim.training.pipeline_central import Central


class Line:
    """Everything of one pipeline."""

    central: Central
    """Set when the central node begins."""

    def __init__(
        self, sim: Simulation, config: Config, costs: Costs, learner: PipelineLearner | None = None
    ) -> None:
        self.sim = sim
        self.config = config
        self.costs = costs
        self.learner = learner
        self.weights = Weights(costs.layers, learner)
        self.links = Links(sim.cluster)
        self.nodes = {name: Node(sim, name) for name in config.devices}
        self.calls = Calls(self)
        self.replicator = Replicator(self)
        self.term: Term | None = None
        self.aggregations = 0
        """How often a stage has averaged its versions."""
        self._terms = 0

    @property
    def parts(self) -> int:
        """M, micro-batches of a batch."""
        return self.config.micro_batches

    @property
    def replicas(self) -> bool:
        """Whether batches take turns on full replicas of the weights."""
        return self.config.execution == "1f1b" and self.config.versions == "replicas"

    @property
    def stages(self) -> list[Stage]:
        """The stages of the present term."""
        assert self.term is not None
        return self.term.stages

    def begin(self, setup: Setup, first: int, lives: Mapping[str, int]) -> Term:
        """End the present term, if there is one, and start another from a batch on.

        A device that has crashed since the stay in memory that `lives` says has no stage in truth.
        """
        if self.term is not None:
            self.term.close()
        self._terms += 1
        self.term = Term(self, setup, first, self._terms, lives)
        self.term.start()
        return self.term

    def freeze(self) -> None:
        """Note that stages of the present term have been stopped."""
        assert self.term is not None
        self.term.frozen = True

    # --- what stages ask and say ------------------------------------------------------------------------

    def weight_bytes(self, index: int, term: Term) -> float:
        """Return what a stage holds all the time, in B; the first also the input of its batches."""
        layers = term.setup.stages[index]
        held = self.costs.weight_bytes(self.config, term.last + 1, term.windows[index], layers)
        return held + (self.costs.workload.input_bytes * term.windows[0] if index == 0 else 0.0)

    def reading(self, stage: Stage, one: Pass, now: int) -> int:
        """Return the version of the weights that a forward pass reads: the newest of at most it.

        `stash` and with a flush: the newest; `2bw`: one update older (PipeDream-2BW: W(t+1) = W(t) - eta
        grad f(W(t-1))); `vertical-sync`: what the batch met at the first stage.
        """
        if self.config.execution == "2bw":
            return min(now, max(one.batch - 1, 0))
        if self.config.execution == "1f1b" and self.config.versions == "vertical-sync":
            return min(now, stage.term.synced.setdefault(one.batch, now))
        return now

    def averaged(self, stage: Stage) -> int:
        """Return of how many versions a stage makes a mean, where that is due."""
        if self.config.execution != "1f1b" or self.replicas:
            return 1
        return stage.term.last + 1 if self.config.versions == "vertical-sync" else stage.window

    def average(self, stage: Stage, runs: Iterable[range], count: int) -> None:
        """Put the mean of the newest versions of some layers of a stage in place of the newest."""
        self.aggregations += 1
        if self.learner is not None:
            for layers in runs:
                self.learner.average(layers, count)
        if self.sim.timeline is not None:
            self.sim.timeline.mark(self.sim.now, stage.node.name, "aggregate", str(count))

    def book(self, stage: Stage, batch: int, staleness: int) -> None:
        """Write down an update of a stage; that of the first stage is written when the batch is back."""
        if stage.index > 0 and self.sim.timeline is not None:
            self.sim.timeline.update(self.sim.now, stage.node.name, batch, self.parts, staleness)
        elif stage.index == 0:
            self.central.staleness = staleness

    def updated(self, stage: Stage, batch: int) -> None:
        """Go on where a stage has a batch behind it: merge replicas, send copies, tell the central node."""
        epoch = self.config.epoch or self.config.iterations
        if self.replicas and self.learner is not None and epoch and (batch + 1) % epoch == 0:
            self.learner.merge(stage.layers, stage.window)
        self.replicator.updated(stage, batch)
        if stage.index == 0:
            self.central.back(batch)
