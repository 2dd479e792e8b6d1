"""The live timer: the real layer is run at every simulated use, and its duration is what the clock spends."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import nn

from edgesim.cluster import Device
from edgesim.errors import ProfileError
from edgesim.learning.host import best_clock, cpu_name
from edgesim.learning.layers import find_layers
from edgesim.learning.recording import RecordingWriter
from edgesim.learning.tape import Tape, record
from edgesim.learning.task import make_task
from edgesim.workload import Workload, device_time_s


class LiveTimer:
    """Runs layers of a workload's model on this host and answers with their durations: a `LayerTimer`.

    The operations of each layer, forward and backward, are noted in one real step and run again alone at
    each use, on the tensors of that step; what autograd and Python add to them in a whole pass is not in the
    time, and caches are colder or warmer than in a pass. A device with `compute` instead of a speed is
    answered by the roofline. Memory: the tensors that pass between layers and those saved for backward.
    A layer that is several merged ones runs each of them, backward in reverse order.

    With `record`, every duration is written to that file, and `ReplayTimer` gives the same run again.
    Use it as a context manager, or `close` it.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        module: nn.Module | None = None,
        threads: int = 1,
        record: str | Path | None = None,
        clock: Callable[[], float] | None = None,
        warm_up: int = 1,
    ) -> None:
        """Build the model (or take `module`), note its layers, and run each `warm_up` times.

        Raises ProfileError if the model has other layers than the workload.
        """
        self._workload, self._clock = workload, clock or best_clock(threads)
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads)
        self._tapes = _tapes(workload, module)
        for _ in range(warm_up):
            for tapes in self._tapes.values():
                _run(tapes)
        self._writer = None if record is None else _writer(record, workload, threads)

    def forward_s(self, device: Device, layer: int) -> float:
        """Run the layer forward and return its duration / speed, in s."""
        item = self._workload.layers[layer]
        if device.speed is None:
            return device_time_s(device, 0.0, item.forward_flop, item.traffic_bytes)
        return self._run(device, "forward", layer) / device.speed

    def backward_s(self, device: Device, layer: int) -> float:
        """Run the layer backward and return its duration / speed, in s."""
        item = self._workload.layers[layer]
        if device.speed is None:
            return device_time_s(device, 0.0, item.backward_flop, 2.0 * item.traffic_bytes)
        return self._run(device, "backward", layer) / device.speed

    def _run(self, device: Device, phase: str, layer: int) -> float:
        tapes = self._tapes[layer, phase]
        collecting = gc.isenabled()
        gc.disable()
        start = self._clock()
        _run(tapes)
        seconds = self._clock() - start
        if collecting:
            gc.enable()
        if not seconds > 0:
            name = self._workload.layers[layer].name
            raise ProfileError(f"layer {name!r}: {phase} took {seconds} s, less than the clock can tell")
        if self._writer is not None:
            self._writer.write(device.name, phase, layer, seconds)
        return seconds

    def close(self) -> None:
        """Close the recording and give torch its threads back."""
        torch.set_num_threads(self._threads_before)
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _run(tapes: Sequence[Tape]) -> None:
    for tape in tapes:
        tape.run()


def _tapes(workload: Workload, module: nn.Module | None) -> dict[tuple[int, str], tuple[Tape, ...]]:
    """Return the tapes of each (layer of the workload, `forward` or `backward`), in the order to run them."""
    task = make_task(
        workload.model if module is None else module,
        workload.input_shape,
        workload.batch_size,
        workload.dtype,
    )
    layout = find_layers(task.model, task.forward)
    found = [layer.name for layer in layout.layers]
    profiled = [name for layer in workload.layers for name in layer.members]
    if found != profiled:
        raise ProfileError(
            f"model {workload.model!r}: has {len(found)} layers ({found[0]}, ...), its profile has "
            f"{len(profiled)} ({profiled[0]}, ...); profile the model again"
        )
    single, grouped, first = record(task, layout), {}, 0
    for index, layer in enumerate(workload.layers):
        members = range(first, first + len(layer.members))
        grouped[index, "forward"] = tuple(single[member, "forward"] for member in members)
        grouped[index, "backward"] = tuple(single[member, "backward"] for member in reversed(members))
        first = members.stop
    return grouped


def _writer(path: str | Path, workload: Workload, threads: int) -> RecordingWriter:
    provenance = {
        "cpu": cpu_name(),
        "torch": str(torch.__version__),
        "threads": str(threads),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    return RecordingWriter(path, workload, provenance)
