"""The one place where everything meets: layers are measured, plans made, runs simulated and kept.

`workloads` finds out what is trained and what each layer costs, `training` starts the training system,
`simulate` runs one scenario, `facts` asks the simulation what it counted, `face` holds what users call.
"""

from edgesim.experiment.face import compare, profile, run
from edgesim.experiment.simulate import Interrupted

__all__ = ["Interrupted", "compare", "profile", "run"]
