"""What the checks share: the scenario with its names and links worked out once, and the problems found."""

from __future__ import annotations

from functools import cached_property

from edgesim.errors import Problem
from edgesim.scenario.document import Document, Path_
from edgesim.scenario.explain import did_you_mean
from edgesim.scenario.model import Scenario
from edgesim.scenario.names import Names, hosts_of, workers_of
from edgesim.scenario.topologies import link_names


class Finding:
    """A scenario being checked."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.document: Document = scenario.document
        self.problems: list[Problem] = []

    @cached_property
    def names(self) -> Names:
        """Devices and groups by name."""
        return Names(self.scenario.devices)

    @cached_property
    def workers(self) -> tuple[str, ...]:
        """Devices that train."""
        return workers_of(self.scenario, self.names)

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """Devices that hold the parameters."""
        return hosts_of(self.scenario, self.names)

    @cached_property
    def links(self) -> dict[str, tuple[str, ...]]:
        """Links by each name that stands for some."""
        return link_names(self.scenario, self.names)

    def say(self, message: str, *path: str | int, key: bool = False) -> None:
        """Note a problem at a value, or at its key."""
        self.problems.append(self.document.problem(path, message, key=key))

    def no_effect(self, why: str, *path: str | int) -> None:
        """Note a setting that can have no effect, at its key."""
        self.say(f"has no effect: {why}", *path, key=True)

    def device(self, name: str, path: Path_, *, group: bool = False) -> bool:
        """Return whether a name is a device (or, with `group`, a group); note a problem if not."""
        if name in self.names.devices or (group and name in self.names.groups):
            return True
        if name in self.names.groups:
            first = self.names.groups[name][0]
            self.say(
                f"{name!r} stands for {len(self.names.groups[name])} devices, one is due; write '{first}'",
                *path,
            )
        else:
            known = self.names.known() if group else list(self.names.known_devices())
            self.say(f"there is no device {name!r}; {did_you_mean(name, known)}", *path)
        return False

    @cached_property
    def used_by_alternatives(self) -> frozenset[str]:
        """Settings inside `training` that an alternative uses, whether or not they have an effect without."""
        from edgesim.scenario.dropping import Dropping
        from edgesim.scenario.paths import blocks

        return Dropping(self.scenario.training, blocks(self.scenario.compare)).used

    @cached_property
    def worker_set(self) -> frozenset[str]:
        """Devices that train, for asking whether one does."""
        return frozenset(self.workers)

    @cached_property
    def link_figures(self) -> dict[str, tuple[float | None, float]]:
        """Bandwidth and latency of each link, as `present_figures` says."""
        from edgesim.scenario.check_order import present_figures

        return present_figures(self)
