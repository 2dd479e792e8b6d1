"""Everything that needs torch: models, the profiler, the live timer.

Names are loaded when first used, so that importing this package, or its `catalogue`, needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesim.learning.profiler import Effort, profile_model
    from edgesim.learning.task import fits

__all__ = ["Effort", "fits", "profile_model"]

_HOMES = {
    "Effort": "edgesim.learning.profiler",
    "fits": "edgesim.learning.task",
    "profile_model": "edgesim.learning.profiler",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgesim.learning' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
