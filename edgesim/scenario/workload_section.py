"""The `workload` section: what is trained and where the times of its layers come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgesim.scenario.fields import Section, Text, whole

_size = whole(1, 10**7)


class Workload(Section):
    """What is trained, and where the times of its layers come from."""

    model: Text | None = Field(default=None, examples=["vgg-19", "mypackage.models:build"])
    """Name of a model of the zoo (`edgesim list models`), or `package.module:callable` that returns an
    `nn.Module`."""
    profile: Text | None = Field(default=None, examples=["profiles/vgg-19.json"])
    """Path of a saved profile (made by `edgesim profile`), relative to the scenario file."""
    input: tuple[Annotated[int, *_size], ...] | None = Field(
        default=None, min_length=1, examples=[[3, 32, 32]]
    )
    """Shape of one sample, without the batch; without it the model's own."""
    batch_size: Annotated[int, *whole(1, 10**6)] | None = Field(default=None, examples=[32])
    """Samples in a batch of one worker; without it that of the profile, or 32. Another one than that of the
    profile scales its FLOPs, and asks for a `compute` of every worker."""
    dtype: Literal["float32", "float64", "bfloat16", "float16"] | None = None
    """Type of parameters and activations; without it that of the profile, or float32."""
    blocks: tuple[Annotated[int, *_size], ...] | None = Field(
        default=None, min_length=1, examples=[[1, 3, 6, 53]]
    )
    """Merges the layers into blocks that nothing is planned or cut inside of: the last layer of each block,
    counted from 1 as `edgesim profile` prints them, rising to the last of the model. Without it every layer
    is on its own."""
    timing: Literal["profile", "measured", "live"] | None = None
    """`profile`: the times of the saved profile, the same on every machine; `measured`: profile the model on
    this host before the run; `live`: run the real layer at each simulated use. Without it `profile` where one
    is given, else `measured`. A device that declares `compute` is timed from the FLOPs of the layers under
    each of them."""

    @property
    def resolved_timing(self) -> str:
        """Return the timing that holds: the declared one, or the one that follows from the other keys."""
        return self.timing or ("profile" if self.profile is not None else "measured")
