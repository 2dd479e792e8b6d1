"""What each layer computes and holds, counted in one pass: FLOP, bytes handed on, bytes kept.

FLOP come from torch's own counter. Bytes are those of tensor storages, each counted once: what one layer
produces and a later one reads crosses every cut between them, so in branchy models the figure has all
tensors that cross, not only the last. The model's input is nothing that a layer produces, but where a late
layer reads it, a pipeline has to hand it on: that is the difference between `output_bytes` and `cut_bytes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from edgesim.learning.layers import Layout
from edgesim.learning.storages import StorageWeakRef, address, nbytes, tensors, weakly
from edgesim.learning.tracer import Tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts of one layer for a whole batch."""

    forward_flop: float
    """FLOP forward, 2 a multiply-accumulate."""
    backward_flop: float
    """FLOP backward."""
    output_bytes: int
    """Bytes of the tensors made up to the layer and read after it, in B."""
    cut_bytes: int
    """The same with the model's input where it is read after the layer, in B."""
    activation_bytes: int
    """Bytes that autograd saved in the layer and nowhere before, parameters and input excluded, in B."""
    traffic_bytes: int
    """Tensors read from before the layer, its parameters, what it makes for later ones, once each, in B."""


def count(
    model: torch.nn.Module,
    layout: Layout,
    forward: Callable[[], torch.Tensor],
    inputs: tuple[torch.Tensor, ...],
) -> tuple[Counts, ...]:
    """Return the counts of each layer, from one forward and backward pass; works on the meta device too.

    `forward` returns the loss; `inputs` are the tensors it reads besides parameters and buffers, the model's
    input first: the others (labels) belong to the loss, which is no layer, and cross no cut.
    """
    ledger = _Ledger(layers=len(layout.layers))
    for tensor in [*model.parameters(), *model.buffers()]:
        ledger.exclude(tensor)
    for index, tensor in enumerate(inputs):
        ledger.add_input(tensor, handed_on=index == 0)
    flops = FlopCounterMode(display=False, custom_mapping=_formulas())
    tracer = Tracer(layout, on_layer=ledger.enter)

    def watched() -> torch.Tensor:
        with _Watch(ledger), saved_tensors_hooks(ledger.save, lambda saved: saved):
            return forward()

    with flops:
        trace = tracer.step(watched, flops.get_total_flops)
    model.zero_grad(set_to_none=True)
    output_L, late_L = ledger.crossing_bytes()
    return tuple(
        Counts(
            forward_flop=float(trace.forward_L[index]),
            backward_flop=float(trace.backward_L[index]),
            output_bytes=output_L[index],
            cut_bytes=output_L[index] + late_L[index],
            activation_bytes=ledger.saved_L[index],
            traffic_bytes=ledger.traffic_L[index] + sum(nbytes(parameter) for parameter in layer.parameters),
        )
        for index, layer in enumerate(layout.layers)
    )


def _formulas() -> dict[Any, Callable[..., int]]:
    """Return what torch's counter has wrong or lacks: grouped convolutions, attention fused on the CPU."""
    aten = torch.ops.aten
    return {
        aten.convolution_backward: _conv_backward,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }


def _attention(q_shape: Any, k_shape: Any, v_shape: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q_shape, k_shape, v_shape))  # type: ignore[no-untyped-call]


def _attention_backward(grad_shape: Any, q_shape: Any, k_shape: Any, v_shape: Any, *_: Any, **__: Any) -> int:
    flop = sdpa_backward_flop_count(grad_shape, q_shape, k_shape, v_shape)  # type: ignore[no-untyped-call]
    return int(flop)


def _conv_backward(
    grad_shape: Any, x_shape: Any, w_shape: Any, _bias: Any, _stride: Any, _padding: Any, _dilation: Any,
    transposed: bool, _output_padding: Any, _groups: Any, output_mask: Sequence[bool], **_: Any,
) -> int:  # fmt: skip
    """Each gradient of a convolution costs what its forward does, grouped or not.

    torch's own formula forgets the groups in the weight's gradient, which makes a depthwise convolution
    with C channels C times too dear.
    """
    forward = conv_flop_count(x_shape, w_shape, grad_shape, transposed=transposed)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))


@dataclass(slots=True)
class _Entry:
    """One tensor storage that lives, or lived, in a pass."""

    reference: StorageWeakRef
    """Keeps the address from being used again, not the memory."""
    nbytes: int
    made: int
    """Layer that wrote it last; -1: an input of the model."""
    read: int
    """Last layer that read it."""
    readers: set[int] = field(default_factory=set)
    counted: bool = True
    """False: a parameter, a buffer or the loss, which no layer hands on."""
    handed_on: bool = False
    """The model's input: no layer makes it, but a pipeline carries it to the last that reads it."""


class _Ledger:
    """Who makes, reads and keeps which storage."""

    def __init__(self, layers: int) -> None:
        self._now = 0
        self._entries: dict[int, _Entry] = {}
        self._crossings: list[tuple[int, int, int]] = []
        self._late: list[tuple[int, int, int]] = []
        self._kept: set[int] = set()
        self.saved_L = [0] * layers
        self.traffic_L = [0] * layers

    def enter(self, layer: int, _phase: str) -> None:
        self._now = layer

    def exclude(self, tensor: torch.Tensor) -> None:
        self._add(tensor, -1).counted = False
        self._kept.add(address(tensor))

    def add_input(self, tensor: torch.Tensor, handed_on: bool) -> None:
        self._add(tensor, -1).handed_on = handed_on
        self._kept.add(address(tensor))

    def save(self, tensor: torch.Tensor) -> torch.Tensor:
        if address(tensor) not in self._kept:
            self._kept.add(address(tensor))
            self.saved_L[self._now] += self._add(tensor, self._now).nbytes
        return tensor

    def read(self, tensor: torch.Tensor) -> None:
        entry = self._entries.get(address(tensor))
        if entry is None or not entry.counted or entry.made == self._now:
            return
        entry.read = max(entry.read, self._now)
        if self._now not in entry.readers:
            entry.readers.add(self._now)
            self.traffic_L[self._now] += entry.nbytes

    def wrote(self, tensor: torch.Tensor, in_place: bool) -> None:
        key = address(tensor)
        entry = self._entries.get(key)
        if entry is None:
            self._add(tensor, self._now)
        elif in_place and entry.counted and entry.made != self._now:
            self._close(entry)
            entry.made, entry.read, entry.readers, entry.handed_on = self._now, self._now, set(), False

    def _add(self, tensor: torch.Tensor, made: int) -> _Entry:
        storage = tensor.untyped_storage()
        entry = self._entries.get(address(tensor))
        if entry is None:
            entry = _Entry(reference=weakly(storage), nbytes=storage.nbytes(), made=made, read=made)
            self._entries[address(tensor)] = entry
        return entry

    def _close(self, entry: _Entry) -> None:
        if entry.counted and entry.made >= 0 and entry.read > entry.made:
            self._crossings.append((entry.made, entry.read, entry.nbytes))
            self.traffic_L[entry.made] += entry.nbytes
        elif entry.handed_on and entry.read > 0:
            self._late.append((0, entry.read, entry.nbytes))

    def crossing_bytes(self) -> tuple[list[int], list[int]]:
        """Return, per layer, the bytes read after it that were made in or before it, and those of the model's
        input. Call once."""
        for entry in self._entries.values():
            self._close(entry)
        return self._running(self._crossings), self._running(self._late)

    def _running(self, crossings: Sequence[tuple[int, int, int]]) -> list[int]:
        """Return, per layer, the bytes of the (made, read, size) with made <= layer < read."""
        change = [0] * len(self.saved_L)
        for made, read, size in crossings:
            change[made] += size
            change[read] -= size
        return list(accumulate(change))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows every operation's tensors to the ledger."""

    def __init__(self, ledger: _Ledger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ledger = ledger

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for tensor in tensors(args, kwargs):
            self._ledger.read(tensor)
        out = func(*args, **(kwargs or {}))
        for tensor in tensors(out):
            self._ledger.wrote(tensor, func._schema.is_mutable)
        return out
