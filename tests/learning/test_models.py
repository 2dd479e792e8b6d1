"""Models by name and by import path, and everything that can be wrong with them."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from edgesim import catalogue
from edgesim.errors import ProfileError
from edgesim.learning import models
from edgesim.learning.task import fits, make_task, output_of


def tiny() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))


def broken() -> nn.Module:
    raise RuntimeError("no weights today")


def text() -> str:
    return "a model"


ready = nn.Linear(2, 2)


def test_weights_are_the_same_every_time_and_leave_the_random_state() -> None:
    state = torch.get_rng_state()
    first, second = models.build("lenet"), models.build("lenet")
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.training


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet18", "did you mean 'resnet-18'"),
        ("VGG19", "did you mean 'vgg-19'"),
        ("lenett", "did you mean 'lenet'"),
        ("zzzz", "unknown. Known: lenet"),
        ("", "unknown"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(name: str, told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        models.build(name)


def test_a_missing_package_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pytorchcv.model_provider", "googlenet_pytorch.model", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    for model, package in (
        ("vgg-19", "pytorchcv"),
        ("googlenet", "googlenet_pytorch"),
        ("vit", "transformers"),
    ):
        with pytest.raises(
            ProfileError, match=rf"'{package}' is not installed: pip install 'edgesim\[zoo\]'"
        ):
            models.build(model, device="meta")


def test_a_model_of_ones_own_by_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    assert isinstance(models.build("mine:tiny"), nn.Sequential)
    fits("mine:tiny", (3, 2, 2))
    for path, told in (
        ("mine:tinny", "cannot be imported"),
        ("nowhere:tiny", "cannot be imported"),
        ("mine:", "cannot be imported"),
        (":tiny", "cannot be imported"),
        ("mine:broken", "RuntimeError: no weights today"),
        ("mine:text", "makes a str"),
        ("mine:ready", "already made"),
        ("mine:sys", "not a callable"),
    ):
        with pytest.raises(ProfileError, match=told):
            models.build(path)
    with pytest.raises(ProfileError, match="must be given"):
        make_task("mine:tiny", None, 2)
    with pytest.raises(ProfileError, match="does not take batches of 2 inputs of 3x5x5"):
        fits("mine:tiny", (3, 5, 5))


@pytest.mark.parametrize(
    "model", [name for name, entry in catalogue.MODELS.items() if entry.least > 1 and entry.channels]
)
def test_the_catalogue_knows_the_least_image(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytorchcv", exc_type=ImportError)
    pytest.importorskip("googlenet_pytorch", exc_type=ImportError)
    least, channels = catalogue.MODELS[model].least, catalogue.MODELS[model].input_shape[0]
    fits(model, (channels, least, least))
    with pytest.raises(ProfileError, match="does not fit"):
        fits(model, (channels, least - 1, least - 1))
    monkeypatch.setattr(catalogue, "check_input", lambda *_: None)
    with pytest.raises(ProfileError, match="does not take batches"):
        fits(model, (channels, least - 1, least - 1))


def test_outputs_of_many_kinds() -> None:
    tensor = torch.zeros(2)

    class Answer:
        logits = tensor

    assert output_of(Answer()) is tensor
    assert output_of((tensor, None)) is tensor
    with pytest.raises(ProfileError, match="returns a dict"):
        output_of({"a": tensor})
