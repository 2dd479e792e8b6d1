"""The operations of each layer, noted once in a whole step and run again alone.

What is noted are the calls that reach torch's kernels, forward and backward, after autograd and modules have
done their part; so any model can be replayed layer by layer, branches and all, with the very cut of the
profile. Tensors that come from outside a layer are kept as they were; the rest is computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edgesim.learning.layers import Layout
from edgesim.learning.storages import address, tensors
from edgesim.learning.task import Task
from edgesim.learning.tracer import Tracer


@dataclass(frozen=True, slots=True)
class _Slot:
    """A tensor that an earlier operation of the same layer made, or a view of its storage."""

    index: int
    view: tuple[tuple[int, ...], tuple[int, ...], int] | None = None
    """Shape, strides and offset in the storage; None: the tensor itself."""


@dataclass(slots=True)
class _Operation:
    func: Any
    args: Any
    kwargs: Any
    results: list[int]
    """Slots of the tensors it returns, in order."""
    last_use_of: list[int] = field(default_factory=list)
    """Slots that no later operation reads."""


@dataclass(slots=True)
class Tape:
    """The operations of one layer in one direction."""

    operations: list[_Operation] = field(default_factory=list)
    slots: int = 0

    def run(self, keep: bool = False) -> list[torch.Tensor | None]:
        """Run the operations; return their tensors (all of them with `keep`, else those never read again)."""
        values: list[torch.Tensor | None] = [None] * self.slots
        with torch.no_grad():
            for operation in self.operations:
                out = operation.func(*_resolve(operation.args, values), **_resolve(operation.kwargs, values))
                for slot, tensor in zip(operation.results, tensors(out), strict=True):
                    values[slot] = tensor
                if not keep:
                    for slot in operation.last_use_of:
                        values[slot] = None
        return values

    def finish(self) -> None:
        """Find after which operation each tensor can go."""
        seen: set[int] = set()
        for operation in reversed(self.operations):
            used = dict.fromkeys(_slots(operation.args) + _slots(operation.kwargs))
            operation.last_use_of = [slot for slot in used if slot not in seen]
            seen.update(used)


def record(task: Task, layout: Layout) -> dict[tuple[int, str], Tape]:
    """Return a tape for each (0-based layer, `forward` or `backward`), from one step of the task."""
    recorder = _Recorder()
    tracer = Tracer(layout, on_layer=recorder.enter)
    with recorder:
        tracer.step(task.forward, lambda: 0.0)
    task.model.zero_grad(set_to_none=True)
    for tape in recorder.tapes.values():
        tape.finish()
    return recorder.tapes


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes each operation on the tape of the layer that is running."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tapes: dict[tuple[int, str], Tape] = {}
        self.enter(0, "forward")

    def enter(self, layer: int, phase: str) -> None:
        self._tape = self.tapes.setdefault((layer, phase), Tape())
        self._made: dict[int, tuple[int, torch.Tensor]] = {}
        self._storages: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        noted = _map(args, self._note), _map(kwargs or {}, self._note)
        out = func(*args, **(kwargs or {}))
        results = [self._result(tensor) for tensor in tensors(out)]
        self._tape.operations.append(_Operation(func, *noted, results))
        return out

    def _note(self, tensor: torch.Tensor) -> _Slot | torch.Tensor:
        if id(tensor) in self._made:
            return _Slot(self._made[id(tensor)][0])
        if (slot := self._storages.get(address(tensor))) is not None:
            shape, strides = tuple(tensor.shape), tuple(tensor.stride())
            return _Slot(slot, (shape, strides, int(tensor.storage_offset())))
        return tensor.detach()

    def _result(self, tensor: torch.Tensor) -> int:
        if id(tensor) in self._made:
            return self._made[id(tensor)][0]
        slot = self._tape.slots
        self._tape.slots += 1
        self._made[id(tensor)] = (slot, tensor)
        self._storages.setdefault(address(tensor), slot)
        return slot


def _map(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Return nested tuples, lists and dicts with every tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)([_map(item, change) for item in value])
    if isinstance(value, dict):
        return {key: _map(item, change) for key, item in value.items()}
    return value


def _resolve(value: Any, slots: list[torch.Tensor | None]) -> Any:
    if isinstance(value, _Slot):
        tensor = slots[value.index]
        assert tensor is not None
        return tensor if value.view is None else tensor.as_strided(*value.view)
    if isinstance(value, (tuple, list)):
        return type(value)([_resolve(item, slots) for item in value])
    if isinstance(value, dict):
        return {key: _resolve(item, slots) for key, item in value.items()}
    return value


def _slots(value: Any) -> list[int]:
    if isinstance(value, _Slot):
        return [value.index]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [slot for item in value for slot in _slots(item)]
    return []
