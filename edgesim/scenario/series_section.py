"""A value over time, as a scenario writes it: pairs of time and value, or a trace file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from edgesim.scenario.fields import (
    Bandwidth,
    BandwidthOrNone,
    Duration,
    Seconds,
    Section,
    Share,
    Text,
)


class ShareValues(Section):
    """A share that changes at given times."""

    values: tuple[tuple[Seconds, Share], ...] = Field(min_length=1, examples=[[["0 s", 1.0], ["30 s", 0.5]]])
    """Pairs of a time and the share that holds from then on; the first time is 0 s, and times rise."""
    repeat: Duration | None = None
    """Length after which the pairs start again; without it the last value holds for ever."""


class BandwidthValues(Section):
    """A bandwidth that changes at given times."""

    values: tuple[tuple[Seconds, BandwidthOrNone], ...] = Field(
        min_length=1, examples=[[["0 s", "50 Mbit/s"], ["30 s", "5 Mbit/s"]]]
    )
    """Pairs of a time and the bandwidth that holds from then on; the first time is 0 s, and times rise."""
    repeat: Duration | None = None
    """Length after which the pairs start again; without it the last value holds for ever."""


class ShareFile(Section):
    """A share over time, read from a file."""

    file: Text = Field(examples=["traces/phone.csv"])
    """Path of the file, relative to the scenario file."""
    format: Literal["csv", "simgrid"] = "csv"
    """`csv`: lines `time_s,share`; `simgrid`: lines `time share`, with LOOPAFTER."""
    repeat: Duration | None = None
    """Length after which a csv starts again; without it the last value holds for ever."""


class BandwidthFile(Section):
    """A bandwidth over time, read from a file."""

    file: Text = Field(examples=["traces/lte.csv"])
    """Path of the file, relative to the scenario file."""
    format: Literal["csv", "mahimahi", "pensieve", "simgrid"] = "csv"
    """`csv`: lines `time_s,value`; `mahimahi`: a millisecond a line, one 1500-byte packet each, repeated;
    `pensieve`: lines `time_s Mbit/s`, repeated; `simgrid`: lines `time value`, with LOOPAFTER."""
    unit: Bandwidth | None = Field(default=None, examples=["1 Mbit/s"])
    """What a value of 1 in a csv or simgrid file means; they need it."""
    window: Duration | None = Field(default=None, examples=["500 ms"])
    """Length over which the packets of a mahimahi file are counted; 1 s without it."""
    repeat: Duration | None = None
    """Length after which a csv starts again; without it the last value holds for ever."""


class UpDown(Section):
    """Unlike bandwidths of the two directions."""

    up: Annotated[
        Annotated[Bandwidth, Tag("<quantity>")]
        | Annotated[BandwidthValues, Tag("<values>")]
        | Annotated[BandwidthFile, Tag("<file>")],
        Discriminator(lambda value: _shape(value, ("values", "file"))),
    ] = Field(examples=["10 Mbit/s"])
    """From the device to the network (of a link `from` A `to` B: from A to B)."""
    down: Annotated[
        Annotated[Bandwidth, Tag("<quantity>")]
        | Annotated[BandwidthValues, Tag("<values>")]
        | Annotated[BandwidthFile, Tag("<file>")],
        Discriminator(lambda value: _shape(value, ("values", "file"))),
    ] = Field(examples=["50 Mbit/s"])
    """From the network to the device (of a link `from` A `to` B: from B to A)."""


_SHAPES: dict[str, tuple[str, ...]] = {
    "values": ("ShareValues", "BandwidthValues"),
    "file": ("ShareFile", "BandwidthFile"),
    "up-down": ("UpDown",),
}


def _shape(value: Any, shapes: tuple[str, ...]) -> str:
    """Return the tag of the kind of value that the user seems to have meant."""
    if isinstance(value, Section):
        kind = type(value).__name__
        return next((f"<{shape}>" for shape in shapes if kind in _SHAPES[shape]), "<quantity>")
    if isinstance(value, dict):
        keys = {str(key) for key in value}
        if "up-down" in shapes and keys & {"up", "down"}:
            return "<up-down>"
        if "file" in shapes and keys & {"file", "format", "window", "unit"}:
            return "<file>"
        if "values" in shapes and keys & {"values", "repeat"}:
            return "<values>"
    return "<quantity>"


def _pick(*shapes: str) -> Callable[[Any], str]:
    return lambda value: _shape(value, shapes)


AnyBandwidth = Annotated[
    Annotated[Bandwidth, Tag("<quantity>")]
    | Annotated[UpDown, Tag("<up-down>")]
    | Annotated[BandwidthValues, Tag("<values>")]
    | Annotated[BandwidthFile, Tag("<file>")],
    Discriminator(_pick("up-down", "values", "file")),
]
"""A bandwidth: constant, unlike up and down, or over time."""

AnyShare = Annotated[
    Annotated[Share, Tag("<quantity>")]
    | Annotated[ShareValues, Tag("<values>")]
    | Annotated[ShareFile, Tag("<file>")],
    Discriminator(_pick("values", "file")),
]
"""A share from 0 to 1: constant or over time."""
