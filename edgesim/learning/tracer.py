"""One training step with every instant of it given to exactly one layer.

Forward, a layer begins when its module is entered and lasts until the next layer begins; the first also has
what came before it, the last the loss. Backward, autograd on one thread runs the nodes of the graph in the
reverse order of their creation (the ready node with the highest sequence number first), so the nodes that
were made while a layer lasted run one after another: the layer begins backward when the first of them does.
The gradient of a layer's own parameters is accumulated right after its own node, hence inside the layer.

The "clock" may be any reading that only grows: seconds, or FLOP counted so far.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import _get_sequence_nr  # type: ignore[attr-defined]
from torch.autograd.graph import Node

from edgesim.learning.layers import Layout

Mark = tuple[float, int]
"""A reading of the clock, and the 0-based layer that begins there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one step read on the clock, cut into layers."""

    forward_L: list[float]
    """Reading spent in each layer's forward pass, in units of the clock."""
    backward_L: list[float]
    """Reading spent in each layer's backward pass, in units of the clock."""


def attribute(marks: Sequence[Mark], start: float, end: float, layers: int) -> list[float]:
    """Return how much of `start`..`end` each layer had: each instant belongs to exactly one.

    A layer has the time from its mark to the next one; the first marked layer also has what came before
    its mark. Complexity O(marks).

    >>> attribute([(1.0, 0), (4.0, 1), (6.0, 0)], start=0.0, end=7.0, layers=2)
    [5.0, 2.0]
    """
    spent = [0.0] * layers
    for index, (_, layer) in enumerate(marks):
        begin = start if index == 0 else marks[index][0]
        finish = end if index == len(marks) - 1 else marks[index + 1][0]
        spent[layer] += finish - begin
    return spent


class Tracer:
    """Runs training steps of a model and cuts them into the layers of a layout."""

    def __init__(self, layout: Layout, on_layer: Callable[[int, str], None] | None = None) -> None:
        self._layout = layout
        self._on_layer = on_layer

    def step(self, forward: Callable[[], torch.Tensor], clock: Callable[[], float]) -> Trace:
        """Run one forward and backward pass (`forward` returns the loss) and return it cut into layers."""
        layers = len(self._layout.layers)
        marks: list[Mark] = []
        sequence: list[int] = []
        with self._entries(marks, sequence, clock):
            start = clock()
            loss = forward()
            end = clock()
        forward_L = attribute(marks, start, end, layers)
        back: list[Mark] = []
        self._watch_backward(loss, sequence, [layer for _, layer in marks], back, clock)
        if self._on_layer is not None and marks:
            self._on_layer(marks[-1][1], "backward")
        start = clock()
        loss.backward()  # type: ignore[no-untyped-call]
        end = clock()
        return Trace(forward_L=forward_L, backward_L=attribute(back, start, end, layers))

    @contextmanager
    def _entries(self, marks: list[Mark], sequence: list[int], clock: Callable[[], float]) -> Iterator[None]:
        """Note the clock and autograd's sequence number whenever a layer's module is entered."""

        def hook(index: int) -> Callable[..., None]:
            def enter(*_: Any) -> None:
                marks.append((clock(), index))
                sequence.append(_get_sequence_nr())
                if self._on_layer is not None:
                    self._on_layer(index, "forward")

            return enter

        handles = [
            layer.module.register_forward_pre_hook(hook(index))
            for index, layer in enumerate(self._layout.layers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch_backward(
        self,
        loss: torch.Tensor,
        sequence: list[int],
        entered: list[int],
        marks: list[Mark],
        clock: Callable[[], float],
    ) -> None:
        """Hang a hook on the node that runs first of those made between two entries."""
        for visit, node in first_nodes(loss, sequence).items():

            def hook(_: Any, layer: int = entered[visit]) -> None:
                marks.append((clock(), layer))
                if self._on_layer is not None:
                    self._on_layer(layer, "backward")

            node.register_prehook(hook)


def first_nodes(loss: torch.Tensor, sequence: Sequence[int]) -> dict[int, Node]:
    """Return, for each entry of a layer, the node of its graph with the highest sequence number.

    `sequence` holds autograd's number at each entry, rising. Nodes made before the first entry go to the
    first. Complexity O(nodes log entries).
    """
    assert loss.grad_fn is not None, "the loss does not depend on any parameter"
    found: dict[int, tuple[int, Node]] = {}
    seen: set[Node] = {loss.grad_fn}
    todo: list[Node] = [loss.grad_fn]
    while todo:
        node = todo.pop()
        number: int = node._sequence_nr()
        if number < _ACCUMULATE:
            visit = max(bisect_right(sequence, number) - 1, 0)
            if visit not in found or number > found[visit][0]:
                found[visit] = (number, node)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                todo.append(following)
    return {visit: node for visit, (_, node) in sorted(found.items())}


_ACCUMULATE = 2**63
"""Nodes that accumulate gradients have a number above this: they run as soon as they are ready."""
