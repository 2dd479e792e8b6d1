"""Data sets in memory: bytes as they come, turned into batches of a model's input when they are used.

Legend: n samples, B samples of a batch, H and W pixels. Only grey images so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from edgesim import catalogue, idx
from edgesim.errors import DataError
from edgesim.learning.sharding import Indices, stream

COUNTED = 1000
"""Images whose grey values are counted at a time: numpy makes eight bytes of each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """Images with their labels."""

    pixels_nHW: npt.NDArray[np.uint8]
    """Grey values, 0: background."""
    labels_n: Indices
    """Class of each, from 0."""

    def __len__(self) -> int:
        return len(self.labels_n)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSet:
    """Images to train on and images to test on."""

    name: str
    """As the scenario names it."""
    train: Images
    """What the workers share."""
    test: Images
    """What nobody trains on."""
    classes: int
    """Number of labels: the largest of all and one."""
    mean: float
    """Mean grey value of the images to train on."""
    spread: float
    """Standard deviation of their grey values, more than 0."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        height, width = self.train.pixels_nHW.shape[1:]
        return height, width

    def batch(
        self, images: Images, chosen_B: Indices, input_shape: tuple[int, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return some images as a model takes them, float32 [B, *input_shape], and their labels [B].

        Grey values are brought to mean 0 and deviation 1, sizes to the model's by bilinear interpolation,
        and the one channel is repeated.
        """
        channels, height, width = input_shape
        pixels = torch.from_numpy(images.pixels_nHW[chosen_B]).float().sub_(self.mean).div_(self.spread)
        made = pixels.unsqueeze(1)
        if (height, width) != self.size:
            made = functional.interpolate(made, (height, width), mode="bilinear", align_corners=False)
        return made.expand(-1, channels, -1, -1).contiguous(), torch.from_numpy(images.labels_n[chosen_B])


def load_data(data: str, base: Path = Path()) -> DataSet:
    """Return a data set by name, or by the path of a folder of IDX files, read from `base`.

    Raises `DataError` if it is not there or cannot be used.

    >>> digits = load_data("digits")
    >>> len(digits.train), len(digits.test), digits.size, digits.classes
    (1437, 360, (8, 8), 10)
    """
    folder = catalogue.data_folder(data, base)
    return _digits() if folder is None else _from_folder(data, folder)


def _digits() -> DataSet:
    """The digits of scikit-learn; the same fifth of them is always the test set, whatever the seed."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = stream(0, "digits").permutation(len(found.target))
    pixels, labels = found.images[order].astype(np.uint8), found.target[order].astype(np.int64)
    train = catalogue.DATA_SETS["digits"].train
    return _made(
        "digits",
        Images(pixels_nHW=pixels[:train], labels_n=labels[:train]),
        Images(pixels_nHW=pixels[train:], labels_n=labels[train:]),
    )


def _from_folder(name: str, folder: Path) -> DataSet:
    parts = idx.read(folder)
    train, test = (
        Images(pixels_nHW=parts[f"{kind}_images"], labels_n=parts[f"{kind}_labels"].astype(np.int64))
        for kind in ("train", "test")
    )
    unseen = sorted(set(test.labels_n.tolist()) - set(train.labels_n.tolist()))
    if unseen:
        raise DataError(
            f"{folder}: labels to test on that nothing trains on: {', '.join(map(str, unseen[:5]))}"
        )
    return _made(name, train, test)


def _made(name: str, train: Images, test: Images) -> DataSet:
    """Return a data set; its mean and deviation come from whole sums, the same on every machine."""
    count = np.zeros(256, np.int64)
    for first in range(0, len(train), COUNTED):
        count += np.bincount(train.pixels_nHW[first : first + COUNTED].reshape(-1), minlength=256)
    value = np.arange(256)
    total, one, two = int(count.sum()), int(count @ value), int(count @ value**2)
    spread = (two / total - (one / total) ** 2) ** 0.5
    classes = int(train.labels_n.max()) + 1
    if spread == 0.0 or classes < 2:
        what = "all pixels are alike" if spread == 0.0 else "all labels are 0"
        raise DataError(f"{name}: {what}, so there is nothing to learn")
    return DataSet(name=name, train=train, test=test, classes=classes, mean=one / total, spread=spread)
