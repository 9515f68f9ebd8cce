"""What a network is, as a frozen value.

Two runs with equal configurations and equal seeds are the same experiment. A variant is ``dataclasses.replace``:
``replace(NetConfig.preset("cifar-18pct"), activation="tanh")``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from alexnet_repro.support.values import check_choice, check_positive, check_types

ActivationName = Literal["relu", "tanh"]
Initialization = Literal["gaussian", "torch"]
Reads = Literal["all", "own"]

# No names of layers, which are attributes of a network and keys of its towers; the last are put before the names.
RESERVED = frozenset({
    *dir(nn.Sequential()), *dir(nn.ModuleDict()), "config", "generator", "shapes", "costs", "summary",
    "tower", "module", "_orig_mod",
})  # fmt: skip


@dataclass(frozen=True)
class Conv:
    """A convolution with one bias per feature map."""

    name: str  #: of the layer
    _: dataclasses.KW_ONLY
    channels: int  #: feature maps, of all towers together
    kernel: int  #: pixels
    std: float  #: of the initial weights, with initialization "gaussian"
    bias: float = 0.0  #: initial, with initialization "gaussian"
    stride: int = 1  #: pixels
    #: zero pixels; a pair: left and top, right and bottom; None: half of kernel - 1, which with an odd kernel and
    #: stride 1 keeps the size
    padding: int | tuple[int, int] | None = None
    reads: Reads = "all"  #: the channels of all towers, or of its own only


@dataclass(frozen=True)
class Local(Conv):
    """Like ``Conv``, but every position has its own weights and its own bias (locally connected).

    It keeps the size, and reads all channels: ``stride``, ``padding`` and ``reads`` have no other values than these.
    """


@dataclass(frozen=True)
class Pool:
    """Windows clipped at the border (2012's ceil mode); an average counts the cells inside only."""

    name: str  #: of the layer
    kind: Literal["max", "avg"]  #: the largest of a window, or the mean
    size: int = 3  #: pixels
    stride: int = 2  #: pixels


@dataclass(frozen=True)
class Activation:
    """The place where the network's activation function is applied."""

    name: str  #: of the layer


@dataclass(frozen=True)
class Norm:
    """Response normalization across channels; the arguments of ``alexnet_repro.LocalResponseNorm``."""

    name: str  #: of the layer
    _: dataclasses.KW_ONLY
    size: int  #: channels
    alpha: float  #: weight of the energy
    k: float  #: constant
    beta: float = 0.75  #: exponent
    average: bool = True  #: the 2012 code divides alpha by the window size
    reads: Reads = "own"  #: whether a window may cross from one tower to the other: "all". OURS in preset paper


@dataclass(frozen=True)
class WithinChannelNorm:
    """Response normalization within each channel; the arguments of ``networks.lrn.WithinChannelResponseNorm``."""

    name: str  #: of the layer
    _: dataclasses.KW_ONLY
    size: int  #: side of the window, odd, pixels
    scale: float  #: weight of the window's mean energy
    beta: float = 0.75  #: exponent


@dataclass(frozen=True)
class Dropout:
    """Units set to 0 at random with the network's probability ``dropout``.

    ``rescale=False`` is the paper's: no change of scale in training, outputs times the probability of being kept at
    test time. ``True`` is today's (inverted) dropout: divided by that probability in training, nothing at test time.
    """

    name: str  #: of the layer
    rescale: bool = False  #: in training rather than at test time


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; as the last layer of a network it has one output per class."""

    name: str  #: of the layer
    _: dataclasses.KW_ONLY
    std: float  #: of the initial weights, with initialization "gaussian"
    outputs: int | None = None  #: of all towers together; None: the number of classes
    bias: float = 0.0  #: initial, with initialization "gaussian"
    reads: Reads = "all"  #: the units of all towers, or of its own only


Layer = Conv | Local | Pool | Activation | Norm | WithinChannelNorm | Dropout | Linear


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """One network: its input, its layers from the image to the logits, and how its weights start.

    The last six fields change what the layers say, for ablations: ``replace(NetConfig.preset("paper"), towers=1)``.

    Raises:
        ValueError: a field outside its allowed values, two fields that contradict each other, two layers of one name,
            or no output layer.

    Example:
        >>> from dataclasses import replace
        >>> from alexnet_repro import NetConfig
        >>> paper = NetConfig.preset("paper")
        >>> paper.image_size, paper.num_classes, paper.towers
        (224, 1000, 2)
        >>> [layer.name for layer in replace(paper, norms=False).effective_layers()][:4]
        ['conv1', 'relu1', 'pool1', 'conv2']
    """

    name: str  #: of the network
    layers: tuple[Layer, ...]  #: from the image to the logits
    image_size: int = 32  #: pixels, height and width of the input
    num_classes: int = 10  #: outputs of the last layer
    activation: ActivationName = "relu"  #: of every Activation layer
    initialization: Initialization = "gaussian"  #: gaussian: N(0, std), constant biases; torch: PyTorch's default
    towers: int = 1  #: equal parts of the channels; a layer that reads "own" is split into so many
    width: float = 1.0  #: channels and hidden units as a multiple of the layers'
    dropout: float = 0.5  #: probability, of every Dropout layer
    norms: bool = True  #: False: without the layers Norm and WithinChannelNorm
    norm_average: bool | None = None  #: of every Norm: alpha divided by the window or not; None: as the layers say
    pool_size: int | None = None  #: pixels, of every Pool; None: as the layers say

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("image_size", "num_classes", "towers", "width"):
            check_positive(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a probability of at least 0 and less than 1, not {self.dropout!r}")
        names = [layer.name for layer in self.layers]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: layer names must differ, but {', '.join(repeated)} is used more than once")
        if not (self.layers and isinstance(self.layers[-1], Linear) and self.layers[-1].outputs is None):
            raise ValueError(f"{self.name}: the last layer must be a Linear with outputs=None, one output per class")
        if wrong := [name for name in names if not name or "." in name or name in RESERVED]:
            raise ValueError(
                f"{self.name}: a layer can't have the name {wrong[0]!r}, which torch's modules use otherwise"
            )
        for layer in self.layers:
            check_types(layer, f" of {layer.name}")
            for field, value in vars(layer).items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise ValueError(f"{self.name}: the {field} of {layer.name} must be finite, not {value}")
            if getattr(layer, "std", 0) < 0:
                raise ValueError(f"{self.name}: the std of {layer.name} must be at least 0")
            if isinstance(layer, Local) and (layer.stride, layer.padding, layer.reads) != (1, None, "all"):
                raise ValueError(
                    f"{self.name}: the locally connected {layer.name} takes stride=1, padding=None and reads='all' "
                    f"only, not {layer.stride}, {layer.padding} and {layer.reads!r}"
                )
            for size in ("channels", "outputs", "kernel", "stride", "size"):
                if (value := getattr(layer, size, None)) is not None:
                    check_positive(f"{size} of {layer.name}", value)
        self._check_contradictions()

    def _check_contradictions(self) -> None:
        layers = self.effective_layers()
        if self.pool_size is not None:
            check_positive("pool_size", self.pool_size)
        for field, kind in (("norm_average", Norm), ("pool_size", Pool)):
            if (value := getattr(self, field)) is not None and not any(isinstance(layer, kind) for layer in layers):
                raise ValueError(f"{self.name}: {field}={value} needs a {kind.__name__} layer, but there is none")
        if self.towers > 1 and type(layers[0]) is not Conv:
            raise ValueError(
                f"{self.name}: with towers={self.towers} the first layer, which reads the image, must be a Conv, "
                f"not {layers[0].name}"
            )
        for layer in layers:
            units = getattr(layer, "channels", None) or getattr(layer, "outputs", None)
            if units is not None and (units != int(units) or int(units) % self.towers):
                raise ValueError(
                    f"{self.name}: {layer.name} would have {units:g} channels or units, which is no multiple of "
                    f"towers={self.towers}; change width={self.width:g}, towers or the layer"
                )

    def effective_layers(self) -> tuple[Layer, ...]:
        """The layers as they are built: with width, norms, norm_average and pool_size applied."""
        return tuple(self._effective(layer) for layer in self.layers if self.norms or not _is_norm(layer))

    def _effective(self, layer: Layer) -> Layer:
        match layer:
            case Conv():
                return dataclasses.replace(layer, channels=_whole(layer.channels * self.width))
            case Linear(outputs=int()):
                return dataclasses.replace(layer, outputs=_whole(layer.outputs * self.width))
            case Norm() if self.norm_average is not None:
                return dataclasses.replace(layer, average=self.norm_average)
            case Pool() if self.pool_size is not None:
                return dataclasses.replace(layer, size=self.pool_size)
        return layer

    @staticmethod
    def preset(name: str) -> NetConfig:
        """The network of that name; ``ValueError`` lists the names if there is none."""
        from alexnet_repro.networks.presets import PRESETS  # which are NetConfigs themselves

        check_choice("preset", name, tuple(PRESETS))
        return PRESETS[name]

    def without(self, *layer_types: type) -> NetConfig:
        """The same network with every layer of these types taken out, e.g. ``without(Norm, WithinChannelNorm)``."""
        kept = tuple(layer for layer in self.layers if not isinstance(layer, layer_types))
        return dataclasses.replace(self, layers=kept)

    def changed(self, name: str, **layers: Mapping[str, Any]) -> NetConfig:
        """The network under another name, with fields of some layers changed: ``changed("wide", conv1={"std": 0.02})``.

        Raises:
            ValueError: there is no layer of that name.
        """
        if unknown := sorted(set(layers) - {layer.name for layer in self.layers}):
            raise ValueError(f"{self.name} has no layer {', '.join(unknown)}: {', '.join(x.name for x in self.layers)}")
        new = tuple(dataclasses.replace(layer, **layers.get(layer.name, {})) for layer in self.layers)
        return dataclasses.replace(self, name=name, layers=new)


def _is_norm(layer: Layer) -> bool:
    return isinstance(layer, Norm | WithinChannelNorm)


def _whole(number: float) -> int | float:
    """2.0 as 2, but for rounding; what is no whole number stays as it is, for a message to name."""
    return round(number) if math.isclose(number, round(number)) else number
