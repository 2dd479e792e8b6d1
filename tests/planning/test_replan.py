"""Policies as values: when each plans again and for what, on traces that a worker could have measured."""

import json
import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.planning import replan, threshold
from edgesim.planning.cost import makespan_s
from edgesim.planning.replan import POLICIES, Sample, Track, adaptive, at_rest, phase_of, see

PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"
MODELS = ("googlenet", "inception-v4", "mobilenetv2-32", "resnet-152", "vgg-19")


def model(name):
    """Sizes and forward times of a shipped profile."""
    layers = json.loads((PROFILES / f"{name}.json").read_text())["layers"]
    return [one["parameter_bytes"] for one in layers], [one["forward_s"] for one in layers]


def track_for(sizes, compute_s, startup_s, rate_Bps, **more):
    belief = Sample(startup_s=startup_s, rate_Bps=rate_Bps, compute_s=tuple(compute_s))
    track = Track(sizes=tuple(sizes), cuts=(len(sizes),), belief=(belief,), **more)
    return replace(track, cuts=track.cut(phase_of(track, belief)))


def measured(track, truth):
    """The track after an iteration in a true state: what its messages and layers took, and nothing else."""
    messages = []
    for low, high in pairwise((0, *track.cuts)):
        sent = sum(track.sizes[low:high]) * track.ratio
        messages.append((sent, truth.startup_s + sent / truth.rate_Bps))
    return see(track, messages, truth.compute_s)


def follow(track, policy, truths):
    """Run a policy over true states; return the track, plans paid an iteration, and regret an iteration."""
    paid, regret = [], []
    for truth in truths:
        times = phase_of(track, truth)
        least_s = makespan_s(times, threshold.best_cuts(times))
        regret.append(makespan_s(times, track.cuts) / least_s - 1.0 if least_s else 0.0)
        step = policy(measured(track, truth))
        track = step.track
        paid.append(step.plannings)
    return track, paid, regret


def toy(rate_Bps=1.0, **more):
    return track_for([6, 2, 2, 2, 8], [1.0, 4.0, 1.0, 1.0, 2.0], 2.0, rate_Bps, **more)


def at(track, rate_Bps, speed=1.0):
    one = track.belief[len(track.belief) // 2]
    return replace(one, rate_Bps=rate_Bps, compute_s=tuple(time_s / speed for time_s in one.compute_s))


# --- adaptive -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("belief", [0.5, 2.0, 0.1, 10.0])
@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_a_wrong_belief_is_put_right_by_the_first_measurement(name, belief, seconds):
    """`seconds`: time of all transfers as a share of computing."""
    sizes, compute_s = model(name)
    truth = Sample(
        startup_s=sum(compute_s) / 100,
        rate_Bps=sum(sizes) / (seconds * sum(compute_s)),
        compute_s=tuple(compute_s),
    )
    track = track_for(sizes, compute_s, truth.startup_s, truth.rate_Bps * belief, planning_s=1e-4)
    _, paid, regret = follow(track, adaptive, [truth] * 20)
    assert max(regret[1:]) < 1e-3
    assert sum(paid) <= 1


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.0, 10.0)), min_size=1, max_size=8), st.data())
def test_nothing_moved_is_never_planned_again(layers, data):
    sizes, compute_s = zip(*layers, strict=True)
    startup_s, rate_Bps = data.draw(st.floats(0.0, 1.0)), data.draw(st.floats(1e3, 1e9))
    track = track_for(sizes, compute_s, startup_s, rate_Bps)
    after, paid, _ = follow(track, adaptive, [track.belief[0]] * 20)
    assert paid == [0] * 20
    assert after.cuts == track.cuts
    assert at_rest(after, adaptive)


@pytest.mark.parametrize("seed", range(5))
def test_noise_in_live_timing_is_no_reason_to_plan(seed):
    rng = random.Random(seed)
    sizes, compute_s = model("resnet-152")
    track = track_for(sizes, compute_s, 1e-2, sum(sizes) / sum(compute_s))
    one = track.belief[0]
    noisy = [replace(one, compute_s=tuple(t * rng.uniform(0.8, 1.2) for t in compute_s)) for _ in range(60)]
    assert sum(follow(track, adaptive, noisy)[1]) == 0


@pytest.mark.parametrize(("rate_Bps", "speed"), [(4.0, 1.0), (0.25, 1.0), (1.0, 0.3), (1.0, 4.0)])
def test_a_lasting_step_is_followed_at_once_and_wholly_in_the_end(rate_Bps, speed):
    track = toy()
    before, after = track.belief[0], at(track, rate_Bps, speed)
    _, paid, regret = follow(track, adaptive, [before] * 5 + [after] * 25)
    assert paid[:6] == [0, 0, 0, 0, 0, 6]
    assert {index for index, count in enumerate(paid) if count} <= {5, 6, 8, 12, 20}  # it has doubled
    assert regret[5:] == sorted(regret[5:], reverse=True)
    assert regret[-1] == 0.0


def test_a_step_caught_in_the_middle_of_a_phase_is_followed_as_well():
    track = toy()
    truths = [track.belief[0]] * 5 + [at(track, 0.5)] + [at(track, 0.25)] * 14
    _, paid, regret = follow(track, adaptive, truths)
    assert not any(paid[:5])
    assert max(regret[8:]) == 0.0
    assert not any(paid[8:])


def test_one_odd_sample_is_no_reason_to_leave_a_plan_that_it_would_hurt():
    sizes, compute_s = model("resnet-152")
    track = track_for(sizes, compute_s, sum(compute_s) / 100, sum(sizes) / sum(compute_s))
    usual = track.belief[0]
    odd = at(track, usual.rate_Bps / 3)
    plan_for_odd = track.cut(phase_of(track, odd))
    lost = makespan_s(phase_of(track, usual), plan_for_odd) - makespan_s(phase_of(track, usual), track.cuts)
    gained = makespan_s(phase_of(track, odd), track.cuts) - makespan_s(phase_of(track, odd), plan_for_odd)
    assert 0.0 < gained < replan.HEDGE * lost
    after, _, _ = follow(track, adaptive, [usual] * 6 + [odd])
    assert after.cuts != plan_for_odd


def test_what_a_rival_does_better_in_all_that_was_seen_is_taken():
    """At 10 B/s both plans are best; at 2 B/s only one of them."""
    sizes, compute_s = model("vgg-19")
    fast = 1.1 * sum(sizes) / sum(compute_s)
    track = track_for(sizes, compute_s, sum(compute_s) / 500, fast, backward=True)
    slow = at(track, fast / 5)
    alone, _, _ = follow(track, adaptive, [track.belief[0]] * 4 + [slow])
    rival = tuple(range(1, len(sizes) + 1))
    stocked, _, _ = follow(replace(track, stock=(rival,)), adaptive, [track.belief[0]] * 4 + [slow])
    own = replace(track, stock=(rival,), cut=lambda times: threshold.best_cuts(times))
    kept, _, _ = follow(own, adaptive, [track.belief[0]] * 4 + [slow])

    def mean_s(cuts):
        states = [(track.belief[0], replan.HEDGE), (slow, 1.0)]
        return sum(weight * makespan_s(phase_of(track, one), cuts) for one, weight in states)

    assert mean_s(stocked.cuts) == min(mean_s(alone.cuts), mean_s(rival))
    assert kept.cuts != rival  # a schedule of one's own shows what it does


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lasting", [1, 2, 3, 5])
def test_bandwidth_that_flips_gets_one_plan_for_all_of_it(name, lasting):
    sizes, compute_s = model(name)
    rate_Bps = sum(sizes) / sum(compute_s)
    track = track_for(sizes, compute_s, sum(compute_s) / 50, rate_Bps / 4)
    truths = [at(track, rate_Bps * (1 if index // lasting % 2 else 0.25)) for index in range(64)]
    _, paid, regret = follow(track, adaptive, truths)
    _, _, chasing = follow(track, replan.last_sample, truths)
    _, _, kept = follow(track, replan.once, truths)
    assert math.fsum(regret) < 0.6 * math.fsum(chasing)
    assert math.fsum(regret) < 0.5 * math.fsum(kept)
    settled = regret[5 * lasting :]
    assert math.fsum(settled) / len(settled) < 0.03
    assert not any(paid[5 * lasting :])


def test_a_rate_that_does_not_hold_for_a_phase_is_planned_for_as_a_range():
    track = toy()
    for _ in range(3):
        messages = [(6, 8.0), (6, 26.0), (8, 10.0)]  # 2 s of start-up, then 1, 1/4 and 1 B/s
        track = adaptive(see(track, messages, track.belief[0].compute_s)).track
    assert track.window[-1].span_Bps == (0.25, 1.0)
    assert {round(one.rate_Bps, 3) for one in track.belief} == {0.25, 0.526, 1.0}


def test_once_flipping_ends_the_lasting_state_is_planned_for():
    track = toy(0.25)
    flips = [at(track, 1.0 if index % 2 else 0.25) for index in range(12)]
    after, paid, regret = follow(track, adaptive, [*flips, *[at(track, 1.0)] * 14])
    assert len(after.belief) == 1
    assert sum(count > 0 for count in paid[12:]) == 1
    assert regret[-1] == 0.0


def test_a_plan_that_cannot_earn_its_time_back_is_not_made():
    cheap, dear = toy(planning_s=1e-3), toy(planning_s=1e3)
    truth = at(cheap, 4.0)
    assert sum(follow(cheap, adaptive, [truth] * 9)[1]) == 1
    kept, paid, _ = follow(dear, adaptive, [truth] * 9)
    assert sum(paid) == 0
    assert kept.cuts == dear.cuts


def test_the_phase_of_pushes_is_planned_for_the_bytes_that_are_sent():
    track = toy(ratio=0.5, backward=True)
    assert phase_of(track, track.belief[0]).transfer == [0.0, 3.0, 4.0, 5.0, 6.0, 10.0]
    _, paid, regret = follow(track, adaptive, [at(track, 4.0)] * 9)
    assert sum(paid) == 1
    assert max(regret[1:]) == 0.0


# --- the others -----------------------------------------------------------------------------------------


def test_once_keeps_its_plan_and_last_sample_chases():
    track = toy()
    truths = [at(track, 0.25 if index % 2 else 4.0) for index in range(8)]
    kept, paid, _ = follow(track, replan.once, truths)
    assert (kept.cuts, sum(paid)) == (track.cuts, 0)
    _, paid, regret = follow(track, replan.last_sample, truths)
    assert paid == [1] * 8
    assert min(regret[1:]) > 0.0
    assert at_rest(measured(track, track.belief[0]), replan.last_sample)
    assert not at_rest(measured(track, at(track, 4.0)), replan.last_sample)


def test_the_last_sample_that_measures_the_same_again_keeps_its_plan():
    track = toy()
    truths = [at(track, rate) for rate in (1.0, 1.0, 4.0, 4.0, 4.0, 1.0)]
    assert follow(track, replan.last_sample, truths)[1] == [0, 0, 1, 0, 0, 1]


def test_min_max_keeps_its_plan_inside_the_range_and_widens_it_outside():
    track = toy()
    ranged, _ = replan.ranged(track, replan.around(track.belief[0]))
    inside = [at(track, rate) for rate in (0.5, 2.0, 1.3, 0.8)]
    kept, paid, _ = follow(ranged, replan.min_max, inside)
    assert (kept.cuts, sum(paid)) == (ranged.cuts, 0)
    wider, paid, _ = follow(ranged, replan.min_max, [at(track, 8.0), at(track, 0.5), at(track, 8.0)])
    assert paid == [4, 0, 0]
    assert max(one.rate_Bps for one in wider.belief) == pytest.approx(8.0)
    slower, paid, _ = follow(ranged, replan.min_max, [at(track, 1.0, 0.5)] * 4)
    assert paid == [3, 0, 0, 0]
    assert {one.compute_s for one in slower.belief} == {at(track, 1.0, 0.5).compute_s}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@given(st.lists(st.tuples(st.floats(0.01, 100.0), st.floats(0.1, 10.0)), min_size=1, max_size=40))
def test_every_policy_keeps_whole_plans_and_a_short_memory(policy, states):
    track = toy()
    after, paid, regret = follow(track, policy, [at(track, rate, speed) for rate, speed in states])
    assert after.cuts[-1] == len(track.sizes)
    assert len(after.window) == min(len(states), replan.WINDOW)
    assert min(paid) >= 0
    assert min(regret) >= 0.0
