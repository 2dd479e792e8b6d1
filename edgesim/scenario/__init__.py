"""The user's words: YAML into frozen, checked values.

>>> from edgesim import scenario
>>> print(scenario.loads("name: x"))  # doctest: +IGNORE_EXCEPTION_DETAIL
Traceback (most recent call last):
edgesim.errors.ScenarioError: <string>:1:1 workload: is missing; write for example `workload: {...}`
"""

from edgesim.scenario import build, schema
from edgesim.scenario.check import check
from edgesim.scenario.loader import ensure, load, loads
from edgesim.scenario.model import Scenario
from edgesim.scenario.paths import override, overrides, variants

__all__ = [
    "Scenario",
    "build",
    "check",
    "ensure",
    "load",
    "loads",
    "override",
    "overrides",
    "schema",
    "variants",
]
