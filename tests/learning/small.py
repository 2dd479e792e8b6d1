"""Small data sets, written as IDX files."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def idx_values(values) -> bytes:
    """An IDX file of unsigned bytes."""
    array = np.asarray(values, np.uint8)
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_folder(
    folder: Path, train, train_labels, test, test_labels, *, dash: str = "-", packed: bool = False
) -> Path:
    """Write the four files of a data set."""
    parts = {
        f"train-images{dash}idx3": train,
        f"train-labels{dash}idx1": train_labels,
        f"t10k-images{dash}idx3": test,
        f"t10k-labels{dash}idx1": test_labels,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in parts.items():
        content = idx_values(values)
        file = folder / f"{name}-ubyte{'.gz' if packed else ''}"
        file.write_bytes(gzip.compress(content) if packed else content)
    return folder


def bars(count: int, classes: int = 4, size: int = 8, *, seed: int = 0) -> tuple[np.ndarray, Sequence[int]]:
    """Images with a bright row that tells the class, and noise."""
    luck = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = luck.integers(0, 60, (count, size, size))
    images[np.arange(count), labels * size // classes] += 150
    return images, labels.tolist()
