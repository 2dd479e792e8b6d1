"""Who wins, in words, against summaries and timelines whose story is known."""

import pytest

from edgesim.report.causes import stretches
from edgesim.report.explain import explain
from edgesim.report.faults import FIRST, costs, incomplete, window
from edgesim.report.ranking import Alternative, mean_s, settings
from edgesim.report.tables import Tables
from edgesim.report.verdict import verdict
from edgesim.timeline import Tag, Timeline


def run(mean, overlap=None, messages=None, ratio=None, steady=None, **axes):
    return Alternative(
        axes={path.replace("_", "."): value for path, value in axes.items()},
        summary={
            "iteration_s": {"mean": mean, "steady": mean if steady is None else steady},
            "iterations": 0 if mean is None else 2,
            "overlap": overlap,
            "messages": messages,
            "bounds": {"ratio": ratio},
        },
    )


def test_it_says_who_wins_by_how_much_and_why():
    text = verdict(
        [run(10.0, 0.0, 4, a="slow"), run(4.0, 0.6, 20, 1.25, a="quick"), run(5.0, 0.4, 20, a="mid")]
    )
    assert text == (
        "quick wins with 4 s an iteration, 20 % less than mid, 2.5 times faster than slow; "
        "quick hides 60 % of the transfer time under compute (mid 40 %, slow 0 %); "
        "quick sends 10 messages an iteration (mid 10, slow 2); its iteration is 1.25 times the lower bound."
    )


def test_equals_tie_and_who_finished_nothing_loses():
    assert verdict([run(4.0, a="x"), run(4.001, a="y")]) == "x and y tie at 4 s an iteration."
    assert verdict([run(4.0, a="x"), run(None, a="y")]) == "only x finished an iteration: 4 s an iteration."
    three = verdict([run(None, a="x"), run(4.0, a="y"), run(5.0, a="z")])
    assert three == "y wins with 4 s an iteration, 20 % less than z; x finished no iteration."
    assert verdict([]) == verdict([run(None, a="x")]) == "No alternative finished an iteration."
    failed = Alternative(axes={"a": "y"}, error="out of memory")
    assert verdict([run(4.0, a="x"), failed]).endswith("; y failed.")


@pytest.mark.parametrize(("ratio", "said"), [(1.003, "at the lower bound"), (1.0201, "1.02 times the lower")])
def test_the_bound_is_told_with_digits_that_say_something(ratio, said):
    assert f"its iteration is {said}" in verdict([run(4.0, ratio=ratio, a="x"), run(5.0, a="y")])


def test_a_winner_that_hides_less_says_first_what_it_wins_by():
    text = verdict([run(4.0, 0.07, 38, a="x"), run(5.0, 0.13, 848, a="y")])
    assert text == (
        "x wins with 4 s an iteration, 20 % less than y; x sends 19 messages an iteration (y 424); "
        "x hides only 7 % of the transfer time under compute (y 13 %)."
    )


def grid(*means):
    """Two schedules at as many bandwidths as there are pairs of means."""
    return [
        run(mean, network_bandwidth=f"{10 * place} Mbit/s", training_schedule=name)
        for place, pair in enumerate(means, 1)
        for name, mean in zip(("seq", "dyn"), pair, strict=True)
    ]


def test_settings_are_judged_apart_and_a_flip_is_told():
    assert verdict(grid((4.0, 5.0), (3.0, 1.0))).splitlines() == [
        "At bandwidth 10 Mbit/s: seq wins with 4 s an iteration, 20 % less than dyn.",
        "At bandwidth 20 Mbit/s: dyn wins with 1 s an iteration, 3 times faster than seq.",
        "The answer flips between 10 Mbit/s and 20 Mbit/s (from seq to dyn).",
    ]


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ([(4.0, 2.0), (3.0, 1.0)], "The answer holds: dyn wins in every setting."),
        ([(2.0, 2.0), (3.0, 1.0)], "The answer holds: dyn wins or ties in every setting."),
        ([(2.0, 2.0), (3.0, 3.0)], "The answer holds: seq and dyn tie in every setting."),
        (
            [(1.0, 2.0), (3.0, 3.0), (5.0, 4.0)],
            "The answer flips between 20 Mbit/s and 30 Mbit/s (from seq to dyn).",
        ),
    ],
)
def test_whether_the_answer_holds(means, said):
    assert said in verdict(grid(*means)).splitlines()


def test_reasons_are_those_of_the_setting_where_they_differ_most():
    runs = grid((4.0, 5.0), (3.0, 1.0))
    runs[2].summary["overlap"], runs[3].summary["overlap"] = 0.1, 0.5
    last = verdict(runs).splitlines()[-1]
    assert last == (
        "Why, at 20 Mbit/s, where they differ most: "
        "dyn hides 50 % of the transfer time under compute (seq 10 %)."
    )


def test_the_method_is_the_only_axis_of_the_training_else_the_last():
    def found(*axes):
        return [(group.heading, [entry.name for entry in group.entries]) for group in settings(axes)]

    def points(**axes):
        (first, xs), (second, ys) = axes.items()
        return [run(1.0, **{first: x, second: y}) for x in xs for y in ys]

    both = points(training_schedule=["a", "b"], seed=[1, 2])
    assert found(*both) == [("seed 1", ["a", "b"]), ("seed 2", ["a", "b"])]
    two = points(training_schedule=["a", "b"], training_policy=["c", "d"])
    assert found(*two) == [("schedule a", ["c", "d"]), ("schedule b", ["c", "d"])]
    constant = points(training_schedule=["a"], seed=[1, 2])
    assert found(*constant) == [("", ["seed 1", "seed 2"])]
    assert found(run(1.0, network_bandwidth="1 Mbit/s"), run(2.0, network_bandwidth="2 Mbit/s")) == [
        ("", ["1 Mbit/s", "2 Mbit/s"])
    ]
    assert settings([]) == []


def faulty(*, drop):
    """Two workers, iterations of 2 s, and a crash of `b` from 5 s to 11 s."""
    made = Timeline()
    ends = [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0] if drop else [2.0, 4.0, 12.0, 14.0]
    for index, end in enumerate(ends):
        for worker in ("a", "b") if not drop or index not in (2, 3, 4) else ("a",):
            made.transfers.append(
                (worker, "s", Tag("push", "1", index, 1, 1), 8, 8, 8, 0.0, end - 1, end - 1, end, "up")
            )
    marks = [(end, "s", "iteration", str(index)) for index, end in enumerate(ends)]
    marks += [(5.0, "b", "crash", "for 6 s"), (11.0, "b", "return", "")]
    marks += [(5.0, "b", "drop", "iteration 2")] if drop else []
    for mark in sorted(marks, key=lambda mark: mark[0]):
        made.mark(*mark)
    count = len(ends)
    summary = {
        "server": "s", "iterations": count, "simulated_s": 14.0,
        "iteration_s": {"mean": 14.0 / count, "steady": 2.0}, "bounds": {"ratio": 1.0},
    }  # fmt: skip
    name = "drop" if drop else "wait"
    return Alternative(axes={"training.on_crash": name}, summary=summary, tables=Tables.of(made))


def test_faults_are_what_the_mean_is_longer_by():
    wait, drop = faulty(drop=False), faulty(drop=True)
    assert costs(wait.tables, wait.summary) == {"crash": 1.5, "": 0.0}
    assert sum(costs(drop.tables, drop.summary).values()) == 0.0
    assert (incomplete(wait.tables, wait.summary), incomplete(drop.tables, drop.summary)) == (0, 3)
    assert verdict([wait, drop]) == (
        "drop wins with 2 s an iteration on average, 43 % less than wait; "
        "drop completes 7 iterations, wait 4; "
        "3 of the 7 iterations of drop lack a worker's gradients; "
        "faults cost, per iteration on average, wait 1.5 s (crashed devices 1.5 s); "
        "the steady iteration (median of the later half) is 2 s for both, at the lower bound."
    )


def test_a_fault_lasts_until_its_own_end():
    made = Timeline()
    for mark in (
        (1.0, "up", "change", ""), (2.0, "up", "cut", "for 1 s"), (3.0, "up", "restore", "link"),
        (4.0, "b", "crash", ""), (5.0, "b", "crash", ""), (6.0, "b", "drop", ""), (7.0, "b", "crash", ""),
        (8.0, "b", "return", ""), (9.0, "up", "restore", "5 Mbit/s"), (9.5, "a", "slow", ""),
    ):  # fmt: skip
        made.mark(*mark)
    assert stretches(Tables.of(made)) == {
        "cut": [(2.0, 3.0)],
        "crash": [(4.0, 6.0)],
        "change": [(1.0, 9.0)],
        "slow": [(9.5, float("inf"))],
    }


def test_nobody_gains_by_being_stuck():
    quick, stuck = run(3.0, a="quick"), run(2.0, a="stuck")
    quick.summary.update(iterations=33, simulated_s=100.0)
    stuck.summary.update(iterations=4, simulated_s=100.0)
    assert mean_s(stuck.summary) == 20.0
    text = verdict([quick, stuck])
    assert text.startswith("quick wins with 3 s an iteration")
    assert "stuck had been at its next iteration for 92 s when the run ended" in text


def test_the_window_is_all_of_short_runs_and_the_first_shared_fault_of_long_ones():
    short = [(one.tables, one.summary) for one in (faulty(drop=True), faulty(drop=False))]
    assert window(short) == (0.0, 14.0)
    long = []
    for own_s, step in ((3.5, 1.0), (7.5, 2.0)):
        made = Timeline()
        marks = [(step * index, "s", "iteration", str(index)) for index in range(1, 101)]
        marks += [(own_s, "a", "slow", ""), (20.5, "b", "crash", ""), (30.5, "b", "return", "")]
        for mark in sorted(marks, key=lambda mark: mark[0]):
            made.mark(*mark)
        long.append((Tables.of(made), {"server": "s", "simulated_s": 100.0 * step}))
    assert window(long) == (18.0, 34.0)
    assert window([(Tables.of(Timeline()), {})]) is None


def test_an_iteration_is_compared_with_those_of_the_same_workers():
    """Iterations of a and b take 4 s; without b, gone at 20 s, 1 s; the one in which b goes takes 6 s."""
    made = Timeline()
    lengths = [4.0] * 5 + [6.0] + [1.0] * 6
    end = 0.0
    for index, length in enumerate(lengths):
        end += length
        for worker in ("a", "b") if index < 5 else ("a",):
            made.transfers.append(
                (worker, "s", Tag("push", "1", index, 1, 1), 8, 8, 8, 0.0, end - 1, end - 1, end, "up")
            )
    ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
    marks = [(end, "s", "iteration", "") for end in ends] + [
        (21.0, "b", "crash", ""),
        (25.0, "b", "drop", ""),
    ]
    for mark in sorted(marks, key=lambda mark: mark[0]):
        made.mark(*mark)
    assert costs(Tables.of(made), {"server": "s"}) == {"crash": 5.0 / 12.0, "": 0.0}


def broken(name, iterations):
    summary = {"iterations": iterations, "iteration_s": {"mean": 1.0, "steady": 1.0}}
    return Alternative(axes={"a": name}, summary=summary, error="SimulationError: gone")


def test_who_failed_and_how_far_they_came():
    assert verdict([broken("x", 1), broken("y", 1), broken("z", 2)]) == (
        "No alternative reached its end: x and y failed after 1 iteration, z failed after 2 iterations."
    )
    assert verdict([run(4.0, a="w"), broken("x", 1)]) == (
        "only w reached its end: 4 s an iteration; x failed after 1 iteration."
    )


def test_of_winners_that_tie_the_one_that_is_told_about_has_a_name():
    assert verdict([run(4.0, ratio=1.5, a="x"), run(4.0, ratio=1.5, a="y")]) == (
        "x and y tie at 4 s an iteration; the iteration of x is 1.50 times the lower bound."
    )


def test_a_single_run_says_what_its_faults_cost():
    wait, drop = faulty(drop=False), faulty(drop=True)
    said = explain(wait.tables, wait.summary)
    assert said.startswith(
        "Faults make the mean iteration 3.5 s long (crashed devices 1.5 s an iteration); of"
    )
    assert not explain(drop.tables, drop.summary).startswith("Faults")


def unbarred(*, ahead):
    """Iterations of 4, 2, 2 and 2 s; with `ahead` each begins a second before the one before has ended."""
    made = Timeline()
    start = 0.0
    for index, end in enumerate((4.0, 6.0, 8.0, 10.0)):
        early = 1.0 if ahead and index else 0.0
        made.spans.append(("a", Tag("forward", "1", index, 1, 1), start - early, end - 1.0, 1.0, 0.0))
        made.transfers.append(
            ("a", "s", Tag("push", "1", index, 1, 1), 8, 8, 8, 0.0, end - 1.0, end - 1.0, end, "up")
        )
        made.mark(end, "s", "iteration", str(index))
        start = end
    summary = {
        "server": "s", "iterations": 4, "simulated_s": 10.0,
        "iteration_s": {"mean": 2.5, "steady": 2.0}, "bounds": {"ratio": 1.0},
    }  # fmt: skip
    return Alternative(axes={"training.schedule": "p3"}, summary=summary, tables=Tables.of(made))


def test_a_first_iteration_with_nothing_to_overlap_with_is_called_that():
    ahead, apart = unbarred(ahead=True), unbarred(ahead=False)
    assert costs(ahead.tables, ahead.summary) == {FIRST: 0.5, "": 0.0}
    assert costs(apart.tables, apart.summary) == {"": 0.5}
    said = "the first iteration, which has none before to overlap with, costs, on average, p3 500 ms"
    assert said in verdict([ahead])
    assert "longer for another reason" not in verdict([ahead])
    assert "longer for another reason cost, per iteration on average, p3 500 ms" in verdict([apart])


def test_workers_lost_for_good_are_named():
    alternative = unbarred(ahead=False)
    made = Timeline()
    made.mark(3.0, "b", "drop", "no route left")
    made.mark(3.5, "c", "drop", "iteration 1")
    lost = Tables.of(Timeline()).then(Tables.of(made))
    runs = [
        Alternative(axes={"training.schedule": name}, summary=alternative.summary, tables=lost)
        for name in ("p3", "ibatch")
    ]
    assert "p3 and ibatch lost for good: b at 3 s (no route left)" in verdict(runs)
    assert "lost" not in verdict([alternative])


def one_by_one():
    """Two workers whose gradients are updates of their own: the first sends twice as many."""
    made = Timeline()
    for number, (worker, clock) in enumerate([("a", 0), ("b", 0), ("a", 1), ("a", 2)]):
        end = number + 1.0
        push = Tag("push", "1", clock, 1, 1)
        made.transfers.append((worker, "s", push, 8, 8, 8, 0.0, end - 0.5, end - 0.5, end, "up"))
        made.update(end, worker, number // 2, 1, 0)
        if number % 2:
            made.mark(end, "s", "iteration", str(number // 2))
    return Tables.of(made)


def test_no_iteration_lacks_a_worker_where_there_is_no_barrier():
    tables = one_by_one()
    assert incomplete(tables, {"server": "s", "iterations": 2}) == 0
    assert costs(tables, {"server": "s"}) == {"": 0.0}


def learner(name, *accuracies, target=None):
    made = Timeline()
    for number, accuracy in enumerate(accuracies):
        made.update(number + 1.0, "s", number, 2, 0, 1.0, accuracy)
    learning = {"final_accuracy": accuracies[-1], "target_accuracy": target}
    summary = {"iteration_s": {"mean": 1.0, "steady": 1.0}, "iterations": 2, "learning": learning}
    return Alternative(axes={"training.synchronization": name}, summary=summary, tables=Tables.of(made))


def test_who_learns_first_is_told():
    runs = [learner("bsp", 0.1, 0.7, 0.9, target=0.7), learner("asp", 0.7, 0.8, target=0.7)]
    runs.append(learner("ssp", 0.1, 0.6, target=0.7))
    last = verdict(runs).splitlines()[-1]
    assert last == "Learning: asp reaches 70 % first, at 1 s (bsp at 2 s; ssp never: 60.0 % at best)."
    common = verdict([learner("bsp", 0.1, 0.7, 0.9), learner("asp", 0.1, 0.2, 0.8)]).splitlines()[-1]
    assert common == "Learning: bsp and asp reach 80.0 %, the best that all reach, first, at 3 s."
    nobody = verdict([learner("bsp", 0.1, target=0.7), learner("asp", 0.2, target=0.7)]).splitlines()[-1]
    assert nobody == "Learning: none reaches 70 %; asp comes closest with 20.0 %."
    assert "Learning" not in verdict([learner("bsp", 0.1)])
