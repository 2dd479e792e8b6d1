"""Which modules of a model are its layers, found by watching one real pass.

A layer is a module that holds trainable parameters itself (a convolution, a linear map, an attention with
its own weights), in the order in which modules first run. What has parameters but belongs to the layer
before it (normalisation, PReLU) is merged into that layer; parameters of a container (a class token) count
with the first layer inside it. Parameters that get no gradient belong to no layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from edgesim.errors import ProfileError

MERGED: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.PReLU,
    *((nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()),
)
"""Parametrised modules that count with the layer that ran before them."""

NOTHING = "the model has no layer with trainable parameters that its output depends on: nothing to train"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerModule:
    """One layer: the module whose start opens it, and all parameters that count with it."""

    name: str
    """Dotted name of the module inside the model."""
    module: nn.Module
    """The module; the layer lasts from its start to the start of the next layer."""
    parameters: tuple[nn.Parameter, ...]
    """Trainable parameters that got a gradient, each in exactly one layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The ordered layers of a model."""

    layers: tuple[LayerModule, ...]
    """L layers in the order in which they first run."""
    unused: tuple[str, ...]
    """Names of trainable parameters that got no gradient; they count nowhere."""
    shared: tuple[str, ...]
    """Names of layers that run more than once in a pass; their runs are added up."""


def find_layers(model: nn.Module, forward: Callable[[], torch.Tensor]) -> Layout:
    """Return the layers of `model`, found in one forward and backward pass of `forward` (returns the loss).

    Works on the meta device too. Raises ProfileError if nothing in the model learns, or its backward
    pass fails.
    """
    calls = _record_calls(model, forward)
    openers = [call for call in calls if call.opens]
    if not openers:
        raise ProfileError(NOTHING)
    modules = dict(model.named_modules())
    order = list(dict.fromkeys(call.name for call in openers))
    owned: dict[str, list[nn.Parameter]] = {name: [] for name in order}
    unused, homes = [], _Homes(calls, order)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            unused.append(name)
        else:
            owned[homes.of(name.rpartition(".")[0])].append(parameter)
    model.zero_grad(set_to_none=True)
    counts = [call.name for call in openers]
    return Layout(
        layers=tuple(
            LayerModule(name=name, module=modules[name], parameters=tuple(owned[name])) for name in order
        ),
        unused=tuple(unused),
        shared=tuple(name for name in order if counts.count(name) > 1),
    )


@dataclass(slots=True)
class _Call:
    """One run of a module that holds trainable parameters or contains one that does."""

    name: str
    depth: int
    holds: bool
    """Has trainable parameters of its own."""
    merged: bool
    opens: bool = False


def _record_calls(model: nn.Module, forward: Callable[[], torch.Tensor]) -> list[_Call]:
    calls: list[_Call] = []
    stack: list[int] = []
    handles = []
    for name, module in model.named_modules():
        if not any(parameter.requires_grad for parameter in module.parameters()):
            continue
        holds = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        merged = isinstance(module, MERGED)

        def before(*_: object, name: str = name, holds: bool = holds, merged: bool = merged) -> None:
            stack.append(len(calls))
            calls.append(_Call(name=name, depth=len(stack), holds=holds, merged=merged))

        def after(*_: object) -> None:
            call = calls[begun := stack.pop()]
            inside = calls[begun + 1 :]
            call.opens = call.holds and not call.merged and not any(inner.opens for inner in inside)

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        model.zero_grad(set_to_none=True)
        _train_once(forward)
    finally:
        for handle in handles:
            handle.remove()
    if not any(call.opens for call in calls):  # a model of nothing but normalisation
        for call in calls:
            call.opens = call.holds
    return calls


def _train_once(forward: Callable[[], torch.Tensor]) -> None:
    try:
        loss = forward()
        if not loss.requires_grad:
            raise ProfileError(NOTHING)
        loss.backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, NotImplementedError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ProfileError(f"the model cannot be trained: a step fails ({reason})") from error


class _Homes:
    """Says which layer the parameters of a module count with."""

    def __init__(self, calls: list[_Call], order: list[str]) -> None:
        self._calls, self._order = calls, order
        self._first: dict[str, int] = {}
        for index, call in enumerate(calls):
            self._first.setdefault(call.name, index)

    def of(self, module: str) -> str:
        """Return the layer of a module: itself, the one inside it, the one it merges into, or its owner's."""
        for name in _upwards(module):
            if name in self._order:
                return name
            if name in self._first:
                return self._near(self._first[name])
        return self._order[0]

    def _near(self, index: int) -> str:
        call = self._calls[index]
        if not call.merged:
            for inner in self._calls[index + 1 :]:
                if inner.depth <= call.depth:
                    break
                if inner.opens:
                    return inner.name
        before = [earlier.name for earlier in self._calls[:index] if earlier.opens]
        return before[-1] if before else self._order[0]


def _upwards(module: str) -> Iterator[str]:
    yield module
    while module:
        module = module.rpartition(".")[0]
        yield module
