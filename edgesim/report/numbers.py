"""Numbers written for people: times, amounts and shares with a unit that suits them."""

from __future__ import annotations

TIME_UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def time_unit(scale_s: float) -> tuple[float, str]:
    """Return the unit (its length in s, its name) in which a time of this size reads well.

    >>> time_unit(0.25), time_unit(90.0), time_unit(300.0)
    ((0.001, 'ms'), (1.0, 's'), (60.0, 'min'))
    """
    for length_s, name in TIME_UNITS:
        least = 2.0 * length_s if length_s > 1.0 else length_s
        if scale_s >= least:
            return length_s, name
    return TIME_UNITS[-1][:2]


def duration(time_s: float | None) -> str:
    """Return a time to three figures; `-` where it is not known.

    >>> duration(0.01234), duration(754.0), duration(None)
    ('12.3 ms', '12.6 min', '-')
    """
    if time_s is None:
        return "-"
    if time_s == 0.0:
        return "0 s"
    length_s, name = time_unit(abs(time_s))
    return f"{figures(time_s / length_s)} {name}"


def amount(value: float | None, unit: str) -> str:
    """Return an amount with a decimal prefix; `-` where it is not known.

    >>> amount(12_500_000.0, "B/s"), amount(0, "B")
    ('12.5 MB/s', '0 B')
    """
    if value is None:
        return "-"
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{figures(value / factor)} {prefix}{unit}"
    return f"{figures(value)} {unit}"


def share(value: float | None) -> str:
    """Return a share in percent; empty where it is not known.

    >>> share(0.625)
    '62 %'
    """
    return "" if value is None else f"{100.0 * value:.0f} %"


def figures(value: float) -> str:
    """Return a number to three figures without an exponent below a million.

    >>> figures(1234.5), figures(0.5), figures(99.96)
    ('1234', '0.5', '100')
    """
    if abs(value) >= 100.0:
        return f"{value:.0f}"
    return f"{value:.3g}"


def counted(count: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "event"), counted(2, "event")
    ('1 event', '2 events')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"
