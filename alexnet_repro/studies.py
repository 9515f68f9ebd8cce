"""What is run: arms side by side, at every scale, as data.

Everything here stands before the runs. A change makes the records of earlier runs stale, and a test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from alexnet_repro import paper
from alexnet_repro.config import Conv, InputConfig, Linear, MapNorm, NetConfig, TrainConfig
from alexnet_repro.presets import PRESETS
from alexnet_repro.recipes import FULL_RUN

ScaleName = Literal["smoke", "laptop", "paper"]
SCALES: tuple[ScaleName, ...] = ("smoke", "laptop", "paper")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison.

    Example:
        >>> from dataclasses import replace
        >>> from alexnet_repro import Arm, InputConfig, NetConfig, TrainConfig
        >>> name = "cifar-18pct"
        >>> relu = Arm(net=NetConfig.preset(name), input=InputConfig.preset(name), train=TrainConfig.preset(name))
        >>> tanh = replace(relu, net=replace(relu.net, activation="tanh"))
        >>> tanh.net.activation, tanh.train == relu.train
        ('tanh', True)
    """

    net: NetConfig  #: the network
    input: InputConfig  #: how pictures become batches
    train: TrainConfig  #: the training


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a study is run at one scale: the data, how many seeds unless told otherwise, and the arms."""

    dataset: str  #: as for ``load_dataset``
    size: int | None = None  #: of the stored pictures, pixels; None: the data set's own
    seeds: int  #: how many
    first_seed: int = 0  #: the others follow it
    arms: Mapping[str, Arm]  #: the baseline first


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms to be run side by side; the smallest scale first."""

    id: str  #: name of its folder of records
    protocols: Mapping[ScaleName, Protocol]  #: by scale

    def protocol(self, scale: str) -> Protocol:
        """The protocol of that scale; ``ValueError`` lists the scales if there is none."""
        if scale not in self.protocols:
            raise ValueError(f"scale of {self.id} must be one of {', '.join(self.protocols)}, not {scale!r}")
        return self.protocols[scale]


# --- ReLU against tanh: Sec. 3.1, Figure 1 -------------------------------------------------------------------------
# The network of Figure 1 is not known. Two candidates, both without weight decay: three convolutions and one fully
# connected layer (the 19 % net of cuda-convnet's examples), and two convolutions and two locally connected layers (its
# 13 % net, relu-local). Rates: the winners of the searches further down.

RATES_2012 = (0.001, 0.003, 0.01, 0.03)  # OURS: the paper does not say among which
RATES_MODERN = (0.003, 0.01, 0.03, 0.1)  # OURS
SEARCH_EPOCHS = 12
SEARCH_SEED = 1000  # none of the seeds that are compared

PIXEL_DEVIATION = 63.0  # of CIFAR-10's grey levels, rounded
CHOSEN_2012 = (0.01, 0.003)  # of tanh and of ReLU: what the searches found
CHOSEN_LOCAL = (0.01, 0.001)
CHOSEN_SCALED = (0.03, 0.03)
CHOSEN_MODERN = (0.03, 0.03)

_INPUT_2012 = InputConfig(pixels="minus-mean-image", reshuffle=False)
_INPUT_MODERN = InputConfig(pixels="standardized", reshuffle=True)


def _relu_2012(activation: Literal["relu", "tanh"], lr: float, epochs: int) -> Arm:
    """The 2012 protocol: grey levels minus the mean picture, small Gaussian weights, biases at twice the rate."""
    net = replace(PRESETS["cifar-19pct"], activation=activation)
    train = TrainConfig(epochs=epochs, lr=lr, bias_lr_factor=2.0, target_error=paper.RELU_TARGET_ERROR)
    return Arm(net=net, input=_INPUT_2012, train=train)


def _relu_local(activation: Literal["relu", "tanh"], lr: float, epochs: int) -> Arm:
    """The 2012 protocol with the other candidate, on whole pictures."""
    net = replace(PRESETS["cifar-13pct"], activation=activation, image_size=32)
    return replace(_relu_2012(activation, lr, epochs), net=net)


def _relu_modern(activation: Literal["relu", "tanh"], lr: float, epochs: int) -> Arm:
    """The same network as it would be trained today: standardized input, PyTorch's initialization, one rate."""
    net = replace(PRESETS["cifar-19pct"], activation=activation, initialization="torch")
    train = TrainConfig(epochs=epochs, lr=lr, bias_lr_factor=1.0, target_error=paper.RELU_TARGET_ERROR)
    return Arm(net=net, input=_INPUT_MODERN, train=train)


def _relu_scaled(activation: Literal["relu", "tanh"], lr: float, epochs: int) -> Arm:
    """The 2012 protocol, but pixels of deviation 1 and first weights larger by as much: it starts as the same net."""
    arm = _relu_2012(activation, lr, epochs)
    conv1, *others = arm.net.layers
    layers = (replace(conv1, std=conv1.std * PIXEL_DEVIATION), *others)
    return replace(arm, net=replace(arm.net, layers=layers), input=replace(_INPUT_2012, pixels="standardized"))


MakeArm = Callable[[Literal["relu", "tanh"], float, int], Arm]


def _neurons(make_arm: MakeArm, tanh_lr: float, relu_lr: float, epochs: int) -> dict[str, Arm]:
    return {"tanh": make_arm("tanh", tanh_lr, epochs), "relu": make_arm("relu", relu_lr, epochs)}


def _relu_protocols(
    make_arm: MakeArm, rates: tuple[float, float], smoke_rates: tuple[float, float], smoke_epochs: int
) -> dict[ScaleName, Protocol]:
    """Rates of tanh and ReLU; at scale smoke, with its few pictures, minibatches and rates are smaller."""
    smoke = {
        name: replace(arm, input=replace(arm.input, batch_size=16))
        for name, arm in _neurons(make_arm, *smoke_rates, smoke_epochs).items()
    }
    return {
        "smoke": Protocol(dataset="photos", seeds=1, arms=smoke),
        "laptop": Protocol(dataset="cifar10", seeds=1, arms=_neurons(make_arm, *rates, epochs=20)),
        "paper": Protocol(dataset="cifar10", seeds=5, arms=_neurons(make_arm, *rates, epochs=60)),
    }


def _rate_search(claim_id: str, make_arm: MakeArm, rates: tuple[float, ...]) -> Study:
    arms = {
        f"{activation}-lr{lr:g}": make_arm(activation, lr, SEARCH_EPOCHS)
        for activation in ("tanh", "relu")
        for lr in rates
    }
    protocol = Protocol(dataset="cifar10", seeds=1, first_seed=SEARCH_SEED, arms=arms)
    return Study(id=f"{claim_id}-rates", protocols={"paper": protocol})


RELU, RELU_LOCAL, RELU_SCALED, RELU_MODERN = (
    Study(id="relu", protocols=_relu_protocols(_relu_2012, CHOSEN_2012, smoke_rates=(0.003, 0.001), smoke_epochs=2)),
    Study(
        id="relu-local",
        protocols=_relu_protocols(_relu_local, CHOSEN_LOCAL, smoke_rates=(0.003, 0.001), smoke_epochs=2),
    ),
    Study(
        id="relu-scaled",
        protocols=_relu_protocols(_relu_scaled, CHOSEN_SCALED, smoke_rates=(0.01, 0.01), smoke_epochs=2),
    ),
    Study(
        id="relu-modern",
        protocols=_relu_protocols(_relu_modern, CHOSEN_MODERN, smoke_rates=(0.01, 0.01), smoke_epochs=4),
    ),
)

# --- LRN: Sec. 3.3 -------------------------------------------------------------------------------------------------
# The clean pair of cuda-convnet's files: revision 540 of the 11 % net is the 13 % net plus two normalizations.


def _lrn_arms(epochs: int, drops: tuple[int, ...], batch_size: int = 128) -> dict[str, Arm]:
    """Published recipe: 24x24 crops and flips, nine views, decay on the local and fully connected layers.

    Beside the clean pair: its normalization with alpha not divided by the window, and the net that was published, which
    differs in its width, its last decay and its views too.
    """
    decay = {"local3": 0.004, "local4": 0.004, "fc10": 0.004}
    train = TrainConfig(epochs=epochs, lr=0.001, lr_drops=drops, weight_decay=decay)
    inputs = InputConfig(crop=24, batch_size=batch_size)
    nets = {"without": "cifar-13pct", "with": "cifar-11pct-r540"}
    arms = {arm: Arm(net=PRESETS[net], input=inputs, train=train) for arm, net in nets.items()}
    return arms | {
        "alpha-printed": replace(arms["with"], net=replace(arms["with"].net, norm_average=False)),
        "published": Arm(
            net=PRESETS["cifar-11pct"],
            input=replace(inputs, views="ten"),
            train=replace(train, weight_decay=decay | {"fc10": 0.01}),
        ),
    }


LRN = Study(
    id="lrn-cifar",
    protocols={
        "smoke": Protocol(dataset="photos", seeds=1, arms=_lrn_arms(3, (2,), batch_size=16)),
        "laptop": Protocol(dataset="cifar10", seeds=5, arms=_lrn_arms(40, (35, 38))),
        "paper": Protocol(dataset="cifar10", seeds=5, arms=_lrn_arms(160, (140, 150))),
    },
)

RATE_SEARCHES: Mapping[str, Study] = {
    "relu": _rate_search("relu", _relu_2012, RATES_2012),
    "relu-local": _rate_search("relu-local", _relu_local, RATES_2012),
    "relu-scaled": _rate_search("relu-scaled", _relu_scaled, RATES_MODERN),
    "relu-modern": _rate_search("relu-modern", _relu_modern, RATES_MODERN),
}
"""Claim -> the runs that chose its learning rates: per neuron the rate first at the target, or nearest to it."""

SLOPES = Study(
    id="relu-slopes",
    protocols={
        "paper": Protocol(
            dataset="cifar10",
            seeds=3,
            arms={
                f"{protocol}-{neuron}": arm
                for protocol, arms in (
                    ("2012", _neurons(_relu_2012, *CHOSEN_2012, epochs=3)),
                    ("2012-local", _neurons(_relu_local, *CHOSEN_LOCAL, epochs=3)),
                    ("modern", _neurons(_relu_modern, *CHOSEN_MODERN, epochs=3)),
                )
                for neuron, arm in arms.items()
            },
        )
    },
)
"""How the runs of three studies begin, to see how much of the gradient each layer of neurons passes back."""

# --- augmentation: Sec. 4.1 ----------------------------------------------------------------------------------------


def _augmentation_arms(epochs: int, drops: tuple[int, ...], batch_size: int = 128) -> dict[str, Arm]:
    """Three convolutions on crops of 24 pixels, nine views in testing: without any of it, with crops, with colour."""
    net = replace(PRESETS["cifar-19pct"], image_size=24)
    train = TrainConfig(epochs=epochs, lr=0.001, lr_drops=drops)
    crops = InputConfig(crop=24, batch_size=batch_size)
    inputs = {
        "neither": replace(crops, random_crops=False),
        "crops and flips": crops,
        "colour too": replace(crops, color="run145"),
    }
    return {arm: Arm(net=net, input=config, train=train) for arm, config in inputs.items()}


AUGMENTATION = Study(
    id="augmentation",
    protocols={
        "smoke": Protocol(dataset="photos", seeds=1, arms=_augmentation_arms(5, (4,), batch_size=16)),
        "laptop": Protocol(dataset="cifar10", seeds=3, arms=_augmentation_arms(40, (35, 38))),
    },
)
"""What crops, flips and colour noise do to training and test error. The paper's own comparison is on ImageNet."""

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
        "no-third-norm": {"net": net.without(MapNorm)},
        "alpha-printed": {"net": replace(net, norm_average=False)},
        "k-1": {"net": net.changed(net.name, norm1={"k": 1.0}, norm2={"k": 1.0})},
        "colour-printed": {"input": replace(inputs, color="paper")},
        "colour-lighting": {"input": replace(inputs, color="lighting")},
        "centre-crops": {"input": replace(inputs, random_crops=False)},
    }
    return {arm: replace(base, **change) for arm, change in changes.items()}


_SHORT = TrainConfig(
    epochs=20, lr=0.01, lr_drops=(15, 19), bias_lr_factor=2.0, weight_decay=FULL_RUN["laptop"].train.weight_decay
)
"""OURS: the recipe of run 145 in 20 epochs, where its own stages would leave the first rate too early."""


def _full(scale: ScaleName, train: TrainConfig | None = None) -> Arm:
    full = FULL_RUN[scale]
    return Arm(net=full.net, input=full.input, train=train or full.train)


def _quick() -> Arm:
    """Weights that are large enough for so few steps to leave chance behind; of use to show that the code runs."""
    full = FULL_RUN["smoke"]
    stds = {layer.name: {"std": 0.06} for layer in full.net.layers if isinstance(layer, Conv | Linear)}
    net = replace(full.net, initialization="gaussian").changed("run145", **stds | {"conv1": {"std": 0.001}})
    train = replace(_SHORT, epochs=3, lr=0.006, lr_drops=(2,))
    return Arm(net=net, input=full.input, train=train)


ALEXNET = Study(
    id="alexnet",
    protocols={
        "smoke": Protocol(dataset="photos", size=80, seeds=1, arms=_alexnet_arms(_quick())),
        "laptop": Protocol(dataset="imagenette", size=128, seeds=5, arms=_alexnet_arms(_full("laptop", _SHORT), None)),
        "paper": Protocol(dataset="imagenet", size=256, seeds=5, arms=_alexnet_arms(_full("paper"))),
    },
)
"""Run 145 and what becomes of it without one of its parts."""

STUDIES: Mapping[str, Study] = {
    study.id: study
    for study in (
        RELU,
        RELU_LOCAL,
        RELU_SCALED,
        RELU_MODERN,
        LRN,
        *RATE_SEARCHES.values(),
        SLOPES,
        AUGMENTATION,
        ALEXNET,
    )
}
"""Id -> study, those whose runs are recorded in the book."""
