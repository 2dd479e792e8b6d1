"""Following tensor storages without keeping their memory: small typed helpers over torch's untyped ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_iter

__all__ = ["StorageWeakRef", "address", "alive", "nbytes", "tensors", "weakly"]


def weakly(storage: torch.UntypedStorage) -> StorageWeakRef:
    """Return a reference that keeps the storage's address from being used again, but not its memory."""
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]


def alive(reference: StorageWeakRef) -> bool:
    """Return whether the storage still has its memory."""
    return not reference.expired()  # type: ignore[no-untyped-call]


def address(tensor: torch.Tensor) -> int:
    """Return what tells one storage from another; views of a storage share it."""
    return int(tensor.untyped_storage()._cdata)


def tensors(*values: Any) -> Iterator[torch.Tensor]:
    """Yield every tensor in nested tuples, lists and dicts.

    >>> [tensor.item() for tensor in tensors([torch.tensor(1), {"a": (torch.tensor(2), None)}])]
    [1, 2]
    """
    for value in tree_iter(values):
        if isinstance(value, torch.Tensor):
            yield value


def nbytes(tensor: torch.Tensor) -> int:
    """Return the size of a tensor's elements, in B.

    >>> nbytes(torch.zeros(2, 3))
    24
    """
    return tensor.numel() * tensor.element_size()
