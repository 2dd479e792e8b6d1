"""Recovery without loss: a copy of the lost stage, and its neighbours' logs, from which it computes again.

The neighbours of a stage keep what they have sent to it since its copy was made: activations upstream,
gradients downstream. A new host puts the copy back, all versions that batches in flight need included, and
computes every pass since again, in the same order and with the same inputs. So it ends with the very bits
that were lost, and goes on where the old host was; the other stages wait, and lose nothing.

The stage moves whole: back to its device if that has restarted, else to a device that has no stage, else
to the holder of its copy, which then has two. Where the holder has failed as well, the recovery of FTPipeHD
takes its place.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from simpy import Event

from edgesim.planning.replication import Fetch
from edgesim.training.pipeline_facts import Phases
from edgesim.training.pipeline_move import Change, Mover
from edgesim.training.pipeline_node import Node
from edgesim.training.pipeline_stage import Before, Stage
from edgesim.training.pipeline_weights import Copy

if TYPE_CHECKING:
    from edgesim.training.recovery import Recoverer

Process = Generator[Event, Any, Any]


@dataclass(frozen=True, slots=True)
class Lost:
    """A stage whose device has failed, and who puts it back."""

    stage: Stage
    holder: Node
    host: Node
    copy: Copy

    @property
    def fetch(self) -> Fetch:
        """Return how its copy comes to its host."""
        return Fetch(
            target=self.host.name,
            source=self.holder.name,
            layers=tuple(self.stage.layers),
            kind="own-chain" if self.holder is self.host else "successor",
        )


def replay(
    recoverer: Recoverer,
    phases: Phases,
    failed: list[str],
    restarted: list[str],
    lives: Mapping[str, int],
) -> Process:
    """Put the lost stages back by copy and replay; return False, with nothing done, where that cannot be."""
    central, line = recoverer.central, recoverer.line
    assert line.term is not None
    phases.enter("plan")
    yield from central.plan_task(len(line.stages))
    found = _lost(recoverer, {*failed, *restarted}, set(restarted), lives)
    if found is None:
        phases.row["policy"] = "live-first (no copy or log to replay from)"
        return False
    fetches = tuple(one.fetch for one in found)
    sizes = {one.fetch: one.copy.bytes for one in found}
    change = Change(setup=line.term.setup, first=0, fetches=fetches, copies={}, sizes=sizes)
    members = {one.host.name: lives[one.host.name] for one in found}
    members |= {one.holder.name: lives[one.holder.name] for one in found}
    mover = Mover(line, change, members, freeze=False)
    phases.enter("fetch")
    yield from mover.carry_out(phases)
    row = phases.row
    row["batches_recomputed"] = max(one.stage.done[True][0] + 1 - one.copy.upcoming for one in found)
    row["bytes_moved"] += change.moved_bytes + _put_back(recoverer, found, lives)
    row["points"], row["order"] = list(line.term.setup.points), list(line.term.setup.hosts)
    row["outcome"] = "recovered"
    line.replicator.after_commit()
    central.rejoin(lives, max(_again_s(recoverer, one) for one in found))
    central.facts.refilling(phases)
    return True


def _lost(
    recoverer: Recoverer, gone: set[str], back: set[str], lives: Mapping[str, int]
) -> list[Lost] | None:
    """Return the lost stages with their copies and new hosts; None where a copy is lost too."""
    line = recoverer.line
    found: list[Lost] = []
    for stage in line.stages:
        if stage.node.name not in gone:
            continue
        holder = line.replicator.holder(stage)
        if (
            holder is None
            or holder.name in gone
            or (key := (stage.term.number, stage.layers.start)) not in holder.chains
        ):
            return None
        copy = holder.chains[key]
        if copy.layers != stage.layers or not _logged(stage, copy.upcoming):
            return None
        host = stage.node if stage.node.name in back else _spare(recoverer, found, lives) or holder
        found.append(Lost(stage, holder, host, copy))
    for one, other in pairwise(found):
        # of neighbours that are both lost neither has a log: they have to begin with the same batch
        if one.stage.index + 1 == other.stage.index and one.copy.upcoming != other.copy.upcoming:
            return None
    return found


def _spare(recoverer: Recoverer, taken: list[Lost], lives: Mapping[str, int]) -> Node | None:
    """Return a device without a stage that has answered, for a lost one; None where there is none."""
    central, line = recoverer.central, recoverer.line
    busy = {one.host.name for one in taken}
    for name in line.config.devices:
        if name in lives and name not in busy and not central.has_stage(name):
            return line.nodes[name]
    return None


def _logged(stage: Stage, batch: int) -> bool:
    """Tell whether the neighbours of a stage that are left have logged what they sent it from a batch on."""
    stages = stage.term.stages
    for place, forward in ((stage.index - 1, True), (stage.index + 1, False)):
        if place < len(stages) and not stages[place].lost and stages[place].log.start[forward] > batch:
            return False
    return True


def _again_s(recoverer: Recoverer, one: Lost) -> float:
    """Return how long computing a lost stage again takes by what is known, in s."""
    central = recoverer.central
    batch_s = sum(central.knowledge.layer_s[layer] for layer in one.stage.layers)
    batches = one.stage.done[True][0] + 1 - one.copy.upcoming
    return max(batches, 0) * batch_s * central.capacity.get(one.host.name, 1.0)


def _put_back(recoverer: Recoverer, found: list[Lost], lives: Mapping[str, int]) -> float:
    """Let the new hosts begin, with what the neighbours have logged; return the bytes of that."""
    line = recoverer.line
    assert line.term is not None
    fresh: list[Stage] = []
    for one in found:
        old = one.stage
        line.weights.put_back(one.copy)
        before = Before(
            first=one.copy.upcoming,
            forward=old.done[True],
            backward=old.done[False],
            reads=dict(one.copy.reads),
        )
        fresh.append(line.term.rehost(old.index, one.host, lives[one.host.name], before))
    sent = sum(_resend(stage) for stage in fresh)
    line.term.resume(fresh)
    return sent


def _resend(stage: Stage) -> float:
    """Let the neighbours of a stage send it again what they have logged; return the bytes."""
    stages, total = stage.term.stages, 0.0
    for step, forward in ((-1, True), (1, False)):
        place = stage.index + step
        if 0 <= place < len(stages):
            for one, size in stages[place].log.since(forward, stage.first):
                total += size if stages[place].node is not stage.node else 0.0
                stages[place].send_again(one, size)
    return total
