"""What a stage has sent to its neighbours, from which a lost neighbour's work is computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesim.planning.pipeline_orders import Pass

if TYPE_CHECKING:
    from edgesim.training.pipeline_stage import Stage

LOG = "log of boundary tensors"


class Log:
    """Boundary activations and gradients, kept until the neighbours' copies hold their batches."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._kept: dict[Pass, float] = {}
        self.start = {True: stage.first, False: stage.first}
        """First batch from which all is kept that was sent downstream (True) and upstream."""

    @property
    def name(self) -> str:
        """Name of its memory."""
        return f"{LOG} ({self._stage.index})"

    def note(self, one: Pass, nbytes: float) -> None:
        """Keep what a pass has made, where losses are to be made good from logs."""
        if self._stage.line.config.recovery == "lossless" and one not in self._kept:
            self._kept[one] = nbytes
            self._stage.node.hold(nbytes, self.name)

    def prune(self, forward: bool, batch: int) -> None:
        """Drop what was sent of batches before one, downstream (`forward`) or upstream."""
        self.start[forward] = max(self.start[forward], batch)
        for one in [one for one in self._kept if one.forward == forward and one.batch < batch]:
            self._stage.node.give(self.name, self._kept.pop(one))

    def since(self, forward: bool, batch: int) -> list[tuple[Pass, float]]:
        """Return what is kept of batches from one on, in order, with sizes in B."""
        return sorted(
            (one, size) for one, size in self._kept.items() if one.forward == forward and one.batch >= batch
        )

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self._stage.node.give(self.name)
