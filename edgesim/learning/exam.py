"""The test set, put to a model that learns.

Legend: P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from edgesim.learning.datasets import DataSet
from edgesim.learning.student import Batch, Buffers, Student

JUDGED = 250
"""Samples of the test set that are judged at a time."""


class Exam:
    """Judges parameters on the test set; the last verdict is remembered."""

    def __init__(self, student: Student, input_shape: tuple[int, ...], data: DataSet) -> None:
        self._student, self._shape, self._data = student, input_shape, data
        self._last: tuple[torch.Tensor, Buffers, tuple[float, float]] | None = None

    def judge(self, vector_P: torch.Tensor, buffers: Buffers) -> tuple[float, float]:
        """Return accuracy, 0 to 1, and mean loss (infinite where it is no number) at some parameters."""
        last = self._last
        if last is None or last[0] is not vector_P or last[1] is not buffers:
            accuracy, loss = self._student.judge(vector_P, buffers, self._batches())
            last = self._last = vector_P, buffers, (accuracy, finite(loss))
        return last[2]

    def _batches(self) -> Iterator[Batch]:
        test = self._data.test
        for first in range(0, len(test), JUDGED):
            yield self._data.batch(test, np.arange(first, min(first + JUDGED, len(test))), self._shape)


def finite(loss: float) -> float:
    """Return a loss, infinite where it is no number.

    >>> finite(0.5), finite(math.nan)
    (0.5, inf)
    """
    return loss if math.isfinite(loss) else math.inf
