"""Ctrl-C: the first lets a run write what happened, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from edgesim.result import Result


class Interrupted(KeyboardInterrupt):
    """The user stopped a run; what happened until then is kept."""

    def __init__(self, result: Result, place: Path | None, said: str = "") -> None:
        self.result = result
        """What happened until the interrupt; `summary["complete"]` is false if that is not all."""
        at = result.summary["simulated_s"]
        kept = f"; {place} holds what happened until then" if place else ""
        super().__init__(said or f"interrupted at {at:.6g} s of simulated time{kept}")


class StoppedAtOnce(KeyboardInterrupt):
    """The user could not wait until everything was written; the text says what can be read."""


class Stop:
    """Whether the user has asked for an end."""

    def __init__(self) -> None:
        self.asked = False
        """Whether Ctrl-C was pressed."""
        self.gently = True
        """Whether the first Ctrl-C is only noted, to be heeded between events: what is kept adds up then."""

    def heed(self) -> None:
        """Raise `KeyboardInterrupt` if an end was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take notice of Ctrl-C."""
        if self.asked:
            raise StoppedAtOnce
        self.asked = True
        _say("stopping; writing what happened (press again to stop at once)")
        if not self.gently:
            raise KeyboardInterrupt


@contextmanager
def stoppable(out: Path | None) -> Iterator[Stop]:
    """Hand out what notes Ctrl-C. Only the main thread can; elsewhere an interrupt comes as it does.

    Raises `StoppedAtOnce` on the second one, with what can be read in the directory `out`.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.note)
    try:
        yield stop
    except StoppedAtOnce:
        kept = f"; {out} can be read, its summary.json says whether it is complete" if out else ""
        raise StoppedAtOnce(f"stopped at once{kept}") from None
    finally:
        signal.signal(signal.SIGINT, before)


def _say(text: str) -> None:
    """Write a line to standard error past its buffer, which an interrupted `print` may hold."""
    try:
        start = "\n" if sys.stderr.isatty() else ""
        os.write(sys.stderr.fileno(), f"{start}edgesim: {text}\n".encode())
    except (OSError, ValueError, AttributeError):  # no such file, as in a notebook
        return
