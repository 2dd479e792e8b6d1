"""How much memory a training step holds at its peak."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edgesim.learning.storages import StorageWeakRef, address, alive, tensors, weakly
from edgesim.learning.task import Task

HOW = "highest sum of live tensors after any operation of a step (parameters, gradients and batch included)"
"""What `peak_memory_bytes` measures, for the provenance."""


def peak_memory_bytes(task: Task) -> int:
    """Return the most bytes that tensors hold at once in a forward and backward pass, in B.

    Watches every operation of one real step; buffers inside a kernel are not seen. Works on the meta device.
    """
    live = _Live()
    for tensor in [*task.model.parameters(), *task.model.buffers(), *task.inputs]:
        live.add(tensor)
    with live:
        task.forward().backward()  # type: ignore[no-untyped-call]
    task.model.zero_grad(set_to_none=True)
    return live.peak


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that live; sweeps the dead ones only when a new peak is in sight."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self._bound = 0
        self.peak = 0

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = address(tensor)
        if key in self._storages:
            return
        self._storages[key] = (weakly(storage), storage.nbytes())
        self._bound += storage.nbytes()
        if self._bound > self.peak:
            self._storages = {key: entry for key, entry in self._storages.items() if alive(entry[0])}
            self._bound = sum(nbytes for _, nbytes in self._storages.values())
            self.peak = max(self.peak, self._bound)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tensors(out):
            self.add(tensor)
        return out
