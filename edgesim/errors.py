"""What can go wrong, said with value, place and remedy.

Every error a user can cause is an `EdgesimError`; the command line turns it into its `exit_code` and prints
its text, never a traceback. Bugs of our own stay ordinary exceptions.
"""

from __future__ import annotations

from dataclasses import dataclass


class EdgesimError(Exception):
    """The root of every error that is told to the user rather than raised at them."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with one place of a scenario file.

    >>> print(Problem(file="a.yaml", line=3, column=7, where="seed", message="not a whole number, got 'x'"))
    a.yaml:3:7 seed: not a whole number, got 'x'
    >>> print(Problem(file="--set", line=0, column=0, where="seed", message="not a whole number, got 'x'"))
    --set seed: not a whole number, got 'x'
    """

    file: str
    """Path of the file as the user gave it; `<python>` for a scenario built in Python, `<override>`,
    `<axis>`, `--set` or `--axis` for a value that was put in place of the file's."""
    line: int
    """1-based line; 0 where there is no text to point at."""
    column: int
    """1-based column; 0 where there is no text to point at."""
    where: str
    """Dotted path of the value, for example `devices[pi].memory`."""
    message: str
    """What is wrong, the value, the remedy."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place} {self.where}: {self.message}"


class ScenarioError(EdgesimError):
    """A scenario that cannot be run; carries every problem found, not only the first."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...] | list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ProfileError(EdgesimError):
    """A profile or model that cannot be used: unreadable file, unknown model, input that does not fit."""

    exit_code = 2


class DataError(EdgesimError):
    """A data set that cannot be used: not there, unreadable, or of another shape than it says."""

    exit_code = 2


class SimulationError(EdgesimError):
    """A run that started and could not go on."""

    exit_code = 3


class OutOfMemory(SimulationError):
    """A device was asked to hold more bytes than it has."""


class Deadlock(SimulationError):
    """The simulation ran out of events while processes still waited; says who waits for what."""
