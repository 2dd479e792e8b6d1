"""From what the central node knows to a set-up of the pipeline: stages, devices, windows, expected period."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgesim.plan import Partition
from edgesim.planning import partition
from edgesim.planning.cost import PlanningError
from edgesim.planning.pipeline_orders import windows as paper_windows
from edgesim.planning.pipeline_period import fitting_windows, gpipe_makespan, steady_period
from edgesim.training.pipeline_config import Config
from edgesim.training.pipeline_costs import Costs
from edgesim.training.pipeline_links import Links
from edgesim.training.pipeline_term import Setup

PARTITION_S = 5e-9
"""Time of one step of the paper's program on the profiled host, of which there are S L^2, in s:
`benchmarks/partition.py` measures 1 to 2 ms for L = 150 and S = 16."""
EXACT_S = 6e-7
"""Time of one step of the exact partition there, taken to be 2^N L^2 of them, in s: 0.04 to 0.08 s for N = 8
and L = 20, 0.6 to 0.95 s for N = 12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the central node knows when it plans."""

    config: Config
    costs: Costs
    layer_s: tuple[float, ...]
    """Forward and backward time of each layer on the central node, as it measured them at the start, in s."""
    links: Links
    memory: Mapping[str, float]
    """Memory of each device, in B."""

    @property
    def crossing(self) -> list[float]:
        """Bytes that cross a cut behind each layer one way, in B."""
        return [self.costs.crossing_bytes(layer) for layer in range(self.costs.layers)]

    def partition(self, devices: Sequence[str], capacity: Mapping[str, float]) -> Partition:
        """Return the partition over some devices, the central node first, that the settings ask for."""
        config = self.config
        fixed = config.points
        if fixed and fixed[-1] >= self.costs.layers - 1:
            raise PlanningError(
                f"training.partition: {list(fixed)}; the model has {self.costs.layers} layers, 0 to "
                f"{self.costs.layers - 1}, so that the last point is {self.costs.layers - 2} at most"
            )
        if fixed is not None and len(fixed) == len(devices) - 1:
            return Partition(points=fixed, order=tuple(range(len(devices))), period_s=0.0, method="given")
        method = "ftpipehd" if fixed is not None else config.partition
        names = list(devices)
        if method == "exact":
            return self._exact(names, capacity)
        return partition.plan(
            self.layer_s,
            self.crossing,
            self.links.matrix(names),
            [capacity.get(name, 1.0) for name in names],
            method,
        )

    def _exact(self, names: Sequence[str], capacity: Mapping[str, float]) -> Partition:
        """Return the exact partition; one with all devices as long as some have never been measured.

        Where that cannot be, the others count as slow as the slowest that is known.
        """
        slowest = max(capacity.get(name, 1.0) for name in names)
        told = {name: capacity.get(name, slowest) for name in names}
        if any(name not in capacity for name in names) and len(names) <= self.costs.layers:
            try:
                return self._best(names, told, optional=False)
            except PlanningError:  # all of them do not fit the memory
                pass
        return self._best(names, told, optional=True)

    def _best(self, names: Sequence[str], capacity: Mapping[str, float], *, optional: bool) -> Partition:
        layers = range(self.costs.layers)
        limits = [self.memory[name] for name in names]
        finite = any(limit < float("inf") for limit in limits)
        one = [range(layer, layer + 1) for layer in layers]
        return partition.plan(
            self.layer_s,
            self.crossing,
            self.links.matrix(names),
            [capacity[name] for name in names],
            "exact",
            memory=[None if limit == float("inf") else limit for limit in limits] if finite else None,
            weights=[self.costs.parameter_bytes(layer) for layer in one] if finite else None,
            activations=[self.costs.activation_bytes(layer) for layer in one] if finite else None,
            extra=1.0 + self.config.optimizer_state,
            replicas=self.config.replication.chain is not None,
            latency_s=self.links.latency_s(names),
            optional=optional,
        )

    def setup(self, devices: Sequence[str], capacity: Mapping[str, float]) -> Setup:
        """Return the set-up for some devices, the central node first, of capacities as measured so far.

        `exact` plans for K_s = S - s; with other windows the paper's points, and the central node alone, can
        be better, and are taken where they are.
        """
        made = self.partition(devices, capacity)
        hosts = tuple(devices[place] for place in made.order)
        best = self.completed(made.points, hosts, capacity)
        if (
            made.method == "exact"
            and self.config.windows == "minimal"
            and all(n in capacity for n in devices)
        ):
            best = min([best, *self._others(devices, capacity)], key=lambda setup: setup.period_s)
        return best

    def _others(self, devices: Sequence[str], capacity: Mapping[str, float]) -> Iterator[Setup]:
        """Yield what else there is beside the exact partition, as far as it can be."""
        for names, method in ((devices, "ftpipehd"), (devices[:1], "single")):
            shares = [capacity[name] for name in names]
            try:
                rates = self.links.matrix(names)
                made = partition.plan(self.layer_s, self.crossing, rates, shares, method)
                yield self.completed(made.points, tuple(names), capacity)
            except PlanningError:
                continue

    @property
    def single_s(self) -> float:
        """Time of a batch on the central node alone, update included, in s."""
        spec = self.links.cluster.devices[self.config.central]
        return sum(self.layer_s) + self.costs.update_s(spec, range(self.costs.layers))

    def completed(
        self, points: tuple[int, ...], hosts: tuple[str, ...], capacity: Mapping[str, float]
    ) -> Setup:
        """Return a set-up with windows and the period that follows from what is known."""
        setup = Setup(points=points, hosts=hosts, layers=self.costs.layers, windows=paper_windows(len(hosts)))
        if self.config.windows == "minimal" and self.config.execution == "1f1b":
            stage_s, ways = self._times(setup, capacity)
            latency_s = self.links.latency_s(hosts)
            fits = partial(self._fits, setup)
            setup = replace(setup, windows=tuple(fitting_windows(stage_s, ways, fits, latency_s=latency_s)))
        period_s = self.period_s(setup, capacity)
        return Setup(
            points=points, hosts=hosts, layers=setup.layers, windows=setup.windows, period_s=period_s
        )

    def _fits(self, setup: Setup, windows: Sequence[int]) -> bool:
        """Tell whether every device can hold its stages with these windows."""
        need = self.costs.held_bytes(self.config, setup.hosts, setup.stages, windows)
        return all(nbytes <= self.memory[host] for host, nbytes in need.items())

    def period_s(self, setup: Setup, capacity: Mapping[str, float]) -> float:
        """Return the time between two batches that follows from what is known, in s."""
        stage_s, ways = self._times(setup, capacity)
        config = self.config
        if config.execution in ("gpipe", "1f1b-flush"):
            parts = config.micro_batches
            third = [time_s / parts / 3.0 for time_s in stage_s]
            forward, backward = ([a / parts for a, _ in ways], [b / parts for _, b in ways])
            span_s = gpipe_makespan(third, [2.0 * time_s for time_s in third], forward, backward, parts)
            return float(span_s) + 2.0 * len(ways) * self.links.latency_s(setup.hosts)
        return steady_period(stage_s, ways, setup.windows, latency_s=self.links.latency_s(setup.hosts))

    def _times(
        self, setup: Setup, capacity: Mapping[str, float]
    ) -> tuple[list[float], list[tuple[float, float]]]:
        """Return forward and backward time of each stage, and the two ways of each link, in s."""
        stage_s = [
            capacity.get(host, 1.0) * sum(self.layer_s[layer] for layer in layers)
            for host, layers in zip(setup.hosts, setup.stages, strict=True)
        ]
        ways = []
        for index, layers in enumerate(setup.stages[:-1]):
            near, far = setup.hosts[index], setup.hosts[index + 1]
            nbytes = self.costs.crossing_bytes(layers.stop - 1)
            ways.append((nbytes / self.links.rate_Bps(near, far), nbytes / self.links.rate_Bps(far, near)))
        return stage_s, ways

    def work_s(self, devices: int) -> float:
        """Return the time of making one plan on the profiled host, in s: S L^2 steps, 2^N L^2 if exact."""
        if self.config.partition == "exact":
            return EXACT_S * 2.0**devices * self.costs.layers**2
        return PARTITION_S * devices * self.costs.layers**2
