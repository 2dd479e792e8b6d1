"""The period of a pipeline in closed form, against an event recursion of strict 1F1B and of GPipe."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning.cost import PlanningError
from edgesim.planning.pipeline_period import (
    bubble_share,
    fitting_windows,
    gpipe_makespan,
    ideal_gain,
    minimal_windows,
    period_bounds,
    steady_period,
)


def starts(stages, windows, batches):
    """What each stage of strict 1F1B computes, in order: (backward?, batch)."""
    for window in windows:
        order = [(False, batch) for batch in range(min(window, batches))]
        for batch in range(batches):
            order.append((True, batch))
            if batch + window < batches:
                order.append((False, batch + window))
        yield order


def recursion(forward, backward, links, windows, batches, latency=0.0):
    """End of every pass at stage 0, and of the whole: each event as soon as what it waits for is over.

    `links` are (forward, backward) times; a direction carries one message after the other.
    """
    stages = len(forward)
    orders = [list(order) for order in starts(stages, windows, batches)]
    done, at, free = [0] * stages, {}, [0.0] * stages
    wires = {(way, link): 0.0 for way in (False, True) for link in range(stages - 1)}
    moved = True
    while moved:
        moved = False
        for s in range(stages):
            while done[s] < len(orders[s]):
                back, batch = orders[s][done[s]]
                edge = stages - 1 if back else 0
                ready = 0.0 if s == edge and not back else at.get((back, batch, s))
                if s == edge and back:
                    ready = 0.0  # after its own forward, which is earlier in its order
                if ready is None:
                    break
                free[s] = max(free[s], ready) + (backward if back else forward)[s]
                at["end", back, batch, s] = free[s]
                if s != (0 if back else stages - 1):
                    link, to = (s - 1, s - 1) if back else (s, s + 1)
                    wires[back, link] = max(wires[back, link], free[s]) + links[link][back]
                    at[back, batch, to] = wires[back, link] + latency
                done[s] += 1
                moved = True
    assert all(count == len(order) for count, order in zip(done, orders, strict=True)), "blocked"
    return at


def observed_period(forward, backward, links, windows, latency=0.0):
    """Mean time between batches at stage 0, after a run-in, over a multiple of all cycles up to 6 batches."""
    at = recursion(forward, backward, links, windows, 300, latency)
    return (at["end", True, 280, 0] - at["end", True, 160, 0]) / 120


def pipelines(count, seed, most=6):
    """Random pipelines, links from nothing to far more than the stages, unlike in both directions."""
    rng = random.Random(seed)
    for _ in range(count):
        stages = rng.randint(1, most)
        heavy = rng.choice([0.0, 0.3, 1.0, 3.0])
        forward = [rng.uniform(0.05, 1.0) for _ in range(stages)]
        backward = [rng.uniform(0.05, 2.0) for _ in range(stages)]
        links = [(heavy * rng.random(), heavy * rng.random()) for _ in range(stages - 1)]
        yield forward, backward, links


def together(forward, backward):
    return [f + b for f, b in zip(forward, backward, strict=True)]


@pytest.mark.parametrize("seed", range(4))
def test_the_period_of_200_random_pipelines_is_that_of_the_recursion(seed):
    for forward, backward, links in pipelines(50, seed):
        stages = len(forward)
        seen = observed_period(forward, backward, links, range(stages, 0, -1))
        assert steady_period(together(forward, backward), links) == pytest.approx(seen, rel=2e-3)


@pytest.mark.parametrize("seed", range(2))
def test_the_period_with_any_windows_and_latency_is_that_of_the_recursion(seed):
    rng = random.Random(seed + 100)
    for forward, backward, links in pipelines(40, seed + 10, most=4):
        windows = sorted((rng.randint(1, 6) for _ in forward), reverse=True)
        latency = rng.choice([0.0, 0.5])
        seen = observed_period(forward, backward, links, windows, latency)
        said = steady_period(together(forward, backward), links, windows, latency_s=latency)
        assert said == pytest.approx(seen, rel=2e-3)


def test_the_paper_hides_a_link_that_the_exact_period_does_not():
    # Two batches in flight: 3 + 4 + 3 of one round trip take 5 a batch, not max(3, 4).
    assert steady_period([3.0, 3.0], [4.0]) == 5.0
    assert observed_period([1.0, 1.0], [2.0, 2.0], [(2.0, 2.0)], [2, 1]) == pytest.approx(5.0)


def test_a_direction_of_a_link_bounds_by_itself():
    assert steady_period([1.0, 1.0], [(4.0, 0.0)]) == 4.0
    assert steady_period([1.0, 1.0], [(4.0, 0.0)], [9, 1]) == 4.0


def test_latency_delays_and_does_not_hold_the_link():
    assert steady_period([3.0, 3.0], [4.0], [8, 1], latency_s=50.0) == pytest.approx(110 / 8)
    assert steady_period([3.0, 3.0], [4.0], [99, 1], latency_s=50.0) == 3.0


@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=7), st.floats(0.0, 5.0), st.integers(0, 3))
def test_a_period_is_at_least_that_of_wider_windows_and_free_links(stages, link, more):
    links = [link] * (len(stages) - 1)
    windows = [len(stages) - s + more * (len(stages) - 1 - s) for s in range(len(stages))]
    narrow, wide = steady_period(stages, links), steady_period(stages, links, windows)
    assert max(stages) <= steady_period(stages, [0.0] * len(links)) <= narrow
    assert wide <= narrow


@pytest.mark.parametrize("seed", range(3))
def test_minimal_windows_attain_the_period_and_are_minimal(seed):
    slower = 0
    for forward, backward, links in pipelines(20, seed + 50, most=4):
        stages = together(forward, backward)
        best = max([*stages, *(max(way) for way in links)])
        period = best * random.Random(seed).choice([1.0, 1.2])
        windows = minimal_windows(stages, links, period)
        assert steady_period(stages, links, windows) <= period * (1 + 1e-9)
        assert observed_period(forward, backward, links, windows) <= period * 1.002
        for stage, window in enumerate(windows):
            fewer = [*windows[:stage], window - 1, *windows[stage + 1 :]]
            if window == 1 or fewer != sorted(fewer, reverse=True):
                continue  # no batch at all, or blocked
            less = steady_period(stages, links, fewer)
            assert less > period
            if less > period * 1.01:
                slower += 1
                assert observed_period(forward, backward, links, fewer) > period * 1.002
    assert slower > 5


def test_minimal_windows_are_least_of_all_that_attain_the_period():
    import itertools

    for forward, backward, links in pipelines(30, 7, most=4):
        stages = together(forward, backward)
        period = max([*stages, *(max(way) for way in links)]) * 1.1
        windows = minimal_windows(stages, links, period)
        if max(windows) > 8:
            continue
        good = [
            one
            for one in itertools.product(range(1, 9), repeat=len(stages))
            if list(one) == sorted(one, reverse=True) and steady_period(stages, links, one) <= period
        ]
        assert windows == tuple(min(column) for column in zip(*good, strict=True))


def test_windows_that_fit_are_the_best_of_all_that_do():
    import itertools

    rng = random.Random(3)
    limited = 0
    for forward, backward, links in pipelines(60, 8, most=4):
        stages = together(forward, backward)
        weights = [rng.randint(1, 9) for _ in stages]
        limits = [weight * rng.randint(1, 4) for weight in weights]

        def fits(windows, weights=weights, limits=limits):
            return all(k * w <= most for k, w, most in zip(windows, weights, limits, strict=True))

        def due(windows, stages=stages, links=links):
            return steady_period(stages, links, windows, latency_s=0.1)

        made = fitting_windows(stages, links, fits, latency_s=0.1)
        good = [
            one
            for one in itertools.product(range(1, 5), repeat=len(stages))
            if list(one) == sorted(one, reverse=True) and fits(one)
        ]
        assert fits(made)
        assert due(made) == pytest.approx(min(map(due, good)), rel=1e-8)
        limited += due(made) > max(stages) * 1.01
    assert limited > 20


def test_windows_that_fit_by_hand():
    assert fitting_windows([3.0, 3.0], [4.0], lambda windows: True) == (4, 1)
    assert fitting_windows([3.0, 3.0], [4.0], lambda windows: windows[0] < 3) == (2, 1)
    assert fitting_windows([0.0], [], lambda windows: True) == (1,)
    assert fitting_windows([0.0, 0.0], [0.0], lambda windows: windows[0] < 3, latency_s=1.0) == (2, 1)
    with pytest.raises(PlanningError, match="no windows fit 2 stages, not even one batch in flight"):
        fitting_windows([3.0, 3.0], [4.0], lambda windows: False)


def test_minimal_windows_by_hand():
    assert minimal_windows([3.0, 3.0], [4.0], 3.0) == (4, 1)
    assert minimal_windows([3.0, 3.0, 3.0], [0.0, 0.0], 3.0) == (3, 2, 1)
    assert minimal_windows([2.0], [], 2.0) == (1,)
    assert minimal_windows([0.0, 0.0], [0.0], 0.0) == (1, 1)


def test_windows_that_block_are_told():
    with pytest.raises(PlanningError, match="window of stage 1 is 3, that of the stage before 2: they block"):
        steady_period([1.0, 1.0], [0.0], [2, 3])
    with pytest.raises(AssertionError, match="blocked"):
        recursion([1.0, 1.0], [1.0, 1.0], [(0.0, 0.0)], [2, 3], 10)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([], []), "no stage times"),
        (([1.0, -1.0], [0.0]), "stage time 1 is -1.0: give a finite time"),
        (([1.0, math.nan], [0.0]), "stage time 1 is nan"),
        (([1.0, "x"], [0.0]), "stage times must be numbers in s"),
        (([1.0, 1.0], []), "0 links between 2 stages: give 1"),
        (([1.0, 1.0], [(1.0, math.inf)]), "link time 1 is inf"),
        (([1.0, 1.0], [1.0], [2]), "1 windows for 2 stages"),
        (([1.0, 1.0], [1.0], [2, 0]), "window of stage 1 is 0: give at least 1"),
    ],
)
def test_what_is_no_pipeline_is_told(arguments, told):
    with pytest.raises(PlanningError, match=told):
        steady_period(*arguments)


@pytest.mark.parametrize("period", [0.0, 2.9, math.inf, math.nan])
def test_a_period_that_no_windows_attain_is_told(period):
    with pytest.raises(PlanningError, match=r"no windows attain a period of .*: a stage or link takes 3.0 s"):
        minimal_windows([3.0, 1.0], [1.0], period)


def test_latency_cannot_be_hidden_for_nothing():
    with pytest.raises(PlanningError, match="period of 0 s over links with latency"):
        minimal_windows([0.0, 0.0], [0.0], 0.0, latency_s=1.0)
    assert minimal_windows([0.0], [], 0.0, latency_s=1.0) == (1,)


def test_bounds_by_hand():
    bounds = period_bounds([1.0, 4.0, 2.0], [1.0, 2.0])
    assert bounds == (7 / 1.5, 4.0)
    assert bounds.period_s == 7 / 1.5
    assert period_bounds([1.0, 8.0], [2.0, 1.0, 1.0]).period_s == 8.0
    with pytest.raises(PlanningError, match=r"capacity of device 1 is 0.0"):
        period_bounds([1.0], [1.0, 0.0])


def gpipe_recursion(forward, backward, links, micro):
    """All forwards, then all backwards, each stage and each direction one after the other."""
    stages = len(forward)
    free, wires = [0.0] * stages, {}
    for back, order in ((False, range(stages)), (True, reversed(range(stages)))):
        order = list(order)
        arrived = [0.0] * micro
        for s in order:
            for part in range(micro):
                free[s] = max(free[s], arrived[part]) + (backward if back else forward)[s]
                arrived[part] = free[s]
                if s != order[-1]:
                    link = s - 1 if back else s
                    wires[back, link] = max(wires.get((back, link), 0.0), free[s]) + links[link][back]
                    arrived[part] = wires[back, link]
    return free[0]


@pytest.mark.parametrize("micro", [1, 2, 5, 8])
def test_the_makespan_of_gpipe_is_that_of_the_recursion(micro):
    for forward, backward, links in pipelines(50, micro):
        ahead, behind = [way[0] for way in links], [way[1] for way in links]
        said = gpipe_makespan(forward, backward, ahead, behind, micro)
        assert said == pytest.approx(gpipe_recursion(forward, backward, links, micro), rel=1e-12)


def test_the_bubbles_of_equal_stages_are_what_gpipe_leaves_idle():
    for stages, micro in [(1, 4), (2, 1), (4, 5), (8, 32)]:
        makespan = gpipe_makespan(
            [1.0] * stages, [2.0] * stages, [0.0] * (stages - 1), [0.0] * (stages - 1), micro
        )
        assert bubble_share(stages, micro) == pytest.approx(1 - 3.0 * micro / makespan)


def test_what_gpipe_cannot_do_is_told():
    with pytest.raises(PlanningError, match="0 micro-batches"):
        gpipe_makespan([1.0], [1.0], [], [], 0)
    with pytest.raises(PlanningError, match=r"2 stages, 0 links: give S times of stages, S - 1 of links"):
        gpipe_makespan([1.0, 1.0], [1.0, 1.0], [], [], 2)
    with pytest.raises(PlanningError, match="0 stages, 1 micro-batches"):
        bubble_share(0, 1)


def test_the_ideal_gain_of_three_devices_of_the_paper():
    assert ideal_gain([1, 1, 10]) == pytest.approx(7.0)
    assert ideal_gain([1, 2, 10]) == pytest.approx(16 / 3)
    assert ideal_gain([1, 10, 10]) == pytest.approx(4.0)
    assert ideal_gain([1, 1, 1]) == pytest.approx(1.0)
    assert 6.8 / ideal_gain([1, 1, 10]) == pytest.approx(0.97, abs=2e-3)
