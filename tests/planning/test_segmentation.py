"""Every strategy of cutting a model, against golden cases, brute force and the O(L^3) program."""

import itertools
import math
import random
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.errors import EdgesimError
from edgesim.planning.cost import exposed_s, makespan_s, phase
from edgesim.planning.schedules import PHASED
from edgesim.planning.segmentation import plan, plan_backward
from edgesim.planning.threshold import best_cuts, certificate, certifies, frontier

GOLDEN = [
    # pull, forward, start-up, sequential, layer-by-layer, optimum, cuts
    ([4, 1, 3, 2], [2, 5, 1, 3], 1, 22, 17, 17, (2, 4)),
    ([6, 2, 2, 2, 8], [1, 4, 1, 1, 2], 2, 31, 32, 26, (4, 5)),
    ([1] * 8, [2] * 8, 3, 27, 34, 22, (3, 6, 8)),
    ([5] * 6, [2] * 6, 1, 43, 38, 35, (4, 5, 6)),
]

plain = st.floats(0.0, 10.0)
whole = st.integers(0, 6).map(float)
plateau = st.sampled_from([0.0, 0.1, 0.1, 0.3, 1 / 3])
huge = st.floats(0.0, 1e300)
tiny = st.floats(0.0, 1e-300)
mixed = st.one_of(tiny, st.floats(1e-9, 1e9), st.just(0.0), st.floats(1e200, 1e300))


@st.composite
def instances(draw, most=12):
    value = draw(st.sampled_from([plain, whole, plateau, huge, tiny, mixed]))
    layers = draw(st.integers(1, most))
    times = st.lists(value, min_size=layers, max_size=layers)
    return draw(times), draw(times), draw(value)


def all_cuts(layers):
    for chosen in itertools.product((False, True), repeat=layers - 1):
        yield (*(layer for layer, cut in enumerate(chosen, 1) if cut), layers)


def simulate_forward(pull, forward, startup, cuts):
    """The recurrences as they stand: link back to back, a segment usable when all of it has arrived."""
    arrived = computed = Fraction(0)
    first = 0
    for cut in cuts:
        arrived += Fraction(startup) + sum(map(Fraction, pull[first:cut]))
        computed = max(computed, arrived) + sum(map(Fraction, forward[first:cut]))
        first = cut
    return computed


def simulate_backward(backward, push, startup, cuts):
    """Top segment first; a segment is ready when the backward pass of its lowest layer is done."""
    sent = Fraction(0)
    for low, high in reversed(list(zip((0, *cuts[:-1]), cuts, strict=True))):
        ready = sum(map(Fraction, backward[low:]))
        sent = max(sent, ready) + Fraction(startup) + sum(map(Fraction, push[low:high]))
    return sent


@pytest.mark.parametrize(("pull", "forward", "startup", "sequential", "by_layer", "best", "cuts"), GOLDEN)
def test_golden_cases(pull, forward, startup, sequential, by_layer, best, cuts):
    for planned in (plan, lambda p, f, s, method: plan_backward(f, p, s, method)):
        assert planned(pull, forward, startup, method="sequential").makespan_s == sequential
        assert planned(pull, forward, startup, method="layer-by-layer").makespan_s == by_layer
        assert planned(pull, forward, startup, method="dynacomm").makespan_s == best
        assert planned(pull, forward, startup, method="dynacomm").cuts == cuts
        assert planned(pull, forward, startup, method="dynacomm-dp").makespan_s == best


@given(instances())
def test_dynacomm_is_exactly_the_best_of_all_decompositions(case):
    times = phase(*case)
    best = min(exposed_s(times, cuts) for cuts in all_cuts(times.layers))
    found = plan(*case)
    assert exposed_s(times, found.cuts) == best
    fewest = min(len(cuts) for cuts in all_cuts(times.layers) if exposed_s(times, cuts) == best)
    assert len(found.cuts) == fewest


@pytest.mark.parametrize("seed", range(40))
def test_dynacomm_is_exactly_the_best_of_long_random_chains(seed):
    rng = random.Random(seed)
    layers = rng.randint(9, 12)
    scale, spread = 10.0 ** rng.uniform(-2, 2), rng.uniform(0.1, 3.0)
    times = phase(
        [rng.lognormvariate(0, spread) for _ in range(layers)],
        [scale * rng.lognormvariate(0, spread) for _ in range(layers)],
        rng.choice([0.0, 0.01, 0.1, 1.0]),
    )
    assert exposed_s(times, best_cuts(times)) == min(exposed_s(times, cuts) for cuts in all_cuts(layers))


@given(instances(most=40))
def test_dynacomm_equals_the_cubic_program(case):
    fast, slow = plan(*case), plan(*case, method="dynacomm-dp")
    assert fast.makespan_s == pytest.approx(slow.makespan_s, rel=1e-12, abs=0.0)


@given(instances(most=60))
def test_optimality_has_a_certificate_that_can_be_checked(case):
    times = phase(*case)
    best = exposed_s(times, plan(*case).cuts)
    proof = certificate(times, best)
    assert certifies(times, best, proof)
    above = math.nextafter(best, math.inf)
    assert not certifies(times, above, certificate(times, above))


def test_a_false_certificate_is_refused():
    times = phase([5] * 6, [2] * 6, 1)
    assert certifies(times, 23.0, (4, 5))
    assert not certifies(times, 23.0, (4,))
    assert not certifies(times, 24.0, (4, 5))
    assert not certifies(times, 23.0, (3, 5))


@given(instances(), st.sampled_from(PHASED))
def test_every_schedule_predicts_what_the_recurrences_say(case, method):
    pull, forward, startup = case
    sizes = [20 << 20] * len(pull)
    ahead = plan(*case, method, sizes=sizes)
    back = plan_backward(forward, pull, startup, method, sizes=sizes)
    assert ahead.cuts[-1] == len(pull)
    assert ahead.method == method
    exact = simulate_forward(*case, ahead.cuts)
    assert ahead.makespan_s == pytest.approx(float(exact), rel=1e-12, abs=0.0)
    mirrored = simulate_backward(forward, pull, startup, back.cuts)
    assert back.makespan_s == pytest.approx(float(mirrored), rel=1e-12, abs=0.0)
    assert plan(*case).makespan_s <= ahead.makespan_s


@given(instances(most=30), st.floats(0.0, 1e3))
def test_a_budget_within_which_the_greedy_stalls_is_below_the_optimum(case, budget):
    times = phase(*case)
    cuts, following = frontier(times, budget)
    best = exposed_s(times, plan(*case).cuts)
    assert (cuts[-1] == times.layers) == (best <= budget)
    assert following > budget
    if best > budget:
        assert best >= following


def test_twenty_thousand_equal_layers_are_planned_without_recursion():
    layers = 20_000
    found = plan([1.0] * layers, [2.0] * layers, 0.5)
    assert found.cuts[-1] == layers
    assert found.makespan_s < plan([1.0] * layers, [2.0] * layers, 0.5, "sequential").makespan_s


@pytest.mark.parametrize(
    ("pull", "forward", "startup", "says"),
    [
        ([], [], 1.0, "no layers"),
        ([1.0], [1.0, 2.0], 1.0, "1 transfer times but 2 compute times"),
        ([1.0, -2.0], [1.0, 2.0], 1.0, "transfer time of layer 2 is -2.0"),
        ([1.0, 1.0], [math.nan, 2.0], 1.0, "compute time of layer 1 is nan"),
        ([1.0, math.inf], [1.0, 2.0], 1.0, "transfer time of layer 2 is inf"),
        ([math.inf, -math.inf], [1.0, 2.0], 1.0, "transfer time of layer 1 is inf"),
        ([1.0], [1.0], -1.0, "start-up time is -1.0"),
        ([1.0], [1.0], math.nan, "start-up time is nan"),
        ([1e308, 1e308], [1.0, 1.0], 0.0, "add up to infinity"),
        (["fast"], [1.0], 0.0, "must be numbers"),
        ([None], [1.0], 0.0, "must be numbers"),
    ],
)
def test_bad_times_are_refused_with_the_value_and_the_place(pull, forward, startup, says):
    with pytest.raises(ValueError, match=says) as caught:
        plan(pull, forward, startup)
    assert isinstance(caught.value, EdgesimError)


def test_a_misspelt_schedule_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="unknown schedule 'dynacom', did you mean 'dynacomm'"):
        plan([1.0], [1.0], 0.0, "dynacom")
    with pytest.raises(ValueError, match="known: sequential, layer-by-layer, ibatch"):
        plan([1.0], [1.0], 0.0, "zzz")


@pytest.mark.parametrize("method", PHASED)
def test_one_layer_is_one_segment(method):
    found = plan([2.0], [3.0], 1.0, method, sizes=[8])
    assert (found.cuts, found.makespan_s) == ((1,), 6.0)


def test_array_like_input_of_any_kind_is_taken():
    assert plan(iter([4, 1, 3, 2]), (2.0, 5.0, 1.0, 3.0), Fraction(1)).makespan_s == 17.0
    assert makespan_s(phase([4, 1, 3, 2], [2, 5, 1, 3], 1), (2, 4)) == 17.0


def test_planning_loads_nothing_heavy():
    program = (
        "import sys, edgesim.planning.segmentation, edgesim.planning.bounds\n"
        "heavy = {'numpy', 'simpy', 'torch', 'pandas', 'networkx'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
