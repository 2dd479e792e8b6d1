"""The picture of a profile shows every layer and is legible from 1 layer to 200."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import RendererAgg

from edgesim.report.profile_figure import profile_figure
from edgesim.workload import Layer, Workload


def workload(layers: int) -> Workload:
    made = tuple(
        Layer(
            name=f"features.stage{index % 4}.unit{index}.conv", kind="Conv2d",
            forward_s=0.001 * (1 + 7 * index % 13), backward_s=0.002 * (1 + 5 * index % 17), forward_flop=1.0,
            backward_flop=2.0, parameters=1000 * index, parameter_bytes=4000 * index, output_bytes=1,
            activation_bytes=1,
        )
        for index in range(layers)
    )  # fmt: skip
    step_s = sum(layer.forward_s + layer.backward_s for layer in made)
    return Workload(
        model="m", batch_size=1, input_shape=(3, 8, 8), dtype="float32", layers=made, step_s=step_s,
        provenance={"cpu": "x" * 300, "torch": "2", "threads": "1", "repeats": "5"},
    )  # fmt: skip


@pytest.mark.parametrize("layers", [1, 5, 30, 31, 156, 200])
def test_bars_say_the_figures_and_no_text_overlaps(layers: int) -> None:
    item = workload(layers)
    picture = profile_figure(item)
    times, sizes = picture.axes
    forward, backward = times.containers
    unit = item.layers[-1].forward_s / forward.patches[-1].get_height()
    for layer, low, high in zip(item.layers, forward, backward, strict=True):
        assert low.get_height() * unit == pytest.approx(layer.forward_s)
        assert high.get_height() * unit == pytest.approx(layer.backward_s)
        assert high.get_y() == pytest.approx(low.get_height())
    assert [bar.get_height() for bar in sizes.containers[0]] == [
        pytest.approx(layer.parameter_bytes / 1e6) for layer in item.layers
    ]
    picture.canvas.draw()
    renderer = picture.canvas.get_renderer()  # type: ignore[attr-defined]
    assert isinstance(renderer, RendererAgg)
    boxes = [text.get_window_extent(renderer) for text in times.texts]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert box.x1 <= picture.bbox.x1
    named = [label.get_text() for label in sizes.get_xticklabels()]
    assert (len(named) == layers and named[0].startswith("1 ")) == (layers <= 30)
    assert bool(times.texts) == (layers > 30)
