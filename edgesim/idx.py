"""IDX files, the form in which MNIST and its kin come: images and labels as plain bytes.

Four files a folder, gzipped or not. A file is 00 00, a byte for the type (08: unsigned bytes), a byte for
the number of sizes, the sizes as big-endian uint32, then the values (LeCun, Cortes and Burges, "The MNIST
database of handwritten digits"). Nothing is ever unpickled.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from edgesim.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

STEMS = {
    "train_images": ("train-images", 3),
    "train_labels": ("train-labels", 1),
    "test_images": ("t10k-images", 3),
    "test_labels": ("t10k-labels", 1),
}
"""Beginning of each file's name, and how many sizes it has."""
UNSIGNED = 8
MAX_BYTES = 2**32
"""Most bytes of values that are read from one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the first bytes of a folder's files say."""

    train: int
    """Number of samples to train on."""
    test: int
    """Number of samples to test on."""
    height: int
    """Pixels from top to bottom."""
    width: int
    """Pixels from left to right."""


def survey(folder: Path) -> Survey:
    """Return the sizes that the files of a folder declare, read from their first bytes alone.

    Raises `DataError` for a file that is missing, is no IDX file, or does not go with the others.
    """
    files = find(folder)
    sizes = {part: _sizes(file, STEMS[part][1]) for part, file in files.items()}
    for kind in ("train", "test"):
        images, labels = f"{kind}_images", f"{kind}_labels"
        if sizes[images][0] != sizes[labels][0]:
            raise DataError(
                f"{files[images]} has {sizes[images][0]} images, but {files[labels]} has {sizes[labels][0]} "
                "labels; they are not of one data set"
            )
    if sizes["train_images"][1:] != sizes["test_images"][1:]:
        shown = ["x".join(map(str, sizes[part][1:])) for part in ("train_images", "test_images")]
        raise DataError(
            f"{folder}: images to train on are {shown[0]}, those to test on {shown[1]}; both must be alike"
        )
    train, height, width = sizes["train_images"]
    return Survey(train=train, test=sizes["test_images"][0], height=height, width=width)


def find(folder: Path) -> dict[str, Path]:
    """Return the four files of a folder by part, see `STEMS`. Raises `DataError` if one is missing."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is {'a file' if folder.exists() else 'not there'}; name a folder of IDX files"
        )
    found = {}
    for part, (stem, rank) in STEMS.items():
        names = [f"{stem}{dash}idx{rank}-ubyte{end}" for dash in "-." for end in ("", ".gz")]
        there = [folder / name for name in names if (folder / name).is_file()]
        if not there:
            raise DataError(
                f"{folder}: no file {names[0]} or {names[1]}; a folder in IDX form has four files: "
                + ", ".join(f"{stem}-idx{rank}-ubyte" for stem, rank in STEMS.values())
            )
        found[part] = there[0]
    return found


def read(folder: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the images [n, height, width] and labels [n] of a folder by part, see `STEMS`.

    Raises `DataError` as `survey` does, and for a file that is cut off, damaged, or goes on after its end.
    """
    survey(folder)
    return {part: _values(file, STEMS[part][1]) for part, file in find(folder).items()}


def _values(file: Path, rank: int) -> npt.NDArray[np.uint8]:
    import numpy as np

    with _opened(file) as stream:
        sizes = _header(file, stream, rank)
        due = math.prod(sizes)
        if due > MAX_BYTES:
            raise DataError(f"{file}: declares {due} bytes, more than {MAX_BYTES}; is it damaged?")
        content = stream.read(due + 1)
    if len(content) < due:
        raise DataError(f"{file}: is cut off: {due} bytes are due after its header, it has {len(content)}")
    if len(content) > due:
        raise DataError(f"{file}: goes on after the {due} bytes that its header declares; is it damaged?")
    return np.frombuffer(content, np.uint8).reshape(sizes)


def _sizes(file: Path, rank: int) -> tuple[int, ...]:
    with _opened(file) as stream:
        return _header(file, stream, rank)


def _header(file: Path, stream: IO[bytes], rank: int) -> tuple[int, ...]:
    """Return the sizes that a file declares, all of them above 0."""
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(
            f"{file}: is no IDX file: it begins with {start.hex(' ') or 'nothing'}, not with 00 00 08 0{rank}"
        )
    if start[2] != UNSIGNED or start[3] != rank:
        raise DataError(
            f"{file}: begins with {start.hex(' ')}; 00 00 08 0{rank} is due: unsigned bytes, {rank} sizes"
        )
    rest = stream.read(4 * rank)
    if len(rest) < 4 * rank:
        raise DataError(f"{file}: is cut off within its header")
    sizes: tuple[int, ...] = struct.unpack(f">{rank}I", rest)
    if min(sizes) < 1:
        raise DataError(f"{file}: declares sizes {'x'.join(map(str, sizes))}; it is empty")
    return sizes


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, gzipped or plain; what goes wrong while it is read becomes a `DataError`."""
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            yield cast(IO[bytes], stream)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{file}: cannot be read: {reason}") from error
