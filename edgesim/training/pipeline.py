"""Training in a pipeline of stages on unlike devices: FTPipeHD and its rivals.

The layers are cut into stages, one a device (arXiv 2110.02781). Each batch goes forward over all stages and
backward again; several are in flight. The device of the first stage, the central node, has data and labels,
plans, and detects failures. `pipeline_stage` computes, `pipeline_term` is a configuration in force,
`pipeline_central` decides, `repartition` moves layers, `replicating` copies weights, `recovery` brings them
back.
"""

from __future__ import annotations

import math

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError
from edgesim.training.parameter_server import TrainingRun
from edgesim.training.pipeline_bounds import at_best
from edgesim.training.pipeline_central import Central
from edgesim.training.pipeline_config import Config
from edgesim.training.pipeline_costs import Costs
from edgesim.training.pipeline_line import Line
from edgesim.training.pipeline_links import Links
from edgesim.training.pipeline_plan import Knowledge
from edgesim.workload import LayerTimer, PipelineLearner, ProfileTimer, Workload

__all__ = ["Config", "memory_bytes", "start"]


def start(
    sim: Simulation,
    workload: Workload,
    timer: LayerTimer,
    config: Config,
    learner: PipelineLearner | None = None,
) -> TrainingRun:
    """Plan, and start the stages as processes of a simulation.

    Raises EdgesimError for devices that are not there or not connected, or more stages than layers; during
    the run OutOfMemory for a device that cannot hold its part, SimulationError where training cannot go on.
    """
    for name in config.devices:
        if name not in sim.cluster.devices:
            raise EdgesimError(f"training: there is no device {name!r}; name one of `devices`")
    costs = Costs(workload, timer)
    line = Line(sim, config, costs, learner)
    rate = line.nodes[config.central].device.rate
    knowledge = knowledge_of(sim.cluster, config, costs, line.links, rate if rate > 0.0 else 1.0)
    setup = knowledge.setup(config.devices, {})
    line.central = central = Central(line, knowledge)
    central.start(setup)
    fixed = isinstance(timer, ProfileTimer)
    return TrainingRun(
        done=central.done,
        plans={},
        predicted_s=setup.period_s,
        bounds=at_best(sim.cluster, sim.events, costs, config.devices),
        no_bound="" if fixed else "layers take another time each time they run (live), so no bound is known",
        update_s=max(
            costs.update_s(sim.cluster.devices[host], layers)
            for host, layers in zip(setup.hosts, setup.stages, strict=True)
        ),
        contributions=central.history,
        more=central.facts.summary,
        saved=lambda: line.replicator.kept,
    )


def knowledge_of(
    cluster: Cluster, config: Config, costs: Costs, links: Links, rate: float = 1.0
) -> Knowledge:
    """Return what the central node knows at the start; `rate` is its speed then, relative to its full one."""
    spec = cluster.devices[config.central]
    layers = [range(layer, layer + 1) for layer in range(costs.layers)]
    layer_s = tuple((costs.pass_s(spec, one, True) + costs.pass_s(spec, one, False)) / rate for one in layers)
    memory = {name: cluster.devices[name].memory_bytes for name in config.devices}
    return Knowledge(config=config, costs=costs, layer_s=layer_s, links=links, memory=memory)


def memory_bytes(cluster: Cluster, workload: Workload, config: Config) -> dict[str, float]:
    """Return the memory that each device of a training holds at first, in B: what can be known beforehand.

    Weights with their versions, gradients, the optimizer's state, activations of the batches in flight, the
    chain replica of the stage before; on the central node the input, and copies of all stages.
    """
    costs = Costs(workload, ProfileTimer(workload))
    setup = knowledge_of(cluster, config, costs, Links(cluster)).setup(config.devices, {})
    held = costs.held_bytes(config, setup.hosts, setup.stages, setup.windows)
    found = dict.fromkeys(config.devices, 0.0) | held
    found[config.central] += workload.input_bytes * setup.windows[0]
    if config.replication.whole is not None or config.recovery == "checkpoint":
        found[config.central] += costs.copy_bytes(config, range(costs.layers))
    return {name: float(math.ceil(need)) for name, need in found.items()}
