"""Shards: every sample is someone's and only theirs, and nothing depends on the run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesim.errors import DataError
from edgesim.learning.sharding import Batches, split, stream


@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=200),
    workers=st.integers(1, 20),
    alpha=st.one_of(st.none(), st.floats(0.01, 100.0)),
    seed=st.integers(0, 2**63 - 1),
)
def test_shards_are_a_partition_and_the_same_each_time(labels, workers, alpha, seed):
    labels = np.array(labels)
    how = "iid" if alpha is None else "dirichlet"
    if workers > len(labels):
        with pytest.raises(DataError, match=f"{workers} workers cannot share {len(labels)} samples"):
            split(labels, workers, how, alpha, seed)
        return
    shards = split(labels, workers, how, alpha, seed)
    again = split(labels, workers, how, alpha, seed)
    assert len(shards) == workers
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(labels)))
    assert min(map(len, shards)) >= 1
    assert all(np.array_equal(one, other) for one, other in zip(shards, again, strict=True))
    if how == "iid":
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_another_seed_gives_other_shards():
    labels = np.zeros(50, np.int64)
    one, other = (np.concatenate(split(labels, 2, "iid", None, seed)).tolist() for seed in (0, 1))
    assert one != other


def test_a_small_alpha_gives_few_classes_a_worker():
    labels = np.arange(2000) % 10

    def evenness(alpha):
        """Mean over the workers of the largest class's share of their shard; 0.1: all classes alike."""
        shards = split(labels, 5, "dirichlet", alpha, 0)
        return np.mean([np.bincount(labels[shard], minlength=10).max() / len(shard) for shard in shards])

    assert evenness(1000.0) < 0.13
    assert evenness(0.1) > 0.4


@given(size=st.integers(1, 30), samples=st.integers(1, 20), batches=st.integers(1, 12))
def test_batches_are_of_one_size_and_go_through_the_shard_evenly(size, samples, batches):
    shard = np.arange(100, 100 + samples)
    drawing = Batches(shard, size, lambda epoch: stream(3, f"{epoch}"))
    drawn = [drawing.next().tolist() for _ in range(batches)]
    assert {len(batch) for batch in drawn} == {size}
    counts = np.bincount(np.concatenate(drawn) - 100, minlength=samples)
    assert len(counts) == samples
    assert counts.max() - counts.min() <= 1


def test_each_epoch_has_an_order_of_its_own():
    drawing = Batches(np.arange(50), 50, lambda epoch: stream(3, f"{epoch}"))
    assert drawing.next().tolist() != drawing.next().tolist()
