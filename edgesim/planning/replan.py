"""When to plan a phase again during a run, and for what: policies from what was measured to a plan, or none.

Legend: L layers, M segments. A `Track` is what a worker knows of one of its phases (pull and forward, or
backward and push): the plan in use, what that was made for, and the last samples. A policy takes a track with
a fresh sample and returns a track and how much planning that took. Everything is a value: nothing is spent
here and nothing remembered. A policy sees what the worker measured, never what is true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from edgesim.planning import threshold
from edgesim.planning.cost import Phase, makespan_s, phase
from edgesim.planning.estimate import Messages, fit_channel, mean_times_s, rate_span
from edgesim.planning.robust import FACTORS, plan_min_max

AGREE = 0.10
"""Samples this close are one state of affairs: what is left between them moves a makespan by about 1 %."""
MOVED = 0.05
"""A plan made for times this far off is made again: below it a plan loses less than about half of that."""
SAME = 1e-6
"""Samples this close are the same: less is rounding."""
HOLD = 2
"""Samples that must agree where one is believed to hold: one alone may be a change caught in the middle."""
WINDOW = 16
"""Samples remembered: a state that lasts half as long is worth following two samples late."""
CHANGES = 2
"""Changes in a window that one lasting step makes: into the sample that caught it in the middle, and out."""
SPANS = 1
"""Samples in a window whose rate one lasting step keeps from holding for a phase."""
PER_STATE = 3
"""Plans that take as long as one for a state, its part of the common one, and trying all at hand in it."""
HEDGE = 2.0
"""Samples of what was before that a new state is to reckon with: a change is planned for a sample late."""
LONG_HOLD = 10
"""Samples that must agree once states came and went: more than one that lasts half a window can show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One state of affairs in one phase, measured or believed."""

    startup_s: float
    """Start-up of a message that holds the channel, in s."""
    rate_Bps: float
    """Rate of the channel, in B/s."""
    compute_s: tuple[float, ...]
    """Time of each layer's pass, in forward order, in s; L numbers."""
    span_Bps: tuple[float, float] | None = None
    """Rates of its slowest and fastest message, in B/s, where these are no one rate; None: it held."""
    total_s: float = field(init=False, repr=False, compare=False)
    """Time of all layers' passes, in s."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_s", math.fsum(self.compute_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """What a worker knows of one of its phases."""

    sizes: tuple[int, ...]
    """Bytes of each layer, in forward order; L numbers."""
    cuts: tuple[int, ...]
    """The plan in use, 1-based last layer of each of M segments."""
    belief: tuple[Sample, ...]
    """What the plan was made for: one sample, or all that it is to fit."""
    window: tuple[Sample, ...] = ()
    """The last samples, newest last; at most `WINDOW`."""
    ratio: float = 1.0
    """Bytes sent for each byte of a layer: below 1 where gradients are compressed."""
    backward: bool = False
    """True: the phase of pushes."""
    cut: Callable[[Phase], tuple[int, ...]] = threshold.best_cuts
    """The planner: from a phase to its cuts."""
    planning_s: float = 0.0
    """What making one plan takes on the worker, in s."""
    stock: tuple[tuple[int, ...], ...] = ()
    """Other plans at hand, made before the run."""
    hedged: int = 0
    """Samples that its state had lasted when the plan was made with regard to others too; 0: for it alone."""
    bytes: float = field(init=False, repr=False, compare=False)
    """Bytes sent of all layers."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", sum(self.sizes) * self.ratio)


class Step(NamedTuple):
    """What a policy makes of a track."""

    track: Track
    """The track from now on."""
    plannings: int = 0
    """Plans that were made or tried for it, each to be paid; 0: the plan is kept."""


Policy = Callable[[Track], Step]
"""From a track with a fresh sample to what to do."""


def see(track: Track, messages: Messages, compute_s: Sequence[float]) -> Track:
    """Return the track with one more sample: what the messages and the layers' passes of a phase took."""
    known = track.window[-1] if track.window else track.belief[0]
    told = list(messages)
    startup_s, rate_Bps = fit_channel(told, known.startup_s, known.rate_Bps)
    span = rate_span(told, startup_s)
    if span is not None and _apart(*span) <= AGREE:
        span = None
    fresh = Sample(startup_s=startup_s, rate_Bps=rate_Bps, compute_s=tuple(compute_s), span_Bps=span)
    return replace(track, window=(*track.window, fresh)[-WINDOW:])


def phase_of(track: Track, sample: Sample) -> Phase:
    """Return the phase of a track as it is in a state of affairs."""
    transfer_s = [size * track.ratio / sample.rate_Bps for size in track.sizes]
    return phase(transfer_s, sample.compute_s, sample.startup_s, sizes=track.sizes, backward=track.backward)


# --- policies -------------------------------------------------------------------------------------------


def once(track: Track) -> Step:
    """Keep the plan whatever is measured."""
    return Step(track)


def last_sample(track: Track) -> Step:
    """Plan after every iteration for what it measured, as if that would hold; keep the plan for the same."""
    sample = track.window[-1]
    if _apart_by(track, sample, track.belief[0]) <= SAME:
        return Step(track)
    return Step(replace(track, cuts=track.cut(phase_of(track, sample)), belief=(sample,)), 1)


def min_max(track: Track) -> Step:
    """Keep one plan for a range of rates; plan again when a sample leaves it, or when computing has moved."""
    held = _held(track)
    sample, trusted = track.window[-1], len(held) >= HOLD or len(track.window) == 1
    computing = trusted and _apart(_mean(held).total_s, track.belief[0].total_s) > MOVED
    times_s = [_channel_s(track, one) for one in track.belief]
    covered = min(times_s) <= _channel_s(track, sample) * (1.0 + MOVED)
    covered = covered and _channel_s(track, sample) <= max(times_s) * (1.0 + MOVED)
    if covered and not computing:
        return Step(track)
    compute_s = _mean(held).compute_s if computing else track.belief[0].compute_s
    known = track.belief if covered else (*track.belief, sample)
    return ranged(track, tuple(replace(one, compute_s=compute_s) for one in known))


def adaptive(track: Track) -> Step:
    """Hold, plan again, or plan for a range, as the last samples ask for.

    - The first sample counts at once: what was believed before was never measured.
    - A state that the plan was not made for is planned for at once, with regard to what was there before: for
      as many samples as it has lasted, and then for `HEDGE` samples of the others in the window. So a single
      odd sample changes little, and what lasts is followed; it is planned for again whenever it has lasted
      twice as long. But only where the lower bound says that planning can earn its time back in a window.
    - When a state came back within the window, or there were more changes than one lasting step makes, or the
      rate did not hold for a phase more than once, no sample says what comes next: the plan of least mean
      makespan over the window is taken. It is kept while the samples are of states that it was made for,
      until one state has lasted clearly longer.
    - Either way it is the best of plans for each of the states, their common min-max plan, those in stock
      (a schedule of one's own has neither), and the plan in use.
    - When nothing moved nothing is done and nothing paid.
    """
    held = _held(track)
    if len(track.window) > 1 and len(held) < LONG_HOLD and (len(track.belief) > 1 or _unsteady(track)):
        return _for_all(track)
    if _as_planned(track, held) and not len(held) >= 2 * track.hedged > 0:
        return Step(track)
    return _for_one(track, held)


POLICIES: dict[str, Policy] = {
    "adaptive": adaptive,
    "once": once,
    "last-sample": last_sample,
    "min-max": min_max,
}
"""Every policy that goes by samples alone, by name."""


def ranged(track: Track, samples: tuple[Sample, ...]) -> Step:
    """Return the track with one common plan for several states of affairs."""
    cuts = plan_min_max([phase_of(track, one) for one in samples])
    return Step(replace(track, cuts=cuts, belief=samples), len(samples))


def around(sample: Sample) -> tuple[Sample, ...]:
    """Return the states that a belief may stand for when its rate may be wrong by `FACTORS`."""
    return tuple(replace(sample, rate_Bps=sample.rate_Bps * factor) for factor in FACTORS)


def at_rest(track: Track, policy: Policy) -> bool:
    """Tell whether more samples like the last would change nothing."""
    if not track.window:
        return False
    held = _held(track)
    lasting = len(held) == len(track.window) or len(held) >= LONG_HOLD
    again = replace(track, window=(track.window[-1],) * WINDOW)
    return lasting and policy(again).plannings == 0


# --- what adaptive does ---------------------------------------------------------------------------------


def _for_one(track: Track, held: tuple[Sample, ...]) -> Step:
    """Plan for the state of affairs that the last samples show, with regard to those seen before."""
    sample = _mean(held)
    if not track.hedged and _as_planned(track, [sample]):
        return Step(track)
    before = _states(track, track.window[: len(track.window) - len(held)])
    share = HEDGE / max(math.fsum(weight for _, weight in before), 1.0)
    states = [(sample, float(len(held))), *((one, weight * share) for one, weight in before)]
    return _best(replace(track, belief=(sample,), hedged=len(held) if before else 0), states)


def _for_all(track: Track) -> Step:
    """Plan for all that was seen in the window, if the plan was not made for it."""
    states = _states(track, track.window)
    if len(track.belief) > 1 and all(
        any(not _apart_by(track, one, known) > AGREE for known in track.belief) for one, _ in states
    ):
        return Step(track)
    return _best(replace(track, belief=tuple(one for one, _ in states), hedged=0), states)


def _best(track: Track, states: Sequence[tuple[Sample, float]]) -> Step:
    """Take the plan of least mean makespan over weighted states, if there may be a better one."""
    views = [(phase_of(track, one), weight) for one, weight in states]
    plannings = 1 if len(states) == 1 else PER_STATE * len(states)
    if not _can_earn(track, views, plannings):
        return Step(track)
    phases = [times for times, _ in views]
    plans = [track.cuts, *map(track.cut, phases)]
    if len(phases) > 1 and track.cut is threshold.best_cuts:
        plans += [plan_min_max(phases), *track.stock]
    best = min(dict.fromkeys(plans), key=lambda cuts: _mean_s(views, cuts))
    if not _mean_s(views, best) < _mean_s(views, track.cuts):
        best = track.cuts
    if makespan_s(phases[0], best) <= makespan_s(phases[0], plans[1]):
        track = replace(track, hedged=0)  # nothing is lost by it however long the state lasts
    return Step(replace(track, cuts=best), plannings)


def _mean_s(views: Sequence[tuple[Phase, float]], cuts: Sequence[int]) -> float:
    total = math.fsum(weight for _, weight in views)
    return math.fsum(weight * makespan_s(times, cuts) for times, weight in views) / total


def _can_earn(track: Track, views: Sequence[tuple[Phase, float]], plannings: int) -> bool:
    """Tell whether the plan in use is far enough from the mean lower bound to earn plannings back."""
    bounds = [times.compute[-1] + threshold.least_exposed_s(times) for times, _ in views]
    total = math.fsum(weight for _, weight in views)
    least_s = math.fsum(weight * one for (_, weight), one in zip(views, bounds, strict=True)) / total
    return (_mean_s(views, track.cuts) - least_s) * WINDOW > plannings * track.planning_s


def _as_planned(track: Track, samples: Sequence[Sample]) -> bool:
    """Tell whether samples, and so their mean, are of the one state that the plan was made for."""
    if len(track.belief) > 1:
        return False
    return not any(_apart_by(track, one, track.belief[0]) > MOVED for one in samples)


# --- samples --------------------------------------------------------------------------------------------


def _channel_s(track: Track, sample: Sample) -> float:
    """Return how long the messages of the plan in use hold the channel, in s."""
    return len(track.cuts) * sample.startup_s + track.bytes / sample.rate_Bps


def _apart(one: float, other: float) -> float:
    """Return by what share of the smaller one two times differ; infinite between none and some."""
    low, high = min(one, other), max(one, other)
    if low == high:
        return 0.0
    return high / low - 1.0 if low > 0.0 else math.inf


def _apart_by(track: Track, one: Sample, other: Sample) -> float:
    """Return how far two samples are apart in what they say of the plan in use, as a share."""
    channel = _apart(_channel_s(track, one), _channel_s(track, other))
    return max(channel, _apart(one.total_s, other.total_s))


def _held(track: Track) -> tuple[Sample, ...]:
    """Return the samples since the last change: the newest, and those before it that agree with it."""
    newest = track.window[-1]
    count = 1
    for one in reversed(track.window[:-1]):
        if one.span_Bps is not None or _apart_by(track, one, newest) > AGREE:
            break
        count += 1
    return track.window[-count:]


def _unsteady(track: Track) -> bool:
    """Tell whether there was more in the window than one lasting step.

    That is: a state came back, or many came, or more than one phase saw more than one rate.
    """
    if sum(one.span_Bps is not None for one in track.window) > SPANS:
        return True
    changes = 0
    for index in range(1, len(track.window)):
        one = track.window[index]
        if _apart_by(track, one, track.window[index - 1]) > AGREE:
            changes += 1
            if any(not _apart_by(track, one, known) > AGREE for known in track.window[: index - 1]):
                return True
    return changes > CHANGES


def _states(track: Track, samples: Iterable[Sample]) -> list[tuple[Sample, float]]:
    """Return each state of affairs in order, with the samples that are of it.

    A sample whose rate did not hold is a third each of three: its slowest, its own, and its fastest rate.
    """
    states: list[tuple[Sample, float]] = []
    for one in samples:
        low, high = one.span_Bps or (one.rate_Bps, one.rate_Bps)
        rates = dict.fromkeys((low, one.rate_Bps, high))
        for rate in rates:
            view = replace(one, rate_Bps=rate, span_Bps=None)
            for index, (known, weight) in enumerate(states):
                if not _apart_by(track, view, known) > AGREE:
                    states[index] = (known, weight + 1.0 / len(rates))
                    break
            else:
                states.append((view, 1.0 / len(rates)))
    return states


def _mean(samples: Sequence[Sample]) -> Sample:
    """Return the mean of samples: of start-ups, of the time of a byte, of each layer's time."""
    if len(samples) == 1:
        return samples[0]
    byte_s = math.fsum(1.0 / one.rate_Bps for one in samples) / len(samples)
    return Sample(
        startup_s=math.fsum(one.startup_s for one in samples) / len(samples),
        rate_Bps=1.0 / byte_s if byte_s > 0.0 else math.inf,
        compute_s=mean_times_s([one.compute_s for one in samples]),
    )
