"""What the stages of a pipeline cost: times, bytes and memory of any run of layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from edgesim.cluster import Device
from edgesim.planning.pipeline_orders import copies, in_flight
from edgesim.training.parameter_server import update_s
from edgesim.training.pipeline_config import Config
from edgesim.workload import LayerTimer, ProfileTimer, Workload

REPLICA_STASH = {"lossless"}
"""Recoveries whose chain replicas hold all versions of a stage, not the newest alone."""


class Costs:
    """Times, bytes and memory of runs of 0-based layers, for one whole batch."""

    def __init__(self, workload: Workload, timer: LayerTimer) -> None:
        self.workload = workload
        self.timer = timer
        layers = workload.layers
        self._parameters = (0, *accumulate(layer.parameter_bytes for layer in layers))
        self._activations = (0, *accumulate(layer.activation_bytes for layer in layers))
        self._fixed = isinstance(timer, ProfileTimer)
        self._known: dict[tuple[str, range, bool], float] = {}
        self._updates: dict[str, float] = {}

    @property
    def layers(self) -> int:
        """L, the number of layers."""
        return len(self.workload.layers)

    def pass_s(self, device: Device, layers: range, forward: bool) -> float:
        """Return the time of a batch through some layers on a device that is wholly available, in s."""
        key = (device.name, layers, forward)
        if key in self._known:
            return self._known[key]
        one_s = self.timer.forward_s if forward else self.timer.backward_s
        total = sum(one_s(device, layer) for layer in (layers if forward else reversed(layers)))
        if self._fixed:
            self._known[key] = total
        return total

    def update_s(self, device: Device, layers: range) -> float:
        """Return the time of an update of some layers on a device: in proportion to their bytes, in s."""
        if device.name not in self._updates:
            self._updates[device.name] = update_s(self.workload, device)
        total = self._parameters[-1]
        return self._updates[device.name] * (self.parameter_bytes(layers) / total if total else 0.0)

    def parameter_bytes(self, layers: range) -> float:
        """Return the size of the weights of some layers, in B."""
        return float(self._parameters[layers.stop] - self._parameters[layers.start])

    def activation_bytes(self, layers: range) -> float:
        """Return what a batch keeps between forward and backward in some layers, in B."""
        return float(self._activations[layers.stop] - self._activations[layers.start])

    def crossing_bytes(self, layer: int) -> float:
        """Return what crosses a cut behind a layer one way, in B; behind none: the input of the model."""
        return float(self.workload.layers[layer].crossing if layer >= 0 else self.workload.input_bytes)

    def copy_bytes(self, config: Config, layers: range, versions: int = 1) -> float:
        """Return the size of a copy of some layers, with the optimizer's state if that goes along, in B.

        For a recovery without loss it holds every version that batches in flight still need.
        """
        optimizer = config.optimizer_state if config.replication.optimizer else 0.0
        kept = versions if config.recovery in REPLICA_STASH else 1
        return float(math.ceil(self.parameter_bytes(layers) * (kept + optimizer)))

    def weight_bytes(self, config: Config, stages: int, window: int, layers: range) -> float:
        """Return what a stage holds of weights, versions, gradients and the optimizer's state, in B."""
        kept = copies(config.execution, config.versions, stages, window)
        own = config.execution == "1f1b" and config.versions == "replicas"
        optimizer = config.optimizer_state * (kept if own else 1)
        return self.parameter_bytes(layers) * (kept + 1 + optimizer)

    def flight_bytes(self, config: Config, window: int, layers: range) -> float:
        """Return the activations that a stage holds at most, in B."""
        held = in_flight(config.execution, window, config.micro_batches)
        return self.activation_bytes(layers) * held / config.micro_batches

    def held_bytes(
        self, config: Config, hosts: Sequence[str], stages: Sequence[range], windows: Sequence[int]
    ) -> dict[str, float]:
        """Return what stages hold on each of their devices, chain replicas of others included, in B."""
        need = dict.fromkeys(hosts, 0.0)
        for index, (host, layers, window) in enumerate(zip(hosts, stages, windows, strict=True)):
            need[host] += self.weight_bytes(config, len(stages), window, layers)
            need[host] += self.flight_bytes(config, window, layers)
            if config.replication.chain is not None and len(stages) > 1:
                need[hosts[(index + 1) % len(stages)]] += self.copy_bytes(config, layers, window)
        return need
