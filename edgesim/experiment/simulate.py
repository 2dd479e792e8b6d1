"""One run: build it, simulate it, keep it, whatever ends it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgesim import workload_file
from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError
from edgesim.experiment import places, training
from edgesim.experiment.facts import gather
from edgesim.experiment.stopping import Interrupted, Stop, StoppedAtOnce, stoppable
from edgesim.experiment.workloads import PROFILE, Progress, Workloads
from edgesim.report import audit, metrics
from edgesim.report.facts import RunFacts
from edgesim.report.storage import SUMMARY, RunDirectory, write_json
from edgesim.report.tables import Tables
from edgesim.result import Result
from edgesim.scenario import Scenario, build, writer
from edgesim.timeline import Timeline
from edgesim.training.parameter_server import TrainingRun
from edgesim.workload import LayerTimer, Workload

TICK_EVENTS, LIVE_TICK_EVENTS = 1000, 10
"""Events between two looks at the wall clock; few where each may run a real layer."""
TOLD_S = 0.1
"""Wall time between two reports of progress, in s."""


def simulate(
    scenario: Scenario,
    workloads: Workloads,
    *,
    out: Path | None,
    progress: Progress,
    pictures: bool = True,
    failed: Callable[[Result], object] = lambda result: None,
) -> Result:
    """Run a checked scenario and return what happened; with `out` its rows stream into that directory.

    Raises `ScenarioError` or `ProfileError` before anything is written; later, when everything that happened
    has been written, `SimulationError` if the run cannot go on and `Interrupted` on Ctrl-C. A second Ctrl-C
    raises `StoppedAtOnce`. `failed` is given what there is of a run that cannot go on.
    """
    workload = workloads.workload(scenario)
    run = _Run(scenario, workload, out, pictures)
    with places.held(out), stoppable(out) as stop:
        run.open()
        try:
            with workloads.timer(scenario, workload, out) as timer:
                run.go(timer, progress, stop)
        except StoppedAtOnce:
            raise
        except KeyboardInterrupt:
            raise Interrupted(run.keep("interrupted"), out) from None
        except EdgesimError as error:
            failed(run.keep(str(error)))
            raise
        progress("writing", 1.0)
        return run.finish(stop)


class _Run:
    """Everything of one run, from its scenario to its result."""

    def __init__(self, scenario: Scenario, workload: Workload, out: Path | None, pictures: bool) -> None:
        self.began = self.told = time.perf_counter()
        self.scenario, self.workload, self.pictures = scenario, workload, pictures
        self.base = Path() if out is None else out
        self.text = writer.to_yaml(scenario, writer.moved(scenario, self.base))
        self.timeline = Timeline()
        self.cluster: Cluster = build.cluster(scenario)
        training.check_memory(scenario, self.cluster, workload)
        events = build.events(scenario)
        self.sim = Simulation(self.cluster, seed=scenario.seed, timeline=self.timeline, events=events)
        self.training: TrainingRun | None = None
        self.out = out
        self.directory: RunDirectory | None = None

    def open(self) -> None:
        """Take the run's directory, if it has one. Raises `EdgesimError` if something else is there."""
        if self.out is None:
            return
        places.for_run(self.out)
        declared = {name: link.bandwidth_Bps for name, link in self.cluster.links.items()}
        links = {name: {"bandwidth_Bps": rate} for name, rate in declared.items() if rate < math.inf}
        known = {
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "simulated_s": 0.0,
            "links": links,
        }
        self.directory = RunDirectory(self.out, self.timeline, scenario=self.text, known=known)
        if self.scenario.workload.profile is None:
            workload_file.save(self.workload, self.out / PROFILE)

    def go(self, timer: LayerTimer, progress: Progress, asked: Stop) -> None:
        """Simulate until the declared stop."""
        progress("planning")
        stop = self.scenario.stop
        self.training = training.start(self.scenario, self.sim, self.workload, timer)
        live = self.scenario.workload.resolved_timing == "live"
        asked.heed()
        self.sim.run(
            until_s=stop.time,
            stop=self.training.done,
            tick=lambda: self._tick(progress, asked),
            tick_events=LIVE_TICK_EVENTS if live else TICK_EVENTS,
        )
        asked.heed()

    def _tick(self, progress: Progress, asked: Stop) -> None:
        asked.heed()
        now = time.perf_counter()
        if now - self.told < TOLD_S:
            return
        self.told = now
        progress("simulating", self._fraction())
        if self.directory is not None:
            self.directory.tick(simulated_s=self.sim.now, wall_s=now - self.began)

    def _fraction(self) -> float:
        stop = self.scenario.stop
        shares = [0.0]
        if stop.time is not None:
            shares.append(self.sim.now / stop.time)
        if stop.iterations is not None and self.training is not None:
            shares.append(len(self.training.contributions) / stop.iterations)
        return min(max(shares), 1.0)

    def keep(self, stopped: str) -> Result:
        """Return the result of a run that did not reach its stop, all of it written if it has a directory."""
        result = self._written(stopped)
        self._draw(result)
        return result

    def finish(self, asked: Stop) -> Result:
        """Return the result, all of it written if the run has a directory.

        Raises `Interrupted` if that was asked for once the run was over: its data are whole then.
        """
        result = self._written()
        try:
            asked.heed()
            asked.gently = False
            self._draw(result)
        except StoppedAtOnce:
            raise
        except KeyboardInterrupt:
            result.summary["stopped"] = "interrupted while its pictures were made"
            if self.directory is not None:
                write_json(self.directory.path / SUMMARY, result.summary)
            raise Interrupted(result, self.out) from None
        return result

    def _draw(self, result: Result) -> None:
        if self.directory is not None and self.pictures:
            result.save_pictures(self.directory.path)

    def _written(self, stopped: str = "") -> Result:
        if self.directory is not None:
            self.directory.flush(simulated_s=self.sim.now)
            tables = self.directory.tables()
        else:
            tables = Tables.of(self.timeline)
        facts = self._facts(stopped)
        summary = metrics.summary(tables, self.cluster, facts)
        if missed := self._missed():
            summary["events_missed"] = missed
        result = Result(scenario=self.text, summary=summary, tables=tables, base=self.base)
        if self.directory is not None:
            self.directory.finish(result.summary)
        wrong = audit.contradictions(tables, facts)
        assert not wrong, "; ".join(wrong[:5])
        return result

    def _missed(self) -> int:
        """Return how many of the scenario's timed events the run ended before."""
        return sum(event.at is not None and event.at > self.sim.now for event in self.scenario.events)

    def _facts(self, stopped: str) -> RunFacts:
        facts = gather(self.sim, self.training)
        return replace(
            facts,
            scenario=self.scenario.name,
            scenario_text=self.scenario.to_yaml(),
            seed=self.scenario.seed,
            server=self.scenario.training.server,
            schedule=self.scenario.training.schedule,
            complete=not stopped,
            stopped=stopped,
            wall_s=time.perf_counter() - self.began,
            assumed=self.workload.doubts,
        )
