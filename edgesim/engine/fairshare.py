"""Max-min fair sharing of links among flows, kept up to date as flows come and go.

Flows that cross the same set of links have the same rate, so they form one *path*, which keeps its own
virtual time: bytes served to each of its flows so far. Paths that meet on shared links form a *pool*.

- A pool whose paths meet on one link only (a server's uplink, a radio channel, a cable) is *level*: that link
  gives every path the same rate, but for those held back by a slower link of their own. It runs in virtual
  time, so that a flow costs O(log n) when it starts and when it ends, whatever the number of flows.
- Any other pool is *filled*: progressive filling over its links (Bertsekas and Gallager, Data Networks,
  section 6.5.2), O(links log links) a change, never over flows outside the pool.

No clock lives here: the caller passes `now`, settles once an instant, and asks when to come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from edgesim.engine.path import Path, Pipe
from edgesim.engine.pool import Pool


class FairShare:
    """All pools of a network.

    >>> share = FairShare()
    >>> link = share.pipe("a", 10.0)
    >>> path = share.path((link,))
    >>> share.join(path, 100.0, "one", 0.0)
    >>> share.join(path, 50.0, "two", 0.0)
    >>> [pool.settle(0.0) for pool in share.take_changed()]
    [10.0]
    >>> path.pool.due(10.0)
    ['two']
    """

    def __init__(self) -> None:
        self.paths: dict[tuple[str, ...], Path] = {}
        self._changed_paths: list[Path] = []
        self._changed_pools: dict[Pool, None] = {}
        self._order = count()
        self._spare: list[Pool] = []
        """Empty pools, to be used again: most serve one message on one link, and no two at a time."""

    def pipe(self, name: str, capacity: float) -> Pipe:
        """Return a new capacity, in B/s."""
        return Pipe(name, capacity)

    def path(self, pipes: Iterable[Pipe]) -> Path:
        """Return the path over a set of pipes, the same object for the same set."""
        by_name = {pipe.name: pipe for pipe in pipes}
        key = tuple(sorted(by_name))
        path = self.paths.get(key)
        if path is None:
            path = self.paths[key] = Path(tuple(by_name.values()), next(self._order))
        return path

    def join(self, path: Path, size: float, flow: Any, now: float) -> None:
        """Start a flow of `size` > 0 bytes."""
        pool = path.pool
        if pool is None:
            path.served = 0.0
            path.push(size, flow)
            if path.count == 1:
                self._changed_paths.append(path)
            return
        if not pool.changed:
            self.touch(pool)
        pool.join(path, size, flow, now)

    def leave(self, path: Path, flow: Any, now: float) -> float:
        """Take a flow out before its end; return the bytes it still had to go."""
        if path.pool is None:
            return path.take_out(flow)
        self.touch(path.pool)
        return path.pool.leave(path, flow, now)

    def set_capacity(self, pipe: Pipe, capacity: float, now: float) -> None:
        """Change a pipe's capacity, in B/s; 0 stalls what crosses it."""
        if pipe.paths:
            pool = next(iter(pipe.paths)).pool
            assert pool is not None
            self.touch(pool)
            pool.set_capacity(pipe, capacity, now)
        else:
            pipe.capacity = capacity

    def changed(self) -> bool:
        """Tell whether anything must settle before time moves on."""
        return bool(self._changed_paths or self._changed_pools)

    def take_changed(self, now: float = 0.0) -> Iterator[Pool]:
        """Bring the pools' membership up to date and yield each pool that must settle, once."""
        for pool in self._changed_pools:
            if pool.idle:
                self._detach_idle(pool, now)
        for path in self._changed_paths:
            if path.count and path.pool is None:
                self._attach(path, now)
        self._changed_paths.clear()
        pending = self._changed_pools
        self._changed_pools = {}
        for pool in pending:
            pool.changed = False
            if pool.level is None and pool.paths:
                yield from self._split(pool, now)
            elif pool.paths:
                yield pool
            else:
                pool.retire()
                self._spare.append(pool)

    def touch(self, pool: Pool) -> None:
        """Make a pool settle at the end of this instant."""
        if not pool.changed:
            pool.changed = True
            self._changed_pools[pool] = None

    def _attach(self, path: Path, now: float) -> None:
        """Give a path that became active its pool, merging the pools that it joins together."""
        pools = {next(iter(pipe.paths)).pool: None for pipe in path.pipes if pipe.paths}
        pool = max(pools, key=_size) if pools else self._spare.pop() if self._spare else Pool()
        assert pool is not None
        if len(pools) > 1:
            for other in pools:
                if other is not None and other is not pool:
                    pool.absorb(other, now)
                    self._changed_pools.pop(other, None)
        pool.attach(path, now)
        self.touch(pool)

    def _detach_idle(self, pool: Pool, now: float) -> None:
        for path in pool.idle:
            if path.count == 0 and path.pool is pool:
                pool.detach(path, now)
        pool.idle.clear()

    def _split(self, pool: Pool, now: float) -> Iterator[Pool]:
        """Yield the connected parts of a filled pool; most often that is the pool itself."""
        parts = list(_parts(pool))
        if len(parts) == 1:
            if len(pool.shared) <= 1:
                pool.reshape(now)
            yield pool
            return
        pool.freeze(now)
        for part in parts[1:]:
            other = Pool()
            for path in part:
                pool.hand_over(path, other)
            other.reshape(now)
            yield other
        pool.recount()
        pool.reshape(now)
        yield pool


def _size(pool: Pool | None) -> int:
    return len(pool.paths) if pool is not None else 0


def _parts(pool: Pool) -> Iterator[list[Path]]:
    """Yield the paths of each connected part, in the order in which they joined."""
    seen: set[Path | Pipe] = set()
    for start in pool.paths:
        if start in seen:
            continue
        seen.add(start)
        part = [start]
        for path in part:
            for pipe in path.pipes:
                if pipe not in seen:
                    seen.add(pipe)
                    joined = [other for other in pipe.paths if other not in seen]
                    seen.update(joined)
                    part.extend(joined)
        yield part
