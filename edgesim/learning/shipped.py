"""The profiles that come with edgesim, and how to take them again: `regenerate("scenarios/profiles")`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from edgesim import workload_file
from edgesim.errors import ProfileError
from edgesim.learning.profiler import Effort, profile_model
from edgesim.workload import Workload

BATCHES: dict[str, int] = {
    "lenet": 32,
    "small-cnn": 32,
    "mobilenetv2-32": 128,
    "googlenet": 32,
    "vgg-19": 32,
    "inception-v4": 32,
    "resnet-152": 32,
}
"""Model -> batch size of its shipped profile, each at the input it was designed for, one thread, float32."""

EFFORT = Effort(warm_up=1, least=3, least_s=20.0, budget_s=60.0)
"""Few repeats: a step of the largest takes half a minute. How many there were is in the provenance."""


def regenerate(
    folder: str | Path,
    models: Iterable[str] = tuple(BATCHES),
    *,
    effort: Effort = EFFORT,
    told: Callable[[str, Workload], None] = lambda model, workload: None,
) -> None:
    """Measure shipped profiles on this host and write them into a folder as `MODEL.json`.

    `told` is called with each model and its new profile. Takes some ten minutes on one core in all. Raises
    ProfileError for a model that has no shipped profile.
    """
    for model in models:
        if model not in BATCHES:
            raise ProfileError(f"model {model!r}: has no shipped profile; those are {', '.join(BATCHES)}")
        workload = profile_model(model, batch_size=BATCHES[model], effort=effort)
        workload_file.save(workload, Path(folder) / f"{model}.json")
        told(model, workload)
