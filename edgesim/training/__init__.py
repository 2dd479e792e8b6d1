"""The training systems as SimPy processes: what is computed and sent."""

from edgesim.training import parameter_server

METHODS = {"parameter-server": parameter_server.start}
"""Every training method by name: from simulation, workload, timer and config to a started run."""

__all__ = ["METHODS", "parameter_server"]
