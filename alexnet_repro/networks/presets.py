"""Preset networks: AlexNet as printed, as run and as others interpret it, and cuda-convnet's nets for CIFAR-10.

Layers are listed from the image to the logits. Comments give the shape after a layer, channels x height x width.
"""

from __future__ import annotations

from dataclasses import replace

from alexnet_repro.networks.spec import (
    Activation,
    Conv,
    Dropout,
    Linear,
    Local,
    NetConfig,
    Norm,
    Pool,
    WithinChannelNorm,
)

# --- AlexNet -------------------------------------------------------------------------------------------------------
# Unless a preset differs, conv1 has 55 x 55 positions, from 224 pixels plus 3 zero pixels on the right and bottom (the
# 2012 code's size rule rounds up), and there are two towers, of which conv3 and the fully connected layers read both.

_PAPER = NetConfig(
    name="paper",
    image_size=224,
    num_classes=1000,
    towers=2,
    layers=(
        Conv("conv1", channels=96, kernel=11, stride=4, padding=(0, 3), std=0.01),  # 96 x 55 x 55
        Activation("relu1"),
        Norm("norm1", size=5, alpha=1e-4, beta=0.75, k=2.0, average=False),
        Pool("pool1", "max"),  # 96 x 27 x 27
        Conv("conv2", channels=256, kernel=5, std=0.01, bias=1.0, reads="own"),  # 256 x 27 x 27
        Activation("relu2"),
        Norm("norm2", size=5, alpha=1e-4, beta=0.75, k=2.0, average=False),
        Pool("pool2", "max"),  # 256 x 13 x 13
        Conv("conv3", channels=384, kernel=3, std=0.01),  # 384 x 13 x 13
        Activation("relu3"),
        Conv("conv4", channels=384, kernel=3, std=0.01, bias=1.0, reads="own"),  # 384 x 13 x 13
        Activation("relu4"),
        Conv("conv5", channels=256, kernel=3, std=0.01, bias=1.0, reads="own"),  # 256 x 13 x 13
        Activation("relu5"),
        Pool("pool5", "max"),  # 256 x 6 x 6
        Linear("fc6", outputs=4096, std=0.01, bias=1.0),
        Activation("relu6"),
        Dropout("drop6"),
        Linear("fc7", outputs=4096, std=0.01, bias=1.0),
        Activation("relu7"),
        Dropout("drop7"),
        Linear("fc8", std=0.01),
    ),
)
"""Sec. 3 to 5 as printed. OURS: where the 3 pixels of padding are (the paper is silent), as in the 2012 code."""

_RUN145 = replace(
    _PAPER,
    name="run145",
    layers=(
        Conv("conv1", channels=96, kernel=11, stride=4, padding=(0, 3), std=0.01),  # 96 x 55 x 55
        # before relu1: the denominators include negative responses
        Norm("norm1", size=5, alpha=1e-4, beta=0.75, k=2.0, average=True),
        Pool("pool1", "max"),  # 96 x 27 x 27
        Activation("relu1"),
        Conv("conv2", channels=256, kernel=5, std=0.01, bias=1.0, reads="own"),  # 256 x 27 x 27
        Activation("relu2"),
        Norm("norm2", size=5, alpha=1e-4, beta=0.75, k=2.0, average=True),
        WithinChannelNorm("cnorm2", size=5, scale=1e-3),
        Pool("pool2", "max"),  # 256 x 13 x 13
        Conv("conv3", channels=384, kernel=3, std=0.03),  # 384 x 13 x 13
        Activation("relu3"),
        Conv("conv4", channels=384, kernel=3, std=0.03, bias=1.0, reads="own"),  # 384 x 13 x 13
        Activation("relu4"),
        Conv("conv5", channels=256, kernel=3, std=0.03, bias=1.0, reads="own"),  # 256 x 13 x 13
        Pool("pool5", "max"),  # 256 x 6 x 6
        Activation("relu5"),
        *_PAPER.layers[-7:],
    ),
)
"""2012 code, layers-145.cfg: the network behind the paper's reported errors."""

_QUARTER = 0.25

_RUN145_SMALL = replace(
    _RUN145.changed(
        "run145-small",
        **{layer.name: {"std": layer.std * _QUARTER**-0.5} for layer in _RUN145.layers[1:] if hasattr(layer, "std")},
    ),
    image_size=112,
    width=_QUARTER,
)
"""Run 145 at a quarter of its width, on images of half the height and width. OURS: except in conv1, the standard
deviation of the initial weights is doubled, to make up for the smaller number of input channels."""

_RUN145_HALF = replace(
    _RUN145.changed(
        "run145-half",
        conv1={"channels": 48}, conv2={"channels": 128}, conv3={"channels": 192}, conv4={"channels": 192},
        # conv5 is not halved
    ),
    towers=1,
)  # fmt: skip
"""2012 code, layers-145-half.cfg: the one-tower ("column") network that the paper compares with two towers."""

_RUN147 = _RUN145.changed(
    "run147",
    pool1={"size": 2},  # 96 x 28 x 28
    conv2={"padding": 1},  # 256 x 26 x 26
    pool2={"size": 2},  # 256 x 13 x 13
    conv5={"padding": 0},  # 256 x 11 x 11
    pool5={"size": 2},  # 256 x 6 x 6
)  # fmt: skip
"""2012 code, layers-147.cfg: pools that do not overlap, and paddings that keep the grids after pool2 and pool5."""

_RUN148 = replace(_RUN145.without(Norm, WithinChannelNorm), name="run148")
"""2012 code, layers-148.cfg: without any normalization, not even the one within channels."""

_NOTES = _PAPER.changed(
    "notes",
    **{layer.name: {"std": 0.1} for layer in _PAPER.layers if isinstance(layer, Conv)},
    fc6={"std": 0.1, "reads": "own"}, fc7={"std": 0.1, "reads": "own"}, fc8={"std": 0.1, "bias": 1.0},
)  # fmt: skip
"""Study notes on the paper, as written: fc6 and fc7 within each tower, standard deviation 0.1, biases 1 in every fully
connected layer. (They also take 256 pixels, the size of the stored images, for the network's input, and
flips without crops; here it is 224, with both.)"""


_CAFFE = replace(
    _PAPER.changed(
        "caffe",
        conv1={"padding": 0}, conv2={"bias": 0.1}, conv4={"bias": 0.1}, conv5={"bias": 0.1},
        fc6={"std": 0.005, "bias": 0.1}, fc7={"std": 0.005, "bias": 0.1},
        norm1={"k": 1.0, "average": True, "reads": "all"}, norm2={"k": 1.0, "average": True, "reads": "all"},
        drop6={"rescale": True}, drop7={"rescale": True},
    ),
    image_size=227,
)  # fmt: skip
"""Caffe's models/bvlc_alexnet: crops of 227, k = 1, norm windows that cross the groups, biases 0.1 instead of 1."""

_TORCHVISION = NetConfig(
    name="torchvision",
    image_size=224,
    num_classes=1000,
    initialization="torch",
    layers=(
        Conv("conv1", channels=64, kernel=11, stride=4, padding=2, std=0.01),  # 64 x 55 x 55
        Activation("relu1"),
        Pool("pool1", "max"),  # 64 x 27 x 27
        Conv("conv2", channels=192, kernel=5, std=0.01),  # 192 x 27 x 27
        Activation("relu2"),
        Pool("pool2", "max"),  # 192 x 13 x 13
        Conv("conv3", channels=384, kernel=3, std=0.01),  # 384 x 13 x 13
        Activation("relu3"),
        Conv("conv4", channels=256, kernel=3, std=0.01),  # 256 x 13 x 13
        Activation("relu4"),
        Conv("conv5", channels=256, kernel=3, std=0.01),  # 256 x 13 x 13
        Activation("relu5"),
        Pool("pool5", "max"),  # 256 x 6 x 6
        Dropout("drop6", rescale=True),
        Linear("fc6", outputs=4096, std=0.01),
        Activation("relu6"),
        Dropout("drop7", rescale=True),
        Linear("fc7", outputs=4096, std=0.01),
        Activation("relu7"),
        Linear("fc8", std=0.01),
    ),
)
"""torchvision.models.alexnet: the later one-tower network, without normalization, with dropout before fc6 and fc7."""

# --- CIFAR-10: cuda-convnet's layer files --------------------------------------------------------------------------

_CIFAR_19PCT = NetConfig(
    name="cifar-19pct",
    layers=(
        Conv("conv1", channels=32, kernel=5, std=1e-4),  # 32 x 32 x 32
        Pool("pool1", "max"),  # 32 x 16 x 16
        Activation("act1"),
        Conv("conv2", channels=32, kernel=5, std=0.01),
        Activation("act2"),
        Pool("pool2", "avg"),  # 32 x 8 x 8
        Conv("conv3", channels=64, kernel=5, std=0.01),
        Activation("act3"),
        Pool("pool3", "avg"),  # 64 x 4 x 4
        Linear("fc10", std=0.01),
    ),
)
"""layers-19pct.cfg"""

_CIFAR_80SEC = replace(
    _CIFAR_19PCT,
    name="cifar-80sec",
    layers=(
        *_CIFAR_19PCT.layers[:-1],
        Linear("fc64", outputs=64, std=0.1),
        Activation("act4"),
        Linear("fc10", std=0.1),
    ),
)
"""layers-80sec.cfg"""

_CIFAR_18PCT = replace(
    _CIFAR_19PCT,
    name="cifar-18pct",
    layers=(
        *_CIFAR_19PCT.layers[:3],
        WithinChannelNorm("rnorm1", size=3, scale=5e-5),
        *_CIFAR_19PCT.layers[3:6],
        WithinChannelNorm("rnorm2", size=3, scale=5e-5),
        *_CIFAR_19PCT.layers[6:],
    ),
)
"""layers-18pct.cfg"""

_CIFAR_11PCT_R540 = NetConfig(
    name="cifar-11pct-r540",
    image_size=24,
    layers=(
        Conv("conv1", channels=64, kernel=5, std=1e-4),  # 64 x 24 x 24
        Activation("act1"),
        Norm("norm1", size=5, alpha=1e-3, k=1.0),
        Pool("pool1", "max"),  # 64 x 12 x 12
        Conv("conv2", channels=64, kernel=5, std=0.01),
        Activation("act2"),
        Norm("norm2", size=5, alpha=1e-3, k=1.0),
        Pool("pool2", "max"),  # 64 x 6 x 6
        Local("local3", channels=32, kernel=3, std=0.04),
        Activation("act3"),
        Local("local4", channels=32, kernel=3, std=0.04),
        Activation("act4"),
        Linear("fc10", std=0.01),
    ),
)
"""The first version, revision 540, of layers-conv-local-11pct.cfg: the 13 % net plus two normalizations."""

_CIFAR_13PCT = replace(_CIFAR_11PCT_R540.without(Norm), name="cifar-13pct")
"""layers-conv-local-13pct.cfg"""

_CIFAR_11PCT = replace(
    _CIFAR_13PCT,
    name="cifar-11pct",
    layers=(
        *_CIFAR_13PCT.layers[:3],
        Norm("norm1", size=9, alpha=1e-3, k=1.0),  # after the pool
        *_CIFAR_13PCT.layers[3:5],
        Norm("norm2", size=9, alpha=1e-3, k=1.0),  # before the pool
        _CIFAR_13PCT.layers[5],
        Local("local3", channels=64, kernel=3, std=0.04),
        *_CIFAR_13PCT.layers[7:],
    ),
)
"""layers-conv-local-11pct.cfg as published"""

PRESETS: dict[str, NetConfig] = {
    net.name: net
    for net in (
        _PAPER, _RUN145, _RUN145_SMALL, _RUN145_HALF, _RUN147, _RUN148, _NOTES, _CAFFE, _TORCHVISION,
        _CIFAR_80SEC, _CIFAR_19PCT, _CIFAR_18PCT, _CIFAR_13PCT, _CIFAR_11PCT_R540, _CIFAR_11PCT,
    )
}  # fmt: skip
"""All presets: name -> network."""
