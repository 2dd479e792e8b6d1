"""Plans for a known rate to come are the best of all, and the plain planner's where it is constant."""

import itertools
import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgesim.planning.cost import PlanningError
from edgesim.planning.forecast import outcome, plan_backward, plan_forward
from edgesim.planning.segmentation import plan
from edgesim.planning.segmentation import plan_backward as plan_backward_plain
from edgesim.planning.supply import Supply
from edgesim.timeseries import Series, constant


@st.composite
def rates(draw):
    """A rate with stretches of 0 B/s that ends above 0, or repeats and is above 0 somewhere."""
    steps = draw(st.integers(1, 6))
    gaps = draw(st.lists(st.integers(1, 8).map(lambda n: n / 2), min_size=steps, max_size=steps))
    values = draw(st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 4.0]), min_size=steps, max_size=steps))
    values[draw(st.integers(0, steps - 1))] = 2.0
    times = tuple(itertools.accumulate(gaps[:-1], initial=0.0))
    if draw(st.booleans()):
        return Series(times_s=times, values=tuple(values), period_s=times[-1] + gaps[-1])
    return Series(times_s=times, values=(*values[:-1], values[-1] or 0.5))


@st.composite
def instances(draw, most=9):
    layers = draw(st.integers(1, most))
    sizes = draw(st.lists(st.integers(0, 12), min_size=layers, max_size=layers))
    compute = st.lists(st.integers(0, 20).map(lambda n: n / 4), min_size=layers, max_size=layers)
    startup = draw(st.sampled_from([0.0, 0.25, 1.0, 3.0]))
    return sizes, draw(compute), startup, draw(rates()), draw(st.integers(0, 12)) / 4


def all_cuts(layers):
    for chosen in itertools.product((False, True), repeat=layers - 1):
        yield (*(layer for layer, cut in enumerate(chosen, 1) if cut), layers)


def over(rate, now, startup, nbytes):
    """When a message is over: its start-up, then its bytes, change by change."""
    now += startup
    left = float(nbytes)
    while left > 0.0:
        value, change = rate.at(now), rate.next_change_s(now)
        if change is None or left <= (change - now) * value:
            return now + left / value
        left -= (change - now) * value
        now = change
    return now


def forward(case, cuts):
    sizes, compute, startup, rate, start = case
    arrived = done = start
    for low, high in itertools.pairwise((0, *cuts)):
        arrived = over(rate, arrived, startup, sum(sizes[low:high]))
        done = max(done, arrived) + sum(compute[low:high])
    return done - start


def backward(case, cuts):
    sizes, compute, startup, rate, start = case
    sent = start
    for low, high in reversed(list(itertools.pairwise((0, *cuts)))):
        sent = over(rate, max(sent, start + sum(compute[low:])), startup, sum(sizes[low:high]))
    return sent - start


@given(instances())
def test_no_cuts_of_a_forward_phase_are_better(case):
    found = plan_forward(*case)
    best = min(forward(case, cuts) for cuts in all_cuts(len(case[0])))
    assert found.makespan_s == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert forward(case, found.cuts) == pytest.approx(best, rel=1e-9, abs=1e-9)


@given(instances())
def test_no_cuts_of_a_backward_phase_are_better(case):
    found = plan_backward(*case)
    best = min(backward(case, cuts) for cuts in all_cuts(len(case[0])))
    assert found.makespan_s == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert backward(case, found.cuts) == pytest.approx(best, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_long_uneven_traces_are_planned_for_exactly(seed):
    rng = random.Random(seed)
    layers = rng.randint(7, 9)
    sizes = [int(rng.lognormvariate(8, 2)) for _ in range(layers)]
    times = tuple(itertools.accumulate((rng.expovariate(20 / layers) for _ in range(60)), initial=0.0))
    values = [rng.choice([0.0, rng.lognormvariate(8, 1)]) for _ in times[1:]]
    rate = Series(times_s=times, values=(*values, 3e3))
    compute = [rng.lognormvariate(0, 1) for _ in range(layers)]
    case = sizes, compute, rng.choice([0.0, 0.1, 0.5]), rate, rng.uniform(0.0, times[-1])
    for planned, simulate in ((plan_forward, forward), (plan_backward, backward)):
        best = min(simulate(case, cuts) for cuts in all_cuts(layers))
        found = planned(*case)
        assert found.makespan_s == pytest.approx(best, rel=1e-9)
        assert simulate(case, found.cuts) == pytest.approx(best, rel=1e-9)


@given(instances(most=30), st.floats(0.1, 10.0))
def test_at_a_constant_rate_it_is_the_plain_plan(case, rate):
    sizes, compute, startup, _, start = case
    transfer = [size / rate for size in sizes]
    flat = constant(rate)
    ahead, back = plan_forward(*case[:3], flat, start), plan_backward(*case[:3], flat, start)
    assert ahead.makespan_s == pytest.approx(plan(transfer, compute, startup).makespan_s, rel=1e-9, abs=1e-9)
    plain = plan_backward_plain(compute, transfer, startup)
    assert back.makespan_s == pytest.approx(plain.makespan_s, rel=1e-9, abs=1e-9)
    assert ahead.method == back.method == "forecast"


@given(instances())
def test_no_message_is_there_for_nothing(case):
    for planned, simulate in ((plan_forward, forward), (plan_backward, backward)):
        cuts = planned(*case).cuts
        for cut in cuts[:-1]:
            fewer = tuple(other for other in cuts if other != cut)
            assert simulate(case, fewer) > simulate(case, cuts)


@given(instances(), st.sampled_from([0.5, 2.0, 8.0]))
def test_a_rate_can_be_a_factor_of_a_base(case, base):
    sizes, compute, startup, rate, start = case
    direct = Series(
        times_s=rate.times_s, values=tuple(value * base for value in rate.values), period_s=rate.period_s
    )
    for planned in (plan_forward, plan_backward):
        assert planned(*case, base_Bps=base) == planned(sizes, compute, startup, direct, start)


@given(rates(), st.floats(0.0, 60.0))
def test_the_bytes_a_link_can_carry_are_the_integral_of_its_rate(rate, time):
    supply, total, now = Supply(rate), 0.0, 0.0
    while (change := rate.next_change_s(now)) is not None and change < time:
        total, now = total + (change - now) * rate.at(now), change
    total += (time - now) * rate.at(now)
    assert supply.until(time) == pytest.approx(total, rel=1e-12, abs=1e-12)


@given(rates(), st.floats(0.001, 100.0))
@example(Series(times_s=(0.0, 2.0), values=(1.0, 0.0), period_s=3.0), 4.0)
def test_a_number_of_bytes_is_carried_when_the_rate_has_added_up_to_it(rate, nbytes):
    supply = Supply(rate)
    time = supply.time_of(nbytes)
    assert supply.until(time) == pytest.approx(nbytes, rel=1e-9)
    assert supply.until(time * (1 - 1e-9)) < nbytes
    assert time == pytest.approx(over(rate, 0.0, 0.0, nbytes), rel=1e-9)


def test_by_hand():
    # 4 B until 5 s; nothing until 10 s; 1 B then. The second message waits out the gap.
    gap = Series(times_s=(0.0, 5.0, 10.0), values=(1.0, 0.0, 1.0))
    assert plan_forward([4, 1], [6.0, 1.0], 1.0, gap).cuts == (1, 2)
    assert plan_forward([4, 1], [6.0, 1.0], 1.0, gap).makespan_s == 12.0
    # Layer 2 goes before the gap; layer 1 is ready at 7 s and starts up in it. Together: 15 s.
    assert plan_backward([4, 1], [6.0, 1.0], 1.0, gap).cuts == (1, 2)
    assert plan_backward([4, 1], [6.0, 1.0], 1.0, gap).makespan_s == 14.0


def test_what_cannot_be_planned_is_refused():
    dead = Series(times_s=(0.0, 5.0), values=(1.0, 0.0))
    for planned in (plan_forward, plan_backward):
        with pytest.raises(
            PlanningError, match=r"20 B from 0.0 s on never arrive: the forecast rate ends at 0"
        ):
            planned([10, 10], [1.0, 1.0], 1.0, dead)
        with pytest.raises(PlanningError, match="never arrive"):
            planned([1], [1.0], 1.0, Series(times_s=(0.0,), values=(0.0,), period_s=1.0))
        with pytest.raises(PlanningError, match=r"starts at -1.0 s"):
            planned([1], [1.0], 1.0, constant(1.0), -1.0)
        with pytest.raises(PlanningError, match=r"rates from -1.0 to -1.0 B/s"):
            planned([1], [1.0], 1.0, constant(-1.0))
        with pytest.raises(PlanningError, match=r"rates from inf"):
            planned([1], [1.0], 1.0, constant(math.inf))
        with pytest.raises(PlanningError, match="1 transfer times but 2 compute times"):
            planned([1], [1.0, 1.0], 1.0, constant(1.0))


@given(st.data())
def test_no_cuts_are_below_the_bound_and_the_best_are_as_long_as_said(data):
    sizes, compute_s = zip(
        *data.draw(
            st.lists(st.tuples(st.integers(1, 50), st.floats(0.0, 9.0)), min_size=1, max_size=6),
            label="layers",
        ),
        strict=True,
    )
    rate = Series(times_s=(0.0, 2.0, 7.0), values=(9.0, 2.0, 5.0), period_s=11.0)
    startup_s, layers = data.draw(st.floats(0.0, 2.0)), range(1, len(sizes))
    inner = data.draw(st.lists(st.sampled_from(layers), unique=True)) if layers else []
    cuts = (*sorted(inner), len(sizes))
    for backward, planner in ((False, plan_forward), (True, plan_backward)):
        best = planner(sizes, compute_s, startup_s, rate)
        took_s, bound_s = outcome(sizes, compute_s, startup_s, rate, cuts, backward=backward)
        best_s, same_s = outcome(sizes, compute_s, startup_s, rate, best.cuts, backward=backward)
        assert same_s == bound_s <= best_s * (1 + 1e-12)
        assert best_s == best.makespan_s <= took_s * (1 + 1e-12)


def test_on_a_link_that_never_carries_everything_nothing_ends():
    dying = Series(times_s=(0.0, 1.0), values=(1.0, 0.0))
    assert outcome([4], [1.0], 0.0, dying, (1,)) == (float("inf"), float("inf"))
