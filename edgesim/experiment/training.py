"""From a scenario's training section to a started training system, and what only its workload can tell."""

from __future__ import annotations

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.errors import Problem, ScenarioError
from edgesim.report.numbers import amount
from edgesim.scenario import Scenario
from edgesim.scenario.names import hosts_of, names_of, workers_of
from edgesim.scenario.training_section import ParameterServer
from edgesim.training import METHODS, parameter_server
from edgesim.training.config import Compression, Config, Planner
from edgesim.training.parameter_server import TrainingRun
from edgesim.workload import LayerTimer, Workload


def configure(scenario: Scenario) -> Config:
    """Return the settings of a scenario's training."""
    asked = scenario.training
    assert isinstance(asked, ParameterServer)
    return Config(
        servers=hosts_of(scenario),
        workers=workers_of(scenario),
        schedule=asked.schedule,
        iterations=scenario.stop.iterations,
        synchronization=asked.synchronization,
        staleness=asked.staleness or 0,
        compression=_compression(asked),
        planner=_planner(asked),
        on_crash=asked.on_crash,
    )


def _compression(asked: ParameterServer) -> Compression | None:
    packing = asked.compression
    if packing is None:
        return None
    return Compression(ratio=packing.ratio, encode_Bps=packing.encode, decode_Bps=packing.decode)


def _planner(asked: ParameterServer) -> Planner | None:
    planner = asked.planner
    if planner is None:
        return None
    return Planner(policy=planner.policy, bandwidth_belief=planner.bandwidth_belief or 1.0)


def leader(scenario: Scenario) -> str:
    """Return the device that ends the iterations: the first server, or the first worker without one."""
    return next(iter(hosts_of(scenario) or workers_of(scenario)))


def check_memory(scenario: Scenario, cluster: Cluster, workload: Workload) -> None:
    """Check that every device can hold its part of the training.

    Raises `ScenarioError` with a problem for each entry of `devices` that is too small.
    """
    entries, found = list(scenario.devices), dict[int, Problem]()
    names = names_of(scenario).devices
    for name, need in parameter_server.memory_bytes(workload, configure(scenario)).items():
        have = cluster.devices[name].memory_bytes
        if need <= have:
            continue
        index = next(index for index, entry in enumerate(entries) if entry is names[name])
        message = (
            f"{name} has {amount(have, 'B')}, but training {workload.model} in batches of "
            f"{workload.batch_size} holds {amount(need, 'B')}; give it more, or take a smaller batch"
        )
        found.setdefault(index, scenario.document.problem(("devices", index, "memory"), message))
    if found:
        raise ScenarioError(list(found.values()))


def start(scenario: Scenario, sim: Simulation, workload: Workload, timer: LayerTimer) -> TrainingRun:
    """Start a scenario's training in a simulation."""
    return METHODS[scenario.training.method](sim, workload, timer, configure(scenario))
