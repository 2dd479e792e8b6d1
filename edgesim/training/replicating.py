"""Copies of the weights on other devices as training goes on: chain replicas, global copies, snapshots.

Copies share the links with activations and gradients. `periodic`: each stage sends its copy whole, beside the
activations. `free`: in pieces behind them, so often that links which idle carry them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from simpy import Event

from edgesim.engine.flow import Flow
from edgesim.planning import free_rate
from edgesim.planning.pipeline_orders import copies
from edgesim.timeline import Tag
from edgesim.training.expectation import link_capacity_Bps
from edgesim.training.pipeline_node import Node
from edgesim.training.pipeline_weights import Copy

if TYPE_CHECKING:
    from edgesim.training.pipeline_line import Line
    from edgesim.training.pipeline_stage import Stage
    from edgesim.training.pipeline_term import Setup

Process = Generator[Event, Any, Any]
WHOLE = "copies of all stages"
BEHIND = 1.0
"""Rank of a piece of a copy: behind activations and gradients, which have 0."""
SHARE = 0.125
"""Size of a piece of a copy, of that of an activation: one that waits for a piece waits so much longer."""
LEAST_PIECE = 16384.0
"""Least bytes of a piece of a copy, in B, so that start-ups do not eat the link."""


class Replicator:
    """Sends the copies of a pipeline, and knows what has arrived."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.every: int | None = line.config.replication.chain
        """Batches between two chain replicas of a stage; None: there are none."""
        self.sent = {"replica": 0.0, "global": 0.0, "checkpoint": 0.0}
        """Bytes of copies that arrived, by kind, in B."""
        self.count = 0
        """Copies that arrived."""
        self.saved: dict[int, Copy] = {}
        """The last copy of all layers after one and the same batch, by layer; kept also where the central
        node fails, as on its disk. Empty: there is none."""
        self._underway: set[int] = set()
        self._done: set[int] = set()
        """Stages of the present term of which a replica has arrived."""

    # --- when -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Let the central node hold the weights that the training begins with: it has profiled the model."""
        central = self.line.nodes[self.line.config.central]
        everything = range(self.line.costs.layers)
        if self.keeps_all:
            nbytes = self.line.costs.copy_bytes(self.line.config, everything)
            copy = self.line.weights.copy(everything, nbytes)
            central.whole = dict.fromkeys(everything, copy)
            central.hold(nbytes, WHOLE)
            self.saved = dict(central.whole)

    def seed(self) -> None:
        """Let the first chain replicas be there: every device builds its model from the same seed."""
        if self.every is None:
            return
        for stage in self.line.stages:
            holder = self.holder(stage)
            if holder is not None:
                holder.keep_chain(self._copy(stage), stage.term.number)

    @property
    def kept(self) -> tuple[object, ...]:
        """What a learner needs to put the last copy of all layers back, stage by stage."""
        return tuple({id(copy): copy.weights for copy in self.saved.values()}.values())

    @property
    def saved_batch(self) -> int | None:
        """Batches that the last copy of all layers holds; None: there is none."""
        return min((copy.version for copy in self.saved.values()), default=None)

    @property
    def saved_bytes(self) -> float:
        """Size of the last copy of all layers, in B."""
        return (
            self.line.costs.copy_bytes(self.line.config, range(self.line.costs.layers)) if self.saved else 0.0
        )

    @property
    def keeps_all(self) -> bool:
        """Whether the central node keeps copies of all stages."""
        config = self.line.config
        return config.replication.whole is not None or config.recovery == "checkpoint"

    def replan(self, setup: Setup) -> None:
        """Begin a term: give up copies that are not whole, find how often they are free if they shall be."""
        self._underway.clear()
        self._done.clear()
        self.line.nodes[self.line.config.central].parked.clear()
        replication = self.line.config.replication
        if replication.policy == "free" and replication.chain is not None:
            self.every = free_every(self.line, setup) or replication.chain

    def updated(self, stage: Stage, batch: int) -> None:
        """Send the copies that are due after an update of a stage."""
        config = self.line.config
        whole = config.checkpoint_every if config.recovery == "checkpoint" else config.replication.whole
        at_central = whole is not None and (batch + 1) % whole == 0
        on_next = self.every is not None and (batch + 1) % self.every == 0
        if on_next and not (at_central and self._doubles(stage)):
            self.chain(stage, batch)
        if at_central:
            self._whole(stage, batch)

    def _doubles(self, stage: Stage) -> bool:
        """Whether a copy of a stage on the central node is its chain replica too, so that one goes for both.

        Not without loss: then a replica also has what batches in flight need.
        """
        holder, config = self.holder(stage), self.line.config
        here = holder is not None and holder.name == config.central
        return here and self.every is not None and config.recovery != "lossless"

    def after_commit(self) -> None:
        """Copy every stage at once, so that moved layers are not without a replica."""
        if self.line.config.replication.chain is not None:
            for stage in self.line.stages:
                self.chain(stage, stage.first - 1, at_once=True)

    # --- chain ------------------------------------------------------------------------------------------

    def holder(self, stage: Stage) -> Node | None:
        """Return who holds the chain replica of a stage: the next other device, after the last the first."""
        stages = self.line.stages
        for step in range(1, len(stages)):
            node = stages[(stage.index + step) % len(stages)].node
            if node is not stage.node:
                return node
        return None

    def chain(self, stage: Stage, batch: int, *, at_once: bool = False) -> None:
        """Send a chain replica of a stage as it is now, unless the one before is still on its way."""
        holder = self.holder(stage)
        if holder is None or stage.index in self._underway:
            return
        line, config, copy = self.line, self.line.config, self._copy(stage)
        nbytes = copy.bytes
        self._underway.add(stage.index)
        arrived = partial(self._chained, stage, holder, holder.life, copy)
        tag = Tag("replica", str(batch + 1), max(batch, 0), stage.layers.start + 1, stage.layers.stop)
        if config.replication.policy == "free" and not at_once:
            sending = self._pieces(stage, holder, nbytes, tag, arrived)
            line.sim.process(sending, name=f"{stage.node.name} copy")
        else:
            flow = line.sim.network.send(stage.node.name, holder.name, nbytes, tag)
            flow.callbacks.append(partial(self._landed, stage, flow, arrived))

    def _copy(self, stage: Stage) -> Copy:
        """Return a copy of a stage as it is now, of the size of a chain replica."""
        config = self.line.config
        versions = copies(config.execution, config.versions, stage.term.last + 1, stage.window)
        nbytes = self.line.costs.copy_bytes(config, stage.layers, versions)
        return self.line.weights.copy(stage.layers, nbytes, upcoming=stage.upcoming, reads=stage.reads)

    def _pieces(
        self, stage: Stage, holder: Node, nbytes: float, tag: Tag, arrived: Callable[[], None]
    ) -> Process:
        """Send a copy in pieces behind the activations, spread over the time until the next."""
        env, term = self.line.sim.env, stage.term
        ends = [layer for layer in (stage.layers.start - 1, stage.layers.stop - 1) if layer >= 0]
        boundary = max(self.line.costs.crossing_bytes(layer) for layer in ends) / self.line.parts
        pieces = list(_cut(nbytes, max(boundary * SHARE, LEAST_PIECE)))
        stream = self.line.sim.network.stream(stage.node.name, holder.name)
        pause_s = term.setup.period_s * (self.every or 1) / len(pieces)
        flows = []
        for piece in pieces:
            flows.append(stream.send(piece, tag, BEHIND))
            yield env.timeout(pause_s)
        for flow in flows:
            if not flow.triggered:
                yield flow
        if any(flow.lost for flow in flows) or term.over:
            self._underway.discard(stage.index)
            return
        self._underway.discard(stage.index)
        arrived()

    def _landed(self, stage: Stage, flow: Flow, arrived: Callable[[], None], _event: object) -> None:
        self._underway.discard(stage.index)
        if not flow.lost:
            arrived()

    def _chained(self, stage: Stage, holder: Node, life: int, copy: Copy) -> None:
        if stage.term.over or holder.life != life:
            return
        self.sent["replica"] += copy.bytes
        self.count += 1
        holder.keep_chain(copy, stage.term.number)
        self._done.add(stage.index)
        if len(self._done) == len(stage.term.stages):
            for node in self.line.nodes.values():
                node.drop_chains(stage.term.number)
        stages = stage.term.stages
        if stage.index > 0:
            stages[stage.index - 1].log.prune(True, copy.upcoming)
        if stage.index < stage.term.last:
            stages[stage.index + 1].log.prune(False, copy.upcoming)

    # --- on the central node ----------------------------------------------------------------------------

    def _whole(self, stage: Stage, batch: int) -> None:
        """Send a copy of a stage to the central node; the central node's own is one of memory to memory."""
        line, config = self.line, self.line.config
        kind = "checkpoint" if config.recovery == "checkpoint" else "global"
        copy = line.weights.copy(stage.layers, line.costs.copy_bytes(config, stage.layers))
        central = line.nodes[config.central]
        if stage.node is central:
            self._collect(copy)
            return
        tag = Tag(kind, str(batch), batch, stage.layers.start + 1, stage.layers.stop)
        flow = line.sim.network.send(stage.node.name, central.name, copy.bytes, tag)

        def arrived(_event: object) -> None:
            if flow.lost:
                return
            self.sent[kind] += copy.bytes
            self.count += 1
            if not stage.term.over:  # what is from before a way back must not be put together with later
                self._collect(copy)
                if self._doubles(stage):
                    central.keep_chain(copy, stage.term.number)

        flow.callbacks.append(arrived)

    def _collect(self, copy: Copy) -> None:
        """Keep a copy on the central node; note when it has all layers as they were after the same batch.

        A snapshot counts only whole, so a checkpoint takes its place only then.
        """
        central = self.line.nodes[self.line.config.central]
        parked = central.parked.setdefault(copy.version, {})
        parked.update(dict.fromkeys(copy.layers, copy))
        if self.line.config.recovery != "checkpoint":
            central.whole.update(dict.fromkeys(copy.layers, copy))
        if len(parked) == self.line.costs.layers:
            central.whole = dict(parked)
            self.saved = dict(parked)
            central.parked = {one: kept for one, kept in central.parked.items() if one > copy.version}


def _cut(nbytes: float, piece: float) -> Iterator[float]:
    """Return the sizes of about equal pieces.

    >>> list(_cut(10.0, 4.0))
    [4.0, 3.0, 3.0]
    """
    number = max(math.ceil(nbytes / piece), 1)
    whole, more = divmod(int(nbytes), number)
    return iter([float(whole + (place < more)) for place in range(number)])


def free_every(line: Line, setup: Setup) -> int | None:
    """Return the least batches between two chain replicas that links which idle can carry; None: none can.

    A link idles what its capacity brings in a period beyond activations and gradients (see
    `free_rate.spare_bytes`); every link of a route must have room for all copies on it.
    """
    cluster, costs, config = line.sim.cluster, line.costs, line.config
    load: dict[str, float] = {}
    wanted: dict[str, float] = {}

    def cross(source: str, target: str, nbytes: float, total: dict[str, float]) -> None:
        for link in (cluster.route(source, target) or ()) if source != target else ():
            total[link] = total.get(link, 0.0) + nbytes

    hosts, stages = setup.hosts, setup.stages
    for index, (host, layers) in enumerate(zip(hosts, stages, strict=True)):
        following = hosts[(index + 1) % len(hosts)]
        if index + 1 < len(hosts):
            boundary = costs.crossing_bytes(layers.stop - 1)
            cross(host, following, boundary, load)
            cross(following, host, boundary, load)
        versions = copies(config.execution, config.versions, len(hosts), setup.windows[index])
        cross(host, following, costs.copy_bytes(config, layers, versions), wanted)
    every = 1.0
    for link, nbytes in wanted.items():
        room = link_capacity_Bps(cluster, link) * setup.period_s - load.get(link, 0.0)
        every = max(every, free_rate.free_every(nbytes, max(room, 0.0)))
    return math.ceil(every) if math.isfinite(every) else None
