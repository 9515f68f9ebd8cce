"""What a network, its input and its training are, as frozen values.

Two runs with equal configurations and equal seeds are the same experiment. A variant is ``dataclasses.replace``:
``replace(NetConfig.preset("cifar-18pct"), activation="tanh")``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Activation = Literal["relu", "tanh"]
Initialization = Literal["gaussian", "torch"]
Pixels = Literal["minus-mean-image", "standardized"]


@dataclass(frozen=True)
class Conv:
    """A convolution of stride 1, zero-padded so that the map keeps its size; one bias per map."""

    name: str
    _: dataclasses.KW_ONLY
    maps: int
    kernel: int  # pixels
    std: float  # of the initial weights, with initialization "gaussian"


@dataclass(frozen=True)
class Local(Conv):
    """Like ``Conv``, but every position has its own weights and its own bias (locally connected)."""


@dataclass(frozen=True)
class Pool:
    """A 3x3 window every 2 pixels, clipped at the border (2012's ceil mode); an average counts cells inside only."""

    name: str
    kind: Literal["max", "avg"]


@dataclass(frozen=True)
class Neuron:
    """The place where the network's activation function is applied."""

    name: str


@dataclass(frozen=True)
class Norm:
    """Response normalization across maps; the arguments of ``alexnet_repro.LocalResponseNorm``."""

    name: str
    _: dataclasses.KW_ONLY
    size: int  # maps
    alpha: float
    k: float
    beta: float = 0.75
    average: bool = True  # the 2012 code divides alpha by the window size


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; as the last layer of a network it has one output per class."""

    name: str
    _: dataclasses.KW_ONLY
    std: float
    outputs: int | None = None  # None: the number of classes


Layer = Conv | Local | Pool | Neuron | Norm | Linear


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """One network: its input, its layers from the picture to the logits, and how its weights start.

    Raises:
        ValueError: a field outside its allowed values, two layers of one name, or no output layer.
    """

    name: str
    layers: tuple[Layer, ...]
    image_size: int = 32  # pixels, height and width of the input
    num_classes: int = 10
    activation: Activation = "relu"
    initialization: Initialization = "gaussian"  # gaussian: N(0, std), biases 0; torch: PyTorch's default

    def __post_init__(self) -> None:
        _check_choice("activation", self.activation, get_args(Activation))
        _check_choice("initialization", self.initialization, get_args(Initialization))
        names = [layer.name for layer in self.layers]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: layer names must differ, but {', '.join(repeated)} is used more than once")
        if not (self.layers and isinstance(self.layers[-1], Linear) and self.layers[-1].outputs is None):
            raise ValueError(f"{self.name}: the last layer must be a Linear with outputs=None, one output per class")

    @staticmethod
    def preset(name: str) -> NetConfig:
        """The network of that name; ``ValueError`` lists the names if there is none."""
        _check_choice("preset", name, tuple(PRESETS))
        return PRESETS[name]

    def without(self, layer_type: type) -> NetConfig:
        """The same network with every layer of that type taken out, e.g. ``without(Norm)``."""
        kept = tuple(layer for layer in self.layers if not isinstance(layer, layer_type))
        return dataclasses.replace(self, layers=kept)


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How stored pictures become batches.

    ``pixels="minus-mean-image"`` is 2012's input: values 0..255 minus the training set's mean picture (of a crop: minus
    the central part of that picture). ``"standardized"`` is today's: each colour channel with mean 0 and deviation 1.

    Source: 2012 code, data providers ``cifar`` and ``cifar-cropped``.
    """

    pixels: Pixels = "minus-mean-image"
    crop: int | None = None  # pixels; random crops of that size and flips in training, 9 views in testing
    batch_size: int = 128  # images
    reshuffle: bool = False  # every epoch; the 2012 code shuffled once and kept that order

    def __post_init__(self) -> None:
        _check_choice("pixels", self.pixels, get_args(Pixels))
        _check_positive("batch_size", self.batch_size)
        if self.crop is not None:
            _check_positive("crop", self.crop)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How one network is trained, by the paper's update rule (Sec. 5)."""

    epochs: int  # at most; fewer if target_error is reached
    lr: float  # of the weights, initial
    bias_lr_factor: float = 2.0  # rate of the biases as a multiple of lr; the 2012 code's epsB over epsW
    lr_drops: tuple[int, ...] = ()  # epochs after which the weights' rate is divided by 10; the biases keep theirs
    momentum: float = 0.9
    weight_decay: Mapping[str, float] = field(default_factory=dict)  # layer name -> decay of its weights; others 0
    target_error: float | None = None  # fraction; stop after the first epoch whose training error is at most this

    def __post_init__(self) -> None:
        _check_positive("epochs", self.epochs)
        _check_positive("lr", self.lr)
        if self.target_error is not None and not 0 < self.target_error < 1:
            raise ValueError(f"target_error is a fraction between 0 and 1, not {self.target_error!r}")


def as_json(config: Any) -> Any:
    """A configuration as plain JSON values; a dataclass becomes an object whose ``type`` names it."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        fields = {f.name: as_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"type": type(config).__name__} | fields
    if isinstance(config, Mapping):
        return {key: as_json(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [as_json(value) for value in config]
    return config


def digest(json_value: Any) -> str:
    """sha256 (hexadecimal) of a JSON value in canonical form: sorted keys, no spaces."""
    text = json.dumps(json_value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, not {value!r}")


_CIFAR_19PCT = NetConfig(
    name="cifar-19pct",
    layers=(
        Conv("conv1", maps=32, kernel=5, std=1e-4),
        Pool("pool1", "max"),
        Neuron("act1"),
        Conv("conv2", maps=32, kernel=5, std=0.01),
        Neuron("act2"),
        Pool("pool2", "avg"),
        Conv("conv3", maps=64, kernel=5, std=0.01),
        Neuron("act3"),
        Pool("pool3", "avg"),
        Linear("fc10", std=0.01),
    ),
)
_CIFAR_11PCT_R540 = NetConfig(
    name="cifar-11pct-r540",
    image_size=24,
    layers=(
        Conv("conv1", maps=64, kernel=5, std=1e-4),
        Neuron("act1"),
        Norm("norm1", size=5, alpha=1e-3, k=1.0),
        Pool("pool1", "max"),
        Conv("conv2", maps=64, kernel=5, std=0.01),
        Neuron("act2"),
        Norm("norm2", size=5, alpha=1e-3, k=1.0),
        Pool("pool2", "max"),
        Local("local3", maps=32, kernel=3, std=0.04),
        Neuron("act3"),
        Local("local4", maps=32, kernel=3, std=0.04),
        Neuron("act4"),
        Linear("fc10", std=0.01),
    ),
)
_CIFAR_13PCT = dataclasses.replace(_CIFAR_11PCT_R540.without(Norm), name="cifar-13pct")

PRESETS: Mapping[str, NetConfig] = {net.name: net for net in (_CIFAR_19PCT, _CIFAR_13PCT, _CIFAR_11PCT_R540)}
"""Source: cuda-convnet's ``layers-19pct.cfg``, ``layers-conv-local-13pct.cfg`` and, for ``cifar-11pct-r540``, the
first published version (revision 540) of ``layers-conv-local-11pct.cfg``: the 13 % net plus two cross-map norms."""
