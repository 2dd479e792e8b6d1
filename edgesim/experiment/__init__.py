"""The one place where everything meets: layers are measured, plans made, runs simulated and kept.

`workloads` finds out what is trained and what each layer costs, `training` starts the training system,
`simulate` runs one scenario, `places` keeps directories apart, `stopping` heeds Ctrl-C, `facts` asks the
simulation what it counted, `face` holds what users call.
"""

from edgesim.experiment.face import compare, profile, run
from edgesim.experiment.stopping import Interrupted

__all__ = ["Interrupted", "compare", "profile", "run"]
