"""What the central node of a pipeline asks the others: are you there, and have you done as told."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from simpy import AllOf, AnyOf, Event

from edgesim.engine.flow import Flow
from edgesim.timeline import Tag

if TYPE_CHECKING:
    from edgesim.training.pipeline_line import Line

CONTROL_BYTES = 64.0
"""Size of a probe, an answer, an order or an acknowledgement, in B: assumed."""
Answers = dict[str, int]
"""Who has answered, and which stay in memory that was."""
Process = Generator[Event, Any, Any]


class Calls:
    """Short messages between the central node and the others."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.env = line.sim.env
        self.central = line.config.central

    def send(self, source: str, target: str, kind: str, then: Callable[[], None]) -> None:
        """Send a short message; `then` is called where it arrives."""
        if source == target:
            then()
            return
        flow = self.line.sim.network.send(source, target, CONTROL_BYTES, Tag(kind))
        flow.callbacks.append(partial(_arrived, flow, then))

    def ask(self, name: str) -> Event:
        """Probe a device; return the event of its answer, whose value is its stay in memory."""
        answered = self.env.event()
        node = self.line.nodes[name]

        def answer() -> None:
            life = node.life
            self.send(name, self.central, "answer", lambda: _succeed(answered, life))

        self.send(self.central, name, "probe", answer)
        return answered

    def probe(self, names: Sequence[str], timeout_s: float, *, parallel: bool) -> Process:
        """Probe devices, one after the other or all at once; return the `Answers` that came in time."""
        if parallel:
            asked = {name: self.ask(name) for name in names}
            if asked:
                yield AnyOf(self.env, [AllOf(self.env, list(asked.values())), self.env.timeout(timeout_s)])
            return _answers(asked)
        found: Answers = {}
        for name in names:
            answered = self.ask(name)
            yield AnyOf(self.env, [answered, self.env.timeout(timeout_s)])
            found |= _answers({name: answered})
        return found

    def told(self, names: Sequence[str], act: Callable[[str, Callable[[], None]], None]) -> Event:
        """Order devices to do something; return the event of the last acknowledgement.

        `act` is called with a device when the order arrives there, and calls back when it has done it.
        """
        done = self.env.event()
        left = dict.fromkeys(names)

        def acknowledged(name: str) -> None:
            left.pop(name, None)
            if not left and not done.triggered:
                done.succeed()

        for name in names:
            reply = partial(self.send, name, self.central, "control", partial(acknowledged, name))
            self.send(self.central, name, "control", partial(act, name, reply))
        if not names:
            done.succeed()
        return done


def _answers(asked: Mapping[str, Event]) -> Answers:
    return {name: int(str(event.value)) for name, event in asked.items() if event.triggered}


def _succeed(event: Event, value: int) -> None:
    event.succeed(value)


def _arrived(flow: Flow, then: Callable[[], None], _event: object) -> None:
    if not flow.lost:
        then()
