"""Models by name: taken from public zoos with random weights, our own only where none has them.

A zoo name is looked up in `ZOO`; anything with a colon is an import path `package.module:callable`, called
without arguments. Packages of zoos are imported when a model of theirs is first built.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgesim.errors import ProfileError

REMEDY = "pip install 'edgesim[zoo]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of the zoo."""

    build: Callable[[tuple[int, ...]], nn.Module]
    """Makes the model for an input shape; most take no notice of it and have one of their own."""
    input_shape: tuple[int, ...]
    """The shape of one sample the model was designed for: channels, height, width."""
    source: str
    """Where the construction comes from."""


def build(model: str, input_shape: tuple[int, ...] | None = None, *, device: str = "cpu") -> nn.Module:
    """Return a model with random weights (always the same ones), in training mode.

    `model` is a name of `ZOO` or `package.module:callable`; `input_shape` is one sample's, by default the
    model's own; `device="meta"` makes it without memory. Raises ProfileError if there is no such model, its
    package is missing, or what it makes is no trainable `nn.Module`.

    >>> sum(parameter.numel() for parameter in build("lenet").parameters())
    62006
    """
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        if ":" in model:
            module = _from_import_path(model)
        else:
            entry = _entry(model)
            module = entry.build(input_shape or entry.input_shape)
    return module.to(device).train()


def default_input_shape(model: str) -> tuple[int, ...]:
    """Return the shape of one sample that a zoo model was designed for; ProfileError for an import path.

    >>> default_input_shape("inception-v4")
    (3, 299, 299)
    """
    if ":" in model:
        raise ProfileError(f"model {model!r}: the input shape of a model of your own must be given")
    return _entry(model).input_shape


def _entry(model: str) -> Entry:
    if model not in ZOO:
        close = difflib.get_close_matches(model.lower().replace("_", "-"), ZOO, n=1, cutoff=0.5)
        hint = f", did you mean {close[0]!r}?" if close else ""
        known = ", ".join(ZOO)
        raise ProfileError(
            f"model {model!r}: unknown{hint} Known: {known}; or name your own as package.module:callable"
            if hint
            else f"model {model!r}: unknown. Known: {known}; or name your own as package.module:callable"
        )
    return ZOO[model]


def _from_import_path(path: str) -> nn.Module:
    module_name, _, attribute = path.partition(":")
    try:
        made: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            made = getattr(made, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ProfileError(f"model {path!r}: cannot be imported ({error}); is it on PYTHONPATH?") from error
    if not callable(made):
        raise ProfileError(f"model {path!r}: is a {type(made).__name__}, not a callable that makes a model")
    try:
        module = made if isinstance(made, nn.Module) else made()
    except Exception as error:
        raise ProfileError(f"model {path!r}: calling it failed: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ProfileError(f"model {path!r}: makes a {type(module).__name__}, not a torch.nn.Module")
    if inspect.isclass(made) is False and made is module:
        raise ProfileError(f"model {path!r}: is a model already made; name a function or class that makes it")
    return module


def _zoo_package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ProfileError(f"the package {name.partition('.')[0]!r} is not installed: {REMEDY}") from error


def _pytorchcv(name: str) -> Callable[[tuple[int, ...]], nn.Module]:
    def make(input_shape: tuple[int, ...]) -> nn.Module:
        module: nn.Module = _zoo_package("pytorchcv.model_provider").get_model(name)
        return module

    return make


def _googlenet(input_shape: tuple[int, ...]) -> nn.Module:
    """GoogLeNet as published: 5x5 kernels, biases, no batch normalisation, no auxiliary heads in the step.

    The package follows torchvision: 3x3 where the paper has 5x5, and conv + BN; both are put back here
    (Szegedy et al., "Going deeper with convolutions", CVPR 2015, table 1).
    """
    package = _zoo_package("googlenet_pytorch.model")
    module: nn.Module = package.GoogLeNet.from_name("googlenet", {"aux_logits": False})
    for name, block in list(module.named_modules()):
        if isinstance(block, package.BasicConv2d):
            parent, _, child = name.rpartition(".")
            kernel = 5 if parent.endswith("branch3") and child == "1" else block.conv.kernel_size[0]
            setattr(module.get_submodule(parent), child, _published(block.conv, kernel))
    return module


def _published(conv: nn.Conv2d, kernel: int) -> nn.Module:
    """Return the convolution with a bias, another kernel of the same output size, and ReLU after it."""
    return nn.Sequential(
        nn.Conv2d(conv.in_channels, conv.out_channels, kernel, stride=conv.stride[0], padding=kernel // 2),
        nn.ReLU(inplace=True),
    )


def _vit(input_shape: tuple[int, ...]) -> nn.Module:
    package = _zoo_package("transformers")
    module: nn.Module = package.ViTForImageClassification(package.ViTConfig(num_labels=1000))
    return module


def _mobilenetv2(classes: int) -> Callable[[tuple[int, ...]], nn.Module]:
    def make(input_shape: tuple[int, ...]) -> nn.Module:
        package = _zoo_package("transformers")
        config = package.MobileNetV2Config(num_labels=classes, tf_padding=False)
        module: nn.Module = package.MobileNetV2ForImageClassification(config)
        return module

    return make


def _plane(input_shape: tuple[int, ...], model: str, least: int) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise ProfileError(
            f"model {model!r}: takes [channels, height, width] of at least {least} pixels, "
            f"got {list(input_shape)}"
        )
    return input_shape[0], input_shape[1], input_shape[2]


def _lenet(input_shape: tuple[int, ...]) -> nn.Module:
    """LeNet-5 (LeCun et al., Proc. IEEE 86(11), 1998) with ReLU and max pooling, for any image size."""
    channels, height, width = _plane(input_shape, "lenet", 16)
    rows, columns = ((height - 4) // 2 - 4) // 2, ((width - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * rows * columns, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def _small_cnn(input_shape: tuple[int, ...]) -> nn.Module:
    """Eight layers in the manner of VGG with BN, 0.68 M parameters at [3, 32, 32]: a quick real CNN."""
    channels, height, width = _plane(input_shape, "small-cnn", 8)
    layers: list[nn.Module] = []
    for wide, pool in [(32, False), (32, True), (64, False), (64, True), (128, False), (128, True)]:
        layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
        channels = wide
    layers += [
        nn.Flatten(),
        nn.Linear(128 * (height // 8) * (width // 8), 192),
        nn.ReLU(),
        nn.Linear(192, 10),
    ]
    return nn.Sequential(*layers)


_IMAGE = (3, 224, 224)
_PYTORCHCV = "pytorchcv 0.0.67"

ZOO: dict[str, Entry] = {
    "lenet": Entry(build=_lenet, input_shape=(3, 32, 32), source="edgesim (LeCun et al. 1998)"),
    "small-cnn": Entry(build=_small_cnn, input_shape=(3, 32, 32), source="edgesim"),
    "vgg-19": Entry(build=_pytorchcv("vgg19"), input_shape=_IMAGE, source=_PYTORCHCV),
    "googlenet": Entry(
        build=_googlenet, input_shape=_IMAGE, source="googlenet_pytorch, kernels and biases as published"
    ),
    "inception-v4": Entry(build=_pytorchcv("inceptionv4"), input_shape=(3, 299, 299), source=_PYTORCHCV),
    "resnet-18": Entry(build=_pytorchcv("resnet18"), input_shape=_IMAGE, source=_PYTORCHCV),
    "resnet-50": Entry(build=_pytorchcv("resnet50b"), input_shape=_IMAGE, source=_PYTORCHCV),
    "resnet-152": Entry(build=_pytorchcv("resnet152b"), input_shape=_IMAGE, source=_PYTORCHCV),
    "mobilenetv2": Entry(build=_mobilenetv2(1000), input_shape=_IMAGE, source="transformers"),
    "mobilenetv2-32": Entry(
        build=_mobilenetv2(10), input_shape=(3, 32, 32), source="transformers, 10 classes"
    ),
    "densenet-40": Entry(
        build=_pytorchcv("densenet40_k12_cifar10"), input_shape=(3, 32, 32), source=_PYTORCHCV
    ),
    "densenet-121": Entry(build=_pytorchcv("densenet121"), input_shape=_IMAGE, source=_PYTORCHCV),
    "vit": Entry(build=_vit, input_shape=_IMAGE, source="transformers, ViT-B/16"),
}
"""Every model by name, the ones that need no package first."""
