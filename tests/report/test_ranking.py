"""What alternatives are called: by what makes up their method, and by what is given."""

from __future__ import annotations

from typing import Any

import pytest

from edgesim.comparison import label, labels
from edgesim.experiment.face import directory_name
from edgesim.report.ranking import Alternative, named, settings

METHOD, SCHEDULE, ALGORITHM = "training.method", "training.schedule", "training.algorithm"
SERVER, RING = "parameter-server", "all-reduce"
DYN = "dynacomm"


def points(*rows: tuple[Any, ...], paths: tuple[str, ...] = (METHOD, SCHEDULE, ALGORITHM)):
    return [dict(zip(paths, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (
            [(SERVER, "p3", None), (SERVER, DYN, None), (RING, DYN, "ring"), (RING, DYN, "tree")],
            ["p3", "dynacomm", "all-reduce ring", "all-reduce tree"],
        ),
        ([(SERVER, "dynacomm", None), (RING, "dynacomm", "ring")], [SERVER, "all-reduce ring"]),
        (
            [(SERVER, "p3", None), (SERVER, "ibatch", None), (RING, "ibatch", "ring"), (RING, DYN, "ring")],
            ["p3", "ibatch", "all-reduce ibatch", "all-reduce dynacomm"],
        ),
        (
            [(SERVER, "ibatch", None), (RING, "ibatch", "ring"), (RING, "dynacomm", "tree")],
            [SERVER, "all-reduce ring ibatch", "all-reduce tree dynacomm"],
        ),
    ],
)  # fmt: skip
def test_what_makes_up_a_training_method_is_one_axis(rows, names):
    found = points(*rows)
    (setting,) = settings([Alternative(axes=point) for point in found])
    assert [entry.name for entry in setting.entries] == names
    assert labels(found) == names
    assert [point[METHOD] for point in named(found)] == names
    assert len(set(names)) == len(names)


def test_what_every_method_has_is_a_setting():
    paths = (METHOD, SCHEDULE, "training.on_crash", "seed")
    rows = [
        (kind, schedule, policy, 1)
        for policy in ("wait", "drop")
        for kind, schedule in ((SERVER, "p3"), (SERVER, "ibatch"), (RING, "ibatch"))
    ]
    found = settings([Alternative(axes=point) for point in points(*rows, paths=paths)])
    assert [(one.heading, [entry.name for entry in one.entries]) for one in found] == [
        ("on_crash wait", ["p3", "ibatch", "all-reduce"]),
        ("on_crash drop", ["p3", "ibatch", "all-reduce"]),
    ]


def test_axes_that_are_not_given_are_left_out_of_names():
    paths = ("training.synchronization", "training.staleness")
    found = points(("bsp", None), ("asp", None), ("ssp", 1), ("ssp", 4), paths=paths)
    assert labels(found) == [
        "synchronization=bsp",
        "synchronization=asp",
        "synchronization=ssp, staleness=1",
        "synchronization=ssp, staleness=4",
    ]
    assert [directory_name(point) for point in found] == ["bsp", "asp", "ssp_1", "ssp_4"]
    others = points(("1 Mbit/s", None), ("1 Mbit/s", "2 ms"), (None, None), paths=("a.rate", "a.wait"))
    assert labels(others) == ["rate=1 Mbit/s", "rate=1 Mbit/s, wait=2 ms", "no rate, no wait"]
    assert label({"training.compression": None}) == "no compression"
    assert directory_name({"training.compression": None}) == "no-compression"


def test_a_heading_leaves_out_what_is_not_given():
    paths = ("a.rate", "a.wait", SCHEDULE)
    rows = [
        (rate, wait, schedule)
        for rate, wait in (("1 Mbit/s", None), ("1 Mbit/s", "2 ms"))
        for schedule in ("x", "y")
    ]
    rows += [("2 Mbit/s", None, "x")]
    found = settings([Alternative(axes=point) for point in points(*rows, paths=paths)])
    assert [one.heading for one in found] == ["rate 1 Mbit/s", "rate 1 Mbit/s, wait 2 ms", "rate 2 Mbit/s"]
    alone = settings(
        [Alternative(axes={"a.wait": wait, SCHEDULE: name}) for wait in (None, "2 ms") for name in "xy"]
    )
    assert [one.heading for one in alone] == ["no wait", "wait 2 ms"]
