"""What machine this is."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

CLOCKS: dict[Callable[[], float], str] = {
    time.thread_time: "CPU time of the training thread",
    time.perf_counter: "wall clock",
}
"""The clocks a layer can be timed by, and what they read."""


def best_clock(threads: int) -> Callable[[], float]:
    """Return the clock, in s, that says best what a layer costs on a core it has to itself.

    With one thread that is the thread's CPU time: on an idle host it equals the wall clock, and on a busy one
    it leaves out the time for which other programs had the core. Several threads have only the wall clock in
    common; and Windows counts CPU time too coarsely (15.6 ms).
    """
    return time.thread_time if threads == 1 and sys.platform != "win32" else time.perf_counter


def cpu_name() -> str:
    """Return the CPU's model name, with family and model numbers where Linux tells them.

    >>> cpu_name() != ""
    True
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name")
    if name is None:
        return platform.processor() or platform.machine() or "unknown"
    if "cpu family" in facts and "model" in facts:
        return f"{name} (family {facts['cpu family']}, model {facts['model']})"
    return name
