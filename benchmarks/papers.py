"""Every point of the paper scenarios: who wins, by how much, and how far from what nobody can beat.

    python benchmarks/papers.py [--json] [--quick] [--changing] [--jobs N] [--out FILE] [--only PART]

Runs each alternative of scenarios/papers/*.yaml. With `--out` rows stream into a CSV file, and points that it
holds are not run again. Checked over all points: DynaComm takes at most as long as each schedule with a
barrier, and `dynacomm-overlap`, which has none, at most as long as DynaComm (by the steady iteration where
nothing changes: without a barrier the first one has nothing to overlap with). All times are in s.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import edgesim
from edgesim import scenario as language
from edgesim import workload_file
from edgesim.errors import EdgesimError
from edgesim.planning.bounds import duplex_s
from edgesim.planning.schedules import Phased, Queued, pick
from edgesim.report.ranking import told
from edgesim.workload import ProfileTimer, rebatched

FOLDER = Path(__file__).parents[1] / "scenarios" / "papers"
FILES = tuple(sorted(FOLDER.glob("dynacomm_*.yaml")))
SCHEDULE, POLICY, BANDWIDTH = "training.schedule", "training.planner.policy", "network.bandwidth"
TOLERANCE = 1e-9
"""Share by which rounding may make equal times differ."""
MEASURES = ("mean_s", "steady_s", "bound_s", "duplex_s", "iterations", "messages", "wall_s", "error")
Row = dict[str, Any]


@cache
def points(file: Path) -> tuple[tuple[Row, language.Scenario], ...]:
    """Return every alternative of a scenario with its axes."""
    return tuple(language.variants(language.load(file)))


def measure(task: tuple[Path, int]) -> Row:
    """Run one alternative and return its row; one that fails has an error in place of its times."""
    file, index = task
    axes, variant = points(file)[index]
    began = time.perf_counter()
    row: Row = {"model": model(file), **{path: _text(value) for path, value in axes.items()}}
    row |= dict.fromkeys(MEASURES, None)
    try:
        summary = edgesim.run(variant, pictures=False).summary
        row |= {
            "mean_s": summary["iteration_s"]["mean"],
            "steady_s": summary["iteration_s"]["steady"],
            "bound_s": summary["bounds"]["iteration_s"],
            "duplex_s": barrier_free_s(variant),
            "iterations": summary["iterations"],
            "messages": summary["messages"],
        }
    except EdgesimError as error:
        row["error"] = f"{type(error).__name__}: {error}"
    return {**row, "wall_s": round(time.perf_counter() - began, 3)}


def model(file: Path) -> str:
    return file.stem.removeprefix("dynacomm_")


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)


def barrier_free_s(variant: language.Scenario) -> float | None:
    """Return the bound of a lone worker without a barrier, in s; None for several, or changing bandwidth.

    Without the update, of which layer 1 need not wait for more than its own part.
    """
    cluster = language.build.cluster(variant)
    if len(cluster.devices) != 2 or any(link.factor for link in cluster.links.values()):
        return None
    asked = variant.workload
    workload = workload_file.load(variant.resolve(str(asked.profile)))
    workload = rebatched(workload, asked.batch_size or workload.batch_size)
    timer, worker = ProfileTimer(workload), cluster.devices["worker-1"]
    link, layers = cluster.links["worker-1.up"], range(len(workload.layers))
    transfer_s = [layer.parameter_bytes / link.bandwidth_Bps for layer in workload.layers]
    forward_s = [timer.forward_s(worker, layer) for layer in layers]
    backward_s = [timer.backward_s(worker, layer) for layer in layers]
    return duplex_s(transfer_s, forward_s, backward_s, transfer_s, link.occupancy_s)


def tasks(only: str, quick: bool, changing: bool = False) -> list[tuple[Path, int]]:
    """Return what is to be run; quick is one worker and two bandwidths of the smallest model.

    `changing` leaves the points whose bandwidth changes.
    """
    found = [(file, index) for file in FILES if only in file.stem for index in range(len(points(file)))]
    if changing:
        found = [(file, index) for file, index in found if _changes(points(file)[index][0][BANDWIDTH])]
    if not quick:
        return found
    return [
        (file, index)
        for file, index in found
        if model(file) == "googlenet" and _is_quick(points(file)[index][0])
    ]


def _changes(bandwidth: Any) -> bool:
    return str(_text(bandwidth)).startswith("{")


def _is_quick(axes: Mapping[str, Any]) -> bool:
    wanted = {"workload.batch_size": 32, "network.startup.occupancy": "1 ms", "devices[worker].count": 1}
    wanted |= {"network.devices.server.bandwidth": "1000 Gbit/s", "stop.iterations": 20}
    return axes[BANDWIDTH] in ("1 Gbit/s", "10 Gbit/s") and all(
        axes[path] == value for path, value in wanted.items()
    )


def run(todo: Sequence[tuple[Path, int]], jobs: int) -> Iterator[Row]:
    """Yield a row a point as they are done, in order."""
    if jobs == 1:
        yield from map(measure, todo)
    else:
        with ProcessPoolExecutor(jobs) as pool:
            yield from pool.map(measure, todo, chunksize=4)


def kept(file: Path | None) -> list[Row]:
    """Return the rows of an earlier run of this benchmark."""
    if file is None or not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(stream)]


def _value(text: str) -> Any:
    if text == "":
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if text.isdigit() else number


def identity(row: Mapping[str, Any]) -> str:
    """Return what a row is about: its model and the values of its axes."""
    return json.dumps({key: value for key, value in row.items() if key not in MEASURES}, sort_keys=True)


def streamed(rows: Iterable[Row], file: Path | None, most: int) -> Iterator[Row]:
    """Pass rows on; with a file each is appended to it at once. Says on standard error how far it is."""
    began = time.perf_counter()
    stream = file.open("a", newline="", encoding="utf-8") if file is not None else None
    try:
        for number, row in enumerate(rows, 1):
            if stream is not None:
                writer = csv.DictWriter(stream, list(row))
                if stream.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
                stream.flush()
            if sys.stderr.isatty() or number % 100 == 0 or number == most:
                took = time.perf_counter() - began
                end = "\r" if sys.stderr.isatty() and number < most else "\n"
                print(f"{number} of {most} points, {took:.0f} s", end=end, file=sys.stderr)
            yield row
    finally:
        if stream is not None:
            stream.close()


def grouped(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Return by setting the rows by method; DynaComm by another policy is `dynacomm, POLICY`."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["error"] is None:
            setting = {key: value for key, value in row.items() if key not in (SCHEDULE, POLICY)}
            method = ", ".join(str(row[key]) for key in (SCHEDULE, POLICY) if row[key] is not None)
            found.setdefault(identity(setting), {})[method] = row
    return found


def judged(settings: Iterable[Mapping[str, Row]]) -> Iterator[Row]:
    """Yield a row for each setting and variant of DynaComm in it, held against the rivals of that setting."""
    for group in settings:
        rivals = {name: row["mean_s"] for name, row in group.items() if _phased_rival(name)}
        for name in [name for name in group if name.partition(",")[0] == "dynacomm"]:
            row = group[name]
            best = min(rivals, key=lambda rival: rivals[rival], default="")
            over = {f"to_{rival}": row["mean_s"] / group[rival]["mean_s"] for rival in rivals}
            free = group.get("dynacomm-overlap", {})
            yield {
                **row,
                "method": name,
                **over,
                "best_rival": best,
                "to_rival": row["mean_s"] / rivals[best] if best else None,
                "overlap_mean": free["mean_s"] / row["mean_s"] if free else None,
                "overlap_steady": free["steady_s"] / row["steady_s"] if free else None,
            }


def _phased_rival(name: str) -> bool:
    return "," not in name and name != "dynacomm" and isinstance(pick(name), Phased)


def report(rows: Sequence[Row]) -> None:
    """Print what the points have in common, a block a model and one for all."""
    failed = [row for row in rows if row["error"] is not None]
    print(f"{len(rows)} points, {len(failed)} failed")
    for row in failed[:5]:
        print(f"  {row['model']} {row[SCHEDULE]}: {row['error']}")
    verdicts = list(judged(grouped(rows).values()))
    for name in dict.fromkeys(row["model"] for row in rows):
        _of_model(name, [one for one in verdicts if one["model"] == name])
    for changing in (False, True):
        where = "bandwidth changes" if changing else "bandwidth is constant"
        here = [one for one in verdicts if _changes(one[BANDWIDTH]) == changing]
        for method in dict.fromkeys(one["method"] for one in here):
            mine = [one for one in here if one["method"] == method]
            _violations(f"{method} where {where}", mine)
            if method == "dynacomm":
                for by in ("overlap_mean",) if changing else ("overlap_steady", "overlap_mean"):
                    _overlap(where, mine, by)
    _barrier_free(rows)


def _of_model(name: str, verdicts: Sequence[Row]) -> None:
    own = [one for one in verdicts if one["method"] == "dynacomm"]
    for rival in ("sequential", "layer-by-layer"):
        saved = sorted(100.0 * (1.0 - one[f"to_{rival}"]) for one in own if f"to_{rival}" in one)
        if saved:
            print(f"{name}: dynacomm against {rival}: {_spread(saved, '%')} less ({len(saved)} settings)")
    ratios = sorted(one["steady_s"] / one["bound_s"] for one in own if one["bound_s"])
    print(f"{name}: dynacomm over its lower bound, steady: {_spread(ratios, 'times', 4)}")


def _spread(values: Sequence[float], unit: str, digits: int = 1) -> str:
    low, middle, high = (f"{value:.{digits}f}" for value in (values[0], median(values), values[-1]))
    return f"{low} to {high} {unit}, median {middle}"


def _violations(what: str, verdicts: Sequence[Row]) -> None:
    pairs = [(key, one) for one in verdicts for key in one if _is_pair(key) and one[key] is not None]
    over = [(key, one) for key, one in pairs if one[key] > 1.0 + TOLERANCE]
    print(f"{what}: {len(over)} of {len(pairs)} pairs with a phased rival are longer than the rival's")
    for key, one in sorted(over, key=lambda pair: -pair[1][pair[0]])[:5]:
        print(f"  {one[key]:.6f} of {key.removeprefix('to_')}: {_where(one)}")


def _overlap(where: str, verdicts: Sequence[Row], by: str) -> None:
    """Print how often `dynacomm-overlap` takes longer than DynaComm, by one measure, and how much less."""
    found = sorted((one[by], index) for index, one in enumerate(verdicts) if one[by] is not None)
    worse = [pair for pair in found if pair[0] > 1.0 + TOLERANCE]
    if found:
        what = f"dynacomm-overlap against dynacomm, {by.removeprefix('overlap_')}, where {where}"
        print(f"{what}: longer in {len(worse)} of {len(found)}")
        for ratio, index in worse[:-6:-1]:
            print(f"  {ratio:.6f}: {_where(verdicts[index])}")
        print(f"  {_spread([100.0 * (1.0 - ratio) for ratio, _ in found[::-1]], '%')} less")


def _is_pair(key: str) -> bool:
    return key.startswith("to_") and key != "to_rival"


def _where(row: Row) -> str:
    """Return what tells a setting from others, a bandwidth over time in words."""
    parts = []
    for key, value in row.items():
        if "." in key and key != SCHEDULE and value is not None:
            series = json.loads(value) if str(value).startswith("{") else value
            parts.append(f"{key.rpartition('.')[2]} {told(series)}")
    return f"{row['model']}: {', '.join(parts)}"


def _barrier_free(rows: Sequence[Row]) -> None:
    """Print how far the schedules without a barrier are from two bounds: of theory, and of their run."""
    for name in dict.fromkeys(row[SCHEDULE] for row in rows if isinstance(pick(row[SCHEDULE]), Queued)):
        mine = [row for row in rows if row[SCHEDULE] == name and row["error"] is None and row["duplex_s"]]
        for bound, what in (("duplex_s", "duplex bound"), ("bound_s", "bound that counts start-ups")):
            ratios = sorted(row["steady_s"] / row[bound] for row in mine if row[bound])
            if ratios:
                near = sum(ratio <= 1.02 for ratio in ratios)
                print(
                    f"{name} over the {what}, steady, one worker: {_spread(ratios, 'times', 4)}; "
                    f"within 2 % in {near} of {len(ratios)}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--quick", action="store_true", help="one model, two bandwidths, one worker")
    parser.add_argument("--jobs", type=int, default=1, help="processes that run points")
    parser.add_argument(
        "--out", type=Path, help="CSV file that rows are appended to; its points are not run again"
    )
    parser.add_argument("--only", default="", help="part of a scenario's name, for example vgg19")
    parser.add_argument("--changing", action="store_true", help="only points whose bandwidth changes")
    options = parser.parse_args()
    old = kept(options.out)
    done = {identity(row) for row in old}
    todo = [
        task
        for task in tasks(options.only, options.quick, options.changing)
        if _identity_of(task) not in done
    ]
    rows = [*old, *streamed(run(todo, options.jobs), options.out, len(todo))]
    print(json.dumps(rows)) if options.json else report(rows)


def _identity_of(task: tuple[Path, int]) -> str:
    file, index = task
    axes = points(file)[index][0]
    return identity({"model": model(file), **{path: _text(value) for path, value in axes.items()}})


if __name__ == "__main__":
    main()
