"""Lower bounds of the time between two batches of a pipeline, for whoever takes part, at its best speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgesim.cluster import Cluster
from edgesim.events import Event
from edgesim.timeseries import at_start
from edgesim.training.bounds import Bound, best_speeds
from edgesim.training.pipeline_costs import Costs


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineBounds:
    """Lower bounds of the steady time between two batches, links left out; see `pipeline_period`."""

    alone: Mapping[str, tuple[float, ...]]
    """Forward and backward time of each layer on each device, at its best, in s; L numbers a device."""
    sped_up: tuple[str, ...] = ()
    """Devices that are at times quicker than at the start, in the order of the cluster."""

    def of(self, workers: Iterable[str]) -> Bound:
        """Return the bounds for some devices, in s.

        `work_s`: all layers, each at the time of the device that is best at it relative to the others, shared
        by all devices: total time / sum(1 / C). `layer_s`: the longest layer on the fastest device.
        """
        crew = [self.alone[name] for name in workers]
        reference = crew[0]
        ratios = [min(_ratios(own, reference)) for own in crew]
        work_s = math.fsum(reference) / math.fsum(1.0 / ratio for ratio in ratios)
        layer_s = max(min(times) for times in zip(*crew, strict=True))
        return {"work_s": work_s, "layer_s": layer_s, "iteration_s": max(work_s, layer_s)}


def _ratios(own: Iterable[float], reference: Iterable[float]) -> list[float]:
    found = [
        mine / theirs for mine, theirs in zip(own, reference, strict=True) if theirs > 0.0 and mine > 0.0
    ]
    return found or [1.0]


def at_best(
    cluster: Cluster, events: Iterable[Event], costs: Costs, devices: Iterable[str]
) -> PipelineBounds:
    """Return the bounds that follow from the times of layers and can be brought to by events."""
    speeds = best_speeds(cluster, events)
    alone = {}
    for name in devices:
        spec = cluster.devices[name]
        both = [range(layer, layer + 1) for layer in range(costs.layers)]
        alone[name] = tuple(
            (costs.pass_s(spec, one, True) + costs.pass_s(spec, one, False)) / speeds[name] for one in both
        )
    quicker = [name for name in alone if speeds[name] > at_start(cluster.devices[name].availability)]
    return PipelineBounds(alone=alone, sped_up=tuple(quicker))
