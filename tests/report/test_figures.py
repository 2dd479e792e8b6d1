"""Pictures: what is shown, where, and nothing of the user's matplotlib is touched."""

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.image import imread

from edgesim.report import figures, view
from edgesim.report.comparison_figure import comparison
from edgesim.report.metrics import summary
from edgesim.report.narrow import Bars, shared
from edgesim.report.ranking import Alternative
from edgesim.report.tables import Tables
from edgesim.timeline import Tag, Timeline
from tests.report.synthetic import facts, star, timeline


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    buffer.seek(0)
    return imread(buffer)


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("workers", [1, 4, 29, 99])
def test_every_size_is_drawn_with_all_its_devices(workers):
    figure = figures.timeline(Tables.of(timeline(workers)), server="server", title="hello")
    names = {f"pi-{i}" for i in range(1, workers + 1)} | {"server"}
    assert names <= set(texts(figure.axes[0]))
    image = pixels(figure)
    assert image.shape[1] == 700
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20
    assert 2.5 < figure.get_size_inches()[1] < 40


def test_server_is_first_and_devices_keep_their_order():
    tables = Tables.of(timeline(3))
    assert view.choose_devices(tables, ("pi-3", "pi-1", "server", "pi-2"), "server") == (
        "server",
        "pi-3",
        "pi-1",
        "pi-2",
    )
    many = view.choose_devices(tables, [f"idle-{i}" for i in range(100)], "server")
    assert sorted(many) == ["pi-1", "pi-2", "pi-3", "server"]


def test_window_of_a_long_run_is_its_first_steady_iterations():
    made = timeline(2, iterations=20)
    ends = [row[0] for row in made.marks]
    window = view.choose_window(Tables.of(made), "server", None, None)
    assert (window.start_s, window.end_s) == (ends[9], ends[12])
    assert window.note.startswith("iterations 11 to 13 of 20")
    assert view.choose_window(Tables.of(made), "server", (1, 2.5), None).end_s == 2.5
    whole = view.choose_window(Tables.of(timeline(2, iterations=3)), "server", None, 99.0)
    assert (whole.start_s, whole.end_s, whole.note) == (0.0, 99.0, "")
    faulty = view.choose_window(Tables.of(timeline(2, iterations=20, crash=True)), "server", None, None)
    assert faulty.start_s == 0.0


def test_window_of_a_long_run_with_faults_shows_the_first_fault():
    made = timeline(2, iterations=60)
    ends = [row[0] for row in made.marks]
    made.mark(ends[29] + 0.1, "pi-1", "crash")
    made.mark(ends[29] + 0.2, "pi-2", "slow")
    made.mark(ends[31] + 0.1, "pi-1", "return")
    window = view.choose_window(Tables.of(made), "server", None, None)
    assert (window.start_s, window.end_s) == (ends[28], ends[33])
    assert window.note.startswith("iterations 30 to 34 of 60, around the first fault")


def test_zoom_must_rise():
    made = timeline(2)
    with pytest.raises(ValueError, match="must rise"):
        view.choose_window(Tables.of(made), "server", (2.0, 2.0), None)


def test_bars_of_one_lane_never_overlap():
    tables = Tables.of(timeline(6, parallel=2))
    window = view.choose_window(tables, "server", None, None)
    layout = view.lay_out(tables, view.choose_devices(tables, (), "server"), window)
    order = np.lexsort((layout.start_B, layout.top_B))
    same = layout.top_B[order][1:] == layout.top_B[order][:-1]
    assert (layout.start_B[order][1:] >= layout.end_B[order][:-1] - 1e-12)[same].all()
    assert len(layout.start_B) == len(tables.spans) + 2 * len(tables.transfers)
    for one, two in zip(layout.groups, layout.groups[1:], strict=False):
        assert one.bottom < two.top


def test_labels_are_written_only_where_they_fit():
    made = Timeline()
    for start, end in ((0.0, 5.0), (5.0, 5.01)):
        made.spans.append(("pi", Tag("forward", "1-4", 0, 1, 4), start, end, 1.0, 0.0))
    made.spans.append(("pi", Tag("forward", "9" * 300, 0, 1, 4), 6.0, 8.0, 1.0, 0.0))
    shown = texts(figures.timeline(Tables.of(made)).axes[0])
    assert shown.count("1-4") == 1
    assert "9" * 300 not in shown


def test_faults_and_losses_are_in_the_legend():
    made = timeline(2, crash=True)
    made.mark(0.1, "pi-2.up", "cut")
    made.mark(0.2, "wifi", "change")
    tag = Tag("push", "1", 0, 1, 1)
    made.transfers.append(("pi-1", "server", tag, 10, 5.0, 0.0, 5.0, 0.2, 0.2, 0.3, "x"))
    figure = figures.timeline(Tables.of(made), server="server")
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    kinds = {"forward", "backward", "pull", "push", "update"}
    assert legend == kinds | {"lost", "down", "while cut", "crash", "return", "cut", "change"}
    assert "wifi" in texts(figure.axes[0])


def test_many_thin_bars_become_few():
    made = Timeline()
    for i in range(20_000):
        made.spans.append(("pi", Tag("forward", str(i), i, 1, 1), float(i), i + 1.0, 1.0, 0.0))
    axes = figures.timeline(Tables.of(made)).axes[0]
    drawn = sum(len(one.get_paths()) for one in axes.collections if isinstance(one, PolyCollection))
    assert drawn <= 2 * 1400
    image = pixels(axes.get_figure())
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 2


@pytest.mark.parametrize(
    ("start", "end", "unit"),
    [
        (0, 2e-4, "µs"),
        (0, 0.2, "ms"),
        (0, 20, "s"),
        (0, 600, "min"),
        (0, 1e5, "h"),
        (5000, 5000.001, "ms"),
        (1.7, 1.9, "s"),
    ],
)
def test_time_axis_has_a_unit_that_suits(start, end, unit):
    axes = figures.timeline(Tables.of(timeline(1)), zoom=(start, end)).axes[0]
    assert axes.get_xlabel().endswith(f"({unit})")
    labels = [axes.xaxis.get_major_formatter()(tick) for tick in axes.get_xticks()]
    assert 3 <= len(labels) <= 12
    assert all(len(label) <= 6 for label in labels)
    assert ("after 5000 s" in axes.get_xlabel()) == (start == 5000)


def test_more_devices_than_fit_are_cut_and_the_title_says_so():
    made = Timeline()
    for i in range(300):
        made.spans.append((f"pi-{i}", Tag("forward", "1", 0, 1, 1), 0.0, 1.0, 1.0, 0.0))
    figure = figures.timeline(Tables.of(made))
    assert any("the first 200 of 300 devices" in text.get_text() for text in figure.texts)


def test_empty_run_is_an_empty_picture():
    assert pixels(figures.timeline(Tables.of(Timeline()), devices=("pi",))).size
    assert pixels(figures.timeline(Tables.of(Timeline()))).size
    assert pixels(comparison([])).size


def figure_texts(figure):
    return [text.get_text() for text in figure.texts]


def alternative(axes, made, cluster):
    tables = Tables.of(made)
    return Alternative(axes=axes, summary=summary(tables, cluster, facts(made, cluster)), tables=tables)


def test_comparison_shows_bars_bounds_and_four_timelines():
    cluster = star(8)
    runs = [alternative({"x": f"s{n}"}, timeline(8, segments=n), cluster) for n in range(1, 7)]
    figure = comparison(runs, title="six")
    assert len(figure.axes) == 5
    bars, *panels = figure.axes
    assert [label.get_text() for label in bars.get_yticklabels()] == [f"s{n}" for n in range(1, 7)]
    assert len(bars.patches) == len(bars.lines) == 6
    assert [bar.get_width() for bar in bars.patches] == [run.summary["iteration_s"]["mean"] for run in runs]
    spans = {round(panel.get_xlim()[1] - panel.get_xlim()[0], 9) for panel in panels}
    assert len(spans) == 1
    shown = [panel.get_title(loc="left") for panel in panels]
    ranked = sorted(runs, key=lambda run: run.summary["iteration_s"]["mean"])
    wanted = dict.fromkeys(run.axes["x"] for run in (ranked[0], runs[0], ranked[-1], *ranked))
    assert set(shown) == set([*wanted][:4]), "the best, the first, the worst, and the next best"
    assert "timelines of 3 more workers and of 2 more runs are not drawn" in figure_texts(figure)
    devices = runs[0].summary["devices"]
    assert max(devices, key=lambda name: devices[name]["busy_s"]) in texts(panels[0])
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_base_of_two_settings_is_drawn_beside_the_best_and_nothing_is_said_where_all_is():
    cluster = star(2)
    runs = [
        alternative(
            {"training.schedule": f"s{n}", "seed": seed}, timeline(2, segments=n, scale_s=scale), cluster
        )
        for seed in (1, 2)
        for n, scale in ((1, 2.0), (2, 3.0), (3, 1.0))
    ]
    figure = comparison(runs)
    shown = [panel.get_title(loc="left") for panel in figure.axes[1:]]
    assert shown == [f"seed {seed}, s{n}" for seed in (1, 2) for n in (1, 3)]
    assert "timelines of 2 more runs are not drawn" in figure_texts(figure)
    assert not any("not drawn" in text for text in figure_texts(comparison(runs[:3])))


def test_servers_are_drawn_first_and_none_is_taken_for_a_straggler():
    made = timeline(8)
    end = max(row[3] for row in made.spans)
    made.spans.append(("z-server", Tag("update", "", 3), end - 0.01, end, 0.01, 0.0))
    made.transfers.append(("z-server", "pi-1", Tag("pull"), 1, 1.0, 1.0, 0.0, 0.0, 0.0, 0.1, "server.up"))
    run = alternative({"x": "one"}, made, star(8))
    run.summary["servers"] = ["server", "z-server"]
    found = texts(comparison([run]).axes[1])
    assert found.index("server") < found.index("z-server") < found.index("pi-1")
    lone = figures.timeline(Tables.of(made), server="server", servers=("server", "z-server"))
    named = [text for text in texts(lone.axes[0]) if text.startswith(("pi", "server", "z"))]
    assert named[:2] == ["server", "z-server"]


def test_comparison_groups_its_bars_by_setting():
    cluster = star(2)
    runs = [
        alternative(
            {"training.schedule": f"s{n}", "network.bandwidth": speed},
            timeline(2, segments=n, scale_s=scale),
            cluster,
        )
        for n in (1, 2, 3)
        for speed, scale in (("10 Mbit/s", 2.0), ("20 Mbit/s", 1.0))
    ]
    bars, *panels = comparison(runs).axes
    assert [label.get_text() for label in bars.get_yticklabels()] == ["s1", "s2", "s3"] * 2
    assert {"bandwidth 10 Mbit/s", "bandwidth 20 Mbit/s"} <= set(texts(bars))
    assert len({bar.get_facecolor() for bar in bars.patches}) == 2
    assert [panel.get_title(loc="left") for panel in panels] == [
        f"{speed}, s{n}" for speed in ("10 Mbit/s", "20 Mbit/s") for n in (1, 3)
    ]


def test_comparison_under_faults_shows_one_stretch_of_all_with_what_was_down():
    cluster = star(2)
    runs = [
        alternative({"x": f"s{n}"}, timeline(2, segments=n, crash=True, scale_s=1.0 + n), cluster)
        for n in (1, 2)
    ]
    figure = comparison(runs)
    bars, *panels = figure.axes
    last = max(run.summary["simulated_s"] for run in runs)
    assert [panel.get_xlim() for panel in panels] == [(0.0, last)] * 2
    assert panels[-1].get_xlabel() == "simulated time (s)"
    assert all(any(patch.get_hatch() for patch in panel.patches) for panel in panels)
    legends = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert {"down", "crash", "return", "steady: median of the later half"} <= legends
    assert len([artist for artist in bars.lines if artist.get_marker() == "D"]) == 2
    written = [text for text in texts(bars) if "steady" in text]
    assert len(written) == 2


def test_lengths_of_iterations_are_not_written_over_each_other():
    cluster = star(2)
    run = alternative({"x": "one"}, timeline(2, iterations=16, crash=True), cluster)
    panel = comparison([run]).axes[1]
    boxes = [text.get_window_extent() for text in panel.texts if text.get_text().startswith("iteration ")]
    assert len(boxes) > 2
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_comparison_of_failed_runs_and_endless_names_is_still_a_picture():
    runs = [Alternative(axes={"x": "y" * 500}, error="out of memory"), Alternative(axes={"x": "z"})]
    bars = comparison(runs).axes[0]
    assert {"failed", "no iteration"} <= set(texts(bars))
    assert max(len(label.get_text()) for label in bars.get_yticklabels()) == 48


def test_thin_bars_keep_their_place():
    left = np.array([0.0, 0.1, 5.0, 5.2])
    made = shared([Bars(left, left + 0.05, np.zeros(4), np.ones(4))], 1.0)[0]
    assert made.left.tolist() == [0.0, 5.0]
    assert made.right.tolist() == [1.0, 6.0]


def test_pyplot_and_the_backend_are_never_touched():
    code = (
        "import sys, matplotlib; before = list(dict.items(matplotlib.rcParams))\n"
        "from edgesim.report import figures; from edgesim.report.tables import Tables\n"
        "from edgesim.timeline import Timeline\n"
        "figures.timeline(Tables.of(Timeline())).savefig(sys.stdout.buffer)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert list(dict.items(matplotlib.rcParams)) == before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_marks_of_one_instant_are_beside_each_other_and_what_was_never_sent_is_lost():
    made = timeline(2)
    made.mark(1.0, "pi-1", "crash")
    made.mark(1.0, "pi-1", "drop")
    tag = Tag("push", "1", 0, 1, 1)
    made.transfers.append(("pi-1", "server", tag, 10, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, "x"))
    figure = figures.timeline(Tables.of(made), server="server")
    places = [line.get_xydata()[0].tolist() for line in figure.axes[0].lines if line.get_ls() == "None"]
    (first, _), (second, _) = places
    assert first != second
    assert "lost" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_all_failed_have_no_axis():
    done = {"iterations": 1, "iteration_s": {"mean": 1.0, "steady": 1.0}, "bounds": {"iteration_s": 1.0}}
    runs = [Alternative(axes={"x": name}, error="gone", summary=done) for name in ("a", "b")]
    figure = comparison(runs)
    assert not figure.axes[0].get_xaxis().get_visible()
    assert not figure.legends
    assert "failed after 1 iteration" in texts(figure.axes[0])
