"""One run: build it, simulate it, keep it, whatever ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from edgesim import workload_file
from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError
from edgesim.experiment import training
from edgesim.experiment.facts import gather
from edgesim.experiment.workloads import PROFILE, Progress, Workloads
from edgesim.report import audit, metrics
from edgesim.report.facts import RunFacts
from edgesim.report.storage import RunDirectory
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


class Interrupted(KeyboardInterrupt):
    """The user stopped a run; what happened until then is kept."""

    def __init__(self, result: Result, place: Path | None) -> None:
        self.result = result
        """What happened until the interrupt; `summary["complete"]` is false."""
        at = result.summary["simulated_s"]
        kept = f"; {place} holds what happened until then" if place else ""
        super().__init__(f"interrupted at {at:.6g} s of simulated time{kept}")


def simulate(
    scenario: Scenario, workloads: Workloads, *, out: Path | None, progress: Progress, pictures: bool = True
) -> Result:
    """Run a checked scenario and return what happened; with `out` its rows stream into that directory.

    Raises `ScenarioError` or `ProfileError` before anything is written; later, when everything that happened
    has been written, `SimulationError` if the run cannot go on and `Interrupted` on Ctrl-C.
    """
    workload = workloads.workload(scenario)
    run = _Run(scenario, workload, out, pictures)
    try:
        with workloads.timer(scenario, workload, out) as timer:
            run.go(timer, progress)
    except KeyboardInterrupt:
        raise Interrupted(run.keep("interrupted"), out) from None
    except EdgesimError as error:
        run.keep(str(error))
        raise
    progress("writing", 1.0)
    return run.keep()


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
        self.directory = None if out is None else self._directory(out)

    def _directory(self, out: Path) -> RunDirectory:
        known = {"scenario": self.scenario.name, "seed": self.scenario.seed, "simulated_s": 0.0}
        directory = RunDirectory(out, self.timeline, scenario=self.text, known=known)
        if self.scenario.workload.profile is None:
            workload_file.save(self.workload, out / PROFILE)
        return directory

    def go(self, timer: LayerTimer, progress: Progress) -> None:
        """Simulate until the declared stop."""
        progress("planning")
        stop = self.scenario.stop
        self.training = training.start(self.scenario, self.sim, self.workload, timer)
        live = self.scenario.workload.resolved_timing == "live"
        with _between_events() as asked:
            self.sim.run(
                until_s=stop.time,
                stop=self.training.done,
                tick=lambda: self._tick(progress, asked),
                tick_events=LIVE_TICK_EVENTS if live else TICK_EVENTS,
            )
        _heed(asked)

    def _tick(self, progress: Progress, asked: list[int]) -> None:
        _heed(asked)
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

    def keep(self, stopped: str = "") -> Result:
        """Return the result, after writing it where there is a directory."""
        if self.directory is not None:
            self.directory.flush(simulated_s=self.sim.now)
            tables = self.directory.tables()
        else:
            tables = Tables.of(self.timeline)
        facts = self._facts(stopped)
        result = Result(
            scenario=self.text,
            summary=metrics.summary(tables, self.cluster, facts),
            tables=tables,
            base=self.base,
        )
        if self.directory is not None:
            self.directory.finish(result.summary)
            if self.pictures:
                result.save_pictures(self.directory.path)
        wrong = audit.contradictions(tables, facts)
        assert not wrong, "; ".join(wrong[:5])
        return result

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
        )


@contextmanager
def _between_events() -> Iterator[list[int]]:
    """Note Ctrl-C in a list instead of raising amid an event, so that what is kept adds up.

    A second one raises. Only the main thread can; elsewhere an interrupt comes as it does.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _heed(asked: list[int]) -> None:
    if asked:
        raise KeyboardInterrupt
