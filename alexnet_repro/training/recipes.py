"""Training recipes for the networks of the same names: as printed, as run, and as in other reproductions."""

from __future__ import annotations

from dataclasses import replace

from alexnet_repro.training.config import TrainConfig
from alexnet_repro.training.schedules import Dexp, Plateau, Stage, Stages

STUCK_AFTER = 10_000  # steps, one pass over ImageNet in batches of 128. OURS

# --- AlexNet -------------------------------------------------------------------------------------------------------

_DECAY = dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"), 5e-4)

_PAPER = TrainConfig(
    epochs=90, lr=0.01, bias_lr_factor=1.0, weight_decay=_DECAY, schedule=Plateau(), stuck_after=STUCK_AFTER
)
"""Sec. 5: one learning rate for all layers, divided by 10 when the validation error stops improving, three times. The
paper speaks of weights only. OURS: biases do not decay, as in the code."""


def _recorded(lengths: tuple[int, ...], late_bias_factor: float) -> Stages:
    """The stages of run 145: conv1 is annealed first and then frozen; colour noise ends with the third stage."""
    factors = (1.0, 0.1, 0.01, 0.01, 0.01, 0.001)  # of all layers but conv1
    conv1 = (None, None, None, 0.001, 0.0, 0.0)
    return Stages(
        tuple(
            Stage(
                epochs=epochs,
                lr_factor=factor,
                bias_lr_factor=late_bias_factor if i else 1.0,
                layer_lr_factors={} if first is None else {"conv1": first},
                color=i < 3,
            )
            for i, (epochs, factor, first) in enumerate(zip(lengths, factors, conv1, strict=True))
        )
    )


_RUN145 = replace(_PAPER, epochs=91, bias_lr_factor=2.0, schedule=_recorded((25, 26, 16, 5, 7, 12), 1.0))
"""2012 code, the log in layer-params-145.cfg (ILSVRC-2012): stages that end with epochs 25, 51, 67, 72, 79, 91. The
biases' learning rate was never lowered."""

_RUN145_SMALL = TrainConfig(epochs=60, lr=0.01, lr_drops=(42, 54), bias_lr_factor=2.0, weight_decay=_DECAY)
"""OURS: long enough on ten thousand images for the network to overfit; the colour noise stays on."""

_RUN145_2010 = replace(_PAPER, epochs=93, bias_lr_factor=2.0, schedule=_recorded((23, 28, 17, 4, 6, 15), 0.1))
"""The same from layer-params-145-2010.cfg: epochs 23, 51, 68, 72, 78 and 93. OURS: the biases' learning rate drops
once, with the second stage; the file has the lowered rate, but not when it was lowered."""

_CONVNET2 = replace(_PAPER, bias_lr_factor=2.0, schedule=Dexp())
"""cuda-convnet2, layer-params-imagenet-1gpu.cfg: an automatic schedule throughout."""

_NOTES = replace(_PAPER, lr=0.1)
"""Study notes on the paper, as written: a learning rate ten times too large."""


def _tenths(*lengths: int) -> Stages:
    """Stages of these lengths; all learning rates, those of the biases too, are divided by 10 after each."""
    return Stages(tuple(Stage(epochs=n, lr_factor=0.1**i, bias_lr_factor=0.1**i) for i, n in enumerate(lengths)))


_CAFFE = replace(_PAPER, bias_lr_factor=2.0, schedule=_tenths(20, 20, 20, 20, 20))
"""Caffe's bvlc_alexnet: divided by 10 every 100,000 minibatches of 256, which is every 20 epochs of ImageNet."""

# --- CIFAR-10: cuda-convnet's parameter files -----------------------------------------------------------------------


def _four_then_five(four: int, five: int) -> Stages:
    """First batches 1 to 4 of the five, then all; then a tenth and a hundredth of the learning rate, 10 epochs each."""
    lengths, factors, parts = (four, five, 10, 10), (1.0, 1.0, 0.1, 0.01), (0.8, 1.0, 1.0, 1.0)
    return Stages(
        tuple(
            Stage(epochs=n, lr_factor=factor, part=part)
            for n, factor, part in zip(lengths, factors, parts, strict=True)
        )
    )


_LOCAL_DECAY = {"local3": 0.004, "local4": 0.004, "fc10": 0.004}
_CONV_DECAY = {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004}
_CIFAR_13PCT = TrainConfig(epochs=160, lr=0.001, weight_decay=_LOCAL_DECAY, schedule=_four_then_five(100, 40))
"""cuda-convnet's wiki, Methodology: 100, 40, 10 and 10 epochs. OURS: the same for revision 540 of the 11 % net."""
_CIFAR_11PCT = replace(
    _CIFAR_13PCT, epochs=520, weight_decay=_LOCAL_DECAY | {"fc10": 0.01}, schedule=_four_then_five(350, 150)
)
"""layer-params-conv-local-11pct.cfg: 350, 150, 10 and 10 epochs."""
_CIFAR_18PCT = TrainConfig(
    epochs=140, lr=0.001, schedule=_tenths(120, 10, 10), weight_decay=_CONV_DECAY | {"fc10": 1.0}
)
"""layer-params-18pct.cfg, which says to reduce "all" learning rates, those of the biases too. OURS: the last 10 of the
140 epochs, because the file gives no end."""
_CIFAR_19PCT = replace(_CIFAR_18PCT, weight_decay=_CONV_DECAY | {"fc10": 3.0})
"""layer-params-19pct.cfg, which has no schedule; OURS: the schedule of the 18 % net."""
_CIFAR_80SEC = TrainConfig(epochs=10, lr=0.001, lr_drops=(8,), weight_decay=_CONV_DECAY | {"fc64": 0.03, "fc10": 0.03})
"""layer-params-80sec.cfg, with a drop after 8 epochs; the 2 epochs after it are from Caffe's copy."""

TRAIN_PRESETS: dict[str, TrainConfig] = {  # those of run 145's siblings are its own: their logs differ by a few epochs
    **dict.fromkeys(("paper", "torchvision"), _PAPER),  # torchvision's own recipe needs crops that are not the paper's
    "notes": _NOTES,
    **dict.fromkeys(("run145", "run145-half", "run147", "run148"), _RUN145),
    "run145-small": _RUN145_SMALL,
    "run145-2010": _RUN145_2010,
    "cuda-convnet2": _CONVNET2,
    "caffe": _CAFFE,
    "cifar-80sec": _CIFAR_80SEC,
    "cifar-19pct": _CIFAR_19PCT,
    "cifar-18pct": _CIFAR_18PCT,
    **dict.fromkeys(("cifar-13pct", "cifar-11pct-r540"), _CIFAR_13PCT),
    "cifar-11pct": _CIFAR_11PCT,
}
"""Name -> training recipe."""
