"""Clock, devices, network and faults: when things happen. SimPy lives here and in training."""

from edgesim.engine.simulation import Simulation

__all__ = ["Simulation"]
