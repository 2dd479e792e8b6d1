"""What was learnt: figures by hand, and a picture whose lines, names and units are there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from edgesim.report.facts import LearningFacts
from edgesim.report.learning import Curves, curves, fingerprint, learning, learnt, time_to
from edgesim.report.learning_figure import DOTTED, MOST, Lesson, learning_figure, lessons, merged
from edgesim.report.tables import Tables
from edgesim.timeline import Timeline

NAN = math.nan


def tables(*rows):
    """Rows of time, gradients, staleness, loss, accuracy."""
    made = Timeline()
    for index, (time_s, gradients, stale, loss, accuracy) in enumerate(rows):
        made.update(time_s, "server", index, gradients, stale, loss, accuracy)
    return Tables.of(made)


def lesson(count=20, name="", target=None, period_s=1.5):
    """An even course from loss 2 down to 1, and from nothing right to all but one image in a hundred."""
    rows = [
        ((i + 1) * period_s, 2, 0, 2.0 - i / max(count - 1, 1), 0.99 * (i + 1) / count if i % 2 else NAN)
        for i in range(count)
    ]
    return Lesson(name=name, seen=curves(tables(*rows)), target=target)


FACTS = LearningFacts(
    data="digits", model="lenet", parameters=7, accuracy=0.8, test_loss=0.5, target_accuracy=0.75
)


def test_nothing_is_said_where_nothing_was_updated():
    assert learning(tables()) is None
    assert not learnt(tables())
    assert curves(tables()) == Curves([], [], [], [])


def test_staleness_is_the_mean_over_gradients():
    rows = tables((1.0, 3, 0, NAN, NAN), (2.0, 1, 4, NAN, NAN))
    assert not learnt(rows)
    assert learning(rows) == {"updates": 2, "gradients": 4, "staleness": {"mean": 1.0, "max": 4}}


def test_figures_of_what_was_learnt():
    rows = tables((1.0, 2, 0, 2.5, NAN), (2.0, 2, 0, 1.5, 0.9), (3.0, 2, 0, 1.0, 0.7), (4.0, 2, 0, 0.5, NAN))
    said = learning(rows, FACTS, 4.5)
    assert said == {
        "updates": 4,
        "gradients": 8,
        "staleness": {"mean": 0.0, "max": 0},
        "data": "digits",
        "model": "lenet",
        "parameters": 7,
        "final_loss": 0.5,
        "final_test_loss": 0.5,
        "final_accuracy": 0.8,
        "best_accuracy": 0.9,
        "target_accuracy": 0.75,
        "time_to_target_s": 2.0,
        "diverged": False,
        "fingerprint": fingerprint(rows),
    }


def test_what_is_reached_only_in_the_end_is_reached_then():
    rows = tables((1.0, 2, 0, 2.5, 0.5))
    said = learning(rows, FACTS, 4.5)
    assert said is not None
    assert (said["time_to_target_s"], said["best_accuracy"]) == (4.5, 0.8)
    assert time_to(curves(rows), 0.75) is None
    assert time_to(curves(rows), None) is None


def test_a_loss_that_is_no_number_is_told_as_none():
    from dataclasses import replace

    rows = tables((1.0, 2, 0, 2.5, NAN), (2.0, 2, 0, math.inf, 0.1))
    said = learning(rows, replace(FACTS, test_loss=math.inf), 2.0)
    assert said is not None
    assert (said["final_loss"], said["final_test_loss"], said["diverged"]) == (None, None, True)


def test_the_fingerprint_sees_every_bit_and_no_time():
    rows = [(1.0, 2, 0, 2.5, NAN), (2.0, 2, 0, 1.5, 0.9)]
    one = fingerprint(tables(*rows))
    assert fingerprint(tables((1.5, 2, 0, 2.5, NAN), (9.0, 2, 0, 1.5, 0.9))) == one
    assert fingerprint(tables(rows[0], (2.0, 2, 0, math.nextafter(1.5, 2), 0.9))) != one
    assert fingerprint(tables((1.0, 2, 0, 2.5, 0.9), (2.0, 2, 0, 1.5, NAN))) != one


def lines(axes):
    """Lines of more than a point and a target."""
    return [line for line in axes.lines if len(line.get_xdata()) > 2]


def test_one_run_is_drawn_with_names_and_units():
    figure = learning_figure([lesson(target=0.5)], title="mine")
    upper, lower = figure.axes
    assert upper.get_ylabel() == "accuracy on the test set (%)"
    assert lower.get_ylabel() == "training loss (cross-entropy, nat)"
    assert lower.get_xlabel() == "simulated time (s)"
    assert upper.get_xlim() == lower.get_xlim()
    assert not figure.legends
    (accuracy,), (loss,) = lines(upper), lines(lower)
    assert np.allclose(accuracy.get_xdata(), np.arange(2, 21, 2) * 1.5)
    assert np.allclose(accuracy.get_ydata(), np.arange(2, 21, 2) * 99 / 20)
    assert np.allclose(loss.get_ydata(), np.linspace(2, 1, 20))
    said = [text.get_text() for text in upper.texts]
    assert "target\n50 %" in said
    assert "50 % reached at 18 s" in said, "0.99 x 12/20 is the first of them that is at least a half"


@pytest.mark.parametrize("count", [2, 8, 9, MOST, MOST + 3])
def test_many_runs_are_told_apart(count):
    runs = [lesson(name=f"run {number}", period_s=1.0 + number) for number in range(count)]
    figure = learning_figure(runs, title="many")
    shown = min(count, MOST)
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [f"run {i}" for i in range(shown)]
    looks = [(to_hex(line.get_color()), line._unscaled_dash_pattern) for line in lines(figure.axes[0])]
    assert len(looks) == len(set(looks)) == shown
    assert figure.axes[0].get_xlim()[1] >= 20 * shown
    said = [text.get_text() for text in figure.texts]
    assert any(f"the first {MOST} of {count} runs" in text for text in said) == (count > MOST)
    figure.canvas.draw()
    box = legend.get_window_extent()
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= figure.axes[0].get_window_extent().y1


def test_many_updates_are_drawn_pale_with_their_running_mean():
    count = 10 * DOTTED
    figure = learning_figure([lesson(count)])
    pale, bold = lines(figure.axes[1])
    assert pale.get_alpha() == 0.25
    assert len(pale.get_ydata()) == count
    window = count - len(bold.get_ydata()) + 1
    assert window == 30
    assert bold.get_ydata()[0] == pytest.approx(np.mean(pale.get_ydata()[:window]))
    assert bold.get_xdata()[0] == pale.get_xdata()[window - 1]
    assert any(text.get_text().startswith("bold: mean") for text in figure.axes[1].texts)


def test_a_run_that_diverged_is_marked_where_it_did():
    rows = tables((1.0, 2, 0, 2.5, 0.1), (2.0, 2, 0, 3.0, 0.1), (3.0, 2, 0, math.inf, 0.1))
    figure = learning_figure([Lesson(name="", seen=curves(rows))])
    crosses = [line for line in figure.axes[1].lines if line.get_marker() == "x"]
    assert [line.get_xydata().tolist() for line in crosses] == [[[2.0, 3.0]]]
    assert [text.get_text() for text in figure.axes[1].texts] == ["diverged"]
    nothing = tables((1.0, 2, 0, math.inf, 0.1))
    assert learning_figure([Lesson(name="", seen=curves(nothing))]).axes


def test_losses_that_span_much_have_a_logarithmic_axis():
    wide = tables(*((float(i), 1, 0, 10.0**-i, NAN) for i in range(1, 5)))
    assert learning_figure([Lesson(name="", seen=curves(wide))]).axes[1].get_yscale() == "log"
    assert learning_figure([lesson()]).axes[1].get_yscale() == "linear"


def test_only_runs_that_learnt_are_lessons():
    some = tables((1.0, 1, 0, 2.0, 0.5))
    stated = {"learning": {"target_accuracy": 0.9}}
    found = lessons([("a", some, stated), ("b", None, {}), ("c", tables(), {}), ("d", some, {})])
    assert [(one.name, one.target) for one in found] == [("a", 0.9), ("d", None)]


def test_equal_curves_are_one_line_under_both_names():
    runs = [lesson(name="asp"), lesson(name="bsp", period_s=2.0), lesson(name="ssp 2")]
    assert [run.name for run in merged(runs)] == ["asp = ssp 2", "bsp"]
    figure = learning_figure(runs)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["asp = ssp 2", "bsp"]
