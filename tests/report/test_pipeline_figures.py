"""Pictures of pipelines: every size is drawn, what fits is written, nothing hides another."""

import gzip
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.errors import EdgesimError
from edgesim.report import figures, palette, progress_figure, recovery_figure, view
from edgesim.report.bands import bands
from edgesim.report.narrow import Bars, shared
from edgesim.report.perfetto import trace
from edgesim.report.pipeline import MOVES, TERMS
from edgesim.report.tables import Tables
from edgesim.result import Result
from tests.report import synthetic, synthetic_pipeline
from tests.report.test_figures import pixels, texts
from tests.report.test_perfetto import events, overlaps
from tests.report.test_pipeline import compared, result


@pytest.mark.parametrize(("stages", "batches"), [(1, 10), (3, 10), (3, 3000), (100, 110)])
def test_every_size_is_drawn(stages, batches):
    run = result(synthetic_pipeline.steady(stages, batches))
    figure = run.plot_timeline()
    written = texts(figure.axes[0])
    order = [text for text in written if text.startswith("d") and text[1:].isdigit()]
    assert order == [f"d{number}" for number in range(stages)]
    image = pixels(figure)
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20


def test_bars_have_the_number_of_their_batch_and_of_its_part():
    run = result(synthetic_pipeline.steady(3, 6, parts=2, forward_s=0.4))
    written = set(texts(run.plot_timeline(width=30.0).axes[0]))
    assert {"0.0", "0.1", "5.1"} <= written
    many = result(synthetic_pipeline.steady(3, 3000))
    whole = texts(many.plot_timeline(zoom=(0.0, many.summary["simulated_s"])).axes[0])
    assert not any(text.isdigit() for text in whole)


def test_phases_and_plans_stand_above_the_lanes():
    run = result(synthetic_pipeline.failing())
    axes = run.plot_timeline().axes[0]
    written = texts(axes)
    assert {"detect", "fetch", "refill", "layers", "phases"} <= set(written)
    assert "1-10 | 11-20 (recovery)" in written
    assert "batch 2: 2.8 s" in written
    labels = [text.get_text() for text in run.plot_timeline().legends[0].get_texts()]
    assert {"replay-forward", "activation", "fetch", "rebuild", "down", "expired", "failed"} <= set(labels)
    assert not {"recovery", "repartition", "partition"} & set(labels)
    assert len(labels) == len(set(labels))


def test_other_training_has_no_bands():
    made = Tables.of(synthetic.timeline(3, crash=True))
    assert bands(made, view.Window(start_s=0.0, end_s=9.0)) == 0
    assert "layers" not in texts(figures.timeline(made, server="server").axes[0])


def test_the_window_of_a_long_run_holds_the_whole_first_recovery():
    made = synthetic_pipeline.failing(batches=80, at_s=20.0)
    tables = Tables.of(made.timeline)
    row = made.more["recoveries"][0]
    window = view.choose_window(tables, None, None, None)
    assert window.start_s < row["failed_s"]
    assert window.end_s > row["failed_s"] + row["total_s"]
    assert "around the first fault" in window.note
    assert window.note.startswith("batches ")


def test_a_false_alarm_is_no_reason_to_look_away_from_a_failure():
    made = synthetic_pipeline.failing(batches=80, at_s=20.0)
    made.timeline.marks.insert(1, (0.5, "hub", "false-alarm", "0"))
    window = view.choose_window(Tables.of(made.timeline), None, None, None)
    assert window.start_s < 20.0 < window.end_s


places = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 30), st.integers(0, 3), st.integers(0, 2)), min_size=1
)


@given(places)
def test_cells_of_a_pixel_share_its_height_by_their_time(rows):
    found = []
    for kind in range(3):
        mine = np.array([row[:3] for row in rows if row[3] == kind], float).reshape(-1, 3)
        left, top = mine[:, 0] + 0.01 * mine[:, 1], mine[:, 2]
        found.append(Bars(left, left + 0.3, top, top + 1.0))
    cells = shared(found, 1.0)
    for kind, one in enumerate(cells):
        assert len(one.left) <= 21 * 4 * 2
        assert (len(one.left) > 0) == (len(found[kind].left) > 0)
    area: dict[tuple[float, float], float] = {}
    for one in cells:
        for left, top, bottom in zip(one.left, one.top, one.bottom, strict=True):
            lane = (left, math.floor(top + 1e-9))
            area[lane] = area.get(lane, 0.0) + bottom - top
    assert all(tall == pytest.approx(1.0) for tall in area.values())


def test_kinds_of_one_lane_differ_in_colour():
    computed = ["forward", "backward", "update", "aggregate", "plan", "rebuild"]
    sent = ["activation", "gradient", "replica", "global", "checkpoint", "fetch", "control", "measure"]
    for some in ([palette.KINDS[kind] for kind in computed], [palette.KINDS[kind] for kind in sent]):
        assert len(set(some)) == len(some)
    assert len(set(palette.PHASES.values())) == len(palette.PHASES) == len({*TERMS, *MOVES})
    assert not {palette.KINDS["update"], palette.KINDS["aggregate"]} & set(palette.PHASES.values())
    assert palette.KINDS["replay-forward"] == palette.KINDS["forward"]


def test_a_pipeline_over_time():
    run = result(synthetic_pipeline.failing())
    figure = run.plot_pipeline()
    assert [axes.get_ylabel().partition("\n")[0] for axes in figure.axes] == [
        "time per batch (s)", "layer", "capacity", "staleness",
    ]  # fmt: skip
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hub", "a", "b"]
    assert sorted(texts(figure.axes[1])) == ["a", "b", "b", "b", "hub", "hub", "hub"]
    heights = [patch.get_height() for patch in figure.axes[1].patches if patch.get_hatch() is None]
    assert sum(heights) == pytest.approx(3 * 20)  # every layer once in each plan
    assert pixels(figure).shape[1] == 600
    with pytest.raises(EdgesimError, match="no pipeline"):
        Result(scenario="", summary={}, tables=run.tables).plot_pipeline()


def test_recoveries_are_bars_of_their_terms():
    run = result(synthetic_pipeline.failing())
    figure = run.plot_recovery()
    bars = [patch for patch in figure.axes[0].patches if patch.get_height() == 0.7]
    assert sum(bar.get_width() for bar in bars) == pytest.approx(1.95)
    assert len(bars) == 7
    assert {"1.95 s", "1", "2", "1.5 MB", "batches again", "moved"} <= set(texts(figure.axes[0]))
    assert "outcome" not in texts(figure.axes[0]), "it was recovered from"
    with pytest.raises(EdgesimError, match="nothing was recovered"):
        result(synthetic_pipeline.steady(3, 5)).plot_recovery()


def test_alarms_that_were_false_at_once_give_way_to_failures():
    row = {"kind": "false-alarm", "outcome": "false alarm", "failed_s": 1.0, "probe_s": 0.1}
    true = {**row, "kind": "failed", "devices": ["a"], "outcome": "recovered"}
    both = recovery_figure.recovered([("x", {"recoveries": [row, true]})])
    assert [one.name for one in both] == ["a at 1 s"]
    assert [one.name for one in recovery_figure.recovered([("x", {"recoveries": [row]})])] == [
        "false alarm at 1 s"
    ]


def test_a_comparison_keeps_its_pictures(tmp_path):
    found = compared(ftpipehd=({}, "recovered"), checkpoint=({"fetch": 3.0}, "recovered"))
    found.save(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"compare.csv", "compare.png", "pipeline.png", "recovery.png"}
    named = [label.get_text() for label in found.plot_recovery().axes[0].get_yticklabels()]
    assert [name.partition(",")[0] for name in named] == ["ftpipehd", "checkpoint"]
    assert found._repr_html_().count("<img") == 3


def test_equal_progress_is_one_line_under_both_names():
    tables = Tables.of(synthetic_pipeline.steady(3, 5).timeline)
    other = Tables.of(synthetic.timeline(2))
    found = progress_figure.progress([("a", tables, {}), ("b", tables, {}), ("c", other, {})])
    assert [run.name for run in found] == ["a = b"]
    assert len(found[0].ends_s) == 5


def test_a_run_keeps_its_pictures_and_shows_its_tables(tmp_path):
    run = result(synthetic_pipeline.failing())
    run.save(tmp_path)
    assert {"timeline.png", "pipeline.png", "recovery.png", "learning.png"} <= {
        file.name for file in tmp_path.iterdir()
    }
    shown = run._repr_html_()
    assert shown.count("<img") == 4
    assert all(title in shown for title in ("Stages in the end", "Recoveries", "Re-partitions"))
    again = Result.load(tmp_path)
    assert again.recoveries.equals(run.recoveries)


def test_the_trace_has_tracks_of_plans_and_phases():
    run = result(synthetic_pipeline.failing())
    data = trace(run.tables, devices=run.devices)
    found = events(data)
    assert overlaps(found) == 0
    pid = next(
        one["pid"] for one in found if one["name"] == "process_name" and one["args"]["name"] == "pipeline"
    )
    tracks = {
        one["tid"]: one["args"]["name"] for one in found if one["name"] == "thread_name" and one["pid"] == pid
    }
    assert list(tracks.values()) == ["partition", "recovery", "repartition"]
    mine = [one for one in found if one["ph"] == "X" and one["pid"] == pid]
    names = [one["name"] for one in mine if tracks[one["tid"]] == "recovery"]
    assert names == ["detect", "probe", "measure", "plan", "fetch", "commit", "refill"]
    lasting = sum(one["dur"] for one in mine if tracks[one["tid"]] == "recovery")
    assert lasting == pytest.approx(1.95e6)
    other = json.loads(gzip.decompress(trace(Tables.of(synthetic.timeline(2)))))
    assert "pipeline" not in str(other)


def test_what_could_not_be_recovered_says_so_in_one_word():
    row = {"kind": "failed", "devices": ["a"], "failed_s": 1.0, "detect_s": 2.0}
    lost = {**row, "outcome": "unrecoverable: a long story of neighbours, all of whom failed"}
    (one,) = recovery_figure.recovered([("", {"recoveries": [lost]})])
    assert one.cells == ("2 s", "", "", "", "unrecoverable")
