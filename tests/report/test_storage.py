"""A run's directory survives a kill at any step, and its fingerprint does not know how it was written."""

import json
import os
import shutil

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.errors import EdgesimError
from edgesim.report import storage
from edgesim.report.metrics import summary
from edgesim.report.storage import RunDirectory
from edgesim.report.tables import TABLES, Tables
from edgesim.result import Result
from edgesim.timeline import UPDATE_COLUMNS, Tag, Timeline
from tests.report.synthetic import facts, star, timeline


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def write(path, made, chunk=50):
    """Stream a finished timeline in chunks, as a run would."""
    live = Timeline()
    directory = RunDirectory(path, live, scenario="name: synthetic\n", known={"seed": 7})
    for start in range(0, len(made.spans) + len(made.transfers), chunk):
        live.spans.extend(made.spans[start : start + chunk])
        live.transfers.extend(made.transfers[start : start + chunk])
        directory.flush(simulated_s=float(start))
    live.marks.extend(made.marks)
    live.updates.extend(made.updates)
    directory.flush()
    return directory


def check_reads(path):
    """Everything there is can be read, by pandas and by us; return the number of rows."""
    loaded = Result.load(path)
    counts = {}
    for name in TABLES:
        frame = pd.read_parquet(path / f"{name}.parquet")
        assert len(frame) == len(getattr(loaded, name))
        counts[name] = len(frame)
    return loaded, counts


def test_finished_run_has_the_same_rows_and_fingerprint(tmp_path):
    made, cluster = timeline(3), star(3)
    whole = Tables.of(made)
    directory = write(tmp_path / "run", made)
    directory.finish(summary(directory.tables(), cluster, facts(made, cluster)))
    loaded, counts = check_reads(tmp_path / "run")
    assert counts == {
        "spans": len(made.spans),
        "transfers": len(made.transfers),
        "marks": len(made.marks),
        "updates": len(made.updates),
    }
    assert loaded.summary["fingerprint"] == whole.fingerprint() == loaded.tables.fingerprint()
    assert directory.fingerprint == whole.fingerprint()
    assert loaded.summary["complete"] is True
    assert sorted(os.listdir(tmp_path / "run")) == [
        "marks.parquet",
        "scenario.yaml",
        "spans.parquet",
        "summary.json",
        "transfers.parquet",
        "updates.parquet",
    ]
    assert loaded.spans.equals(pd.read_parquet(tmp_path / "run" / "spans.parquet"))


def test_partial_run_says_so_from_the_start(tmp_path):
    live = Timeline()
    directory = RunDirectory(tmp_path, live, known={"scenario": "x"})
    loaded, counts = check_reads(tmp_path)
    assert loaded.summary["complete"] is False
    assert counts == dict.fromkeys(TABLES, 0)
    live.mark(2.0, "server", "iteration", "0")
    directory.flush(simulated_s=2.0)
    loaded, counts = check_reads(tmp_path)
    assert counts["marks"] == 1
    assert loaded.summary["iterations"] == 1
    assert loaded.summary["iteration_s"]["mean"] == 2.0
    assert loaded.summary["simulated_s"] == 2.0
    assert loaded.summary["scenario"] == "x"
    assert loaded.summary["versions"]["edgesim"]
    assert loaded.server == "server"
    assert loaded.plot_timeline().axes


STEPS = ("replace", "symlink", "rename", "unlink", "rmdir")


def kill_after(monkeypatch, step):
    """Raise before the given change of the file system; return how many were counted."""
    count = [0]

    def wrap(real):
        def killed(*args, **kwargs):
            if count[0] >= step:
                raise Killed
            count[0] += 1
            return real(*args, **kwargs)

        return killed

    for name in STEPS:
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return count


@pytest.mark.parametrize("before", [False, True])
def test_kill_at_every_step_leaves_a_readable_directory(tmp_path, before):
    made, cluster = timeline(2, iterations=2), star(2)
    final = summary(Tables.of(made), cluster, facts(made, cluster))
    survived = 0
    write(tmp_path / "old", made).finish(final)
    for step in range(1000):
        path = tmp_path / str(step)
        if before:
            shutil.copytree(tmp_path / "old", path)
        with pytest.MonkeyPatch.context() as patch:
            count = kill_after(patch, step)
            try:
                write(path, made, chunk=20).finish(final)
            except Killed:
                pass
            else:
                survived = count[0]
        if survived:
            break
        if storage.is_run(path):
            loaded = Result.load(path)
            for name in TABLES:
                if (path / f"{name}.parquet").exists():
                    assert len(pd.read_parquet(path / f"{name}.parquet")) == len(getattr(loaded, name))
            if loaded.summary["complete"]:
                assert loaded.tables.fingerprint() == final["fingerprint"]
    assert survived > 10
    assert check_reads(path)[0].summary == final


def test_a_kill_while_merging_loses_no_row(tmp_path):
    made, cluster = timeline(2, iterations=2), star(2)
    final = summary(Tables.of(made), cluster, facts(made, cluster))
    step, merged = 0, False
    while not merged:
        path = tmp_path / str(step)
        directory = write(path, made, chunk=8)
        with pytest.MonkeyPatch.context() as patch:
            kill_after(patch, step)
            try:
                directory.finish(final)
                merged = True
            except Killed:
                pass
        assert check_reads(path)[0].tables.fingerprint() == final["fingerprint"]
        step += 1
    assert step > 5


def test_without_symbolic_links_parts_stay_and_read(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise NotImplementedError

    monkeypatch.setattr(os, "symlink", refuse)
    made, cluster = timeline(2), star(2)
    for _ in range(2):
        directory = write(tmp_path, made)
        directory.finish(summary(directory.tables(), cluster, facts(made, cluster)))
        assert (tmp_path / "spans.parquet").is_dir()
        assert check_reads(tmp_path)[0].tables.fingerprint() == Tables.of(made).fingerprint()


def test_a_foreign_directory_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(EdgesimError, match="not the directory of an edgesim run"):
        RunDirectory(tmp_path, Timeline())
    with pytest.raises(EdgesimError, match="not the directory of an edgesim run"):
        Result.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgesimError, match="is a file"):
        RunDirectory(tmp_path / "file", Timeline())
    assert sorted(os.listdir(tmp_path)) == ["file", "thesis.tex"]


def test_what_a_killed_run_left_is_no_foreign_file(tmp_path):
    (tmp_path / ".summary.json.123.tmp").write_text("{")
    RunDirectory(tmp_path, Timeline())
    assert not (tmp_path / ".summary.json.123.tmp").exists()
    check_reads(tmp_path)


def test_a_new_run_replaces_an_old_one(tmp_path):
    made, cluster = timeline(2), star(2)
    write(tmp_path, made).finish(summary(Tables.of(made), cluster, facts(made, cluster)))
    (tmp_path / "timeline.png").write_bytes(b"old")
    RunDirectory(tmp_path, Timeline())
    loaded, counts = check_reads(tmp_path)
    assert counts == dict.fromkeys(TABLES, 0)
    assert not loaded.summary["complete"]
    assert not (tmp_path / "timeline.png").exists()


def test_tick_waits_until_it_is_worth_it(tmp_path, monkeypatch):
    live = Timeline()
    monkeypatch.setattr(storage, "FLUSH_S", float("inf"))
    monkeypatch.setattr(storage, "FLUSH_ROWS", 2)
    directory = RunDirectory(tmp_path, live)
    row = ("pi", Tag("forward"), 0.0, 1.0, 1.0, 0.0)
    live.spans.append(row)
    directory.tick()
    assert live.spans
    live.spans.append(row)
    directory.tick()
    assert not live.spans
    assert check_reads(tmp_path)[1]["spans"] == 2


def test_a_failed_write_loses_nothing(tmp_path, monkeypatch):
    made = timeline(2)
    live = Timeline()
    directory = RunDirectory(tmp_path, live)
    live.spans.extend(made.spans)
    live.transfers.extend(made.transfers)
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 1)
        with pytest.raises(Killed):
            directory.flush()
    live.marks.extend(made.marks)
    live.updates.extend(made.updates)
    directory.flush()
    assert check_reads(tmp_path)[0].tables.fingerprint() == Tables.of(made).fingerprint()


names = st.sampled_from(["pi", "pi-1", "p", "i-1", "", "ü\x01"])
times = st.floats(0, 1e6, allow_subnormal=False)
tags = st.builds(Tag, names, names, st.integers(-1, 9), st.integers(0, 9), st.integers(0, 9))
spans = st.lists(st.tuples(names, tags, times, times, times, times), max_size=30)


@given(rows=spans, size=st.integers(1, 30))
def test_fingerprint_does_not_depend_on_chunks(rows, size):
    from edgesim.report.tables import Fingerprint, table

    whole = Timeline()
    whole.spans.extend(rows)
    chunked = Fingerprint()
    for start in range(0, len(rows), size):
        chunked.add("spans", table("spans", rows[start : start + size]))
    assert chunked.hexdigest() == Tables.of(whole).fingerprint()


@given(rows=spans.filter(bool), data=st.data())
def test_fingerprint_sees_every_change(rows, data):
    index = data.draw(st.integers(0, len(rows) - 1))
    device, tag, *rest = rows[index]
    changed = data.draw(
        st.sampled_from(
            [
                (device + "x", tag, *rest),
                (device, tag._replace(label=tag.label + "1"), *rest),
                (device, tag._replace(iteration=tag.iteration + 1), *rest),
                (device, tag, rest[0] + 0.5, *rest[1:]),
            ]
        )
    )
    one, other = Timeline(), Timeline()
    one.spans.extend(rows)
    other.spans.extend([*rows[:index], changed, *rows[index + 1 :]])
    assert Tables.of(one).fingerprint() != Tables.of(other).fingerprint()


def test_fingerprint_counts_updates_where_there_are_some_but_not_what_was_learnt():
    def of(*rows):
        made = Timeline()
        made.mark(1.0, "server", "iteration", "0")
        for row in rows:
            made.update(*row)
        return Tables.of(made).fingerprint()

    without = "74aa077a"
    assert of()[:8] == without, "as when there were no updates"
    stale = [of((1.0, "pi", 0, 1, staleness)) for staleness in range(3)]
    assert len({of(), *stale}) == 4
    assert of((1.0, "pi", 0, 1, 2, 0.25, 0.5)) == stale[2]


def test_updates_are_read_back_to_the_last_bit(tmp_path):
    live = Timeline()
    directory = RunDirectory(tmp_path, live)
    for index in range(5):
        live.update(index / 3, "server", index, 2, 0, 1 / (index + 1), 0.5 if index == 4 else float("nan"))
        directory.flush()
    rows = [*check_reads(tmp_path)[0].tables.rows("updates", "time_s", "iteration", "loss")]
    assert rows == [(index / 3, index, 1 / (index + 1)) for index in range(5)]
    directory.finish({"fingerprint": directory.fingerprint, "complete": True})
    frame = Result.load(tmp_path).updates
    assert tuple(frame.columns) == UPDATE_COLUMNS
    assert frame.loss.tolist() == [1 / (index + 1) for index in range(5)]
    assert frame.accuracy.isna().tolist() == [True] * 4 + [False]


def test_a_damaged_table_is_told_not_thrown(tmp_path):
    RunDirectory(tmp_path, Timeline()).finish({"fingerprint": "", "complete": True})
    (tmp_path / "spans.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(EdgesimError, match=r"spans.parquet cannot be read"):
        Result.load(tmp_path)


def test_summary_json_is_strict_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())
    storage.write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
