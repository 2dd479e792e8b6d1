"""The model without a barrier is what happens event by event; the search finds what theory says is there."""

import itertools
import json
import math
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesim.plan import messages
from edgesim.planning import bounds, overlap, threshold
from edgesim.planning.cost import Costs, PlanningError, phase
from edgesim.planning.overlap_model import period_s, phased_period_s
from edgesim.planning.overlap_seeds import MOST_MESSAGES
from edgesim.planning.queues import serve, serve_ahead

PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"
MODELS = ("vgg-19", "googlenet", "inception-v4", "resnet-152")


# --- the oracle: a simulation of some iterations, event by event, in fractions ----------------------------


class Oracle:
    """Everything that happens, instant by instant; nothing of it is shared with the model."""

    def __init__(self, costs, push_borders, pull_borders, credit):
        self.costs = costs
        self.parts = {"up": messages(push_borders, costs.sizes), "down": messages(pull_borders, costs.sizes)}
        self.credit = credit
        self.layers = len(costs.sizes)
        self.now = Fraction(0)
        self.step = self.layers  # the first iteration has its parameters
        self.busy_until = None
        self.queued = {"up": [], "down": []}  # messages released
        self.ahead = {"up": [], "down": []}  # those that nothing overtakes any more
        self.turn = {}  # direction -> [message, when it begins to hold the link, for how long yet]
        self.when = {}
        self.updates = []
        self.updating_until = None
        self.updated, self.pulled = set(), set()
        self.ends = []

    def hold(self, way, index):
        c, part = self.costs, self.parts[way][index]
        if way == "up":
            return Fraction(c.push_startup_s) + part.bytes * Fraction(c.push_ratio) / Fraction(c.push_Bps)
        return Fraction(c.pull_startup_s) + part.bytes / Fraction(c.pull_Bps)

    def release(self, way, index):
        self.queued[way] = sorted([*self.queued[way], index])
        self.when[way, index] = self.now

    def run(self, iterations):
        while len(self.ends) < iterations:
            while self.something_happens():
                pass
            self.advance()
        return self.ends

    def advance(self):
        active = [turn for turn in self.turn.values() if turn[1] <= self.now]
        share = 1 if self.costs.duplex else len(active)
        times = [time for time in (self.busy_until, self.updating_until) if time is not None]
        times += [turn[1] for turn in self.turn.values() if turn[1] > self.now]
        times += [self.now + turn[2] * share for turn in active]
        for turn in active:
            turn[2] -= (min(times) - self.now) / share
        self.now = min(times)

    def something_happens(self):
        ways = ("up", "down")
        if self.computed() or self.update_over() or self.begins() or any(map(self.hand_over, ways)):
            return True
        return any(map(self.arrived, ways)) or any(map(self.take, ways))

    def computed(self):
        if self.busy_until is None or self.busy_until > self.now:
            return False
        self.busy_until = None
        if self.step >= self.layers:
            lowest = 2 * self.layers - self.step
            for index, part in enumerate(self.parts["up"]):
                if part.first == lowest:
                    self.release("up", index)
        self.step += 1
        if self.step == 2 * self.layers:
            self.step = 0
        elif self.step == self.layers:
            assert not any([*self.queued.values(), *self.ahead.values(), self.turn, self.updates])
            self.updated, self.pulled = set(), set()
            self.ends.append(self.now)
        return True

    def arrived(self, way):
        if way not in self.turn or self.turn[way][1] > self.now or self.turn[way][2] > 0:
            return False
        index = self.turn.pop(way)[0]
        self.updates.append(index) if way == "up" else self.pulled.add(index)
        return True

    def update_over(self):
        if self.updating_until is not None and self.updating_until <= self.now:
            self.updating_until = None
            before = {index for index in range(len(self.parts["down"])) if self.ready(index)}
            self.updated.add(self.updates.pop(0))
            for index in range(len(self.parts["down"])):
                if index not in before and self.ready(index):
                    self.release("down", index)
            return True
        if self.updating_until is None and self.updates:
            share = Fraction(self.parts["up"][self.updates[0]].bytes, sum(self.costs.sizes))
            self.updating_until = self.now + Fraction(self.costs.update_s) * share
            return True
        return False

    def ready(self, index):
        pull = self.parts["down"][index]
        needed = {
            number
            for number, push in enumerate(self.parts["up"])
            if push.low < pull.high and pull.low < push.high
        }
        return needed <= self.updated

    def begins(self):
        if self.busy_until is None and (self.step >= self.layers or self.covered(self.step + 1)):
            c, layer = self.costs, self.step
            time = c.forward_s[layer] if layer < self.layers else c.backward_s[2 * self.layers - layer - 1]
            self.busy_until = self.now + Fraction(time)
            return True
        return False

    def covered(self, layer):
        parts = enumerate(self.parts["down"])
        return all(index in self.pulled for index, part in parts if part.first <= layer)

    def hand_over(self, way):
        handed = [*self.ahead[way], *([self.turn[way][0]] if way in self.turn else [])]
        for index in self.queued[way][:1]:
            if sum(self.parts[way][other].bytes for other in [*handed, index]) <= self.credit:
                self.queued[way].remove(index)
                self.ahead[way].append(index)
                return True
        return False

    def take(self, way):
        waiting = self.ahead[way] or self.queued[way]
        if way in self.turn or not waiting:
            return False
        index = waiting.pop(0)
        c = self.costs
        latency = Fraction(c.push_latency_s if way == "up" else c.pull_latency_s)
        self.turn[way] = [index, max(self.now, self.when[way, index] + latency), self.hold(way, index)]
        return True


dyadic = st.integers(0, 16).map(lambda n: n / 4)


@st.composite
def plans(draw, most_layers=5, most_bytes=6):
    """Costs whose times are exact in floats, and borders of pushes and pulls."""
    layers = draw(st.integers(1, most_layers))
    sizes = tuple(
        draw(
            st.lists(st.integers(0, most_bytes), min_size=layers, max_size=layers).filter(
                lambda s: sum(s) > 0
            )
        )
    )
    times = st.lists(dyadic, min_size=layers, max_size=layers).map(tuple)
    rates = st.sampled_from([0.5, 1.0, 2.0])
    total = sum(sizes)
    costs = Costs(
        sizes=sizes,
        elements=sizes,
        forward_s=draw(times),
        backward_s=draw(times),
        pull_Bps=draw(rates),
        push_Bps=draw(rates),
        pull_startup_s=draw(dyadic),
        push_startup_s=draw(dyadic),
        pull_latency_s=draw(dyadic),
        push_latency_s=draw(dyadic),
        update_s=total * draw(st.sampled_from([0.0, 0.5, 2.0, 8.0])),
        duplex=draw(st.booleans()),
        push_ratio=draw(st.sampled_from([1.0, 0.5])),
    )
    within = st.sets(st.integers(1, total)).map(lambda chosen: tuple(sorted({*chosen, total})))
    pushes = draw(within)
    return costs, pushes, draw(within | st.just(pushes))


@settings(max_examples=400)
@given(plans(), st.sampled_from([0, 0, 1, 3, 100]))
def test_the_model_is_what_happens_event_by_event(case, credit):
    costs, pushes, pulls = case
    first, second, third = Oracle(costs, pushes, pulls, credit).run(3)
    assert third - second == second - first, "the first iteration is as all others"
    assert period_s(costs, pushes, pulls, credit) == pytest.approx(float(third - second), rel=1e-12)


@given(plans())
def test_no_messages_beat_the_bound(case):
    costs, pushes, pulls = case
    assert period_s(costs, pushes, pulls) >= bounds.pipelined_s(costs) * (1 - 1e-12)


@given(plans())
def test_one_message_does_one_thing_after_the_other(case):
    costs, total = case[0], (sum(case[0].sizes),)
    first = next(layer for layer, size in enumerate(costs.sizes) if size)
    sent = total[0] * (costs.push_ratio / costs.push_Bps + 1.0 / costs.pull_Bps)
    waits = costs.push_startup_s + costs.pull_startup_s + costs.push_latency_s + costs.pull_latency_s
    there_and_back = (
        sum(costs.backward_s[first:]) + sent + waits + costs.update_s + sum(costs.forward_s[first:])
    )
    alone = sum(costs.forward_s) + sum(costs.backward_s)
    assert period_s(costs, total, total) == pytest.approx(max(there_and_back, alone), rel=1e-12)


@given(st.lists(st.tuples(dyadic, st.integers(1, 8)), min_size=1, max_size=12), st.integers(0, 100))
def test_committing_nothing_ahead_or_everything_at_once_is_what_it_says(waiting, room):
    released, hold = [float(one) for one, _ in waiting], [float(other) for _, other in waiting]
    assert serve_ahead(released, hold, 0.0, hold, 0) == serve(released, hold)
    assert serve_ahead(released, hold, 3.0, hold, 0) == serve(released, hold, 3.0)
    order = sorted(range(len(hold)), key=lambda index: (released[index], index))
    now, ends = 0.0, {}
    for index in order:
        now = ends[index] = max(now, released[index]) + hold[index]
    assert serve_ahead(released, hold, 0.0, hold, 1000) == [ends[index] for index in range(len(hold))]
    assert max(serve_ahead(released, hold, 0.0, hold, room)) == max(serve(released, hold)) == now


# --- closed forms -----------------------------------------------------------------------------------------


def table(name, gbps, startup_s=1e-3, **more):
    """A model by its FLOP: batch 32 at 5 TFLOP/s."""
    layers = json.loads((PROFILES / f"{name}.json").read_text())["layers"]
    rate = gbps * 1.25e8
    return Costs(
        sizes=tuple(layer["parameter_bytes"] for layer in layers),
        elements=tuple(layer["parameters"] for layer in layers),
        forward_s=tuple(layer["forward_flop"] / 5e12 for layer in layers),
        backward_s=tuple(layer["backward_flop"] / 5e12 for layer in layers),
        pull_Bps=rate,
        push_Bps=rate,
        pull_startup_s=startup_s,
        push_startup_s=startup_s,
        **more,
    )


def duplex_bound(costs):
    pull_s = [size / costs.pull_Bps for size in costs.sizes]
    push_s = [size * costs.push_ratio / costs.push_Bps for size in costs.sizes]
    times = pull_s, costs.forward_s, costs.backward_s, push_s, costs.pull_startup_s
    return bounds.duplex_s(*times, half_duplex=not costs.duplex)


def with_the_barrier(costs):
    """DynaComm with the barrier, planned for this model."""
    push_s = [size * costs.push_ratio / costs.push_Bps for size in costs.sizes]
    pull_s = [size / costs.pull_Bps for size in costs.sizes]
    back = phase(push_s, costs.backward_s, costs.push_startup_s)
    ahead = phase(pull_s, costs.forward_s, costs.pull_startup_s)
    return phased_period_s(costs, threshold.best_cuts(back), threshold.best_cuts(ahead))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gbps", [1, 10])
@pytest.mark.parametrize("duplex", [True, False])
def test_tiny_slices_by_priority_attain_the_bound_without_start_ups(name, gbps, duplex):
    costs = table(name, gbps, startup_s=0.0, duplex=duplex)
    size = sum(costs.sizes) // 4000
    ends = itertools.accumulate(costs.sizes)
    starts = itertools.accumulate(costs.sizes, initial=0)
    slices = sorted({*itertools.chain(*map(lambda low, high: range(high, low, -size), starts, ends))})
    assert period_s(costs, slices, slices) == pytest.approx(duplex_bound(costs), rel=1e-3)


def test_equal_messages_in_their_best_number_attain_the_limit_of_communication():
    """(sqrt(G) + sqrt(dt))^2 with sqrt(G / dt) messages."""
    costs = Costs((3600, 1, 2799), (1, 1, 1), (0.0,) * 3, (0.0,) * 3, 100.0, 100.0, 1.0, 1.0)
    by_count = {}
    for count in range(1, 30):
        borders = [6400 * part // count for part in range(1, count + 1)]
        by_count[count] = period_s(costs, borders, borders)
    assert min(by_count, key=by_count.__getitem__) == bounds.best_count(64.0, 1.0) == math.sqrt(64.0 / 1.0)
    assert by_count[8] == (math.sqrt(64.0) + math.sqrt(1.0)) ** 2 == bounds.pipelined_s(costs)


def test_a_fast_link_leaves_the_computing():
    costs = table("resnet-152", 1e6, startup_s=0.0)
    ends = tuple(itertools.accumulate(costs.sizes))
    computing = sum(costs.forward_s) + sum(costs.backward_s)
    assert period_s(costs, ends, ends) == pytest.approx(computing, rel=1e-3)
    assert overlap.search(costs).period_s == pytest.approx(computing, rel=1e-4)


def test_a_backlog_hides_latency_but_not_start_ups():
    """Ten messages of 10 s: the latency is waited once a direction, the start-up by every message."""
    plain = Costs((1000,), (1000,), (0.0,), (0.0,), 10.0, 10.0)
    borders = range(100, 1001, 100)
    base = period_s(plain, borders, borders)
    late = plain._replace(push_latency_s=4.0, pull_latency_s=3.0)
    slow = plain._replace(push_startup_s=4.0, pull_startup_s=3.0)
    assert period_s(late, borders, borders) == base + 4.0 + 3.0
    assert period_s(slow, borders, borders) == base + 10 * 4.0 + 3.0


# --- the search -------------------------------------------------------------------------------------------


def random_costs(seed, *, rich):
    """Models from computing to communication, of even to very uneven layers; `rich`: unlike directions."""
    rng = random.Random(seed)
    layers, spread = rng.randint(1, 12), rng.uniform(0.1, 2.5)
    sizes = tuple(int(1e6 * rng.lognormvariate(0, spread)) + 1 for _ in range(layers))
    sending_s = sum(sizes) / 1e9
    scale = 10 ** rng.uniform(-1, 1) * sending_s / layers
    times = [tuple(scale * rng.lognormvariate(0, spread) for _ in range(layers)) for _ in range(2)]
    startup_s = rng.choice([0.0, 0.003, 0.03, 0.3]) * sending_s
    costs = Costs(sizes, sizes, *times, 1e9, 1e9, startup_s, startup_s)
    if not rich:
        return costs
    return costs._replace(
        push_Bps=1e9 * rng.choice([0.3, 1.0, 3.0]),
        push_startup_s=startup_s * rng.choice([0, 1, 2]),
        pull_latency_s=rng.choice([0.0, startup_s]),
        push_latency_s=rng.choice([0.0, startup_s]),
        update_s=rng.choice([0.0, 0.1, 0.5]) * sending_s,
        push_ratio=rng.choice([1.0, 0.3]),
    )


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("seed", [*range(20), 143, 234, 340, 447])
def test_no_barrier_is_never_worse_than_dynacomm_with_it(seed, rich):
    """But for what it takes to end messages at whole bytes: a byte of each."""
    costs = random_costs(seed, rich=rich)
    found = overlap.search(costs)
    bytes_s = len(found.pull_borders) / costs.pull_Bps + len(found.push_borders) / costs.push_Bps
    assert found.period_s <= with_the_barrier(costs) + bytes_s
    assert found.period_s >= bounds.pipelined_s(costs) * (1 - 1e-12)
    assert found.period_s == period_s(costs, found.push_borders, found.pull_borders)
    assert found.push_borders[-1] == found.pull_borders[-1] == sum(costs.sizes)


def every_border(total):
    for chosen in itertools.product((False, True), repeat=total - 1):
        yield (*(byte for byte, border in enumerate(chosen, 1) if border), total)


@pytest.mark.parametrize("seed", range(60))
def test_of_all_borders_some_are_as_good_as_the_barrier_to_a_byte(seed):
    rng = random.Random(seed)
    layers = rng.randint(1, 3)
    sizes = tuple(rng.randint(1, 2) for _ in range(layers))
    forward, backward = (tuple(float(rng.randint(0, 9)) for _ in range(layers)) for _ in range(2))
    startups = float(rng.choice([0, 1, 2, 4])), float(rng.choice([0, 1, 2, 4]))
    costs = Costs(sizes, sizes, forward, backward, 1.0, 1.0, *startups, update_s=rng.choice([0.0, 3.0]))
    all_borders = list(every_border(sum(sizes)))
    best = min(period_s(costs, *plan) for plan in itertools.product(all_borders, repeat=2))
    assert best <= with_the_barrier(costs) + 1.0
    assert best <= overlap.search(costs).period_s <= best * 1.25


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("gbps", "least", "most"), [(1, 0.43, 0.49), (10, 0.0, 0.22)])
def test_four_models_come_close_to_the_bound_and_far_below_the_barrier(name, gbps, least, most):
    costs = table(name, gbps)
    found = overlap.search(costs)
    saved = 1 - found.period_s / with_the_barrier(costs)
    assert least <= saved + 1e-6 <= most
    assert found.period_s <= bounds.pipelined_s(costs) * 1.002
    if gbps == 10:
        assert found.period_s <= duplex_bound(costs) * 1.002


@pytest.mark.parametrize("gbps", [0.1, 3, 30, 100])
def test_other_bandwidths_come_within_two_percent_too(gbps):
    for name in MODELS:
        costs = table(name, gbps)
        found = overlap.search(costs)
        assert found.period_s <= bounds.pipelined_s(costs) * 1.02
        assert found.period_s <= with_the_barrier(costs) * (1 + 1e-9)


def test_without_start_ups_the_number_of_messages_is_bounded():
    costs = table("vgg-19", 1, startup_s=0.0)
    found = overlap.search(costs)
    assert max(len(found.push_borders), len(found.pull_borders)) <= MOST_MESSAGES
    assert found.period_s <= duplex_bound(costs) * 1.002


def test_the_search_is_deterministic_and_its_work_is_bounded(monkeypatch):
    costs = table("resnet-152", 10)
    work = []
    known = overlap.period_of

    def counted(model, pushes, pulls):
        work.append(len(pushes) + len(pulls))
        return known(model, pushes, pulls)

    monkeypatch.setattr(overlap, "period_of", counted)
    assert overlap.search(costs) == overlap.search(costs)
    assert sum(work) <= 2 * (overlap.WORK + overlap.SHAKING + 8 * MOST_MESSAGES)


def test_layers_without_bytes_are_computed_and_not_sent():
    costs = Costs((0, 4, 0, 4, 0), (0,) * 5, (1.0,) * 5, (2.0,) * 5, 1.0, 1.0, 0.5, 0.5)
    found = overlap.search(costs)
    assert found.period_s >= bounds.pipelined_s(costs)
    assert found.period_s <= with_the_barrier(costs)
    assert found.method == "dynacomm-overlap"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sizes": ()}, "something to send"),
        ({"sizes": (0, 0)}, r"sizes \(0, 0\)"),
        ({"sizes": (-1, 2)}, "0 B or more"),
        ({"forward_s": (1.0,)}, "2 transfer times but 1 compute times"),
        ({"backward_s": (1.0, -1.0)}, "compute time of layer 2 is -1.0"),
        ({"pull_Bps": 0.0}, "rates of 0.0 and 1.0"),
        ({"push_ratio": 0.0}, "0.0 pushed a byte"),
        ({"push_startup_s": -1.0}, "start-up time is -1.0"),
        ({"pull_latency_s": -1.0}, "a latency or the update is negative"),
    ],
)
def test_what_cannot_be_planned_is_refused(change, says):
    costs = Costs((4, 4), (4, 4), (1.0, 1.0), (1.0, 1.0), 1.0, 1.0)._replace(**change)
    with pytest.raises(PlanningError, match=says):
        overlap.search(costs)
