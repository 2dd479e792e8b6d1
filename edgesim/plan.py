"""What planning decides: frozen values that the training systems act on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """A decomposition of L layers into segments that are sent one after the other.

    >>> Segmentation(cuts=(2, 4), makespan_s=17.0).segments
    ((1, 2), (3, 4))
    """

    cuts: tuple[int, ...]
    """1-based last layer of each segment in forward order, strictly increasing, ending in L."""
    makespan_s: float
    """Predicted duration of the phase under the planner's cost model, in s."""
    method: str = "dynacomm"
    """Name of the strategy that decided."""

    def __post_init__(self) -> None:
        if not self.cuts or any(b <= a for a, b in zip((0, *self.cuts), self.cuts, strict=False)):
            raise ValueError(f"cuts must rise strictly from 1, got {self.cuts}")

    @property
    def segments(self) -> tuple[tuple[int, int], ...]:
        """(first, last) layer of each segment, 1-based and inclusive, in forward order."""
        firsts = (1, *(cut + 1 for cut in self.cuts[:-1]))
        return tuple(zip(firsts, self.cuts, strict=True))
