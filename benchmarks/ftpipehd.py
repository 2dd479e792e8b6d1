"""FTPipeHD against its rivals: what knowing the devices gains, what failures cost, what goes beyond it.

    python benchmarks/ftpipehd.py [--json] [--quick]

Runs scenarios/papers/ftpipehd_*.yaml, without real training (it takes no simulated time). Three parts:

- speed-up: three devices at a bandwidth that does not count, the steady iteration of the capacity-blind
  pipeline over that of FTPipeHD, beside the ideal (layers that can be cut anywhere, free links), beside what
  the paper claims where its ratio is that of the row, and beside the gain over the fast device alone;
- failures: every term of every recovery, how long no new batch came back (`stalled_s`: with what a checkpoint
  computes again), and the mean iteration with failures beside that of the best rival without any, among
  Raspberry Pis and at a ratio of 10;
- beyond: what each thing beyond the paper gains over the paper's rule, one at a time.

All figures are simulations of the shipped, measured profiles; 6.8 is what the paper's abstract says. Times
are in s, of recoveries from the crash on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import edgesim
from edgesim.comparison import Comparison
from edgesim.planning.pipeline_period import ideal_gain
from edgesim.report.ranking import told

FOLDER = Path(__file__).parents[1] / "scenarios" / "papers"
Row = dict[str, Any]
CLAIM = {(1.0, 1.0, 10.0): 6.8}
"""What the paper claims, by capacities: larger is slower."""
RIVALS = ("respipe", "pipedream")
TERMS = ("detect_s", "probe_s", "measure_s", "plan_s", "fetch_s", "commit_s", "refill_s", "total_s")
COUNTS = ("batches_recomputed", "updates_lost", "bytes_moved")
PI_CASES: Mapping[str, list[Row]] = {
    "none": [],
    "one": [{"at": "20 s", "device": "pi-2", "crash": {}}],
    "two adjacent": [{"at": "20 s", "devices": ["pi-2", "pi-3"], "crash": {}}],
    "two distant": [{"at": "20 s", "devices": ["pi-1", "pi-3"], "crash": {}}],
    "restart": [{"at": "20 s", "device": "pi-2", "crash": {"for": "1 s"}}],
}
UNLIKE_CASES: Mapping[str, list[Row]] = {
    "none": [],
    "slow one": [{"at": "20 s", "device": "b", "crash": {}}],
    "fast one": [{"at": "20 s", "device": "a", "crash": {}}],
    "restart": [{"at": "20 s", "device": "a", "crash": {"for": "1 s"}}],
}


def compared(name: str, axes: Any = None, **overrides: Any) -> Comparison:
    """Return the comparison of a scenario of FTPipeHD."""
    return edgesim.compare(FOLDER / f"ftpipehd_{name}.yaml", axes, pictures=False, **overrides)


# --- what knowing the devices gains -------------------------------------------------------------------------


def speed_ups(quick: bool) -> Iterator[Row]:
    """Yield a row for each set of capacities."""
    ratios = (10,) if quick else (1, 2, 3, 5, 10, 20)
    sets = [(1.0, float(ratio)) for ratio in ratios] + ([] if quick else [(2.0, 10.0), (10.0, 10.0)])
    for a, b in sets:
        axes = {
            "devices[a].speed": [1.0 / a],
            "devices[b].speed": [1.0 / b],
            "training.schedule": ["single", "pipedream", "ftpipehd", "exact"],
        }
        runs = compared("heterogeneity", axes, stop={"iterations": 30 if quick else 200})
        steady = {run.axes["training.schedule"]: _steady_s(run) for run in runs}
        capacity = (1.0, a, b)
        yield {
            "what": "speed-up",
            "capacity": ", ".join(f"{one:g}" for one in capacity),
            **{f"{name}_s": time_s for name, time_s in steady.items()},
            "over_pipedream": steady["pipedream"] / steady["ftpipehd"],
            "ideal": ideal_gain(capacity),
            "claimed": CLAIM.get(capacity),
            "over_single": steady["single"] / steady["ftpipehd"],
            "ideal_over_single": sum(1.0 / one for one in capacity),
            "pipedream_over_single": steady["single"] / steady["pipedream"],
        }


def _steady_s(run: Any) -> float:
    return float(run.result.summary["iteration_s"]["steady"])


# --- what failures cost -------------------------------------------------------------------------------------


def failures(quick: bool) -> Iterator[Row]:
    """Yield a row for each run among Raspberry Pis and at a ratio of 10, none of which learns."""
    methods = ["ftpipehd", "ftpipehd-lossless", *RIVALS]
    few = ("none", "one", "slow one")
    for devices, name, cases, more in (
        ("Pis", "failures", PI_CASES, {"learn": None}),
        ("1, 1, 10", "heterogeneity", UNLIKE_CASES, {}),
    ):
        chosen = {case: events for case, events in cases.items() if not quick or case in few}
        axes = {"events": list(chosen.values()), "training.schedule": methods}
        stop = {"iterations": 90 if quick else 160 if name == "failures" else 300}
        rows = [
            {"what": "failure", "devices": devices, "case": _case(chosen, run.axes["events"]), **_failed(run)}
            for run in compared(name, axes, stop=stop, **more)
        ]
        rival_s = min(row["mean_s"] for row in rows if row["case"] == "none" and row["schedule"] in RIVALS)
        for row in rows:
            still = row["mean_s"] is not None and row["mean_s"] < rival_s
            yield {**row, "rival_s": rival_s, "still_faster": still if row["case"] != "none" else None}


def _case(cases: Mapping[str, list[Row]], events: Any) -> str:
    return next(name for name, one in cases.items() if told(one) == told(events))


def _failed(run: Any) -> Row:
    """Return the terms of the recovery of one run that was no false alarm, and its mean iteration."""
    known = run.known.summary
    true = [one for one in known["recoveries"] if one["kind"] != "false-alarm"]
    first: Mapping[str, Any] = true[0] if true else {}
    return {
        "schedule": run.axes["training.schedule"],
        **{key: first.get(key) for key in (*TERMS, *COUNTS)},
        "stalled_s": _stalled_s(run, first["failed_s"]) if first and not run.error else None,
        "outcome": first.get("outcome", ""),
        "mean_s": known["simulated_s"] / known["iterations"] if not run.error else None,
    }


def _stalled_s(run: Any, failed_s: float) -> float:
    """Return the longest time between two new batches of those that end after a failure."""
    marks = run.known.marks
    ends = marks.loc[marks["kind"] == "iteration", "time_s"].sort_values()
    return float(ends.diff()[ends > failed_s].max())


# --- what goes beyond the paper -----------------------------------------------------------------------------


def beyond(quick: bool) -> Iterator[Row]:
    """Yield a row for each run of the scenario of that name, held against the paper's in the same setting."""
    axes = None
    if quick:
        here = {"network.bandwidth": ["20 Mbit/s"], "stop.iterations": [40]}
        axes = [
            {**here, "training.schedule": ["ftpipehd"]},
            {**here, "training.schedule": ["ftpipehd"], "training.partition": ["exact"]},
        ]
    found: dict[str, Row] = {}
    for run in compared("beyond", axes):
        values = {path: value for path, value in run.axes.items() if value is not None}
        schedule = values.pop("training.schedule")
        changed = {path: values.pop(path) for path in list(values) if path.startswith("training.")}
        setting = ", ".join(f"{path.rpartition('.')[2]} {told(value)}" for path, value in values.items())
        row = {"what": "beyond", "setting": setting, "method": _method(schedule, changed), **_gained(run)}
        paper = found.setdefault(setting, row)
        for key in ("mean_s", "steady_s", "recovery_s"):
            both = paper[key] is not None and row[key] is not None
            row[key.replace("_s", "_gain")] = paper[key] / row[key] if both else None
        yield row


def _method(schedule: str, changed: Mapping[str, Any]) -> str:
    parts = [f"{path.removeprefix('training.').partition('.')[0]} {value}" for path, value in changed.items()]
    return " + ".join([schedule, *parts])


def _gained(run: Any) -> Row:
    known = run.known.summary
    times = [one["total_s"] for one in known["recoveries"] if one["kind"] != "false-alarm"]
    return {
        "mean_s": known["iteration_s"]["mean"],
        "steady_s": known["iteration_s"]["steady"],
        "recovery_s": times[0] if times else None,
        "updates_lost": known["updates"]["lost_most"],
        "moves": sum(one["kept"] for one in known["repartitions"]),
        "staleness": known["learning"]["staleness"]["max"],
    }


# --- in words -----------------------------------------------------------------------------------------------


def report(rows: Sequence[Row]) -> None:
    """Print the three parts as tables, and what follows from them."""
    parts = {what: [row for row in rows if row["what"] == what] for what in ("speed-up", "failure", "beyond")}
    print("Steady iteration; pipedream does not know its devices, single is the hub alone")
    _table(parts["speed-up"])
    print("\nFrom the crash on, term by term; the best rival without any failure is rival_s")
    _table(parts["failure"])
    _still(parts["failure"])
    print("\nBeyond the paper, one thing at a time; gains are times over ftpipehd in the same setting")
    _table(parts["beyond"])


def _table(rows: Sequence[Row]) -> None:
    heads = [key for key in rows[0] if key != "what"]
    lines = [heads, *([_text(row[key]) for key in heads] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1e4 else f"{value:.2e}"
    return str(value) if len(str(value)) <= 48 else f"{str(value)[:47]}…"


def _still(rows: Sequence[Row]) -> None:
    """Say where training with failures is still faster than the rivals without."""
    for devices in dict.fromkeys(row["devices"] for row in rows):
        for schedule in ("ftpipehd", "ftpipehd-lossless"):
            mine = [row for row in rows if (row["devices"], row["schedule"]) == (devices, schedule)]
            held = [row["case"] for row in mine if row["still_faster"]]
            not_held = [row["case"] for row in mine if row["still_faster"] is False]
            print(
                f"{devices}: {schedule} with failures is faster than every rival without: "
                f"{', '.join(held) or 'never'}; slower: {', '.join(not_held) or 'never'}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--quick", action="store_true", help="few batches, one ratio, one failure")
    options = parser.parse_args()
    rows = [row for part in (speed_ups, failures, beyond) for row in part(options.quick)]
    print(json.dumps(rows)) if options.json else report(rows)


if __name__ == "__main__":
    main()
