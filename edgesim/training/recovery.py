"""What a pipeline does when a batch does not come back: who has failed, who takes over, from which weights.

`ftpipehd` (arXiv 2110.02781): the devices that are left share the layers anew; each takes what it lacks
from live weights or copies; batches in flight are computed again; updates since the copy are lost.
`live-first`: the same, but copies only where nobody has live weights.
`respipe` (ICASSP 2021, as modelled here): the successor of a failed stage runs it too, from its own chain
replica; the loss of both is fatal. `checkpoint`: everybody goes back to the last snapshot. `lossless`: see
`recovery_lossless`. `none`: the training ends.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from simpy import AnyOf, Event

from edgesim.errors import EdgesimError, SimulationError
from edgesim.planning.replication import Fetch, Holdings, Unrecoverable, sources
from edgesim.timeline import Tag
from edgesim.training.pipeline_facts import Phases, Row
from edgesim.training.pipeline_move import Change, Interrupted, Mover, sizes_of
from edgesim.training.pipeline_term import Setup
from edgesim.training.pipeline_weights import Copy, version

if TYPE_CHECKING:
    from edgesim.training.pipeline_central import Central

Process = Generator[Event, Any, Any]
MEASURE_BYTES = 65536.0
"""Size of a message that measures the bandwidth between two neighbours, in B."""


ATTEMPTS = 50
"""Attempts to bring a pipeline back, one after the other, after which it is given up."""


class Recoverer:
    """Brings a pipeline back that has stopped."""

    def __init__(self, central: Central) -> None:
        self.central = central
        self.line = central.line

    def recover(self) -> Process:
        """Find out who has failed, and go on without them, until that has worked."""
        for _ in range(ATTEMPTS):
            try:
                done = yield from self._attempt()
            except Interrupted:
                row = self.line.central.facts.recoveries[-1]
                row["outcome"] = "interrupted by another failure"
                continue
            if done:
                return
        raise SimulationError(
            f"training cannot go on at {self.line.sim.now:.6g} s: {ATTEMPTS} attempts to bring the pipeline "
            "back were interrupted, each by another failure or for want of a way between two devices"
        )

    def _attempt(self) -> Process:
        central, line = self.central, self.line
        row = central.facts.recovery()
        phases = Phases(line, "recovery", row)
        phases.enter("probe")
        asked = [name for name in line.config.devices[1:] if name in central.lives or central.has_stage(name)]
        detection = line.config.detection
        central.hellos.clear()  # only who comes back while others are probed counts as an answer
        answers: dict[str, int] = yield from line.calls.probe(
            asked, central.probe_timeout_s, parallel=detection.policy == "adaptive"
        )
        answers |= {name: life for name, life in central.hellos.items() if name not in answers}
        failed = [name for name in asked if name not in answers]
        restarted = [name for name in asked if name in answers and answers[name] != central.lives.get(name)]
        failed, restarted = central.missed(failed), [name for name in restarted if central.has_stage(name)]
        self._note(row, failed, restarted)
        if not failed and not restarted and line.term.frozen:  # type: ignore[union-attr]
            self._thaw(phases, answers)
            return True
        if not failed and not restarted:
            phases.close("false-alarm")
            row["outcome"] = "false alarm"
            central.mark(central.name, "false-alarm", str(central.oldest))
            central.false_alarm()
            return True
        central.facts.overtaken()
        try:
            yield from self._go_on(phases, failed, restarted, answers)
        except EdgesimError as error:
            phases.leave()
            row["outcome"] = f"unrecoverable: {error}"
            if isinstance(error, SimulationError):
                raise
            names = ", ".join(row["devices"])
            raise SimulationError(f"training cannot go on without {names}: {error}") from error
        return True

    def _thaw(self, phases: Phases, answers: Mapping[str, int]) -> None:
        """Go on as before where a change was broken off, and everybody who has a stage is there."""
        central, term = self.central, self.line.term
        assert term is not None
        phases.row["kind"], phases.row["outcome"] = "false-alarm", "recovered"
        phases.row["batches_recomputed"] = central.begun - central.upcoming
        if self.line.learner is not None:
            self.line.learner.forget(central.upcoming, range(self.line.costs.layers))
        central.enter(term.setup, central.upcoming, "recovery", answers)
        central.facts.refilling(phases)

    def _note(self, row: Row, failed: list[str], restarted: list[str]) -> None:
        """Write down who has failed, and when that was."""
        nodes = self.line.nodes
        row["devices"] = [*failed, *restarted]
        row["kind"] = "mixed" if failed and restarted else "failed" if failed else "restarted"
        if not failed and not restarted:
            row["kind"] = "false-alarm"
        crashes = [nodes[name].crashed_s for name in row["devices"] if nodes[name].life > 0]
        row["failed_s"] = min(crashes, default=row["time_s"])
        row["detect_s"] = max(row["time_s"] - row["failed_s"], 0.0)
        for name in failed:
            self.central.mark(name, "failed")
        for name in restarted:
            self.central.mark(name, "restarted")

    def _go_on(
        self, phases: Phases, failed: list[str], restarted: list[str], answers: Mapping[str, int]
    ) -> Process:
        central, line = self.central, self.line
        policy = line.config.recovery
        if policy == "none":
            raise SimulationError(
                f"{', '.join([*failed, *restarted])} failed, and recovery is none; "
                "take another, such as ftpipehd"
            )
        lives = {central.name: line.nodes[central.name].life, **answers}
        if policy == "lossless" and line.term.frozen:  # type: ignore[union-attr]
            phases.row["policy"] = "live-first (a move was under way)"
        elif policy == "lossless":
            from edgesim.training.recovery_lossless import replay

            if (yield from replay(self, phases, failed, restarted, lives)):
                return
        left = [name for name in line.config.devices if name in lives]
        if policy != "respipe":
            phases.enter("measure")
            yield from self._measure(left)
        phases.enter("plan")
        change = yield from self._planned(left, failed, restarted)
        yield from self.carry_out(phases, change, lives, "recovery")

    # --- planning ---------------------------------------------------------------------------------------

    def _measure(self, names: list[str]) -> Process:
        """Measure the bandwidth between neighbours-to-be, all at once."""
        line = self.line
        pairs = list(pairwise(names))
        flows = []
        for source, target in [*pairs, *((b, a) for a, b in pairs)]:
            flows.append(line.sim.network.send(source, target, MEASURE_BYTES, Tag("measure")))
        patience = line.sim.env.timeout(self.central.probe_timeout_s)
        for flow in flows:
            if not flow.triggered:
                yield AnyOf(line.sim.env, [flow, patience])
            if flow.triggered and not flow.lost:
                line.links.seen(flow.source, flow.target, flow.bytes, flow.end_s - flow.start_s)

    def _planned(self, left: list[str], failed: list[str], restarted: list[str]) -> Process:
        """Return the change that brings the pipeline back, after the time of planning it."""
        central, line = self.central, self.line
        central.measure()
        yield from central.plan_task(len(left))
        if line.config.recovery == "respipe":
            return self._taken_over(failed, restarted)
        if line.config.recovery == "checkpoint":
            return self._rolled_back(left, restarted)
        setup = central.knowledge.setup(left, central.capacity)
        live = {name: frozenset(line.nodes[name].live) for name in left if name not in restarted}
        chain = {name: frozenset(line.nodes[name].chain) for name in left}
        whole = frozenset(line.nodes[central.name].whole)
        try:
            fetches = self._sources(setup, Holdings(live=live, chain=chain, whole=whole), real=True)
        except Unrecoverable:
            fetches = self._sources(setup, Holdings(live=live, chain=chain, whole=whole), real=False)
        return self.change(setup, central.upcoming, fetches)

    def _sources(self, setup: Setup, held: Holdings, *, real: bool) -> tuple[Fetch, ...]:
        """Return who takes what from whom; with `real` copies of the model of the start are no copies yet."""
        central, line = self.central, self.line
        old = line.term.setup  # type: ignore[union-attr]
        if real:
            chain = {name: _learnt(line.nodes[name].chain) & own for name, own in held.chain.items()}
            whole = _learnt(line.nodes[central.name].whole) & held.whole
            held = Holdings(live=held.live, chain=chain, whole=whole)
        live_first = line.config.recovery in ("live-first", "lossless")
        return sources(setup.needs(), held, old.hosts, old.stages, central.name, live_first=live_first)

    def change(self, setup: Setup, first: int, fetches: tuple[Fetch, ...]) -> Change:
        """Return a change with the copies that its fetches restore, as they are now."""
        copies: dict[int, Copy] = {}
        for fetch in fetches:
            node = self.line.nodes[fetch.source]
            held = node.chain if fetch.held == "chain" else node.whole
            if fetch.held != "live":
                copies.update({layer: held[layer] for layer in fetch.layers})
        sizes = sizes_of(self.line, fetches, copies)
        return Change(setup=setup, first=first, fetches=fetches, copies=copies, sizes=sizes)

    def _taken_over(self, failed: list[str], restarted: list[str]) -> Change:
        """Return the change by which the successors of failed stages run these too (ResPipe)."""
        line, old = self.line, self.line.term.setup  # type: ignore[union-attr]
        gone = {*failed, *restarted}
        hosts = list(old.hosts)
        fetches: list[Fetch] = []
        for index, (host, layers) in enumerate(zip(old.hosts, old.stages, strict=True)):
            if host not in gone:
                continue
            holder = line.replicator.holder(line.stages[index])
            if holder is None or holder.name in gone or not set(layers) <= set(holder.chain):
                name = "nobody" if holder is None else holder.name
                raise Unrecoverable(
                    tuple(layers),
                    f"{host} has failed, and {name}, who held its copy, as well",
                    "respipe survives no two neighbours; take recovery ftpipehd or checkpoint",
                )
            hosts[index] = holder.name
            fetches.append(
                Fetch(target=holder.name, source=holder.name, layers=tuple(layers), kind="own-chain")
            )
        setup = self.central.knowledge.completed(old.points, tuple(hosts), self.central.capacity)
        return self.change(setup, self.central.upcoming, tuple(fetches))

    def _rolled_back(self, left: list[str], restarted: list[str]) -> Change:
        """Return the change by which everybody goes back to the last snapshot.

        Each device has kept its part of it; what it lacks comes from the central node.
        """
        central, line = self.central, self.line
        old = line.term.setup  # type: ignore[union-attr]
        setup = central.knowledge.setup(left, central.capacity)
        whole = line.nodes[central.name].whole
        first = min(copy.version for copy in whole.values())
        fetches: list[Fetch] = []
        for name, layers in setup.needs().items():
            kept = [n for n in layers if name in restarted or (name != central.name and old.owner(n) != name)]
            own = [layer for layer in layers if layer not in set(kept)]
            for source, some in ((name, own), (central.name, kept)):
                fetches += [
                    Fetch(target=name, source=source, layers=run, kind="own-global") for run in _runs(some)
                ]
        copies = {layer: whole[layer] for layer in range(line.costs.layers)}
        sizes = sizes_of(line, fetches, copies)
        return Change(setup=setup, first=first, fetches=tuple(fetches), copies=copies, sizes=sizes)

    # --- carrying out -----------------------------------------------------------------------------------

    def carry_out(self, phases: Phases, change: Change, lives: Mapping[str, int], why: str) -> Process:
        """Carry out a change, and begin the next term."""
        central, line = self.central, self.line
        row = phases.row
        members = {name: lives[name] for name in lives if name in self._concerned(change)}
        mover = Mover(line, change, members)
        if why == "recovery":
            phases.enter("fetch")
        else:
            phases.enter("prepare")
            mover.stopped.callbacks.append(lambda _event: phases.enter("fetch"))
        yield from mover.carry_out(phases)
        row["batches_recomputed"] = central.begun - change.first
        row["bytes_moved"] += change.moved_bytes
        row["points"], row["order"] = list(change.setup.points), list(change.setup.hosts)
        row["updates_lost"] = self._commit(change, why, members)
        row["outcome"] = "recovered"
        central.facts.refilling(phases)

    def _concerned(self, change: Change) -> set[str]:
        """Return who takes part in a change: who has a stage, or had one, or gives layers."""
        old = self.line.term.setup  # type: ignore[union-attr]
        return {*change.setup.hosts, *old.hosts, *(fetch.source for fetch in change.fetches)}

    def _commit(self, change: Change, why: str, lives: Mapping[str, int]) -> int:
        """Change over: weights from copies, batches in flight given up; return the updates that are lost."""
        central, line = self.central, self.line
        assert line.term is not None
        line.term.close()
        everything = range(line.costs.layers)
        if line.learner is not None:
            line.learner.forget(change.first, everything)
            for stage in line.stages if line.replicas else ():
                line.learner.merge(stage.layers, stage.window)
        momentum = line.config.replication.optimizer
        line.weights.restore(sorted(change.copies.items()), momentum=momentum)
        lost = line.weights.settle(change.first)
        if line.config.repartition.momentum == "reset" and line.learner is not None:
            line.learner.reset(everything)
        central.enter(change.setup, change.first, why, lives)
        line.replicator.after_commit()
        return lost


def _learnt(copies: Mapping[int, Copy]) -> frozenset[int]:
    """Return the layers of which a copy holds any update."""
    return frozenset(layer for layer, copy in copies.items() if version(copy.of(layer)) > 0)


def _runs(layers: list[int]) -> list[tuple[int, ...]]:
    """Return rising layers as runs of consecutive ones.

    >>> _runs([1, 2, 5])
    [(1, 2), (5,)]
    """
    runs: list[tuple[int, ...]] = []
    for layer in layers:
        if runs and runs[-1][-1] == layer - 1:
            runs[-1] = (*runs[-1], layer)
        else:
            runs.append((layer,))
    return runs
