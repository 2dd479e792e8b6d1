"""Where the search for messages without a barrier begins: plans that are good in one regime each.

Borders are offsets in all parameters, in forward order, in B.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain

from edgesim.planning import bounds, threshold
from edgesim.planning.cost import Costs, phase
from edgesim.planning.overlap_model import Tables

Borders = tuple[int, ...]
Plan = tuple[Borders, Borders]
"""Borders of the pushes and of the pulls, in B."""

MOST_MESSAGES = 512
"""Of one direction. Without start-ups more are better, by less and less: 512 equal ones come within 0.2 %."""


def seeds(costs: Costs, model: Tables) -> Iterator[Plan]:
    """Yield DynaComm's cuts, one message, one a layer, equal messages, and messages of about one size."""
    ends = [end for end in dict.fromkeys(model.ends) if end]
    total = ends[-1]
    yield from phased(costs, model)
    yield (total,), (total,)
    if len(ends) <= MOST_MESSAGES:
        yield tuple(ends), tuple(ends)
    for borders in chain(_equal(model, total), _about(ends)):
        yield borders, borders


def phased_cuts(costs: Costs) -> Plan:
    """Return DynaComm's optimal cuts of both phases, pushes first, in layers."""
    push_s = [size * costs.push_ratio / costs.push_Bps for size in costs.sizes]
    pull_s = [size / costs.pull_Bps for size in costs.sizes]
    return (
        threshold.best_cuts(phase(push_s, costs.backward_s, costs.push_startup_s)),
        threshold.best_cuts(phase(pull_s, costs.forward_s, costs.pull_startup_s)),
    )


def phased(costs: Costs, model: Tables) -> list[Plan]:
    """Return DynaComm's optimal cuts of the phases; the same where a pull needs a byte of the push below it.

    That byte keeps a pull from taking the link just before the one below it can go. Then each for both ways.
    """
    pushes, pulls = (
        tuple(end for end in dict.fromkeys(model.ends[cut - 1] for cut in cuts) if end)
        for cuts in phased_cuts(costs)
    )
    later = tuple(min(end + 1, pushes[-1]) for end in pushes)
    return [(pushes, pulls), (tuple(dict.fromkeys(later)), pulls), (pushes, pushes), (pulls, pulls)]


def _equal(model: Tables, total: int) -> Iterator[Borders]:
    """Yield equal messages, from a third to four times the best count."""
    startup_s = max(model.push[0], model.pull[0])
    per_byte_s = max(model.push[1], model.pull[1])
    best = bounds.best_count(total * per_byte_s, startup_s) if startup_s > 0.0 else MOST_MESSAGES
    most = min(MOST_MESSAGES, total)
    counts = (min(max(round(best * 1.2**step), 1), most) for step in range(-6, 9))
    for count in dict.fromkeys(counts):
        yield tuple(total * part // count for part in range(1, count + 1))


def _about(ends: Sequence[int]) -> Iterator[Borders]:
    """Yield messages of about one size, for sizes from all down to a 512th."""
    size = float(ends[-1])
    while size * MOST_MESSAGES >= ends[-1] and size >= 1.0:
        borders = _packed(ends, size)
        if len(borders) <= MOST_MESSAGES:
            yield borders
        size /= 1.2


def _packed(ends: Sequence[int], size: float) -> Borders:
    """Return borders that merge layers up to a size and cut larger ones into equal slices of at most that."""
    borders = [0]
    last = 0
    for end in ends:
        if end - borders[-1] > size and last > borders[-1]:
            borders.append(last)
        if (over := end - borders[-1]) > size:
            start, count = borders[-1], math.ceil(over / size)
            borders += [start + over * part // count for part in range(1, count + 1)]
        last = end
    borders += [ends[-1]]
    return tuple(dict.fromkeys(borders[1:]))
