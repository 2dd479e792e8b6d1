"""The profiler's arithmetic under a clock of our own; no assertion here depends on wall time."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgesim.errors import ProfileError
from edgesim.learning.profiler import Effort, Times, profile_model, spread
from edgesim.learning.tracer import Trace

TWO = Effort(warm_up=1, least=2, most=2)


class Ticking:
    """A clock that moves by one second at every look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return float(self.looks)


def test_figures_of_a_profile_follow_from_the_clock() -> None:
    workload = profile_model("lenet", batch_size=2, effort=TWO, clock=Ticking())
    assert [layer.name for layer in workload.layers] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert [layer.forward_s for layer in workload.layers] == [2.0, 1.0, 1.0, 1.0, 1.0]
    assert [layer.backward_s for layer in workload.layers] == [1.0, 1.0, 1.0, 1.0, 2.0]
    assert workload.step_s == 1.0
    assert workload.optimizer_s == 1.0
    assert workload.coverage == 12.0
    assert all(layer.forward_spread == 0.0 for layer in workload.layers)
    assert workload.provenance["repeats"] == "2"
    assert workload.provenance["clock"] == "the caller's"


def test_a_profile_says_what_crosses_its_cuts() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inner = self.first(x)
            return self.third(self.second(inner) + x)

    workload = profile_model(Late(), (4,), 2, effort=TWO, clock=Ticking())
    assert [(layer.output_bytes, layer.cut_bytes) for layer in workload.layers] == [
        (32, 64),
        (32, 32),
        (24, 24),
    ]


def test_a_profile_says_what_it_is_of() -> None:
    workload = profile_model("small-cnn", (1, 16, 16), 3, effort=TWO)
    assert (workload.model, workload.input_shape, workload.batch_size) == ("small-cnn", (1, 16, 16), 3)
    assert workload.input_bytes == 3 * 16 * 16 * 4
    assert workload.layers[-1].output_bytes == 3 * 10 * 4
    assert {"cpu", "torch", "threads", "date", "repeats", "step_spread", "coverage", "layers"} <= set(
        workload.provenance
    )
    assert min(min(layer.forward_s, layer.backward_s) for layer in workload.layers) > 0
    assert workload.peak_memory_bytes > workload.parameter_bytes


def test_a_clock_that_stands_still_is_an_error() -> None:
    with pytest.raises(ProfileError, match="layer 'conv1' took no time forward"):
        profile_model("lenet", batch_size=2, effort=TWO, clock=lambda: 1.0)


def test_a_module_can_be_profiled_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    workload = profile_model(model, (4,), 2, "float64", effort=TWO)
    assert workload.model == "Sequential"
    assert workload.layers[0].parameter_bytes == 20 * 8


def test_threads_and_random_state_are_left_as_they_were() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    profile_model("lenet", batch_size=2, threads=2, effort=TWO)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_is_told_after_each_repeat() -> None:
    told: list[tuple[int, int]] = []
    profile_model("lenet", batch_size=2, effort=TWO, progress=lambda done, most, _: told.append((done, most)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"dtype": "int7"}, "dtype 'int7': unknown"),
        ({"threads": 0}, "threads 0"),
        ({"input_shape": (3, 0, 3)}, "every size"),
        ({"input_shape": (3, 4, 4)}, "does not fit"),
        ({"model": nn.Linear(2, 2)}, "input shape of a model of your own"),
        ({"model": nn.Linear(2, 2), "input_shape": (3,)}, "does not take batches of 2 inputs of 3"),
    ],
)
def test_what_cannot_be_profiled_is_told(arguments: dict, told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        profile_model(**{"model": "lenet", "batch_size": 2, "effort": TWO} | arguments)


@given(st.lists(st.floats(1.0, 1e3), min_size=1, max_size=30), st.floats(0.1, 10.0))
def test_spread_is_relative_and_never_negative(values: list[float], factor: float) -> None:
    assert spread(values) >= 0
    assert spread([factor * value for value in values]) == pytest.approx(spread(values), abs=1e-9)
    assert spread([values[0]] * 5) == 0


def test_the_error_of_the_median_shrinks_with_repeats() -> None:
    few = Times(step_s=[1.0, 1.1, 0.9] * 5)
    many = Times(step_s=[1.0, 1.1, 0.9] * 125)
    assert many.error == pytest.approx(few.error / 5, rel=0.1)
    assert Times(step_s=[1.0]).error == math.inf


def test_coverage_is_the_sum_of_medians_over_the_median_step() -> None:
    traces = [Trace(forward_L=[1.0, 2.0 + i], backward_L=[3.0, 4.0 - i]) for i in (0.0, 1.0, 3.0)]
    times = Times(step_s=[10.0, 20.0, 30.0], traces=traces)
    assert times.coverage == (1.0 + statistics.median([2, 3, 5]) + 3.0 + statistics.median([4, 3, 1])) / 20.0
