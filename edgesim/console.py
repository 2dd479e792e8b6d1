"""What the command line shows while it works: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_S = 10.0
"""Wall time between two progress lines where standard error is no terminal."""


class Progress:
    """Calls `(stage, fraction)` become a bar on a terminal and at most a line every ten seconds elsewhere.

    Everything goes to standard error, so that standard output holds results only.

    >>> with Progress(quiet=True) as progress:
    ...     progress("simulating", 0.5)
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, fraction: float | None = None) -> None:
        """Show how far a stage is: a fraction from 0 to 1, or None where nobody knows."""
        if self._bar is not None:
            self._move(stage, fraction)
        elif not self._quiet and time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            share = "" if fraction is None else f" {fraction:.0%}"
            print(f"{stage}{share}", file=sys.stderr, flush=True)

    def _move(self, stage: str, fraction: float | None) -> None:
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._bar.remove_task(task)
            self._tasks = {stage: self._bar.add_task(stage, total=None if fraction is None else 1.0)}
        if fraction is not None:
            self._bar.update(self._tasks[stage], total=1.0, completed=fraction)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def console() -> Console:
    """Return a console on standard output; where that is no terminal, lines are as long as they need be."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, soft_wrap=False)


def grid(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[str] = (),
    widths: Sequence[int] | None = None,
) -> Any:
    """Return a table: its first column, and those named in `left`, to the left, the others to the right.

    `widths` gives the characters of each column; without it they are as long as they need be and can be.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title) if title else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
        collapse_padding=widths is not None,
    )
    for index, column in enumerate(columns):
        table.add_column(
            Text(column),
            justify="left" if index == 0 or column in left else "right",
            overflow="fold",
            width=widths[index] if widths is not None else None,
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
