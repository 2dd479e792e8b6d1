"""Check of a planner that knows the bandwidth to come, but nothing of workers that slow each other down."""

from __future__ import annotations

from edgesim.cluster import Cluster, Link
from edgesim.planning.sharing import crowded
from edgesim.scenario import build
from edgesim.scenario.finding import Finding
from edgesim.scenario.training_section import ParameterServer
from edgesim.timeseries import at_start


def check_foresight(finding: Finding) -> None:
    """Note `policy: forecast` where messages of workers share links: it plans each worker alone."""
    training = finding.scenario.training
    if not isinstance(training, ParameterServer) or training.planner is None or finding.problems:
        return
    if training.planner.policy == "forecast" and contended(
        build.cluster(finding.scenario), finding.hosts, finding.workers
    ):
        message = (
            "'forecast' plans each worker alone, but here their messages slow each other down; "
            "take 'adaptive', or give each worker a link of its own to the server"
        )
        finding.say(message, "training", "planner", "policy")


def contended(cluster: Cluster, servers: tuple[str, ...], workers: tuple[str, ...]) -> bool:
    """Tell whether messages slow each other down at the start, as the training finds it, or go in chunks."""
    if len(servers) > 1 or any(link.sharing == "fifo" for link in cluster.links.values()):
        return True
    users: list[dict[str, float]] = []
    held: set[str] = set()
    for worker in workers:
        wanted: dict[str, float] = {}
        for ends in ((servers[0], worker), (worker, servers[0])):
            route = cluster.route(*ends) or ()
            rate_Bps = min((_start_Bps(cluster.links[link]) for link in route), default=0.0)
            if route and cluster.links[route[0]].occupancy_s > 0.0:
                held.add(route[0])
            for link in route:
                wanted[link] = max(wanted.get(link, 0.0), rate_Bps)
        users.append(wanted)
    return crowded(users, {name: _start_Bps(link) for name, link in cluster.links.items()}, held)


def _start_Bps(link: Link) -> float:
    """Return what a link carries at the start (its bandwidth, if it starts at nothing), in B/s."""
    return link.bandwidth_Bps * at_start(link.factor)
