"""What is believed of the network before anything was measured, and who plans while the training runs."""

from __future__ import annotations

from dataclasses import replace

from edgesim.cluster import Cluster
from edgesim.engine import Simulation
from edgesim.errors import EdgesimError
from edgesim.training.config import Config
from edgesim.training.expectation import Outlooks, Plans, contended, shared
from edgesim.training.foresight import Foresight
from edgesim.training.joint import JointScheduler
from edgesim.training.parts import Placement
from edgesim.training.rehearsal import stage
from edgesim.training.scheduler import Scheduler

Running = Scheduler | JointScheduler | Foresight


def believed(cluster: Cluster, config: Config) -> Cluster:
    """Return the cluster as the planner takes it to be: with misjudged bandwidth, where that is asked for."""
    factor = 1.0 if config.planner is None else config.planner.bandwidth_belief
    if factor == 1.0:
        return cluster
    links = {
        name: replace(link, bandwidth_Bps=link.bandwidth_Bps * factor) for name, link in cluster.links.items()
    }
    return replace(cluster, links=links)


def running(
    sim: Simulation, cluster: Cluster, placed: Placement, alone: Outlooks, config: Config, plans: Plans
) -> Running | None:
    """Return who plans while the training runs, from the cluster as believed; None where nobody does.

    Workers that contend in step with each other are planned for together, all others each alone.
    """
    if config.policy == "once":
        return None
    together = contended(cluster, alone)
    if config.policy == "forecast":
        if together:
            raise EdgesimError(
                "training.planner.policy: 'forecast' plans each worker alone, but here their messages slow "
                "each other down; take 'adaptive', or give each worker a link of its own to the server"
            )
        return Foresight(sim, cluster, config, alone, plans)
    if together and config.synchronization == "bsp":
        return JointScheduler(sim, config, stage(cluster, placed, alone, config), plans)
    return Scheduler(sim, config, shared(cluster, alone) if together else alone, plans)
