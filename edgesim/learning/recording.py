"""Recordings of live layer times: a line of JSON a use, written as it happens, replayed bit by bit.

The first line says what was recorded; every other is `[device, "forward" | "backward", layer, seconds]`, the
seconds being those on this host. Needs no torch.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import IO, Any

from edgesim.cluster import Device
from edgesim.errors import ProfileError
from edgesim.workload import Workload, device_time_s

FORMAT = "edgesim-live/1"
"""Name and version of the recording's format."""


class RecordingWriter:
    """Writes uses to a file as they happen, so that an interrupted run leaves a readable recording."""

    def __init__(self, path: str | Path, workload: Workload, provenance: dict[str, str]) -> None:
        self._path = Path(path)
        head = {"format": FORMAT, **_identity(workload), "provenance": provenance}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream: IO[str] = self._path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise ProfileError(f"{path}: the recording cannot be written ({error.strerror})") from error
        self._stream.write(json.dumps(head) + "\n")

    def write(self, device: str, phase: str, layer: int, seconds: float) -> None:
        """Write one use; `layer` is 0-based, `seconds` the time on this host."""
        self._stream.write(json.dumps([device, phase, layer, seconds]) + "\n")

    def close(self) -> None:
        """Close the file; the recording can be replayed."""
        self._stream.close()


class ReplayTimer:
    """Answers with the recorded times, in the recorded order: a `LayerTimer`.

    A simulation that asks for anything else than what comes next, or for more, gets a ProfileError that
    names the line, both uses and the remedy: the scenario is no longer the one that was recorded.
    """

    def __init__(self, recording: str | Path, workload: Workload) -> None:
        self._file, self._workload = str(recording), workload
        self._uses = _read(self._file, workload)
        self._next = 0

    @property
    def left(self) -> int:
        """Uses that were recorded and not yet asked for."""
        return len(self._uses) - self._next

    def forward_s(self, device: Device, layer: int) -> float:
        """Return the recorded forward time / speed, or the roofline of the datasheet, in s."""
        item = self._workload.layers[layer]
        if device.speed is None:
            return device_time_s(device, 0.0, item.forward_flop, item.traffic_bytes)
        return self._take(device, "forward", layer) / device.speed

    def backward_s(self, device: Device, layer: int) -> float:
        """Return the recorded backward time / speed, or the roofline of the datasheet, in s."""
        item = self._workload.layers[layer]
        if device.speed is None:
            return device_time_s(device, 0.0, item.backward_flop, 2.0 * item.traffic_bytes)
        return self._take(device, "backward", layer) / device.speed

    def _take(self, device: Device, phase: str, layer: int) -> float:
        asked = (device.name, phase, layer)
        if self._next == len(self._uses):
            raise ProfileError(
                f"{self._file}: holds {len(self._uses)} uses of layers, the simulation asks for one more: "
                f"{self._told(*asked)}; record a run as long as this one with `timing: live`"
            )
        recorded, seconds = self._uses[self._next][:3], self._uses[self._next][3]
        if recorded != asked:
            raise ProfileError(
                f"{self._file}:{self._next + 2}: has {self._told(*recorded)}, the simulation asks for "
                f"{self._told(*asked)}; the scenario changed since: record it again with `timing: live`"
            )
        self._next += 1
        return seconds

    def _told(self, device: str, phase: str, layer: int) -> str:
        return f"{phase} of layer {layer + 1} ({self._workload.layers[layer].name}) on {device}"


def _identity(workload: Workload) -> dict[str, Any]:
    return {
        "model": workload.model,
        "input_shape": list(workload.input_shape),
        "batch_size": workload.batch_size,
        "dtype": workload.dtype,
        "layers": [layer.name for layer in workload.layers],
    }


def _read(file: str, workload: Workload) -> list[tuple[str, str, int, float]]:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ProfileError(f"{file}: the recording cannot be read ({reason})") from error
    head = _parse(file, 1, lines[0] if lines else "")
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ProfileError(f"{file}: is no recording of {FORMAT!r}; make one with `timing: live`")
    for key, value in _identity(workload).items():
        if head.get(key) != value:
            raise ProfileError(
                f"{file}: {key}: recorded {_short(head.get(key))}, the scenario has {_short(value)}; "
                "record again"
            )
    return [
        _use(file, number, _parse(file, number, line), len(workload.layers))
        for number, line in enumerate(lines[1:], start=2)
    ]


def _parse(file: str, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{file}:{number}: is not JSON ({error}); record again") from error


def _use(file: str, number: int, value: Any, layers: int) -> tuple[str, str, int, float]:
    match value:
        case [str(device), "forward" | "backward" as phase, int(layer), float(seconds)] if (
            0 <= layer < layers and math.isfinite(seconds) and seconds > 0
        ):
            return device, phase, layer, seconds
    raise ProfileError(
        f'{file}:{number}: [device, "forward" or "backward", layer from 0 to {layers - 1}, seconds above 0] '
        f"is due, got {_short(value)}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
