"""What the summary of a pipeline says beside the timeline: partitions, moves, recoveries, copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesim.training.pipeline_line import Line
    from edgesim.training.pipeline_term import Setup

Row = dict[str, Any]
PHASES = ("detect", "probe", "measure", "plan", "fetch", "commit", "refill", "recompute")
"""Phases of a recovery, in order."""
STEPS = ("prepare", "fetch", "commit", "refill")
"""Phases of a re-partition, in order."""


class Phases:
    """The phases of one recovery or re-partition: how long each took, and a mark where each began."""

    def __init__(self, line: Line, kind: str, row: Row) -> None:
        self._line = line
        self._kind = kind
        self.row = row
        self._phase = ""
        self._since_s = line.sim.now

    @property
    def phase(self) -> str:
        """The present phase; empty: none."""
        return self._phase

    def enter(self, phase: str) -> None:
        """End the present phase, and begin another."""
        self.leave()
        self._phase, self._since_s = phase, self._line.sim.now
        self._line.central.mark(self._line.config.central, self._kind, phase)

    def leave(self) -> None:
        """End the present phase."""
        if self._phase:
            key = f"{self._phase}_s"
            self.row[key] = (self.row.get(key) or 0.0) + self._line.sim.now - self._since_s
            self._phase = ""

    def pause(self) -> None:
        """Add up what there is of a change that is not over yet."""
        phase = self._phase
        self.leave()
        self._phase, self._since_s = phase, self._line.sim.now
        self._total()

    def close(self, end: str) -> None:
        """End the last phase, mark the end, and add up."""
        self.leave()
        if self.row.get("outcome") == "recovered" and self.row.get("recompute_s") is None:
            self.row["recompute_s"] = 0.0
        self._total()
        if end:
            self._line.central.mark(self._line.config.central, self._kind, end)

    def _total(self) -> None:
        names = PHASES if self._kind == "recovery" else STEPS
        self.row["total_s"] = sum(self.row.get(f"{name}_s") or 0.0 for name in names)


class Facts:
    """Rows of everything that happened to a pipeline."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.partitions: list[Row] = []
        self.repartitions: list[Row] = []
        self.recoveries: list[Row] = []
        self._refilling: Phases | None = None

    def partition(self, setup: Setup, batch: int, why: str, capacity: Mapping[str, float]) -> None:
        """Note a set-up that comes into force."""
        self.partitions.append(
            {
                "time_s": self.line.sim.now,
                "batch": batch,
                "points": list(setup.points),
                "order": list(setup.hosts),
                "capacity": [capacity.get(name) for name in setup.hosts],
                "windows": list(setup.windows),
                "period_s": setup.period_s,
                "why": why,
            }
        )
        label = f"{' '.join(map(str, setup.points)) or 'one stage'} ({why})"
        self.line.central.mark(self.line.config.central, "partition", label)

    def refilling(self, phases: Phases) -> None:
        """Let the last phase of a change go on until a batch is back."""
        self.overtaken()
        phases.enter("refill")
        self._refilling = phases

    def refilled(self, *, new: bool) -> None:
        """Note that a batch is back: a change is over if it is a new one, not one computed once more."""
        if self._refilling is not None and not new:
            if self._refilling.phase != "recompute":
                self._refilling.enter("recompute")
        elif self._refilling is not None:
            self._refilling.close("recovered" if "outcome" in self._refilling.row else "done")
            self._refilling = None

    def overtaken(self) -> None:
        """Note that another failure has come before the pipeline was full again."""
        if self._refilling is not None:
            self._refilling.close("")
            self._refilling = None

    def recovery(self, **values: Any) -> Row:
        """Return a new row of a recovery, with everything that is not known yet as nothing."""
        row: Row = {
            "failed_s": None,
            "time_s": self.line.sim.now,
            "devices": [],
            "kind": "",
            "policy": self.line.config.recovery,
            **{f"{phase}_s": None for phase in PHASES},
            "total_s": None,
            "batches_recomputed": 0,
            "updates_lost": 0,
            "bytes_moved": 0.0,
            "points": None,
            "order": None,
            "outcome": "under way",
            **values,
        }
        self.recoveries.append(row)
        return row

    def lost_central(self, reason: str) -> None:
        """Note that the central node has failed."""
        self.overtaken()
        name = self.line.config.central
        self.recovery(
            failed_s=self.line.sim.now, devices=[name], kind="failed", outcome=f"unrecoverable: {reason}"
        )
        self.line.central.mark(name, "failed")

    def summary(self) -> Row:
        """Return what the summary says, at this instant."""
        if self._refilling is not None:
            self._refilling.pause()
        line, central = self.line, self.line.central
        return {
            "pipeline": self._pipeline(),
            "partitions": self.partitions,
            "repartitions": self.repartitions,
            "recoveries": self.recoveries,
            "replication": {
                "chain_bytes": line.replicator.sent["replica"],
                "whole_bytes": line.replicator.sent["global"] + line.replicator.sent["checkpoint"],
                "copies": line.replicator.count,
                "chain_every": line.replicator.every,
            },
            "global_copy": {
                "batch": line.replicator.saved_batch,
                "bytes": line.replicator.saved_bytes,
            },
            "updates": {
                "lost_most": max(line.weights.lost, default=0),
                "false_alarms": sum(row["kind"] == "false-alarm" for row in self.recoveries),
                "batches": len(central.history),
            },
        }

    def _pipeline(self) -> Row:
        line, config = self.line, self.line.config
        assert line.term is not None
        setup = line.term.setup
        knowledge, capacity = line.central.knowledge, line.central.measured()
        stages = [
            {
                "stage": index,
                "device": host,
                "first": layers.start + 1,
                "last": layers.stop,
                "window": setup.windows[index],
                "memory_bytes": line.weight_bytes(index, line.term)
                + line.costs.flight_bytes(config, setup.windows[index], layers),
            }
            for index, (host, layers) in enumerate(zip(setup.hosts, setup.stages, strict=True))
        ]
        return {
            "points": list(setup.points),
            "order": list(setup.hosts),
            "schedule": config.schedule,
            "execution": config.execution,
            "versions": config.versions if config.execution == "1f1b" else None,
            "windows": list(setup.windows),
            "capacity": {name: capacity.get(name) for name in config.devices},
            "stages": stages,
            "period_s": setup.period_s,
            "exact_period_s": knowledge.period_s(setup, capacity),
            "single_s": knowledge.single_s,
            "aggregations": line.aggregations,
        }
