"""Comparisons of many runs: which settings make lines, what is said of them, and that all of it is drawn."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
from matplotlib.image import imread

from edgesim.report.comparison_figure import comparison
from edgesim.report.comparison_lines import PANELS, ROWS
from edgesim.report.comparison_panels import panels
from edgesim.report.ranking import Alternative, settings
from edgesim.report.verdict import verdict

RATES = ("0.1 Gbit/s", "1 Gbit/s", "10 Gbit/s", "100 Gbit/s")
STEPS = {"values": [["0 s", "10 Gbit/s"], ["2 s", "1 Gbit/s"]], "repeat": "4 s"}


def run(mean_s: float | None, **axes: Any) -> Alternative:
    summary = {
        "iteration_s": {"mean": mean_s, "steady": mean_s},
        "iterations": 0 if mean_s is None else 2,
        "bounds": {"ratio": 1.0, "iteration_s": None if mean_s is None else 0.9 * mean_s},
    }
    paths = {path.replace("_", "."): value for path, value in axes.items()}
    return Alternative(axes=paths, summary=summary)


def many() -> list[Alternative]:
    """Two methods over bandwidth, batches and start-ups; over workers; and while bandwidth changes."""
    points = [
        {"network_bandwidth": rate, "workload_batch": batch, "network_startup": startup, "devices_count": 1}
        for rate, batch, startup in itertools.product(RATES, (16, 32), ("1 ms", "2 ms", "4 ms"))
    ]
    points += [
        {
            "network_bandwidth": RATES[2],
            "workload_batch": 32,
            "network_startup": "1 ms",
            "devices_count": count,
        }
        for count in (2, 4, 8)
    ]
    points.append({**points[-1], "network_bandwidth": STEPS, "devices_count": 1})
    return [
        run(1.0 + place + (name == "slow"), **point, training_schedule=name, training_policy=policy)
        for place, point in enumerate(points)
        for name, policy in [("quick", None), ("slow", None), *([("slow", "once")] if place == 27 else [])]
    ]


def test_settings_that_differ_in_one_number_share_a_panel() -> None:
    found, rest = panels(settings(many()))
    lines = [(panel.axis, panel.title, [text for _, text, _ in panel.points]) for panel in found]
    assert lines == [
        *(
            ("network.bandwidth", f"batch {batch}, startup {startup}", ["0.1", "1", "10", "100"])
            for batch, startup in itertools.product((16, 32), ("1 ms", "2 ms", "4 ms"))
        ),
        ("devices.count", "bandwidth 10 Gbit/s, batch 32, startup 1 ms", ["1", "2", "4", "8"]),
    ]
    assert {panel.unit for panel in found[:6]} == {"Gbit/s"}
    assert [setting.values["network.bandwidth"] for setting in rest] == [STEPS]


def test_every_setting_is_shown_somewhere_and_drawn() -> None:
    groups = settings(many())
    found, rest = panels(groups)
    shown = {id(setting) for panel in found for _, _, setting in panel.points} | {id(one) for one in rest}
    assert shown == {id(group) for group in groups}
    figure = comparison(many(), title="many")
    *drawn, dots = figure.axes
    assert len(drawn) == len(found)
    assert {axes.get_xscale() for axes in drawn[:6]} == {"log"}
    for axes, panel in zip(drawn, found, strict=True):
        named = [line for line in axes.lines if line.get_marker() not in ("", "None")]
        assert [len(line.get_xdata()) for line in named] == [len(panel.points)] * 2
    assert len(dots.get_yticklabels()) == 1
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=40)
        buffer.seek(0)
        assert imread(buffer).shape[1] == 480


def test_a_part_of_the_method_that_only_some_have_is_told_with_it() -> None:
    last = settings(many())[-1]
    assert [entry.name for entry in last.entries] == ["quick", "slow", "slow once"]
    assert "from 2 s 1 Gbit/s, every 4 s" in last.heading


def test_few_runs_of_numbers_keep_their_bars() -> None:
    few = [one for one in many() if one.axes["workload.batch"] == 32][:6]
    (bars,) = comparison(few).axes
    assert len(bars.patches) == 6


def test_a_picture_of_thousands_says_what_it_leaves_out() -> None:
    runs = [
        run(1.0 + place, seed=seed, devices_count=count, network_bandwidth=rate, training_schedule=name)
        for place, seed in enumerate(range(PANELS + 2))
        for count in (1, 2)
        for rate in RATES[:3]
        for name in ("quick", "slow")
    ]
    figure = comparison(runs)
    assert figure.get_size_inches()[1] < 40
    texts = [
        run(1.0, seed=f"s{n}", training_schedule=name) for n in range(ROWS + 5) for name in ("quick", "slow")
    ]
    figure = comparison(texts, title="rows")
    (dots,) = figure.axes
    assert len(dots.get_yticklabels()) == ROWS
    assert figure.texts[0].get_text() == "rows | 5 settings more in the table"


def test_runs_without_an_iteration_are_no_line() -> None:
    runs = [run(None, network_bandwidth=rate, seed=seed) for rate in RATES for seed in range(8)]
    assert comparison(runs).axes


def grid(count: int, *means: float) -> list[Alternative]:
    """As many settings, each with the same means."""
    return [
        run(mean, network_bandwidth=f"{n} Mbit/s", training_schedule=f"m{place}")
        for n in range(1, count + 1)
        for place, mean in enumerate(means)
    ]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (grid(13, 1.0, 2.0), ["Of 13 settings m0 wins in 13.", "m0 is the best in every setting, or ties."]),
        (
            [*grid(13, 1.0, 2.0)[:-2], *grid(13, 1.1, 1.0)[-2:]],
            [
                "Of 13 settings m0 wins in 12 and m1 wins in 1.",
                "Taken everywhere, m0 takes at most 10 % longer than the best (at 13 Mbit/s), "
                "m1 2 times as long (at 1 Mbit/s).",
            ],
        ),
        (grid(13, 1.0, 1.0)[:-1], ["Of 13 settings m0 wins or ties in 13 and m1 ties in 12."]),
    ],
)
def test_of_many_settings_it_is_counted_who_wins(runs: list[Alternative], said: list[str]) -> None:
    assert verdict(runs).splitlines()[: len(said)] == said


def test_lower_bounds_are_told_apart_by_what_they_are_of() -> None:
    runs = many()
    for alternative in runs:
        alternative.summary["server"] = "s"
    labels = [text.get_text() for text in comparison(runs).legends[0].get_texts()]
    assert labels[-1] == "lower bound"
    for alternative in runs:
        if alternative.axes["training.schedule"] == "quick":
            alternative.summary["segments"] = {"every worker": {}}
    figure = comparison(runs)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-2:] == ["lower bound with a barrier", "lower bound without a barrier"]
    grey = [line for line in figure.axes[0].lines if line.get_color() == "#888888"]
    drawn = [list(line.get_ydata()) for line in grey]
    means = [entry.mean_s for _, _, group in panels(settings(runs))[0][0].points for entry in group.ranked]
    quick, slow = means[::2], means[1::2]
    assert drawn == [pytest.approx([0.9 * mean for mean in which]) for which in (slow, quick)]
