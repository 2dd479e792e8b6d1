"""The central node of a pipeline: it has the data, counts the batches, plans, and notices who has failed.

It knows what the others measured and told it, and what it measured itself; never the state of a device.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from functools import partial
from math import inf, nan
from typing import TYPE_CHECKING, Any

from simpy import AnyOf, Event

from edgesim.errors import SimulationError
from edgesim.planning import capacity as capacities
from edgesim.planning import detection
from edgesim.planning.pipeline_orders import Pass
from edgesim.timeline import Tag
from edgesim.training.pipeline_facts import Facts
from edgesim.training.pipeline_plan import Knowledge
from edgesim.training.pipeline_term import Setup
from edgesim.training.recovery import Recoverer
from edgesim.training.repartition import Repartitioner
from edgesim.training.scheduler import pace_of

if TYPE_CHECKING:
    from edgesim.training.pipeline_line import Line

Process = Generator[Event, Any, Any]
PATIENCE = 8
"""False alarms in a row, each after twice the time, after which nothing is taken to come back any more."""


SEEKS = 20
"""How often a missing device is probed."""


class Central:
    """Data, plans, detection: everything that is on the first stage's device beside the stage."""

    def __init__(self, line: Line, knowledge: Knowledge) -> None:
        self.line = line
        self.config = line.config
        self.sim = line.sim
        self.name = line.config.central
        self.knowledge = knowledge
        self.facts = Facts(line)
        self.capacity: dict[str, float] = {self.name: 1.0}
        """Last known capacity of each device, relative to this one's at the start."""
        self.history: list[tuple[str, ...]] = []
        """Devices of the stages when each batch came back."""
        self.done: Event = self.sim.env.event()
        self.staleness = 0
        """Of the first stage's last update."""
        self.lives: dict[str, int] = {}
        """Stay in memory of each device when it was last given a stage or left without one."""
        self.upcoming = 0
        """The next batch to come back: after a way back to a snapshot one that has been counted before."""
        self.returned: dict[str, None] = {}
        """Devices that were given up and are back."""
        self.hellos: dict[str, int] = {}
        """Devices of this term that have said that they are back, and their stay in memory."""
        self.reported = False
        """Whether somebody has told of a broken connection since the last look."""
        self.recoverer = Recoverer(self)
        self.repartitioner = Repartitioner(self)
        self._sent: dict[int, float] = {}
        self._looks = False
        self._news: Event | None = None
        self._alarms = 0
        """How often the time for a batch has been doubled since one was in time."""
        self._silent = 0
        """False alarms since a batch was back."""
        self._trips = 0
        self._since_s = 0.0
        self._timer = self._fresh_timer()

    @property
    def _settled(self) -> bool:
        """Whether the pipeline has filled: before, round trips grow from batch to batch and tell little."""
        assert self.line.term is not None
        return self._trips > self.line.term.windows[0]

    def _fresh_timer(self) -> detection.Detector:
        asked = self.config.detection
        return detection.pick(asked.policy, asked.factor, asked.z)

    # --- what happens -----------------------------------------------------------------------------------

    def start(self, setup: Setup) -> None:
        """Put the first stages into force, and watch from now on."""
        self.line.replicator.begin()
        self.sim.process(self._fatal(), name=f"{self.name} watch")
        for name in self.config.devices[1:]:
            self.sim.process(self._greet(name), name=f"{name} hello")
        self.enter(setup, 0, "start", dict.fromkeys(self.config.devices, 0))
        self.line.replicator.seed()
        self.sim.process(self.run(), name=f"{self.name} central")

    def enter(self, setup: Setup, first: int, why: str, lives: Mapping[str, int]) -> None:
        """Begin a term with devices in the stays in memory in which they have last answered."""
        self._sent = {}
        self._trips = 0
        self.upcoming = first
        self._since_s = self.sim.now
        self._timer = self._fresh_timer()
        for name, life in self.hellos.items():
            if name not in setup.hosts:
                self._hello(name, life, known=False)
        self.hellos = {}
        self.returned = {name: None for name in self.returned if name not in setup.hosts}
        self.line.replicator.replan(setup)
        self.lives |= lives
        self.line.begin(setup, first, self.lives)
        self.facts.partition(setup, first, why, dict(self.capacity))

    def injected(self, one: Pass) -> None:
        """Note that a batch sets out."""
        if one.part == 0:
            self._sent[one.batch] = self.sim.now
            self._stir()

    def back(self, batch: int) -> None:
        """Note that a batch has come back, and been learnt by all stages."""
        now = self.sim.now
        self._silent = 0
        self.upcoming = batch + 1
        self._trips += 1
        sent_s = self._sent.pop(batch, None)
        if sent_s is not None and now - sent_s <= self.timeout_s:
            self._alarms = 0
        if sent_s is not None and self._settled:
            self._timer = self._timer.seen(now - sent_s)
        self.facts.refilled(new=batch == len(self.history))
        if batch == len(self.history):
            self._count(batch, now)
        elif batch < len(self.history):
            self._write(batch, now)
        self._look(batch + 1)
        self._stir()

    def _count(self, batch: int, now: float) -> None:
        """Enter one more batch into history and learning."""
        assert self.line.term is not None
        self.history.append(tuple(dict.fromkeys(self.line.term.setup.hosts)))
        self._write(batch, now)
        self.mark(self.name, "iteration", str(batch))
        if len(self.history) == self.config.iterations:
            self.sim.process(self._finish(), name=f"{self.name} end")

    def _write(self, batch: int, now: float) -> None:
        """Write down what a batch has shown; one that is computed again from a snapshot once more."""
        loss = accuracy = nan
        if self.line.learner is not None:
            lesson = self.line.learner.lesson(batch)
            loss, accuracy = lesson.loss, nan if lesson.accuracy is None else lesson.accuracy
        if self.sim.timeline is not None:
            gradients = self.line.parts
            self.sim.timeline.update(now, self.name, batch, gradients, self.staleness, loss, accuracy)

    def _finish(self) -> Process:
        """End the training when every stage has made its last update, or can make none any more."""
        for stage in self.line.stages:
            if not stage.idle.triggered:
                yield stage.idle
        self.done.succeed()

    def _look(self, batches: int) -> None:
        asked = self.config.repartition
        due = capacities.due(batches, asked.first, asked.every)
        if asked.policy != "never" and (due or batches == self.repartitioner.next_look):
            self._looks = True

    def broken(self, source: str, target: str) -> None:
        """Take note that a message between two devices has got lost: whoever is up reports it."""
        if self.config.detection.policy != "adaptive":
            return
        for name in (source, target):
            if self.line.nodes[name].device.up:
                self.line.calls.send(name, self.name, "control", self._told)

    def _told(self) -> None:
        self.reported = True
        self._stir()

    def mark(self, subject: str, kind: str, label: str = "") -> None:
        """Write down one instant."""
        if self.sim.timeline is not None:
            self.sim.timeline.mark(self.sim.now, subject, kind, label)

    def _stir(self) -> None:
        if self._news is not None and not self._news.triggered:
            self._news.succeed()

    # --- processes --------------------------------------------------------------------------------------

    def run(self) -> Process:
        """Watch the batches; look at capacities where that is due; recover where something has failed."""
        while len(self.history) != self.config.iterations:
            if self.reported or self.sim.now >= self.deadline_s:
                self.mark(self.name, "expired", str(self.oldest))
                yield from self.recoverer.recover()
                self.reported = False
            elif self.replaying:
                yield from self._wait()
            elif self.returned and self._takes_back:
                yield from self.repartitioner.look(return_of=tuple(self.returned))
            elif self._looks:
                self._looks = False
                yield from self.repartitioner.look()
            else:
                yield from self._wait()

    @property
    def replaying(self) -> bool:
        """Whether a stage still computes again what its former host had done: until then nothing moves."""
        return any(stage.replaying for stage in self.line.stages)

    @property
    def _takes_back(self) -> bool:
        """Whether a device that is back gets layers; without loss only as others would without a failure."""
        return self.config.repartition.policy != "never" and self.config.recovery != "lossless"

    def _wait(self) -> Process:
        self._news = self.sim.env.event()
        deadline_s = self.deadline_s
        if deadline_s < inf:
            yield AnyOf(self.sim.env, [self._news, self.sim.env.timeout(max(deadline_s - self.sim.now, 0.0))])
        else:
            yield self._news

    @property
    def oldest(self) -> int:
        """The oldest batch that is not back."""
        return min(self._sent, default=self.upcoming)

    @property
    def deadline_s(self) -> float:
        """Time at which the oldest batch in flight is overdue, in s; never where everything is here."""
        assert self.line.term is not None
        if not self._sent or self.line.term.last == 0:
            return inf
        return max(self._sent[self.oldest], self._since_s) + self.timeout_s * 2.0**self._alarms

    @property
    def timeout_s(self) -> float:
        """How long a batch may be on its way, in s."""
        assert self.line.term is not None
        setup = self.line.term.setup
        least_s = 0.0 if self._timer.count else self.config.detection.probe_timeout_s
        return max(self._timer.timeout_s(len(setup.hosts) * setup.period_s), least_s)

    @property
    def probe_timeout_s(self) -> float:
        """How long the answer to a probe may take, in s: as declared; `adaptive` no longer than a batch."""
        asked = self.config.detection
        return min(asked.probe_timeout_s, self.timeout_s if asked.policy == "adaptive" else inf)

    def false_alarm(self) -> None:
        """Wait longer for the oldest batch. Raises `SimulationError` if that has been done too often."""
        self._alarms = min(self._alarms + 1, PATIENCE)
        self._silent += 1
        self._since_s = self.sim.now
        if self._silent > PATIENCE:
            raise SimulationError(
                f"batch {self.oldest} does not come back, though every device answers: at "
                f"{self.sim.now:.6g} s some stage computes nothing, or no message reaches it, any more"
            )

    def _fatal(self) -> Process:
        """End the training at once when this device fails."""
        node = self.line.nodes[self.name]
        if node.device.up:
            yield node.device.next_crash()
        last = self.line.replicator.saved_batch
        held = "none had been made" if last is None else f"the last, after {last} batches, is kept"
        reason = f"the central node {self.name} has failed; of its global copies {held}"
        self.facts.lost_central(reason)
        raise SimulationError(f"training cannot go on at {self.sim.now:.6g} s: {reason}")

    def _greet(self, name: str) -> Process:
        """Let a device that comes back say so."""
        device = self.line.nodes[name].device
        while not device.gone:
            yield device.next_return()
            life = self.line.nodes[name].life
            self.line.calls.send(name, self.name, "control", partial(self._hello, name, life))

    def _hello(self, name: str, life: int, *, known: bool = True) -> None:
        if known and self.has_stage(name):
            self.hellos[name] = life
        else:
            self.lives[name] = life
            self.returned[name] = None
            self._stir()

    def has_stage(self, name: str) -> bool:
        """Tell whether a device has a stage in the present term."""
        assert self.line.term is not None
        return name in self.line.term.setup.hosts

    def missed(self, failed: Iterable[str]) -> list[str]:
        """Count on devices no more that do not answer; return those of them that have a stage."""
        gone = list(failed)
        for name in gone:
            self.lives.pop(name, None)
            self.returned.pop(name, None)
            if self._takes_back:
                self.sim.process(self._seek(name), name=f"{self.name} seeks {name}")
        return [name for name in gone if self.has_stage(name)]

    def rejoin(self, lives: Mapping[str, int], replay_s: float) -> None:
        """Go on with the present term, in which lost stages are back and compute again for some s."""
        assert self.line.term is not None
        setup = self.line.term.setup
        self.lives |= lives
        self.hellos = {}
        self._since_s = self.sim.now + replay_s
        self.facts.partition(setup, len(self.history), "recovery", dict(self.capacity))

    def plan_task(self, devices: int) -> Process:
        """Spend the time of making a plan for so many devices."""
        work_s = self.knowledge.work_s(devices) * pace_of(self.line.nodes[self.name].device.spec)
        yield self.line.nodes[self.name].device.compute(work_s, Tag("plan", "", len(self.history)))

    @property
    def begun(self) -> int:
        """The last batch that has set out in this term, plus one."""
        return max(self._sent, default=self.upcoming - 1) + 1

    # --- what it knows ----------------------------------------------------------------------------------

    def _seek(self, name: str) -> Process:
        """Probe a device that is missing now and then, less and less often: it may only be out of reach."""
        for doubling in range(SEEKS):
            yield self.sim.env.timeout(10.0 * self.config.detection.probe_timeout_s * 2.0**doubling)
            if name in self.lives or len(self.history) == self.config.iterations:
                return
            answered = self.line.calls.ask(name)
            yield AnyOf(self.sim.env, [answered, self.sim.env.timeout(self.config.detection.probe_timeout_s)])
            if answered.triggered and name not in self.lives:
                self._hello(name, int(str(answered.value)))
                return

    def measured(self) -> dict[str, float]:
        """Return the capacities as far as known: C_i by the stages' last batches, C_0 = 1.

        `regret` also looks at the central node itself, whose speed may have changed as well.
        """
        found = dict(self.capacity)
        for stage in self.line.stages:
            own_s = sum(self.knowledge.layer_s[layer] for layer in stage.layers)
            total_s = sum(stage.compute_s)
            if own_s > 0.0 and total_s > 0.0:
                mean_s = total_s / len(stage.compute_s)
                found[stage.node.name] = capacities.capacity(mean_s, own_s)
        if self.config.repartition.policy != "regret":
            found[self.name] = 1.0
        return found

    def measure(self) -> None:
        """Look at the capacities, and measure anew from now on."""
        self.capacity = self.measured()
        for stage in self.line.stages:
            stage.compute_s.clear()
