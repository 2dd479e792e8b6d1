"""Every instant of a step belongs to exactly one layer, forward and backward, branches or not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgesim.learning.layers import find_layers
from edgesim.learning.task import make_task
from edgesim.learning.tracer import Tracer, attribute


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 4)), min_size=1), st.integers(0, 50))
def test_attribution_loses_and_doubles_nothing(marks: list[tuple[int, int]], tail: int) -> None:
    marks = sorted(marks, key=lambda mark: mark[0])
    end = marks[-1][0] + tail
    spent = attribute(marks, 0, end, 5)
    assert sum(spent) == end
    assert min(spent) >= 0
    owner = [max((m for m in marks if m[0] <= t), key=lambda m: m[0], default=marks[0]) for t in range(end)]
    for layer in {layer for _, layer in marks}:
        unambiguous = len({m[0] for m in marks}) == len(marks)
        assert not unambiguous or spent[layer] == sum(mark[1] == layer for mark in owner)


class Operations(TorchDispatchMode):
    """A clock that counts operations: deterministic, and it stands still between them."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.done += 1
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def trace_of(model: nn.Module, shape: tuple[int, ...]) -> tuple:
    task = make_task(model, shape, 2)
    layout = find_layers(task.model, task.forward)
    clock = Operations()
    with clock:
        trace = Tracer(layout).step(task.forward, lambda: clock.done)
    return layout, trace, clock


def test_operations_of_a_chain_go_to_their_layers() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3))
    layout, trace, clock = trace_of(model, (1, 8, 8))
    assert [layer.name for layer in layout.layers] == ["0", "4"]
    assert sum(trace.forward_L) + sum(trace.backward_L) == clock.done
    forward = clock.names[: int(sum(trace.forward_L))]
    first = forward[: int(trace.forward_L[0])]
    assert first[0] == "aten::convolution"
    assert "aten::max_pool2d_with_indices" in first
    assert "aten::addmm" in forward[len(first) :]
    assert "aten::nll_loss_forward" in forward[len(first) :]
    backward = clock.names[len(forward) :]
    last = backward[: int(trace.backward_L[1])]
    assert "aten::nll_loss_backward" in last
    assert last.count("aten::mm") == 2
    rest = backward[len(last) :]
    assert "aten::max_pool2d_with_indices_backward" in rest
    assert "aten::convolution_backward" in rest
    assert "aten::convolution_backward" not in last
    assert "aten::mm" not in rest


class Branchy(nn.Module):
    """A stem, two branches (one of two layers), joined and classified; a skip connection besides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left = nn.Linear(6, 6), nn.Linear(6, 6)
        self.right, self.deep = nn.Linear(6, 6), nn.Linear(6, 6)
        self.out = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        left = torch.relu(self.left(x))
        right = self.deep(torch.relu(self.right(x))) + x
        return self.out(torch.cat([left, right], dim=1))


def test_branches_are_cut_in_order_of_execution() -> None:
    layout, trace, clock = trace_of(Branchy(), (6,))
    assert [layer.name for layer in layout.layers] == ["stem", "left", "right", "deep", "out"]
    assert sum(trace.forward_L) + sum(trace.backward_L) == clock.done
    backward = clock.names[int(sum(trace.forward_L)) :]
    cuts = [0]
    for layer in reversed(range(5)):
        cuts.append(cuts[-1] + int(trace.backward_L[layer]))
        products = backward[cuts[-2] : cuts[-1]].count("aten::mm")
        assert products == (1 if layer == 0 else 2), "gradients of weight and input; the batch needs none"


def test_a_layer_that_runs_twice_gets_both_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.again, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.again(torch.tanh(self.again(x))))

    layout, trace, clock = trace_of(Twice(), (4,))
    assert layout.shared == ("again",)
    assert sum(trace.forward_L) + sum(trace.backward_L) == clock.done
    assert clock.names[: int(trace.forward_L[0])].count("aten::addmm") == 2


@pytest.mark.parametrize("model", ["lenet", "small-cnn"])
def test_named_models_are_cut_without_rest(model: str) -> None:
    task = make_task(model, None, 2)
    layout = find_layers(task.model, task.forward)
    clock = Operations()
    with clock:
        trace = Tracer(layout).step(task.forward, lambda: clock.done)
    assert sum(trace.forward_L) + sum(trace.backward_L) == clock.done
    assert min(*trace.forward_L, *trace.backward_L) > 0
