"""Who trains on which samples: shards of a data set, and the order in which a worker goes through its own.

Legend: n samples, N workers, K classes. Everything random comes from a stream with a name, which depends on
the seed and that name alone.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np
import numpy.typing as npt

from edgesim.errors import DataError

Indices = npt.NDArray[np.int64]
"""Numbers of samples, 0-based."""


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of that name.

    >>> stream(1, "a").permutation(9).tolist() == stream(1, "a").permutation(9).tolist()
    True
    """
    key = (crc32(name.encode()), len(name))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def iid(labels_n: Indices, workers: int, random: np.random.Generator) -> list[Indices]:
    """Return N shards of sizes that differ by one at most, of samples in random order."""
    return list(np.array_split(random.permutation(len(labels_n)), workers))


def dirichlet(labels_n: Indices, workers: int, alpha: float, random: np.random.Generator) -> list[Indices]:
    """Return N shards in which each class is spread by its own draw from a symmetric Dirichlet distribution.

    Large `alpha`: all shards alike; small: few classes a worker, and unequal sizes (Li et al., "Federated
    learning on non-IID data silos", ICDE 2022, arXiv:2102.02079, section 4: p_k ~ Dir_N(alpha), worker j gets
    the share p_kj of class k). A worker that would get nothing is given a sample of the largest shard.
    """
    parts: list[list[Indices]] = [[] for _ in range(workers)]
    for label in np.unique(labels_n):
        mine = random.permutation(np.flatnonzero(labels_n == label))
        shares = random.dirichlet(np.full(workers, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(mine)).astype(np.int64)
        for part, piece in zip(parts, np.split(mine, cuts), strict=True):
            part.append(piece)
    shards = [np.concatenate(part) for part in parts]
    for number in range(workers):
        if not len(shards[number]):
            largest = max(range(workers), key=lambda other: len(shards[other]))
            shards[number], shards[largest] = shards[largest][-1:], shards[largest][:-1]
    return shards


def split(labels_n: Indices, workers: int, how: str, alpha: float | None, seed: int) -> list[Indices]:
    """Return N shards, `iid` or `dirichlet`: each sample is in just one, and none is empty.

    Raises `DataError` where there are more workers than samples.
    """
    if workers > len(labels_n):
        raise DataError(
            f"{workers} workers cannot share {len(labels_n)} samples; take fewer workers or more data"
        )
    random = stream(seed, "shards")
    if how == "iid":
        return iid(labels_n, workers, random)
    assert how == "dirichlet", how
    assert alpha is not None, "a Dirichlet distribution has an alpha"
    return dirichlet(labels_n, workers, alpha, random)


class Batches:
    """A worker's batches, one after the other: each epoch goes through the whole shard in a new order.

    A batch that the rest of an epoch does not fill goes on into the next, so that all are of one size.

    >>> batches = Batches(np.array([7, 8, 9]), 2, lambda epoch: stream(0, f"order {epoch}"))
    >>> drawn = [batches.next().tolist() for _ in range(3)]
    >>> sorted(drawn[0] + drawn[1][:1]), sorted(drawn[1][1:] + drawn[2])
    ([7, 8, 9], [7, 8, 9])
    """

    def __init__(self, shard: Indices, size: int, random: Callable[[int], np.random.Generator]) -> None:
        """Hand out batches of `size` samples of a shard; `random` gives the stream of an epoch."""
        self.shard = shard
        """The worker's samples."""
        self._size, self._random = size, random
        self._drawn = 0
        self._orders: dict[int, Indices] = {}

    def next(self) -> Indices:
        """Return the numbers of the samples of the next batch."""
        self._drawn += 1
        return self.at(self._drawn - 1)

    def at(self, number: int) -> Indices:
        """Return the numbers of the samples of a batch, 0-based, whichever was drawn before."""
        parts, first, last = [], number * self._size, (number + 1) * self._size
        while first < last:
            epoch, begin = divmod(first, len(self.shard))
            parts.append(self._order(epoch)[begin : begin + last - first])
            first += len(parts[-1])
        return np.concatenate(parts)

    def _order(self, epoch: int) -> Indices:
        """Return the shard in the order of an epoch; those of the last two asked for are remembered."""
        if epoch not in self._orders:
            while len(self._orders) > 1:
                del self._orders[next(iter(self._orders))]
            self._orders[epoch] = self._random(epoch).permutation(self.shard)
        return self._orders[epoch]


def order_of(seed: int, name: str, epoch: int) -> np.random.Generator:
    """Return the random stream by which somebody of that name orders the samples of an epoch, 0-based."""
    return stream(seed, f"{name} epoch {epoch}")
