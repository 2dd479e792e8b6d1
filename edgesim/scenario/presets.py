"""Known devices as data: every figure with its source and whether it is measured, published or assumed.

`measured`: somebody ran it and published the reading; `published`: the maker's specification; `assumed`: our
judgement, with its reason. `compute_flops` is what training reaches, not the peak: nobody publishes it, so it
is assumed throughout, from a measured Linpack (CPUs) or a share of the published peak (GPUs). Measure your
own device with `edgesim profile` and give `speed` or `compute` instead. Memory is the physical one: the
part of the operating system is not taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgesim.units import BANDWIDTH, COMPUTE, DATA, POWER, Dimension, parse, show

Status = Literal["measured", "published", "assumed"]


class Figure(NamedTuple):
    """One figure of a preset, in the unit its field's name ends in."""

    value: float
    status: Status
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A known device."""

    title: str
    """What it is."""
    figures: dict[str, Figure]
    """Figures by the name of the field of `edgesim.cluster.Device`."""


DIMENSIONS: dict[str, Dimension] = {
    "compute_flops": COMPUTE,
    "memory_bandwidth_Bps": BANDWIDTH,
    "memory_bytes": DATA,
    "busy_W": POWER,
    "idle_W": POWER,
}
"""What each figure of a preset measures."""

_Row = tuple[str, Status, str]


def _preset(title: str, compute: _Row, bandwidth: _Row, memory: _Row, busy: _Row, idle: _Row) -> Preset:
    rows = zip(DIMENSIONS.items(), (compute, bandwidth, memory, busy, idle), strict=True)
    figures = {field: Figure(parse(row[0], dimension), *row[1:]) for (field, dimension), row in rows}
    return Preset(title=title, figures=figures)


_TOP500 = "J. Geerling, github.com/geerlingguy/top500-benchmark"
_DRAMBLE = "J. Geerling, pidramble.com power consumption benchmarks"


def _linpack(rate: str, what: str) -> _Row:
    reason = f"the FP64 Linpack of {what}; FP32 training has twice the peak and is taken to reach half of it"
    return (rate, "assumed", reason)


def _share_of_peak(rate: str, share: str, peak: str) -> _Row:
    return (rate, "assumed", f"{share} of the published FP32 peak of {peak}")


def _pi_memory(size: str) -> _Row:
    return (size, "published", "Raspberry Pi product brief")


def _jetson(power: str, module: str) -> tuple[_Row, _Row]:
    """Return busy and idle power: the upper power mode, and a third of the lower one."""
    high, low = power.split("/")
    return (
        (f"{high} W", "published", f"NVIDIA {module} data sheet, upper power mode"),
        (f"{float(low) / 3:.1f} W", "assumed", f"a third of the lower power mode of {low} W"),
    )


def _phone(title: str, rate: str, bandwidth: _Row, memory: _Row, busy: str, idle: str) -> Preset:
    return _preset(
        title,
        (rate, "assumed", "training on the CPU cores through PyTorch; no maker publishes it"),
        bandwidth,
        memory,
        (busy, "assumed", "sustained draw that a phone sheds without throttling"),
        (idle, "assumed", "awake, screen off, radio on"),
    )


def _app_memory(size: str, physical: str) -> _Row:
    return (size, "assumed", f"what one app may hold on a phone of {physical}: about half")


PRESETS: dict[str, Preset] = {
    "raspberry-pi-3b-plus": _preset(
        "Raspberry Pi 3 Model B+ (4 Cortex-A53 at 1.4 GHz, 1 GB)",
        _linpack("5.3 GFLOP/s", "V. Weaver, University of Maine, GFLOPS/W listing"),
        ("3.6 GB/s", "published", "LPDDR2 at 900 MT/s, 32 bit wide"),
        _pi_memory("1 GiB"),
        ("5.1 W", "measured", f"{_DRAMBLE}, 400 % CPU load"),
        ("1.9 W", "measured", f"{_DRAMBLE}, idle"),
    ),
    "raspberry-pi-4": _preset(
        "Raspberry Pi 4 Model B (4 Cortex-A72 at 1.8 GHz, 4 GB)",
        _linpack("11.9 GFLOP/s", f"{_TOP500} issue 13"),
        ("12.8 GB/s", "published", "LPDDR4-3200, 32 bit wide"),
        _pi_memory("4 GiB"),
        ("6.4 W", "measured", f"{_DRAMBLE}, 400 % CPU load"),
        ("2.7 W", "measured", f"{_DRAMBLE}, idle"),
    ),
    "raspberry-pi-5": _preset(
        "Raspberry Pi 5 (4 Cortex-A76 at 2.4 GHz, 8 GB)",
        _linpack("30.2 GFLOP/s", f"{_TOP500} issue 18"),
        ("17.1 GB/s", "published", "LPDDR4X-4267, 32 bit wide"),
        _pi_memory("8 GiB"),
        ("11 W", "measured", f"{_TOP500}: average over Linpack"),
        ("3 W", "assumed", "slightly more than a measured Raspberry Pi 4"),
    ),
    "jetson-nano": _preset(
        "NVIDIA Jetson Nano (128 Maxwell cores, 4 GB)",
        _share_of_peak("83 GFLOP/s", "35 %", "236 GFLOP/s (128 cores x 2 x 0.92 GHz)"),
        ("25.6 GB/s", "published", "NVIDIA Jetson Nano data sheet"),
        ("4 GiB", "published", "NVIDIA Jetson Nano data sheet"),
        *_jetson("10/5", "Jetson Nano"),
    ),
    "jetson-tx2": _preset(
        "NVIDIA Jetson TX2 (256 Pascal cores, 8 GB)",
        _share_of_peak("233 GFLOP/s", "35 %", "666 GFLOP/s (256 cores x 2 x 1.3 GHz)"),
        ("59.7 GB/s", "published", "NVIDIA Jetson TX2 data sheet"),
        ("8 GiB", "published", "NVIDIA Jetson TX2 data sheet"),
        *_jetson("15/7.5", "Jetson TX2"),
    ),
    "jetson-xavier-nx": _preset(
        "NVIDIA Jetson Xavier NX (384 Volta cores, 8 GB)",
        _share_of_peak("296 GFLOP/s", "35 %", "845 GFLOP/s (384 cores x 2 x 1.1 GHz)"),
        ("59.7 GB/s", "published", "NVIDIA Jetson Xavier NX data sheet"),
        ("8 GiB", "published", "NVIDIA Jetson Xavier NX data sheet"),
        *_jetson("15/10", "Jetson Xavier NX"),
    ),
    "jetson-agx-xavier": _preset(
        "NVIDIA Jetson AGX Xavier (512 Volta cores, 32 GB)",
        _share_of_peak("494 GFLOP/s", "35 %", "1.41 TFLOP/s (512 cores x 2 x 1.377 GHz)"),
        ("136.5 GB/s", "published", "NVIDIA Jetson AGX Xavier data sheet"),
        ("32 GiB", "published", "NVIDIA Jetson AGX Xavier data sheet"),
        *_jetson("30/10", "Jetson AGX Xavier"),
    ),
    "jetson-orin-nano": _preset(
        "NVIDIA Jetson Orin Nano 8GB (1024 Ampere cores)",
        _share_of_peak("448 GFLOP/s", "35 %", "1.28 TFLOP/s (1024 cores x 2 x 0.625 GHz)"),
        ("68 GB/s", "published", "NVIDIA Jetson Orin Nano data sheet"),
        ("8 GiB", "published", "NVIDIA Jetson Orin Nano data sheet"),
        *_jetson("15/7", "Jetson Orin Nano"),
    ),
    "phone-low": _phone(
        "entry-level phone (8 Cortex-A53 class cores, 3 GB)",
        "8 GFLOP/s",
        ("7.5 GB/s", "published", "LPDDR3-1866, 32 bit wide"),
        _app_memory("1.5 GiB", "3 GB"),
        "2 W",
        "0.3 W",
    ),
    "phone-mid": _phone(
        "middle-class phone (2 big and 6 small cores, 6 GB)",
        "25 GFLOP/s",
        ("17.1 GB/s", "published", "LPDDR4X-4266, 32 bit wide"),
        _app_memory("3 GiB", "6 GB"),
        "3 W",
        "0.3 W",
    ),
    "phone-high": _phone(
        "flagship phone (1 prime, 3 to 4 big cores, 12 GB)",
        "60 GFLOP/s",
        ("51.2 GB/s", "published", "LPDDR5-6400, 64 bit wide"),
        _app_memory("6 GiB", "12 GB"),
        "4.5 W",
        "0.4 W",
    ),
    "laptop": _preset(
        "laptop without a discrete GPU (6 to 8 cores with AVX2, 16 GB)",
        (
            "150 GFLOP/s",
            "assumed",
            "training on the CPU through PyTorch; a third of 8 cores x 2.4 GHz x 24 FLOP",
        ),
        ("51.2 GB/s", "published", "two channels of DDR4-3200"),
        ("16 GiB", "assumed", "the usual size"),
        ("45 W", "assumed", "the usual power limit of the class"),
        ("8 W", "assumed", "screen on, idle"),
    ),
    "workstation": _preset(
        "workstation with an NVIDIA GeForce RTX 3060 (12 GB)",
        _share_of_peak("4.5 TFLOP/s", "35 %", "12.7 TFLOP/s"),
        ("360 GB/s", "published", "NVIDIA GeForce RTX 3060 specification"),
        ("12 GiB", "published", "NVIDIA GeForce RTX 3060 specification"),
        ("230 W", "assumed", "the card's published 170 W and 60 W for the rest"),
        ("60 W", "assumed", "desktop at rest with the card idle"),
    ),
}
"""Presets by name."""


def rows() -> list[dict[str, str]]:
    """Return each figure as a row for a table: preset, title, figure, value, status, source."""
    return [
        {
            "preset": name,
            "title": preset.title,
            "figure": field,
            "value": show(figure.value, DIMENSIONS[field]),
            "status": figure.status,
            "source": figure.source,
        }
        for name, preset in PRESETS.items()
        for field, figure in preset.figures.items()
    ]
