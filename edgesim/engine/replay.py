"""Replay of a given list of flows over given links, without devices: the network model alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

from edgesim.engine.fairshare import FairShare
from edgesim.engine.pool import Pool


def replay(
    links: Mapping[str, Mapping[str, float]],
    flows: Iterable[Mapping[str, Any]],
    link_events: Iterable[Mapping[str, Any]] | None = None,
) -> dict[Any, float]:
    """Return when each flow ends, {flow id: finish time in s}.

    `links`: {name: {"bw": B/s, "lat": s}}; `flows`: [{"id", "route": [link names], "start": s, "bytes": B,
    "max_rate"?: B/s}]; `link_events`: [{"time": s, "link", "bw": B/s}]. A flow waits the latencies of its
    route, then shares max-min fairly; one that can never end has finish time inf. Raises KeyError for an
    unknown link, ValueError for a flow without a route, ids that recur, or figures below 0.

    >>> replay({"a": {"bw": 10.0, "lat": 0.5}}, [{"id": 1, "route": ["a"], "start": 1.0, "bytes": 20.0}])
    {1: 3.5}
    """
    return _Replay(links, list(flows), () if link_events is None else link_events).run()


class _Replay:
    """The queue of starts, changes and ends of one replay."""

    def __init__(
        self,
        links: Mapping[str, Mapping[str, float]],
        flows: Sequence[Mapping[str, Any]],
        link_events: Iterable[Mapping[str, Any]],
    ) -> None:
        self._share = FairShare()
        self._pipes = {name: self._share.pipe(name, float(link["bw"])) for name, link in links.items()}
        self._order = count()
        self._queue: list[tuple[float, int, str, Any]] = []
        self._finish: dict[Any, float] = {flow["id"]: inf for flow in flows}
        if len(self._finish) < len(flows):
            raise ValueError("two flows have one id")
        for link in links.values():
            _not_negative(link["bw"], link.get("lat", 0.0))
        for flow in flows:
            _not_negative(flow["start"], flow["bytes"], flow.get("max_rate") or 0.0)
            if not flow["route"]:
                raise ValueError(f"flow {flow['id']!r} has no route")
            latency = sum(float(links[name].get("lat", 0.0)) for name in flow["route"])
            self._push(float(flow["start"]) + latency, "start", flow)
        for event in link_events:
            _not_negative(event["time"], event["bw"])
            self._push(float(event["time"]), "change", event)

    def run(self) -> dict[Any, float]:
        now = 0.0
        while self._queue:
            if self._share.changed() and self._queue[0][0] > now:
                self._settle(now)
                continue
            now, _, kind, item = heappop(self._queue)
            getattr(self, f"_{kind}")(item, now)
            if not self._queue:
                self._settle(now)
        return self._finish

    def _push(self, time_s: float, kind: str, item: Any) -> None:
        heappush(self._queue, (time_s, next(self._order), kind, item))

    def _settle(self, now: float) -> None:
        for pool in self._share.take_changed(now):
            time_s = pool.settle(now)
            if time_s < pool.alarm_at:
                pool.alarm_at = time_s
                self._push(time_s, "due", pool)

    def _start(self, flow: Mapping[str, Any], now: float) -> None:
        if flow["bytes"] <= 0:
            self._finish[flow["id"]] = now
            return
        pipes = [self._pipes[name] for name in flow["route"]]
        if flow.get("max_rate") is not None:
            pipes.append(self._share.pipe(f"max_rate of {flow['id']!r}", float(flow["max_rate"])))
        self._share.join(self._share.path(pipes), float(flow["bytes"]), flow["id"], now)

    def _change(self, event: Mapping[str, Any], now: float) -> None:
        self._share.set_capacity(self._pipes[event["link"]], float(event["bw"]), now)

    def _due(self, pool: Pool, now: float) -> None:
        if pool.alarm_at <= now:
            pool.alarm_at = inf
            for flow in pool.due(now):
                self._finish[flow] = now
            self._share.touch(pool)


def _not_negative(*values: float) -> None:
    for value in values:
        if not value >= 0.0:
            raise ValueError(f"{value} must be a number of at least 0")
