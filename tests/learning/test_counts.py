"""Layer counts, parameters and MACs of named models against figures published elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgesim.catalogue import MODELS
from edgesim.learning.counting import Counts, count
from edgesim.learning.layers import Layout, find_layers
from edgesim.learning.memory import peak_memory_bytes
from edgesim.learning.models import BUILDERS
from edgesim.learning.task import Task, make_task

pytest.importorskip("pytorchcv", exc_type=ImportError)
pytest.importorskip("googlenet_pytorch", exc_type=ImportError)
pytest.importorskip("transformers", exc_type=ImportError)


def counted(model: str | nn.Module, shape: tuple[int, ...] | None = None, batch: int = 2) -> tuple:
    task = make_task(model, shape, batch, device="meta" if isinstance(model, str) else "cpu")
    layout = find_layers(task.model, task.forward)
    return task, layout, count(task.model, layout, task.forward, task.inputs)


def parameters(layout: Layout) -> list[int]:
    return [sum(parameter.numel() for parameter in layer.parameters) for layer in layout.layers]


def test_every_name_of_the_catalogue_has_a_builder() -> None:
    assert list(MODELS) == list(BUILDERS)


@pytest.mark.parametrize(
    ("model", "layers", "million", "gmac"),
    [
        ("vgg-19", 19, 143.667, 19.63),  # Simonyan and Zisserman 2015, table 2: 144 M
        ("googlenet", 58, 6.999, 1.58),  # Szegedy et al. 2015: without auxiliary heads
        ("inception-v4", 150, 42.680, 12.25),  # Szegedy et al. 2017
        ("resnet-152", 156, 60.193, 11.51),  # He et al. 2016, stride in the 3x3 convolution
    ],
)
def test_cnns_of_the_dynacomm_paper(model: str, layers: int, million: float, gmac: float) -> None:
    _, layout, counts = counted(model)
    assert len(layout.layers) == layers
    assert sum(parameters(layout)) / 1e6 == pytest.approx(million, abs=0.0006)
    assert sum(item.forward_flop for item in counts) / 2 / 2 / 1e9 == pytest.approx(gmac, abs=0.006)
    assert layout.unused == ()
    assert layout.shared == ()
    backward = sum(item.backward_flop for item in counts)
    assert 1.9 < backward / sum(item.forward_flop for item in counts) <= 2.0


MOBILENET = [  # parameters, MMAC, output elements of one sample: He et al., FTPipeHD, blocks 0..19
    (928, 0.221, 8192), (896, 0.205, 4096), (5136, 0.596, 1536), (8832, 0.525, 1536), (10000, 0.316, 512),
    (14848, 0.224, 512), (14848, 0.224, 512), (21056, 0.154, 256), (54272, 0.210, 256), (54272, 0.210, 256),
    (54272, 0.210, 256), (66624, 0.260, 384), (118272, 0.463, 384), (118272, 0.463, 384),
    (155264, 0.319, 160), (320000, 0.316, 160), (320000, 0.316, 160), (473920, 0.469, 320),
    (412160, 0.410, 1280), (12810, 0.013, 10),
]  # fmt: skip


def test_mobilenetv2_at_32_pixels_block_by_block() -> None:
    task, layout, counts = counted("mobilenetv2-32")
    blocks: dict[str, list[int]] = {}
    for index, layer in enumerate(layout.layers):
        blocks.setdefault(_block(layer.name), []).append(index)
    assert len(blocks) == 20
    sizes = parameters(layout)
    for block, (expected, mmac, output) in zip(blocks.values(), MOBILENET, strict=True):
        assert sum(sizes[index] for index in block) == expected
        assert sum(counts[index].forward_flop for index in block) / 4e6 == pytest.approx(mmac, abs=6e-4)
        made = task.output_bytes if block[-1] == 52 else counts[block[-1]].output_bytes
        assert made == output * 4 * 2
    assert sum(sizes) == 2_236_682
    assert sum(item.forward_flop for item in counts) / 4e6 == pytest.approx(6.12, abs=0.006)


def _block(name: str) -> str:
    """Return the block of the paper: the stem's convolution, 17 bottlenecks, the head, the classifier."""
    parts = name.split(".")
    if parts[1:2] == ["conv_stem"]:
        return "0" if parts[2] == "first_conv" else "1"
    return ".".join(parts[:3]) if parts[1:2] == ["layer"] else name


@pytest.mark.parametrize(
    ("model", "layers", "million"),
    [
        ("resnet-18", 21, 11.690),
        ("densenet-40", 40, 0.599),
        ("densenet-121", 121, 7.979),
        ("vit", 74, 86.568),
    ],
)
def test_the_other_named_models(model: str, layers: int, million: float) -> None:
    task = make_task(model, None, 2, device="meta")
    layout = find_layers(task.model, task.forward)
    assert len(layout.layers) == layers
    assert sum(parameters(layout)) / 1e6 == pytest.approx(million, abs=0.0006)


def test_counts_of_two_linear_layers_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))
    _, layout, counts = counted(model, (3,), batch=2)
    assert parameters(layout) == [16, 25]
    first, second = counts
    assert first.forward_flop == 2 * 2 * 3 * 4
    assert second.forward_flop == 2 * 2 * 4 * 5
    assert first.backward_flop == 2 * 2 * 3 * 4, "no gradient of the input batch"
    assert second.backward_flop == 2 * 2 * 2 * 4 * 5
    assert first.output_bytes == 2 * 4 * 4
    assert first.activation_bytes == 2 * 4 * 4, "ReLU keeps its result, which the next layer reads too"
    assert first.traffic_bytes == 4 * (2 * 3 + 16 + 2 * 4)


def test_the_meta_device_counts_as_the_real_one_does() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, groups=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(8 * 25, 10),
    )  # fmt: skip
    real = make_task(model, (3, 16, 16), 4)
    layout = find_layers(real.model, real.forward)
    on_cpu = count(real.model, layout, real.forward, real.inputs)
    peak = peak_memory_bytes(real)
    meta = make_task(model.to("meta"), (3, 16, 16), 4, device="meta")
    layout = find_layers(meta.model, meta.forward)
    assert count(meta.model, layout, meta.forward, meta.inputs) == on_cpu
    assert peak_memory_bytes(meta) == peak


def test_a_depthwise_convolution_costs_twice_its_forward_backward() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16))
    _, _, counts = counted(model, (3, 8, 8))
    depthwise: Counts = counts[1]
    assert depthwise.forward_flop == 2 * 2 * 8 * 8 * 16 * 9
    assert depthwise.backward_flop == 2 * depthwise.forward_flop


def test_attention_fused_on_the_cpu_is_counted() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.inner(x).unflatten(-1, (2, 4)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(x, x, x).flatten(1)

    _, _, counts = counted(Attention(), (5, 8), batch=3)
    products = 2 * 3 * 2 * 5 * 5 * 4
    assert counts[0].forward_flop == 2 * 3 * 5 * 8 * 8 + 2 * products
    assert counts[0].backward_flop >= 2 * 3 * 5 * 8 * 8 + 4 * products


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.first(x)
        return self.third(kept + torch.tanh(self.second(kept)))


def test_all_tensors_that_cross_a_cut_are_counted() -> None:
    _, _, counts = counted(Residual(), (4,), batch=3)
    assert [item.output_bytes for item in counts] == [3 * 6 * 4, 3 * 6 * 4, 0]
    wide = nn.Sequential(nn.Linear(4, 4), Branches())
    _, layout, counts = counted(wide, (4,), batch=3)
    assert [layer.name for layer in layout.layers] == ["0", "1.left", "1.right", "1.out"]
    assert [item.output_bytes for item in counts] == [48, 48 + 60, 60 + 72, 0]


def test_a_chain_is_cut_where_one_tensor_crosses() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    _, _, counts = counted(model, (3,), batch=2)
    assert [item.cut_bytes for item in counts] == [2 * 4 * 4, 2 * 5 * 4, 0]
    assert [item.cut_bytes for item in counts] == [item.output_bytes for item in counts]


def test_a_cut_inside_a_residual_block_has_the_skip_too() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.up, self.down, self.out = (
                nn.Linear(4, 6), nn.Linear(6, 9), nn.Linear(9, 6), nn.Linear(6, 2)
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept = self.stem(x)
            return self.out(torch.relu_(kept + self.down(torch.relu(self.up(kept)))))

    _, _, counts = counted(Inside(), (4,), batch=3)
    assert [item.cut_bytes for item in counts] == [3 * 6 * 4, 3 * (6 + 9) * 4, 3 * 6 * 4, 0]


def test_a_cut_inside_a_dense_block_has_all_that_came_before() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(5 + 3 * index, 3) for index in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = [x]
            for layer in self.layers:
                made.append(layer(torch.cat(made, dim=1)))
            return made[-1]

    _, _, counts = counted(Dense(), (5,), batch=2)
    # joined for the next layer before the cut, and its parts for the joint after the next: input, made, made
    assert [item.cut_bytes for item in counts] == [8 * (8 + 5 + 3), 8 * (11 + 5 + 3 + 3), 8 * 14, 0]
    assert [item.output_bytes for item in counts] == [8 * (8 + 3), 8 * (11 + 3 + 3), 8 * 14, 0]


class LateInput(nn.Module):
    """Reads the model's input, or a copy of it, once more in its third layer."""

    def __init__(self, copied: bool = False) -> None:
        super().__init__()
        self.copied = copied
        self.first, self.second, self.third, self.fourth = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.clone() if self.copied else x
        early = self.second(self.first(x))
        return self.fourth(early + self.third(x.view(-1, 4)))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_cut_has_the_input_of_the_model_where_it_is_read_late(device: str) -> None:
    def figures(model: nn.Module) -> list[tuple[int, int]]:
        task = make_task(model.to(device), (4,), 3, device=device)
        layout = find_layers(task.model, task.forward)
        assert [layer.name for layer in layout.layers] == ["first", "second", "third", "fourth"]
        counts = count(task.model, layout, task.forward, task.inputs)
        return [(item.output_bytes, item.cut_bytes) for item in counts]

    assert figures(LateInput()) == [(48, 96), (48, 96), (48, 48), (0, 0)]
    assert figures(LateInput(copied=True)) == [(96, 96), (96, 96), (48, 48), (0, 0)]


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(4, 5), nn.Linear(4, 6), nn.Linear(11, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.left(x), self.right(x)
        return self.out(torch.cat([left, right], dim=1))


def test_peak_memory_is_at_least_parameters_gradients_and_what_is_kept() -> None:
    task: Task = make_task("small-cnn", None, 4, device="meta")
    layout = find_layers(task.model, task.forward)
    kept = sum(item.activation_bytes for item in count(task.model, layout, task.forward, task.inputs))
    weights = 4 * sum(parameters(layout))
    peak = peak_memory_bytes(task)
    assert weights + kept < peak < 2 * (2 * weights + kept)


@pytest.mark.parametrize("model", list(MODELS))
def test_the_catalogue_knows_the_number_of_parameters(model: str) -> None:
    task = make_task(model, None, 2, device="meta")
    assert sum(parameter.numel() for parameter in task.model.parameters()) == MODELS[model].parameters
