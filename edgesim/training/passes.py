"""What each worker that trains alone computes in an iteration, and how long it takes.

Legend: N workers, L layers. As of the start: times hold at the availability that a device has at time 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from edgesim.cluster import Cluster, Device
from edgesim.errors import EdgesimError
from edgesim.timeseries import at_start
from edgesim.training.parameter_server import update_s
from edgesim.workload import LayerTimer, Workload


class Passes(NamedTuple):
    """Times of one worker."""

    forward_s: tuple[float, ...]
    """Time of each layer forward, in s; L numbers."""
    backward_s: tuple[float, ...]
    """Time of each layer backward, in s; L numbers."""
    update_s: float
    """Time of an update of all parameters, in s."""

    def scaled(self, share: float) -> Passes:
        """Return the times multiplied by a number."""
        return Passes(
            tuple(share * time_s for time_s in self.forward_s),
            tuple(share * time_s for time_s in self.backward_s),
            share * self.update_s,
        )


def measure(
    cluster: Cluster, workload: Workload, timer: LayerTimer, workers: Sequence[str]
) -> dict[str, Passes]:
    """Return the times of each worker. Raises EdgesimError for a device that is not there."""
    known: dict[Device, Passes] = {}
    found = {}
    for name in workers:
        if name not in cluster.devices:
            raise EdgesimError(f"training: there is no device {name!r}; name one of `devices`")
        device = cluster.devices[name]
        kind = replace(device, name="")
        if kind not in known:  # workers of one kind have one set of times
            layers = range(len(workload.layers))
            ahead = tuple(timer.forward_s(device, layer) for layer in layers)
            back = [timer.backward_s(device, layer) for layer in reversed(layers)]
            nominal = Passes(ahead, tuple(reversed(back)), update_s(workload, device))
            known[kind] = nominal.scaled(1.0 / at_start(device.availability))
        found[name] = known[kind]
    return found
