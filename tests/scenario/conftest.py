from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgesim import scenario
from edgesim.errors import ScenarioError

GOOD = """\
version: 1
name: good
workload: {model: lenet, batch_size: 8}
devices:
  - {name: server, speed: 1}
  - {name: pi, count: 3, speed: 0.25, memory: 1 GiB}
network:
  topology: star
  bandwidth: 50 Mbit/s
training: {method: parameter-server, server: server}
stop: {iterations: 10}
"""


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def wrong() -> Callable[..., list[str]]:
    """Return what is said about a text, without the name of the file."""

    def say(text: str, base: Path | str = ".") -> list[str]:
        with pytest.raises(ScenarioError) as caught:
            scenario.loads(text, "f", base)
        return [str(problem).removeprefix("f:") for problem in caught.value.problems]

    return say


@pytest.fixture
def changed() -> Callable[..., str]:
    """Return the good scenario with pieces of text replaced, each of which must be there."""

    def change(*pairs: tuple[str, str]) -> str:
        text = GOOD
        for old, new in pairs:
            assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
            text = text.replace(old, new)
        return text

    return change
