"""Which modules become layers, and where odd parameters go."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgesim.errors import ProfileError
from edgesim.learning.layers import Layout, find_layers
from edgesim.learning.task import make_task


def layout_of(model: nn.Module, shape: tuple[int, ...]) -> Layout:
    task = make_task(model, shape, 2)
    return find_layers(task.model, task.forward)


def sizes(layout: Layout) -> dict[str, int]:
    return {layer.name: sum(p.numel() for p in layer.parameters) for layer in layout.layers}


def test_normalisation_and_prelu_count_with_the_layer_before() -> None:
    model = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Flatten(), nn.Linear(16, 2)
    )
    assert sizes(layout_of(model, (3, 4, 4))) == {"1": 6 + 112 + 8 + 1, "5": 34}


def test_frozen_layers_are_work_without_parameters() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].requires_grad_(False)
    assert sizes(layout_of(model, (4,))) == {"0": 20, "2": 10}


def test_parameters_without_a_gradient_are_named_and_count_nowhere() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    layout = layout_of(Spare(), (4,))
    assert sizes(layout) == {"used": 10}
    assert layout.unused == ("spare.weight", "spare.bias")


def test_parameters_of_a_container_count_with_the_first_layer_inside() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.inner = nn.Parameter(torch.zeros(4)), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) + self.token

    assert sizes(layout_of(nn.Sequential(Token(), nn.Linear(4, 2)), (4,))) == {"0.inner": 24, "1": 10}


def test_attention_whose_parts_do_not_run_is_one_layer() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.mix(x, x, x, need_weights=False)[0]).mean(1)

    assert sizes(layout_of(Attention(), (5, 8))) == {"mix": 3 * 64 + 24 + 64 + 8, "out": 27}


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    assert sizes(layout_of(model, (4,))) == {"0": 16, "2": 0}


def test_a_model_that_learns_nothing_is_refused() -> None:
    with pytest.raises(ProfileError, match="nothing to train"):
        layout_of(nn.Sequential(nn.Flatten(), nn.ReLU()), (4,))
    frozen = nn.Linear(4, 2).requires_grad_(False)
    with pytest.raises(ProfileError, match="nothing to train"):
        layout_of(frozen, (4,))


def test_a_backward_pass_that_fails_is_told() -> None:
    class Spoiled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = torch.sigmoid(super().forward(x))
            used = made.square()
            made.add_(1)
            return used

    with pytest.raises(ProfileError, match=r"cannot be trained: a step fails .*modified by an inplace"):
        layout_of(Spoiled(4, 2), (4,))


def test_a_model_that_is_one_layer() -> None:
    assert sizes(layout_of(nn.Linear(4, 2), (4,))) == {"": 10}
