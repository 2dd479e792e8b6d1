from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pint
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim import units
from edgesim.units import BANDWIDTH, COMPUTE, DATA, DIMENSIONS, POWER, TIME, UnitError, parse, show

UNITS = [(dimension, unit) for dimension in DIMENSIONS for unit in dimension.table]


@pytest.mark.parametrize(("dimension", "unit"), UNITS, ids=str)
def test_table_equals_pint_exactly(dimension: units.Dimension, unit: str) -> None:
    by_pint = units.registry().Quantity(Fraction(1), unit).to(dimension.unit).magnitude
    assert dimension.table[unit] == by_pint


@settings(deadline=None)
@given(st.sampled_from(UNITS), st.decimals(0, 10**9, allow_nan=False, places=6))
def test_fast_path_equals_pint_for_any_number(known: tuple[units.Dimension, str], number: object) -> None:
    dimension, unit = known
    exact = units.registry().Quantity(Fraction(str(number)), unit).to(dimension.unit).magnitude
    assert parse(f"{number} {unit}", dimension) == float(exact)


def test_own_definitions_agree_with_pints_default_registry() -> None:
    theirs = pint.UnitRegistry()
    pairs = [
        (DATA, "GiB", "B"),
        (DATA, "Mbit", "B"),
        (BANDWIDTH, "Gbps", "B/s"),
        (TIME, "h", "s"),
        (POWER, "mW", "W"),
    ]
    for dimension, unit, base in pairs:
        assert parse(f"3 {unit}", dimension) == pytest.approx(
            theirs.Quantity(3, unit).to(base).magnitude, rel=1e-12
        )


@settings(deadline=None)
@given(st.sampled_from(DIMENSIONS), st.floats(0, 1e300, allow_subnormal=False))
def test_show_and_parse_are_inverse(dimension: units.Dimension, value: float) -> None:
    assert parse(show(value, dimension), dimension) == value


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("8 Mbit/s", BANDWIDTH, 1e6),
        ("8 MB/s", BANDWIDTH, 8e6),
        ("8 Mbps", BANDWIDTH, 1e6),
        ("1 KiB", DATA, 1024.0),
        ("1 kB", DATA, 1000.0),
        ("1e3 B", DATA, 1000.0),
        ("5ms", TIME, 0.005),
        ("2 weeks", TIME, 1209600.0),
        ("60 megabit / minute", BANDWIDTH, 125000.0),
        (".5 TFLOPS", COMPUTE, 5e11),
        ("0.1 us", TIME, 1e-7),
    ],
)
def test_reads(text: str, dimension: units.Dimension, value: float) -> None:
    assert parse(text, dimension) == value


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        (5, TIME, "a bare number has no unit, got 5; write for example '5 ms' or '5 s'"),
        ("5", TIME, "a bare number has no unit, got 5; write for example '5 ms' or '5 s'"),
        (
            1.5,
            BANDWIDTH,
            "a bare number has no unit, got 1.5; write for example '1.5 Mbit/s' or '1.5 Gbit/s'",
        ),
        ("50 Mb/s", BANDWIDTH, "unknown unit 'Mb/s' in '50 Mb/s'; did you mean 'MB/s' or 'Mbit/s'?"),
        ("50 mbit/s", BANDWIDTH, "unknown unit 'mbit/s' in '50 mbit/s'; did you mean 'Mbit/s'?"),
        ("3 KB", DATA, "unknown unit 'KB' in '3 KB'; did you mean 'kB' or 'kbit'?"),
        (
            "5 MB",
            BANDWIDTH,
            "not a bandwidth: 'MB' is a unit of amount of data, got '5 MB'; "
            "write for example '50 Mbit/s' or '1 Gbit/s'",
        ),
        (
            "5 Hz",
            BANDWIDTH,
            "not a bandwidth: 'Hz' is a unit of frequency, got '5 Hz'; "
            "write for example '50 Mbit/s' or '1 Gbit/s'",
        ),
        ("1e999 s", TIME, "beyond what a number can be, got '1e999 s'; write for example '5 ms' or '5 s'"),
        (
            "1e99999 s",
            TIME,
            "beyond what a number can be, got '1e99999 s'; write for example '5 ms' or '5 s'",
        ),
        ("nan s", TIME, "not a time, got 'nan s'; write for example '5 ms' or '5 s'"),
        (True, TIME, "not a time, got True; write for example '5 ms' or '5 s'"),
        ("9" * 200, TIME, "not a time, got 200 characters; write for example '5 ms' or '5 s'"),
    ],
)
def test_says_what_is_wrong(text: object, dimension: units.Dimension, message: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse(text, dimension)
    assert str(caught.value) == message


@settings(deadline=None)
@given(st.text(max_size=30), st.sampled_from(DIMENSIONS))
def test_any_text_is_read_or_refused(text: str, dimension: units.Dimension) -> None:
    try:
        value = parse(f"1 {text}", dimension)
    except UnitError:
        return
    assert isinstance(value, float)


def test_common_units_need_no_pint() -> None:
    code = (
        "import sys; from edgesim.units import *; "
        "[parse(f'1 {unit}', d) for d in DIMENSIONS for unit in d.table]; sys.exit('pint' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
