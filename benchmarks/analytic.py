"""Layer tables of two CNNs worked out on paper, for when no measured profile is at hand.

Each layer is (parameters, forward MACs an image), in forward order; batch normalisation belongs to its
convolution. VGG-19: Simonyan and Zisserman, ICLR 2015. ResNet-152: He et al., CVPR 2016, with the stride in
the 3x3 convolution.
"""

from __future__ import annotations

import argparse
import json

BYTES = 4  # float32
FLOP_PER_MAC = 2
BACKWARD = 2.0  # the backward pass computes two products where the forward pass computes one

Table = list[tuple[int, int]]


def vgg19() -> Table:
    layers, channels, side = [], 3, 224
    for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            weights = channels * width * 9
            layers.append((weights + width, weights * side * side))
            channels = width
        side //= 2
    for inputs, outputs in ((512 * 49, 4096), (4096, 4096), (4096, 1000)):
        layers.append((inputs * outputs + outputs, inputs * outputs))
    return layers


def resnet152() -> Table:
    layers = [_conv(3, 64, 7, 112)]
    channels, side = 64, 56
    for width, blocks, stride in ((64, 3, 1), (128, 8, 2), (256, 36, 2), (512, 3, 2)):
        for block in range(blocks):
            out = side // (stride if block == 0 else 1)
            layers += [
                _conv(channels, width, 1, side),
                _conv(width, width, 3, out),
                _conv(width, 4 * width, 1, out),
            ]
            if block == 0:
                layers.append(_conv(channels, 4 * width, 1, out))
            channels, side = 4 * width, out
    layers.append((2048 * 1000 + 1000, 2048 * 1000))
    return layers


def _conv(inputs: int, outputs: int, kernel: int, side: int) -> tuple[int, int]:
    """One convolution without bias and its batch normalisation on `side` x `side` outputs."""
    weights = inputs * outputs * kernel * kernel
    return weights + 2 * outputs, weights * side * side


def times_s(
    table: Table, *, batch: int = 32, flops: float = 5e12, bandwidth_Bps: float = 1.25e9
) -> tuple[list[float], list[float], list[float]]:
    """Return the transfer, forward and backward times of each layer, in s, on a device of so many FLOP/s."""
    transfer = [parameters * BYTES / bandwidth_Bps for parameters, _ in table]
    forward = [macs * FLOP_PER_MAC * batch / flops for _, macs in table]
    return transfer, forward, [BACKWARD * one for one in forward]


MODELS = {"vgg-19": vgg19, "resnet-152": resnet152}


def main() -> None:
    """Print how large the models of the tables are, to hold against what their authors say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="a list of rows on standard output")
    parser.add_argument("--quick", action="store_true", help="no difference: nothing is measured here")
    rows = [
        {
            "model": name,
            "layers": len(table()),
            "parameters": sum(parameters for parameters, _ in table()),
            "gmac": sum(macs for _, macs in table()) / 1e9,
        }
        for name, table in MODELS.items()
    ]
    print(json.dumps(rows) if parser.parse_args().json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
