"""The studies of AlexNet: the whole recipe, and what becomes of run 145 without one of its parts.

Everything here stands before the runs. A change makes the records of earlier runs stale, and a test says so.
"""

from __future__ import annotations

from dataclasses import replace

from alexnet_repro.claims.study import Arm, Protocol, ScaleName, Study
from alexnet_repro.data.config import InputConfig
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.networks.spec import Conv, Linear, NetConfig, WithinChannelNorm
from alexnet_repro.training.config import TrainConfig

# --- the whole recipe: run 145, at three scales ---------------------------------------------------------------------


def _full_run(dataset: str, size: int, crop: int, classes: int, width: float, epochs: int, **inputs: int) -> Protocol:
    """Run 145 with everything but width, sizes and length as it was."""
    arm = Arm(
        net=replace(NetConfig.preset("run145"), num_classes=classes, image_size=crop, width=width),
        input=replace(InputConfig.preset("run145"), crop=crop, **inputs),
        train=TrainConfig.preset("run145").shortened(epochs),
    )
    return Protocol(dataset=dataset, size=size, seeds=1, arms={"run145": arm})


def _quick_start(protocol: Protocol) -> Protocol:
    """With PyTorch's initialization, with which a few steps are enough to leave chance behind."""
    arm = protocol.arms["run145"]
    return replace(protocol, arms={"run145": replace(arm, net=replace(arm.net, initialization="torch"))})


FULL_RUN = Study(
    id="full-run",
    protocols={
        "smoke": _quick_start(_full_run("photos", 80, 67, classes=10, width=0.125, epochs=6, batch_size=16)),
        "laptop": _full_run("imagenette", 128, 112, classes=10, width=0.25, epochs=60),
        "paper": _full_run("imagenet", 256, 224, classes=1000, width=1.0, epochs=91),
    },
)
"""Run 145 by its whole recipe."""

# --- the parts of AlexNet, one at a time: Sec. 3.2 to 5 ------------------------------------------------------------


def _alexnet_arms(base: Arm, conv5_padding: int | None = 0) -> dict[str, Arm]:
    """Run 145, and the same without one of its parts each; by the 2012 run's number where there was one.

    OURS: the middle layer that is removed is conv4.

    Args:
        conv5_padding: of run 147, whose last pool must leave as large a grid as that of run 145: 0 in the original.
    """
    net, inputs, train = base.net, base.input, base.train
    sized = {"num_classes": net.num_classes, "image_size": net.image_size, "width": net.width}
    stds = {layer.name: {"std": layer.std} for layer in net.layers if isinstance(layer, Conv | Linear)}
    named = {
        name: replace(PRESETS[name], **sized).changed(name, **stds) for name in ("run147", "run148", "run145-half")
    }
    named["run147"] = named["run147"].changed("run147", conv5={"padding": conv5_padding})
    changes = {
        "run145": {},
        **{name: {"net": changed} for name, changed in named.items()},
        "no-dropout": {"net": replace(net, dropout=0.0)},
        "no-colour": {"input": replace(inputs, color=None)},
        "biases-0": {"net": net.changed(net.name, **{layer: {"bias": 0.0} for layer in stds})},
        "no-decay": {"train": replace(train, weight_decay={})},
        "no-conv4": {
            "net": replace(net, layers=tuple(x for x in net.layers if x.name not in ("conv4", "relu4"))),
            "train": replace(train, weight_decay={k: v for k, v in train.weight_decay.items() if k != "conv4"}),
        },
        "no-third-norm": {"net": net.without(WithinChannelNorm)},
        "alpha-printed": {"net": replace(net, norm_average=False)},
        "k-1": {"net": net.changed(net.name, norm1={"k": 1.0}, norm2={"k": 1.0})},
        "colour-printed": {"input": replace(inputs, color="paper")},
        "colour-lighting": {"input": replace(inputs, color="lighting")},
        "centre-crops": {"input": replace(inputs, random_crops=False)},
    }
    return {arm: replace(base, **change) for arm, change in changes.items()}


_SHORT = TrainConfig(
    epochs=20, lr=0.01, lr_drops=(15, 19), bias_lr_factor=2.0, weight_decay=TrainConfig.preset("run145").weight_decay
)
"""OURS: the recipe of run 145 in 20 epochs, where its own stages would leave the first learning rate too early."""


def _full(scale: ScaleName) -> Arm:
    return FULL_RUN.protocol(scale).arms["run145"]


def _quick() -> Arm:
    """Weights that are large enough for so few steps to leave chance behind; of use to show that the code runs."""
    full = _full("smoke")
    stds = {layer.name: {"std": 0.06} for layer in full.net.layers if isinstance(layer, Conv | Linear)}
    net = replace(full.net, initialization="gaussian").changed("run145", **stds | {"conv1": {"std": 0.001}})
    train = replace(_SHORT, epochs=3, lr=0.006, lr_drops=(2,))
    return Arm(net=net, input=full.input, train=train)


ALEXNET = Study(
    id="alexnet",
    protocols={
        "smoke": Protocol(dataset="photos", size=80, seeds=1, arms=_alexnet_arms(_quick())),
        "laptop": Protocol(
            dataset="imagenette", size=128, seeds=5, arms=_alexnet_arms(replace(_full("laptop"), train=_SHORT), None)
        ),
        "paper": Protocol(dataset="imagenet", size=256, seeds=5, arms=_alexnet_arms(_full("paper"))),
    },
)
"""Run 145 and what becomes of it without one of its parts."""
