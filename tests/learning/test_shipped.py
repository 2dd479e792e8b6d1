"""The profiles that come with edgesim are of the models as they are built today."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesim import workload_file
from edgesim.errors import ProfileError
from edgesim.learning import shipped
from edgesim.learning.counting import count
from edgesim.learning.layers import find_layers
from edgesim.learning.profiler import Effort
from edgesim.learning.task import make_task

PROFILES = Path(__file__).parent.parent.parent / "scenarios" / "profiles"


@pytest.mark.parametrize("model", shipped.BATCHES)
def test_a_shipped_profile_is_of_the_model_as_it_is(model: str) -> None:
    pytest.importorskip("googlenet_pytorch", exc_type=ImportError)
    workload = workload_file.load(PROFILES / f"{model}.json")
    assert (workload.model, workload.batch_size) == (model, shipped.BATCHES[model])
    task = make_task(model, workload.input_shape, workload.batch_size, device="meta")
    layout = find_layers(task.model, task.forward)
    counts = count(task.model, layout, task.forward, task.inputs)
    for layer, found, counted in zip(workload.layers, layout.layers, counts, strict=True):
        assert layer.name == found.name
        assert layer.parameters == sum(parameter.numel() for parameter in found.parameters)
        assert layer.forward_flop == counted.forward_flop
        assert layer.backward_flop == counted.backward_flop
        assert layer.activation_bytes == counted.activation_bytes
        assert layer.output_bytes == counted.output_bytes or found is layout.layers[-1]


def test_shipped_profiles_can_be_taken_again(tmp_path: Path) -> None:
    told: list[str] = []
    quick = Effort(warm_up=0, least=1, most=1)
    shipped.regenerate(tmp_path, ["lenet"], effort=quick, told=lambda model, _: told.append(model))
    assert told == ["lenet"]
    assert workload_file.load(tmp_path / "lenet.json").batch_size == 32
    with pytest.raises(ProfileError, match="no shipped profile"):
        shipped.regenerate(tmp_path, ["lenett"])
