"""Live layers do what the whole pass does, and a recording gives the same run again."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from edgesim.cluster import Device
from edgesim.errors import ProfileError
from edgesim.learning.layers import find_layers
from edgesim.learning.live import LiveTimer
from edgesim.learning.profiler import Effort, profile_model
from edgesim.learning.recording import ReplayTimer
from edgesim.learning.tape import Tape, record
from edgesim.learning.task import make_task
from edgesim.workload import Workload, merged

QUICK = Effort(warm_up=0, least=1, most=1)
PI, JETSON = Device(name="pi", speed=1.0), Device(name="jetson", speed=4.0)
PHONE = Device(name="phone", compute_flops=1e9)


class Skip(nn.Module):
    """Views, an in-place operation, a branch and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.out = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(144, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu_(self.stem(x))
        x = x + torch.sigmoid(self.inner(x))
        return self.out(x.flatten(1))


def workload_of(model: str = "lenet", batch: int = 2) -> Workload:
    return profile_model(model, batch_size=batch, effort=QUICK)


def test_tapes_compute_what_the_whole_pass_computes() -> None:
    task = make_task(Skip(), (1, 8, 8), 2)
    layout = find_layers(task.model, task.forward)
    loss = task.forward()
    loss.backward()
    gradients = [
        parameter.grad.clone()
        for layer in layout.layers
        for parameter in layer.parameters
        if parameter.grad is not None
    ]
    tapes = record(task, layout)
    assert sorted(tapes) == [(layer, phase) for layer in range(3) for phase in ("backward", "forward")]
    made = [tensor for tensor in tapes[2, "forward"].run(keep=True) if tensor is not None]
    assert any(tensor.dim() == 0 and torch.equal(tensor, loss.detach()) for tensor in made)
    again = [
        tensor
        for layer in range(3)
        for tensor in tapes[layer, "backward"].run(keep=True)
        if tensor is not None
    ]
    for gradient in gradients:
        assert any(t.shape == gradient.shape and torch.allclose(t, gradient) for t in again)
    assert all(parameter.grad is None for parameter in task.model.parameters())


def test_a_tape_can_be_run_again_and_again_and_frees_what_it_makes() -> None:
    task = make_task("small-cnn", None, 2)
    tapes = record(task, find_layers(task.model, task.forward))
    for tape in tapes.values():
        first = [None if t is None else t.shape for t in tape.run()]
        assert [None if t is None else t.shape for t in tape.run()] == first
        assert sum(shape is not None for shape in first) <= len(first)
    inner = tapes[1, "forward"]
    assert sum(t is not None for t in inner.run()) < sum(t is not None for t in inner.run(keep=True))


def test_live_times_are_the_clock_over_the_speed() -> None:
    ticks = itertools.count()
    with LiveTimer(workload_of(), clock=lambda: 2.0 * next(ticks)) as timer:
        assert timer.forward_s(PI, 0) == 2.0
        assert timer.backward_s(JETSON, 4) == 0.5


def test_a_block_runs_its_layers_and_is_replayed_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, tapes, ran = workload_of(), {}, []
    blocks = merged(whole, [2, 4, 5])
    monkeypatch.setattr(
        "edgesim.learning.live.record", lambda *given: tapes.update(record(*given)) or dict(tapes)
    )
    run = Tape.run

    def noted(tape: Tape) -> list[torch.Tensor | None]:
        ran.append(next(key for key, one in tapes.items() if one is tape))
        return run(tape)

    with LiveTimer(blocks, record=tmp_path / "live.jsonl") as timer:
        monkeypatch.setattr(Tape, "run", noted)
        lived = [timer.forward_s(PI, 0), timer.backward_s(PI, 1), timer.forward_s(PI, 2)]
    assert ran == [(0, "forward"), (1, "forward"), (3, "backward"), (2, "backward"), (4, "forward")]
    replay = ReplayTimer(tmp_path / "live.jsonl", blocks)
    assert [replay.forward_s(PI, 0), replay.backward_s(PI, 1), replay.forward_s(PI, 2)] == lived
    with pytest.raises(ProfileError, match="layers: recorded"):
        ReplayTimer(tmp_path / "live.jsonl", whole)


def test_a_device_of_known_compute_is_answered_by_the_roofline(tmp_path: Path) -> None:
    workload = workload_of()
    with LiveTimer(workload, record=tmp_path / "live.jsonl") as timer:
        assert timer.forward_s(PHONE, 1) == workload.layers[1].forward_flop / 1e9
        assert timer.backward_s(PHONE, 1) == workload.layers[1].backward_flop / 1e9
    replay = ReplayTimer(tmp_path / "live.jsonl", workload)
    assert replay.left == 0
    assert replay.forward_s(PHONE, 1) == workload.layers[1].forward_flop / 1e9
    assert replay.backward_s(PHONE, 1) == workload.layers[1].backward_flop / 1e9


def test_a_recording_gives_the_same_times_bit_by_bit(tmp_path: Path) -> None:
    workload = workload_of()
    with LiveTimer(workload, record=tmp_path / "live.jsonl") as timer:
        lived = [timer.forward_s(PI, layer) for layer in range(5)]
        lived += [timer.backward_s(JETSON, layer) for layer in reversed(range(5))]
    replay = ReplayTimer(tmp_path / "live.jsonl", workload)
    replayed = [replay.forward_s(PI, layer) for layer in range(5)]
    replayed += [replay.backward_s(JETSON, layer) for layer in reversed(range(5))]
    assert replayed == lived
    assert min(lived) > 0
    with pytest.raises(ProfileError, match=r"holds 10 uses .* one more: forward of layer 1 \(conv1\) on pi"):
        replay.forward_s(PI, 0)


def test_a_replay_of_another_run_is_refused(tmp_path: Path) -> None:
    workload, file = workload_of(), tmp_path / "live.jsonl"
    with LiveTimer(workload, record=file) as timer:
        timer.forward_s(PI, 0)
    for ask, told in (
        (lambda timer: timer.forward_s(PI, 1), r":2: has forward of layer 1 .* asks for forward of layer 2"),
        (lambda timer: timer.backward_s(PI, 0), "asks for backward of layer 1"),
        (lambda timer: timer.forward_s(JETSON, 0), "on jetson"),
    ):  # fmt: skip
        with pytest.raises(ProfileError, match=told):
            ask(ReplayTimer(file, workload))
    with pytest.raises(ProfileError, match="batch_size: recorded 2, the scenario has 3"):
        ReplayTimer(file, workload_of(batch=3))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "is not JSON"),
        ('["pi", "forward", 9, 0.1]', "layer from 0 to 4"),
        ('["pi", "forward", 0, 0.0]', "seconds above 0"),
        ('["pi", "forward", 0, NaN]', "seconds above 0"),
        ('["pi", "sideways", 0, 0.1]', "is due"),
        ("3", "is due"),
    ],
)
def test_a_damaged_recording_is_refused_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    workload, file = workload_of(), tmp_path / "live.jsonl"
    LiveTimer(workload, record=file).close()
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ProfileError, match=f"live.jsonl:2: .*{told}"):
        ReplayTimer(file, workload)


def test_files_that_are_no_recordings(tmp_path: Path) -> None:
    workload = workload_of()
    with pytest.raises(ProfileError, match="cannot be read"):
        ReplayTimer(tmp_path / "none.jsonl", workload)
    (tmp_path / "other.jsonl").write_text(json.dumps({"format": "x"}))
    with pytest.raises(ProfileError, match="no recording"):
        ReplayTimer(tmp_path / "other.jsonl", workload)
    with pytest.raises(ProfileError, match="cannot be written"):
        LiveTimer(workload, record=tmp_path / "other.jsonl" / "below")


def test_a_profile_of_other_layers_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"has 3 layers .* its profile has 5"):
        LiveTimer(
            Workload(**{f: getattr(workload_of(), f) for f in FIELDS} | {"input_shape": (1, 8, 8)}),
            module=Skip(),
        )


FIELDS = ("model", "batch_size", "input_shape", "dtype", "layers", "step_s")
