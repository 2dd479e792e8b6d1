"""How long an iteration takes without the barrier between the phases, for one worker or for N equal ones.

Legend: L layers, M messages. F(l), B(l) the times to compute layers 1..l forward and backward.

The end of the forward pass is a clean cut in time: every pull has arrived, so every push and every update is
over, and all queues are empty. The steady period is the time from one such moment to the next, and one pass
tells it: backward, pushes, updates, pulls, forward. N equal workers in step see the same at their share of
the links: a push is aggregated when all of them have arrived, which is at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from edgesim.planning.cost import Costs, PlanningError, makespan_s, phase
from edgesim.planning.queues import Queue, run, serve, serve_ahead


class Tables(NamedTuple):
    """What every evaluation of a plan for one model needs: made once, used for thousands of plans."""

    ends: list[int]
    """Offset behind the last byte of each layer, L numbers, in B."""
    ready_s: list[float]
    """When the gradients of each layer are there, L numbers, from the start of the backward pass, in s."""
    forward_s: list[float]
    """F(0..L), in s."""
    backward_s: float
    """B(L), in s."""
    push: tuple[float, float]
    """Start-up of a push, in s, and time to push the gradients of a byte of parameters, in s/B."""
    pull: tuple[float, float]
    """Start-up of a pull, in s, and time to pull a byte, in s/B."""
    latency_s: tuple[float, float]
    """What a push, and what a pull, waits from its release until it can hold the link, in s."""
    update_sB: float
    """Time of the server's update of a byte, in s/B."""
    duplex: bool
    """True: pushes and pulls do not share a link."""


def tables(costs: Costs) -> Tables:
    """Return the tables of some costs. Raises `PlanningError` for what cannot be planned."""
    _check(costs)
    ahead = list(accumulate(costs.forward_s, initial=0.0))
    back = list(accumulate(costs.backward_s, initial=0.0))
    return Tables(
        ends=list(accumulate(costs.sizes)),
        ready_s=[back[-1] - before for before in back[:-1]],
        forward_s=ahead,
        backward_s=back[-1],
        push=(costs.push_startup_s, costs.push_ratio / costs.push_Bps),
        pull=(costs.pull_startup_s, 1.0 / costs.pull_Bps),
        latency_s=(costs.push_latency_s, costs.pull_latency_s),
        update_sB=costs.update_s / sum(costs.sizes),
        duplex=costs.duplex,
    )


def _check(costs: Costs) -> None:
    if min(costs.sizes, default=0) < 0 or sum(costs.sizes) <= 0:
        raise PlanningError(f"sizes {costs.sizes[:8]}: give 0 B or more a layer, and something to send")
    if not (costs.pull_Bps > 0.0 and costs.push_Bps > 0.0 and costs.push_ratio > 0.0):
        raise PlanningError(
            f"rates of {costs.pull_Bps} and {costs.push_Bps} B/s, {costs.push_ratio} pushed a byte: "
            "give more than 0"
        )
    if min(costs.pull_latency_s, costs.push_latency_s, costs.update_s) < 0.0:
        raise PlanningError("a latency or the update is negative: give 0 s or more")
    phase(costs.sizes, costs.forward_s, costs.pull_startup_s)
    phase(costs.sizes, costs.backward_s, costs.push_startup_s)


def period_s(
    costs: Costs, push_borders: Sequence[int], pull_borders: Sequence[int], credit_bytes: float = 0.0
) -> float:
    """Return the steady time from iteration to iteration of messages between these borders, in s.

    Each direction has a queue, the lowest first layer first, of equals the lowest offset. A push is released
    when its lowest layer is done backward, a pull when the last push of any of its bytes has been updated;
    the server updates them one by one as they arrive. In its turn a message waits until its latency has
    passed since its release, so a backlog hides it, then holds the link for its start-up and its bytes. On a
    half-duplex link a push and a pull at once are each half as fast. Layer l is computed when every message
    with bytes of it, and of the layers before it, has come. Of `credit_bytes`, with those of the message in
    its turn, messages are handed over ahead and not overtaken any more.
    O((M + L) log M).

    >>> costs = Costs((4, 1), (4, 1), (1.0, 1.0), (2.0, 2.0), pull_Bps=1.0, push_Bps=1.0)
    >>> period_s(costs, [5], [5]), period_s(costs, [4, 5], [4, 5])
    (16.0, 14.0)
    """
    return period_of(tables(costs), push_borders, pull_borders, credit_bytes)


def period_of(
    model: Tables, push_borders: Sequence[int], pull_borders: Sequence[int], credit_bytes: float = 0.0
) -> float:
    """Return what `period_s` does, from tables made before."""
    up_first, down_first = first_layers(model, push_borders), first_layers(model, pull_borders)
    ready = [model.ready_s[first] for first in up_first]
    up, down = holds_s(push_borders, *model.push), holds_s(pull_borders, *model.pull)
    to, fro = model.latency_s
    if not model.duplex:
        over = _on_one_link(model, push_borders, pull_borders, ready, credit_bytes)
    elif credit_bytes > 0.0:
        pushed = serve_ahead(ready, up, to, _sizes(push_borders), credit_bytes)
        released = released_s(model, push_borders, pull_borders, pushed)
        over = serve_ahead(released, down, fro, _sizes(pull_borders), credit_bytes)
    else:
        over = serve(released_s(model, push_borders, pull_borders, serve(ready, up, to)), down, fro)
    forward = model.forward_s
    start = max([end - forward[first] for end, first in zip(over, down_first, strict=True)])
    return max(start, model.backward_s) + forward[-1]


def first_layers(model: Tables, borders: Sequence[int]) -> list[int]:
    """Return the first layer of each message, counted from 0."""
    ends = model.ends
    return [bisect_right(ends, low) for low in (0, *borders[:-1])]


def _sizes(borders: Sequence[int]) -> list[int]:
    return [high - low for low, high in pairwise((0, *borders))]


def holds_s(borders: Sequence[int], startup_s: float, per_byte_s: float) -> list[float]:
    """Return how long each message holds the link, in s."""
    return [startup_s + (high - low) * per_byte_s for low, high in zip((0, *borders), borders, strict=False)]


def released_s(
    model: Tables, push_borders: Sequence[int], pull_borders: Sequence[int], pushed_s: list[float]
) -> list[float]:
    """Return when each pull is released, from when each push has arrived, in s."""
    updated = pushed_s
    if model.update_sB > 0.0:
        updated = pushed_s.copy()
        sizes = _sizes(push_borders)
        now = 0.0
        for index in sorted(range(len(sizes)), key=pushed_s.__getitem__):
            now = updated[index] = max(now, pushed_s[index]) + sizes[index] * model.update_sB
    if push_borders == pull_borders:
        return updated
    return [max(updated[low:high]) for low, high in _covers(push_borders, pull_borders)]


def _covers(push_borders: Sequence[int], pull_borders: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield for each pull the range of pushes with bytes of it."""
    for low, high in zip((0, *pull_borders), pull_borders, strict=False):
        yield bisect_right(push_borders, low), bisect_left(push_borders, high) + 1


def _on_one_link(
    model: Tables,
    push_borders: Sequence[int],
    pull_borders: Sequence[int],
    ready_s: Sequence[float],
    credit: float,
) -> list[float]:
    """Return when each pull is over where pushes and pulls share a link."""
    sizes = _sizes(push_borders)
    covers = list(_covers(push_borders, pull_borders))
    missing = [high - low for low, high in covers]
    users: list[list[int]] = [[] for _ in sizes]
    for pull, (low, high) in enumerate(covers):
        for push in range(low, high):
            users[push].append(pull)
    pushes = Queue(holds_s(push_borders, *model.push), model.latency_s[0], sizes, credit)
    pulls = Queue(holds_s(pull_borders, *model.pull), model.latency_s[1], _sizes(pull_borders), credit)
    updated = 0.0

    def ended(way: int, push: int, now: float) -> None:
        nonlocal updated
        if way == 0:
            updated = max(updated, now) + sizes[push] * model.update_sB
            for pull in users[push]:
                missing[pull] -= 1
            pulls.release((updated, pull) for pull in users[push] if not missing[pull])

    pushes.release((time_s, index) for index, time_s in enumerate(ready_s))
    run([pushes, pulls], ended)
    return pulls.ends_s


def phased_period_s(costs: Costs, push_cuts: Sequence[int], pull_cuts: Sequence[int]) -> float:
    """Return the time of an iteration with the barrier, by cuts in layers, in s: the rival of every queue.

    Backward and pushes, the update of everything, pulls and forward, one after the other.
    """
    push_s = [size * costs.push_ratio / costs.push_Bps for size in costs.sizes]
    pull_s = [size / costs.pull_Bps for size in costs.sizes]
    back = makespan_s(phase(push_s, costs.backward_s, costs.push_startup_s), push_cuts)
    ahead = makespan_s(phase(pull_s, costs.forward_s, costs.pull_startup_s), pull_cuts)
    return back + costs.push_latency_s + costs.update_s + costs.pull_latency_s + ahead
