"""Quantities as users write them, `100 Mbit/s`, and as the program holds them, SI floats.

Inside the program one unit a quantity: s, B, B/s, FLOP/s, W. Other units exist only in the user's YAML. The
library is pint, with definitions of our own in which data and work are dimensions (pint's default calls a
bit dimensionless, so that a frequency would pass for a bandwidth). The units people write most are read from
a table instead, because importing pint takes longer than checking a whole scenario.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import cache
from typing import Any

_SI = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_IEC = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def _units(symbol: str, prefixes: dict[str, int], scale: Fraction | int = 1) -> dict[str, Fraction]:
    return {prefix + symbol: Fraction(factor) * scale for prefix, factor in prefixes.items()}


_TIME = {
    "d": Fraction(86400),
    "day": Fraction(86400),
    "h": Fraction(3600),
    "min": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 10**3),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9),
}
_DATA = _units("B", _IEC) | _units("B", _SI) | _units("bit", _IEC | _SI, Fraction(1, 8))
_RATE = {f"{unit}/s": factor for unit, factor in _DATA.items()} | _units("bps", _SI, Fraction(1, 8))
_WORK_RATE = _units("FLOP/s", _SI) | _units("FLOPS", _SI)
_POWER = {"kW": Fraction(10**3), "W": Fraction(1), "mW": Fraction(1, 10**3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """A kind of quantity: its unit inside the program and what users write for it."""

    name: str
    """What an error calls it, for example `bandwidth`."""
    unit: str
    """The unit inside the program, as pint reads it."""
    examples: tuple[str, ...]
    """Quantities to show to a user, the first with the plainest unit."""
    table: dict[str, Fraction]
    """Factor of each common unit to the unit inside the program."""
    written: tuple[str, ...]
    """Units in which a value may be written back, the preferred first."""
    least: float
    """Smallest value above 0 that a scenario may hold: below it lies a slip of the unit, not a device."""
    most: float
    """Largest value that a scenario may hold."""


TIME = Dimension(
    name="time",
    unit="s",
    examples=("5 ms", "5 s", "2 min", "1 h"),
    table=_TIME,
    written=("d", "h", "min", "s", "ms", "us", "ns"),
    least=1e-9,
    most=1e10,
)
DATA = Dimension(
    name="amount of data",
    unit="B",
    examples=("512 MiB", "4 GiB", "8 GB"),
    table=_DATA,
    written=("GiB", "GB", "MiB", "MB", "KiB", "kB", "B"),
    least=1.0,
    most=1e18,
)
BANDWIDTH = Dimension(
    name="bandwidth",
    unit="B/s",
    examples=("50 Mbit/s", "1 Gbit/s", "25.6 GB/s"),
    table=_RATE,
    written=("Gbit/s", "Mbit/s", "GB/s", "kbit/s", "MB/s", "kB/s", "bit/s", "B/s"),
    least=1e-3,
    most=1e15,
)
COMPUTE = Dimension(
    name="rate of computing",
    unit="FLOP/s",
    examples=("20 GFLOP/s", "1.5 TFLOP/s"),
    table=_WORK_RATE,
    written=("TFLOP/s", "GFLOP/s", "MFLOP/s", "kFLOP/s", "FLOP/s"),
    least=1.0,
    most=1e21,
)
POWER = Dimension(
    name="power",
    unit="W",
    examples=("6 W", "500 mW"),
    table=_POWER,
    written=("kW", "W", "mW"),
    least=1e-9,
    most=1e9,
)
DIMENSIONS = (TIME, DATA, BANDWIDTH, COMPUTE, POWER)

_CLOCK = ("d", "h", "min")
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_QUANTITY = re.compile(rf"\s*({NUMBER})\s*(\S.*?)?\s*")
_UNIT = re.compile(r"[A-Za-zµμ]+(?:\s*[*/]\s*[A-Za-zµμ]+)*")
_SHRUNK = re.compile(r"(?:m|u|µ|μ|n|p|milli|micro|nano)(?:bit|bits|B|bytes?|FLOP|FLOPS|bps)\b")

_DEFINITIONS = """
pico- = 1e-12 = p-
nano- = 1e-9 = n-
micro- = 1e-6 = u- = µ- = μ-
milli- = 1e-3 = m-
kilo- = 1e3 = k-
mega- = 1e6 = M-
giga- = 1e9 = G-
tera- = 1e12 = T-
peta- = 1e15 = P-
exa- = 1e18 = E-
kibi- = 2**10 = Ki-
mebi- = 2**20 = Mi-
gibi- = 2**30 = Gi-
tebi- = 2**40 = Ti-
second = [time] = s = sec
minute = 60 * second = min
hour = 3600 * second = h = hr
day = 86400 * second = d
week = 604800 * second
byte = [information] = B
bit = byte / 8
bps = bit / second
FLOP = [work] = FLOP
FLOPS = FLOP / second
watt = [power] = W
joule = watt * second = J
hertz = 1 / second = Hz
"""


class UnitError(ValueError):
    """A quantity that cannot be read; the text says what is wrong, the value and the remedy."""


def parse(text: object, dimension: Dimension) -> float:
    """Return a quantity such as `5 ms` in the unit of its dimension.

    The result is the float nearest to the exact value. Raises `UnitError` for a bare number, an unknown
    unit, a unit of another dimension, and a value no float can hold.

    >>> parse("50 Mbit/s", BANDWIDTH), parse("4 GiB", DATA), parse("5 ms", TIME)
    (6250000.0, 4294967296.0, 0.005)
    >>> parse(5, TIME)
    Traceback (most recent call last):
    ...
    edgesim.units.UnitError: a bare number has no unit, got 5; write for example '5 ms' or '5 s'
    """
    if isinstance(text, bool) or not isinstance(text, str):
        raise UnitError(_no_unit(text, dimension))
    if len(text) > 100:
        raise UnitError(f"not a {dimension.name}, got {len(text)} characters; write {_examples(dimension)}")
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f"not a {dimension.name}, got {text!r}; write {_examples(dimension)}")
    number, unit = match.groups()
    if unit is None:
        raise UnitError(_no_unit(number, dimension))
    factor = dimension.table.get(unit)
    if factor is None:
        factor = _pint_factor(unit, dimension, text)
    exponent = number.lower().partition("e")[2].lstrip("+-0")
    if len(exponent) > 3:
        raise UnitError(f"beyond what a number can be, got {text!r}; write {_examples(dimension)}")
    try:
        return float(Fraction(number) * factor)
    except OverflowError:
        raise UnitError(f"beyond what a number can be, got {text!r}; write {_examples(dimension)}") from None


def show(value: float, dimension: Dimension) -> str:
    """Return a value as a user would write it; `parse` gives the same float back.

    With the first unit that makes it a short number of at least 1, else the unit that makes it shortest.

    >>> show(6.25e6, BANDWIDTH), show(25e6, BANDWIDTH), show(4294967296.0, DATA), show(0.005, TIME)
    ('50 Mbit/s', '200 Mbit/s', '4 GiB', '5 ms')
    """
    exact = Fraction(repr(float(value)))
    written = ((unit, _decimal(exact / dimension.table[unit])) for unit in dimension.written)
    usable = [
        (
            len(number) > 4 or number.startswith("0."),
            len(number) > 4 and len(number),
            rank,
            f"{number} {unit}",
        )
        for rank, (unit, number) in enumerate(written)
        if number is not None and not (unit in _CLOCK and ("." in number or number == "0"))
    ]
    best = min(usable)[3] if usable else ""
    plain = f"{float(value)!r} {dimension.unit}"
    return best if best and len(best) <= len(plain) + 2 else plain


def _decimal(value: Fraction) -> str | None:
    """Return a fraction as a finite decimal of at most 20 digits without exponent, or None."""
    digits = 0
    while value.denominator != 1:
        value, digits = value * 10, digits + 1
        if digits > 20:
            return None
    if abs(value.numerator) >= 10**20:
        return None
    sign, text = "-" * (value < 0), str(abs(value.numerator)).rjust(digits + 1, "0")
    return sign + (f"{text[:-digits]}.{text[-digits:]}" if digits else text)


def _no_unit(value: object, dimension: Dimension) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return f"not a {dimension.name}, got {_short(value)}; write {_examples(dimension)}"
    number = _short(value).strip("'")
    units = {"time": ("ms", "s")}.get(dimension.name, [text.split()[1] for text in dimension.examples[:2]])
    fixes = " or ".join(f"'{number} {unit}'" for unit in units)
    return f"a bare number has no unit, got {number}; write for example {fixes}"


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python prints
        return "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."


def _examples(dimension: Dimension) -> str:
    return "for example " + " or ".join(f"'{text}'" for text in dimension.examples[:2])


def _pint_factor(unit: str, dimension: Dimension, text: str) -> Fraction:
    """Return the factor of a unit that is not in the table, by pint."""
    shrunk = _SHRUNK.search(unit)
    if len(unit) > 40 or not _UNIT.fullmatch(unit) or shrunk:
        raise UnitError(_unknown(unit, dimension, text))
    return _pint(unit, dimension, text)


def _pint(unit: str, dimension: Dimension, text: str) -> Fraction:
    import pint

    try:
        quantity = registry().Quantity(Fraction(1), unit)
        return Fraction(quantity.to(dimension.unit).magnitude)
    except pint.DimensionalityError:
        kinds = {d.unit: d.name for d in DIMENSIONS} | {"Hz": "frequency", "J": "energy"}
        same = (name for known, name in kinds.items() if quantity.is_compatible_with(known))
        raise UnitError(
            f"not a {dimension.name}: {unit!r} is a unit of {next(same, 'something else')}, got {text!r}; "
            f"write {_examples(dimension)}"
        ) from None
    except Exception:  # pint raises tokenizer, attribute and definition errors alike for what it cannot read
        raise UnitError(_unknown(unit, dimension, text)) from None


def _unknown(unit: str, dimension: Dimension, text: str) -> str:
    folded = unit.lower().replace(" ", "")
    same = [known for known in dimension.table if known.lower() == folded]
    bits = [known for known in dimension.table if known.lower() in {folded.replace("b", "bit", 1), folded}]
    near = list(dict.fromkeys(bits + same)) or get_close_matches(unit, dimension.table, n=2)
    if near:
        remedy = "did you mean " + " or ".join(f"'{known}'" for known in near[:2]) + "?"
    else:
        remedy = f"write {_examples(dimension)}"
    return f"unknown unit {unit!r} in {text!r}; {remedy}"


@cache
def registry() -> Any:
    """Return the pint registry with edgesim's definitions; the first call imports pint (about 0.2 s)."""
    import pint

    units: Any = pint.UnitRegistry(None, non_int_type=Fraction)
    units.load_definitions(_DEFINITIONS.strip().splitlines())
    return units
