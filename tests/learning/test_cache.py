"""A profile is measured once for the same content, and again for any other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgesim.errors import ProfileError
from edgesim.learning import cache
from edgesim.learning.profiler import Effort
from edgesim.workload import Workload

QUICK = Effort(warm_up=0, least=1, most=1)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were really measured, as they are."""
    names: list[str] = []
    measure = cache.profile_model

    def noted(model: str, *args: object, **kwargs: object) -> Workload:
        names.append(model)
        return measure(model, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "profile_model", noted)
    return names


def test_the_second_time_comes_from_the_cache(tmp_path: Path, measured: list[str]) -> None:
    first = cache.workload_for("lenet", batch_size=2, effort=QUICK, folder=tmp_path)
    assert cache.workload_for("lenet", (3, 32, 32), 2, effort=QUICK, folder=tmp_path) == first
    assert measured == ["lenet"]
    cache.workload_for("lenet", batch_size=2, effort=QUICK, folder=tmp_path, fresh=True)
    assert measured == ["lenet", "lenet"]


def test_other_content_is_another_profile(tmp_path: Path, measured: list[str]) -> None:
    cache.workload_for("lenet", batch_size=2, effort=QUICK, folder=tmp_path)
    cache.workload_for("lenet", batch_size=3, effort=QUICK, folder=tmp_path)
    cache.workload_for("lenet", (1, 28, 28), 2, effort=QUICK, folder=tmp_path)
    cache.workload_for("lenet", batch_size=2, dtype="float64", effort=QUICK, folder=tmp_path)
    cache.workload_for("lenet", batch_size=2, threads=2, effort=QUICK, folder=tmp_path)
    assert len(measured) == len(list(tmp_path.iterdir())) == 5


def test_a_change_of_the_source_is_another_profile(
    tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    )
    source += "        self.fc = nn.Linear(4, 2)\n    def forward(self, x):\n        return self.fc(x)\n"
    (tmp_path / "net_of_a_test.py").write_text(source)
    for _ in range(2):
        cache.workload_for("net_of_a_test:Net", (4,), 2, effort=QUICK, folder=tmp_path / "cache")
    assert len(measured) == 1
    (tmp_path / "net_of_a_test.py").write_text(source.replace("self.fc(x)", "self.fc(x) * 2"))
    cache.workload_for("net_of_a_test:Net", (4,), 2, effort=QUICK, folder=tmp_path / "cache")
    assert len(measured) == 2
    del sys.modules["net_of_a_test"]


def test_a_damaged_cache_is_measured_again(tmp_path: Path, measured: list[str]) -> None:
    cache.workload_for("lenet", batch_size=2, effort=QUICK, folder=tmp_path)
    for file in tmp_path.iterdir():
        file.write_text("{")
    cache.workload_for("lenet", batch_size=2, effort=QUICK, folder=tmp_path)
    assert measured == ["lenet", "lenet"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    workload = cache.workload_for("lenet", batch_size=2, effort=QUICK, folder=tmp_path / "file" / "below")
    assert len(workload.layers) == 5


def test_unknown_models_are_errors_not_cached(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="did you mean 'lenet'"):
        cache.workload_for("lenett", folder=tmp_path)
    with pytest.raises(ProfileError, match="does not fit"):
        cache.workload_for("lenet", (3, 4, 4), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "edgesim" / "profiles"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.cache_folder() == tmp_path / ".cache" / "edgesim" / "profiles"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.cache_folder() == tmp_path / "Library" / "Caches" / "edgesim" / "profiles"
