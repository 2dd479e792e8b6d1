"""Panels of a comparison: one a setting, one colour an alternative, the legend once, nothing over another."""

import itertools

import pytest
from matplotlib.colors import to_hex

from edgesim.report import learning_figure, multiples, progress_figure, recovery_figure
from edgesim.report.comparison_figure import comparison
from edgesim.report.ranking import Alternative, settings
from tests.report import synthetic_pipeline
from tests.report.test_figures import figure_texts
from tests.report.test_pipeline import result


def alternative(seed, schedule, batches=8, forward_s=0.1):
    made = synthetic_pipeline.steady(3, batches, forward_s=forward_s)
    run = result(made)
    axes = {"seed": seed, "training.schedule": schedule}
    return Alternative(axes=axes, summary=run.summary, tables=run.tables)


def failing(seed, schedule):
    run = result(synthetic_pipeline.failing())
    axes = {"seed": seed, "training.schedule": schedule}
    return Alternative(axes=axes, summary=run.summary, tables=run.tables)


def many(count, names=("a", "b")):
    return settings([
        alternative(seed, name, forward_s=0.1 + 0.01 * place)
        for seed in range(count) for place, name in enumerate(names)
    ])  # fmt: skip


@pytest.mark.parametrize("count", [2, 3, 4, 7, 14])
def test_each_setting_has_a_panel_and_each_alternative_a_colour(count):
    figure = progress_figure.progress_of(many(count), title="mine")
    shown = min(count, multiples.PANELS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"seed {seed}" for seed in range(shown)]
    colours = {tuple(to_hex(line.get_color()).upper() for line in axes.lines[::2]) for axes in figure.axes}
    assert colours == {multiples.COLOURS[:2]}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1, "they share their axes"
    assert any("more setting" in text for text in figure_texts(figure)) == (count > multiples.PANELS)


@pytest.mark.parametrize("count", [2, 4, 9])
def test_panels_legend_and_note_leave_each_other_alone(count):
    names = [f"an alternative with a long name, number {number}" for number in range(7)]
    figure = progress_figure.progress_of(many(count, names))
    figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    legend = figure.legends[0].get_window_extent()
    assert legend.x1 <= figure.bbox.x1
    assert all(box.y1 <= legend.y0 for box in boxes)
    assert all(not one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(box.x1 <= figure.bbox.x1 and box.y0 >= 0.0 for box in boxes)


def test_runs_of_very_different_lengths_have_a_time_axis_each():
    runs = [alternative(seed, name, (5, 6, 65)[seed]) for seed in (0, 1, 2) for name in ("a", "b")]
    first, _, second = progress_figure.progress_of(settings(runs)).axes
    assert first.get_xlim()[1] < 0.3 * second.get_xlim()[1]
    assert first.get_xlabel().startswith("simulated time")


def test_lines_that_are_the_same_take_turns():
    runs = [alternative(seed, name) for seed in (0, 1) for name in ("a", "b")]
    figure = progress_figure.progress_of(settings(runs))
    one, other = figure.axes[0].lines[::2]
    assert one._unscaled_dash_pattern != other._unscaled_dash_pattern
    for count in (2, 3, 5):
        found = [look["ls"] for look in multiples.shares(["x"] * count)]
        inked = [
            [place for place, (offset, (on, off)) in enumerate(found) if (at + offset) % (on + off) < on]
            for at in range(100)
        ]
        assert all(len(lines) == 1 for lines in inked), "one at a time, and always one"
        assert {lines[0] for lines in inked} == set(range(count))


def test_few_runs_of_one_setting_or_of_one_each_share_a_panel():
    one = settings([alternative(0, name, forward_s=0.1 + place) for place, name in enumerate("abcde")])
    assert len(progress_figure.progress_of(one).axes) == 1
    odd = settings([alternative(0, "a"), alternative(1, "b", forward_s=0.2)])
    assert len(odd) == 2
    assert len(progress_figure.progress_of(odd).axes) == 1


def test_settings_that_learnt_have_accuracy_above_loss():
    runs = [failing(seed, name) for seed in (0, 1, 2) for name in ("a", "b")]
    figure = learning_figure.learning_of(settings(runs))
    assert figure is not None
    assert len(figure.axes) == 6
    upper, lower = figure.axes[:2]
    assert upper.get_position().y0 > lower.get_position().y1
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("accuracy (%)", "training loss (nat)")
    assert len({axes.get_ylim() for axes in figure.axes[1::2]}) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    runs = [Alternative(axes={"x": name}, summary={}) for name in "ab"]
    assert learning_figure.learning_of(settings(runs)) is None


def test_recoveries_of_one_failure_stand_together_and_nothing_is_cut():
    found = recovery_figure.recovered_of(settings([failing(seed, name) for seed in (0, 1) for name in "ab"]))
    assert [(one.setting, one.run) for one in found] == [
        ("seed 0", "a"), ("seed 0", "b"), ("seed 1", "a"), ("seed 1", "b"),
    ]  # fmt: skip
    twice = [{**found[0].row, "failed_s": at_s, "outcome": "recovered"} for at_s in (1.0, 2.0)]
    runs = [Alternative(axes={"x": name}, summary={"recoveries": twice}) for name in ("a", "b")]
    both = recovery_figure.recovered_of(settings(runs))
    assert [(one.run, one.row["failed_s"]) for one in both] == [
        ("a", 1.0),
        ("b", 1.0),
        ("a", 2.0),
        ("b", 2.0),
    ]
    for width in (4.0, 10.0):
        figure = recovery_figure.recovery_figure(found, width=width)
        figure.canvas.draw()
        legend, axes = figure.legends[0].get_window_extent(), figure.axes[0]
        texts = [text.get_window_extent() for text in axes.texts if text.get_text()]
        assert all(box.x0 >= 0.0 and box.x1 <= figure.bbox.x1 for box in (legend, *texts))
        assert not any(one.overlaps(other) for one, other in itertools.combinations(texts, 2))
        assert not any(box.overlaps(legend) for box in texts)


def test_the_legend_and_the_figures_of_a_comparison_have_room():
    runs = [failing(seed, f"{name} with a long name") for seed in (0, 1) for name in "ab"]
    figure = comparison(runs)
    figure.canvas.draw()
    bars, *panels = figure.axes
    upper, lower = (legend.get_window_extent() for legend in figure.legends)
    assert upper.y0 >= bars.get_window_extent().y1
    assert lower.y1 <= bars.get_tightbbox().y0
    titles = [panel._left_title.get_window_extent() for panel in panels]
    assert all(lower.y0 >= box.y1 for box in titles)
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in bars.texts)
