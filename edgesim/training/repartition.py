"""When capacities have changed: new points, and whether to move to them.

`when-different` moves as soon as the points differ, as FTPipeHD does, without a test of cost and benefit.
`regret` moves when what staying has cost since has reached the cost of the move, which is at most twice what
the best single switch would have cost.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from simpy import Event

from edgesim.errors import EdgesimError
from edgesim.planning.moving import Regret, move_cost
from edgesim.planning.replication import Holdings, sources
from edgesim.training.pipeline_facts import Phases, Row
from edgesim.training.pipeline_move import Change, Interrupted
from edgesim.training.pipeline_term import Setup

if TYPE_CHECKING:
    from edgesim.training.pipeline_central import Central

Process = Generator[Event, Any, Any]


class Repartitioner:
    """Looks at the capacities now and then, and moves layers."""

    def __init__(self, central: Central) -> None:
        self.central = central
        self.line = central.line
        self._regret = Regret()
        self._looked = 0
        self.next_look: int | None = None
        """Batches after which the regret will reach the cost of the move, if nothing changes."""

    def look(self, return_of: tuple[str, ...] = ()) -> Process:
        """Plan by fresh capacities, and move where that is due; `return_of`: devices that are back."""
        central, line = self.central, self.line
        assert line.term is not None
        central.measure()
        self.next_look = None
        old = line.term.setup
        for name in return_of:
            central.returned.pop(name, None)
        here = {*old.hosts, *return_of, *self._spare(old)}
        names = [name for name in line.config.devices if name in here]
        yield from central.plan_task(len(names))
        try:
            setup = central.knowledge.setup(names, central.capacity)
        except EdgesimError:
            return
        if (setup.points, setup.hosts) == (old.points, old.hosts):
            self._regret, self._looked = Regret(), len(central.history)
            return
        change = self._change(setup)
        gain_s = central.knowledge.period_s(old, central.capacity) - setup.period_s
        if not return_of and not self._due(gain_s, change, old):
            self._note(change, gain_s, kept=False)
            return
        if return_of and gain_s <= 0.0:
            return
        yield from self._move(change, gain_s)

    def _spare(self, old: Setup) -> list[str]:
        """Return devices that are there but have no stage, as a plan may leave some out."""
        return [name for name in self.central.lives if name not in old.hosts]

    def _change(self, setup: Setup) -> Change:
        central, line = self.central, self.line
        assert line.term is not None
        old = line.term.setup
        live = {name: frozenset(line.nodes[name].live) for name in old.hosts}
        fetches = sources(setup.needs(), Holdings(live=live, chain={}), old.hosts, old.stages, central.name)
        return central.recoverer.change(setup, central.upcoming, fetches)

    def _due(self, gain_s: float, change: Change, old: Setup) -> bool:
        """Tell whether to move; count what staying has cost since the last look."""
        central, line = self.central, self.line
        if line.config.repartition.policy == "when-different":
            return True
        batches, self._looked = len(central.history) - self._looked, len(central.history)
        self._regret = self._regret.stay(gain_s * batches)
        moved: dict[tuple[str, str], float] = {}
        for fetch, size in change.sizes.items():
            if not fetch.local:
                pair = (fetch.source, fetch.target)
                moved[pair] = moved.get(pair, 0.0) + size
        rates = {pair: line.links.rate_Bps(*pair) for pair in moved}
        refill_s = len(old.hosts) * change.setup.period_s
        cost_s = move_cost(
            moved, rates, 4.0 * line.links.latency_s(old.hosts), line.config.rebuild_s, refill_s
        )
        if self._regret.due(cost_s):
            return True
        if gain_s > 0.0 and math.isfinite(cost_s):
            left_s = cost_s - self._regret.total_s
            self.next_look = len(central.history) + max(math.ceil(left_s / gain_s), 1)
        return False

    def _note(self, change: Change, gain_s: float, *, kept: bool) -> Row:
        central, line = self.central, self.line
        assert line.term is not None
        old = line.term.setup
        row: Row = {
            "time_s": line.sim.now,
            "batch": change.first,
            "points_before": list(old.points),
            "points": list(change.setup.points),
            "order": list(change.setup.hosts),
            "moved_layers": sum(len(fetch.layers) for fetch in change.fetches if not fetch.local),
            "bytes_moved": 0.0,
            **{f"{step}_s": None for step in ("prepare", "fetch", "commit", "refill")},
            "total_s": None,
            "batches_recomputed": 0,
            "kept": kept,
            "predicted_gain_s": gain_s,
        }
        central.facts.repartitions.append(row)
        return row

    def _move(self, change: Change, gain_s: float) -> Process:
        central, line = self.central, self.line
        self._regret = Regret()
        row = self._note(change, gain_s, kept=True)
        phases = Phases(line, "repartition", row)
        lives = {name: central.lives[name] for name in line.config.devices if name in central.lives}
        try:
            yield from central.recoverer.carry_out(phases, change, lives, "repartition")
        except Interrupted:
            phases.close("broken off")
            row["kept"] = False
            row["bytes_moved"] = 0.0
            yield from central.recoverer.recover()
            return
        for key in ("outcome", "updates_lost"):
            row.pop(key, None)
