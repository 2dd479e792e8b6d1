"""Bars too narrow for their own edges: those of one pixel share its height by their time.

Shapes: B bars, C cells (a pixel of a lane and a kind).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Bars(NamedTuple):
    """The places of some bars."""

    left: Floats
    """Start, in s."""
    right: Floats
    """End, in s."""
    top: Floats
    """In units of a compute lane, downwards."""
    bottom: Floats

    def of(self, chosen: npt.NDArray[np.bool_]) -> Bars:
        """Return those that are chosen."""
        return Bars(*(array[chosen] for array in self))

    def inner(self, margin: float) -> Bars:
        """Return them without a share of their height above and below."""
        less = margin * (self.bottom - self.top)
        return self._replace(top=self.top + less, bottom=self.bottom - less)


def shared(kinds: Sequence[Bars], pixel: float) -> list[Bars]:
    """Return cells one pixel wide that stand for narrow bars, given kind by kind, likewise.

    Cells of one pixel and lane lie above each other, each as high as its kind's share of their time: what is
    drawn last hides nothing. A kind that is alone has the whole height. `pixel` is the width of one, in s.

    >>> bars = [np.array([[0], [0.75], [0], [1]]), np.array([[0.75, 2], [1, 2.1], [0, 0], [1, 1]])]
    >>> for cells in shared([Bars(*one) for one in bars], 1.0):
    ...     print(cells.left.tolist(), cells.top.tolist(), cells.bottom.tolist())
    [0.0] [0.0] [0.75]
    [0.0, 2.0] [0.75, 0.0] [1.0, 1.0]
    """
    if not any(len(one.left) for one in kinds):
        return list(kinds)
    all_of_them = Bars(*(np.concatenate([np.empty(0), *parts]) for parts in zip(*kinds, strict=True)))
    code_B = np.repeat(np.arange(len(kinds)), [len(one.left) for one in kinds])
    cells, time_C = _cells(all_of_them, code_B.astype(np.float64), pixel)
    new_C = np.any(np.diff(cells[:, :3], axis=0, prepend=np.nan) != 0.0, axis=1)
    group_C = np.cumsum(new_C) - 1
    whole_C = np.bincount(group_C, weights=time_C)[group_C]
    before_C = np.cumsum(time_C) - time_C
    before_C -= before_C[np.flatnonzero(new_C)][group_C]
    left_C, tall_C = cells[:, 0] * pixel, cells[:, 2] - cells[:, 1]
    top_C = cells[:, 1] + tall_C * before_C / whole_C
    made = Bars(left_C, left_C + pixel, top_C, top_C + tall_C * time_C / whole_C)
    return [made.of(cells[:, 3] == code) for code in range(len(kinds))]


def _cells(bars: Bars, code_B: Floats, pixel: float) -> tuple[Floats, Floats]:
    """Return (pixel, top, bottom, kind) of all cells that bars touch, in this order, and the time in each."""
    first_B = np.floor(bars.left / pixel)
    count_B = np.maximum(np.ceil(bars.right / pixel) - first_B, 1.0).astype(np.int64)
    bar_C = np.repeat(np.arange(len(first_B)), count_B)
    place_C = first_B[bar_C] + np.arange(len(bar_C)) - np.repeat(np.cumsum(count_B) - count_B, count_B)
    end_C = np.minimum(bars.right[bar_C], (place_C + 1.0) * pixel)
    time_C = np.maximum(end_C - np.maximum(bars.left[bar_C], place_C * pixel), 1e-6 * pixel)
    keys = np.stack([place_C, bars.top[bar_C], bars.bottom[bar_C], code_B[bar_C]], axis=1)
    cells, which_C = np.unique(keys, axis=0, return_inverse=True)
    sums = np.bincount(which_C.reshape(-1), weights=time_C, minlength=len(cells))
    return cells, sums.astype(np.float64)
