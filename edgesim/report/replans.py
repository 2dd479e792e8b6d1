"""How often plans changed during a run, and what planning took: from its marks and spans of kind `plan`."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from edgesim.report.tables import Tables

PLAN = "plan"
"""Kind of a mark that tells a change of plan, and of a span in which a device plans."""


def replans(tables: Tables) -> dict[str, Any]:
    """Return the changes of plan in all and by who made them, and the time devices spent on planning, in s.

    A device may plan and keep what it had; so there may be time and no change. First plans are made before
    the run, and count neither way.
    """
    import pyarrow.compute as pc

    marks = tables.rows("marks", "subject", "kind")
    changes = Counter(subject for subject, kind in marks if kind == PLAN)
    spans = tables.spans.select(["start_s", "end_s"]).filter(pc.equal(tables.spans.column("kind"), PLAN))
    lengths = pc.subtract(spans.column("end_s"), spans.column("start_s"))
    return {
        "changes": changes.total(),
        "by_device": dict(changes),
        "planning_s": math.fsum(lengths.to_pylist()),
    }
