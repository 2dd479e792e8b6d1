"""Small clusters to test the engine on."""

import pytest

from edgesim.cluster import Cluster, Device, Hop, Link
from edgesim.engine import Simulation
from edgesim.timeline import Timeline


def chain(*, events=(), seed=0, device=None, **link):
    """Two devices, `a` and `b`, with a link `ab` of 10 B/s and one back, `ba`."""
    settings = {"bandwidth_Bps": 10.0, **link}
    devices = {name: Device(name=name, speed=1.0, **(device or {})) for name in "ab"}
    links = {name: Link(name=name, **settings) for name in ("ab", "ba")}
    hops = (Hop(source="a", target="b", link="ab"), Hop(source="b", target="a", link="ba"))
    cluster = Cluster(devices=devices, links=links, hops=hops)
    return Simulation(cluster, seed=seed, timeline=Timeline(), events=events)


@pytest.fixture(scope="session")
def make():
    return chain
