"""IDX files: what is read is what is there, and every way in which a file can be wrong is told."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from edgesim import idx
from edgesim.errors import DataError
from tests.learning.small import idx_folder, idx_values


def test_a_folder_is_read_as_written(tmp_path):
    train, test = np.arange(5 * 3 * 4).reshape(5, 3, 4), np.arange(2 * 3 * 4).reshape(2, 3, 4)
    idx_folder(tmp_path, train, [0, 1, 2, 0, 1], test, [1, 2])
    assert idx.survey(tmp_path) == idx.Survey(train=5, test=2, height=3, width=4)
    found = idx.read(tmp_path)
    assert np.array_equal(found["train_images"], train)
    assert np.array_equal(found["test_images"], test)
    assert found["train_labels"].tolist() == [0, 1, 2, 0, 1]
    assert found["test_labels"].tolist() == [1, 2]


@pytest.mark.parametrize("dash", ["-", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_both_names_and_both_forms_are_read(tmp_path, dash, packed):
    idx_folder(
        tmp_path, np.zeros((4, 2, 2)), [0, 1, 0, 1], np.zeros((2, 2, 2)), [0, 1], dash=dash, packed=packed
    )
    assert len(idx.read(tmp_path)["train_labels"]) == 4


WRONG = {
    "train-images-idx3-ubyte": [
        (b"", "is no IDX file: it begins with nothing"),
        (b"\x80\x04ab", "is no IDX file: it begins with 80 04 61 62, not with 00 00 08 03"),
        (b"\0\0\x0d\x03" + struct.pack(">3I", 4, 2, 2), "begins with 00 00 0d 03; 00 00 08 03 is due"),
        (b"\0\0\x08\x01" + struct.pack(">I", 4), "begins with 00 00 08 01; 00 00 08 03 is due"),
        (b"\0\0\x08\x03\0\0", "is cut off within its header"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 0, 2, 2), "declares sizes 0x2x2; it is empty"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 4, 2, 2) + bytes(15), "is cut off: 16 bytes are due after"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 4, 2, 2) + bytes(17), "goes on after the 16 bytes"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 5, 2, 2) + bytes(20), "has 5 images, but .* has 4 labels"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 4, 2, 3) + bytes(24), "train on are 2x3, those to test on 2x2"),
    ],
    "t10k-labels-idx1-ubyte": [
        (b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\0", "is cut off: 2 bytes are due"),
        (b"\0\0\x08\x01" + struct.pack(">I", 3) + b"\0\1\1", "has 2 images, but .* has 3 labels"),
    ],
}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [(name, content, said) for name, cases in WRONG.items() for content, said in cases],
)
def test_a_wrong_file_is_told(tmp_path, name, content, said):
    small(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        idx.read(tmp_path)
    assert name in str(caught.value) or "those to test on" in said


def test_a_header_that_promises_too_much_is_not_believed(tmp_path):
    small(tmp_path)
    sizes = struct.pack(">3I", 4, 2**31, 2**31)
    for stem in ("train", "t10k"):
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_values([0, 1, 0, 1]))
    with pytest.raises(DataError, match="declares 18446744073709551616 bytes, more than 4294967296"):
        idx.read(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "no gzip", "flipped"])
def test_a_damaged_gzip_is_told(tmp_path, damage):
    luck = np.random.default_rng(0)
    idx_folder(
        tmp_path, luck.integers(0, 256, (40, 9, 9)), [0, 1] * 20, np.zeros((2, 9, 9)), [0, 1], packed=True
    )
    file = tmp_path / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    half = len(whole) // 2
    content = {
        "cut": whole[:half],
        "no gzip": gzip.decompress(whole),
        "flipped": whole[:half] + bytes([whole[half] ^ 0xFF]) + whole[half + 1 :],
    }
    file.write_bytes(content[damage])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: cannot be read"):
        idx.read(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere is not there; name a folder"):
        idx.survey(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file is a file; name a folder"):
        idx.survey(tmp_path / "file")
    small(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(
        DataError, match=r"no file t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz; .* four files"
    ):
        idx.survey(tmp_path)


def small(folder: Path) -> None:
    idx_folder(folder, np.zeros((4, 2, 2)), [0, 1, 0, 1], np.zeros((2, 2, 2)), [0, 1])
