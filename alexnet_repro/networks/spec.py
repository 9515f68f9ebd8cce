"""The configuration of a network, as an immutable value.

Two runs with equal configurations and equal seeds are the same experiment. ``dataclasses.replace`` makes a variant:
``replace(NetConfig.preset("cifar-18pct"), activation="tanh")``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from alexnet_repro.support.values import check_positive, check_types, chosen

ActivationName = Literal["relu", "tanh"]
Initialization = Literal["gaussian", "torch"]
Reads = Literal["all", "own"]

# Names that a layer can't have: attributes of a network or of its towers, and the prefixes of parameter names.
RESERVED = frozenset({
    *dir(nn.Sequential()), *dir(nn.ModuleDict()), "config", "generator", "shapes", "costs", "summary",
    "tower", "module", "_orig_mod",
})  # fmt: skip


class _Checked:
    """A layer, whose fields are checked when it is made, once for all networks that have it."""

    name: str

    def __post_init__(self) -> None:
        check_types(self, f" of {self.name}")
        for field, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"the {field} of {self.name} must be finite, not {value}")
        if (std := getattr(self, "std", 0)) < 0:
            raise ValueError(f"the std of {self.name} must be at least 0, not {std}")
        for size in ("channels", "outputs", "kernel", "stride", "size"):
            if (value := getattr(self, size, None)) is not None:
                check_positive(f"{size} of {self.name}", value)


@dataclass(frozen=True)
class Conv(_Checked):
    """A convolution with one bias per feature map."""

    name: str  #: name of the layer
    _: dataclasses.KW_ONLY
    channels: int  #: number of feature maps, of all towers together
    kernel: int  #: side of the filters, pixels
    std: float  #: standard deviation of the initial weights, with initialization "gaussian"
    bias: float = 0.0  #: initial value of the biases, with initialization "gaussian"
    stride: int = 1  #: pixels
    #: zero pixels on every side; a pair: at the left and top, and at the right and bottom; None: (kernel - 1) // 2,
    #: which keeps the size if the kernel is odd and the stride 1
    padding: int | tuple[int, int] | None = None
    reads: Reads = "all"  #: the channels of all towers ("all"), or only of its own ("own")


@dataclass(frozen=True)
class Local(Conv):
    """Like ``Conv``, but every position has its own weights and biases (locally connected).

    It keeps the size, and reads all channels: ``stride``, ``padding`` and ``reads`` must keep their default values.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.stride, self.padding, self.reads) != (1, None, "all"):
            raise ValueError(
                f"the locally connected {self.name} takes stride=1, padding=None and reads='all' only, "
                f"not {self.stride}, {self.padding} and {self.reads!r}"
            )


@dataclass(frozen=True)
class Pool(_Checked):
    """Pooling with windows clipped at the border (2012's ceil mode); an average counts only the pixels inside."""

    name: str  #: name of the layer
    kind: Literal["max", "avg"]  #: the maximum or the mean of each window
    size: int = 3  #: side of a window, pixels
    stride: int = 2  #: pixels


@dataclass(frozen=True)
class Activation(_Checked):
    """The place where the network's activation function is applied."""

    name: str  #: name of the layer


@dataclass(frozen=True)
class Norm(_Checked):
    """Response normalization across channels, with the arguments of ``alexnet_repro.LocalResponseNorm``."""

    name: str  #: name of the layer
    _: dataclasses.KW_ONLY
    size: int  #: size of the window, channels
    alpha: float  #: weight of the energy
    k: float  #: constant
    beta: float = 0.75  #: exponent
    average: bool = True  #: divide alpha by the window size, as the 2012 code does
    reads: Reads = "own"  #: windows cross from one tower to the next ("all") or not ("own"). OURS in preset paper


@dataclass(frozen=True)
class WithinChannelNorm(_Checked):
    """Response normalization within each channel, with the arguments of ``networks.lrn.WithinChannelResponseNorm``."""

    name: str  #: name of the layer
    _: dataclasses.KW_ONLY
    size: int  #: side of the window in pixels, odd
    scale: float  #: weight of the window's mean energy
    beta: float = 0.75  #: exponent


@dataclass(frozen=True)
class Dropout(_Checked):
    """Sets units to 0 at random, with the network's probability ``dropout``.

    ``rescale=False`` is the paper's: no rescaling in training; at test time, outputs are multiplied by the probability
    of being kept. ``True`` is today's (inverted) dropout: divided by it in training, unchanged at test time.
    """

    name: str  #: name of the layer
    rescale: bool = False  #: rescale in training rather than at test time


@dataclass(frozen=True)
class Linear(_Checked):
    """A fully connected layer; as the last layer of a network it has one output per class."""

    name: str  #: name of the layer
    _: dataclasses.KW_ONLY
    std: float  #: standard deviation of the initial weights, with initialization "gaussian"
    outputs: int | None = None  #: number of units, of all towers together; None: the number of classes
    bias: float = 0.0  #: initial value of the biases, with initialization "gaussian"
    reads: Reads = "all"  #: the units of all towers ("all"), or only of its own ("own")


Layer = Conv | Local | Pool | Activation | Norm | WithinChannelNorm | Dropout | Linear


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """One network: its input, its layers from the image to the logits, and how its weights are initialized.

    The last six fields change all layers of a kind, for ablations: ``replace(NetConfig.preset("paper"), towers=1)``.

    Raises:
        ValueError: a field is outside its allowed values, two fields contradict each other, two layers have the same
            name, or there is no output layer.

    Example:
        >>> from dataclasses import replace
        >>> from alexnet_repro import NetConfig
        >>> paper = NetConfig.preset("paper")
        >>> paper.image_size, paper.num_classes, paper.towers
        (224, 1000, 2)
        >>> [layer.name for layer in replace(paper, norms=False).effective_layers()][:4]
        ['conv1', 'relu1', 'pool1', 'conv2']
    """

    name: str  #: name of the network
    layers: tuple[Layer, ...]  #: from the image to the logits
    image_size: int = 32  #: height and width of the input, pixels
    num_classes: int = 10  #: outputs of the last layer
    activation: ActivationName = "relu"  #: function of every Activation layer
    initialization: Initialization = "gaussian"  #: gaussian: N(0, std^2), constant biases; torch: PyTorch's default
    towers: int = 1  #: number of towers; a layer that reads "own" is split into as many equal parts
    width: float = 1.0  #: factor by which the layers' channels and hidden units are multiplied
    dropout: float = 0.5  #: probability that a Dropout layer sets a unit to 0
    norms: bool = True  #: False: all Norm and WithinChannelNorm layers are left out
    norm_average: bool | None = None  #: ``average`` of every Norm layer; None: as set in the layer
    pool_size: int | None = None  #: ``size`` of every Pool layer, pixels; None: as set in the layer

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
        self._check_contradictions()

    def _check_contradictions(self) -> None:
        for layer in self.layers:
            units = self.width * (getattr(layer, "channels", None) or getattr(layer, "outputs", None) or 0)
            whole = math.isfinite(units) and math.isclose(units, round(units))
            if not whole or round(units) % self.towers:
                raise ValueError(
                    f"{self.name}: {layer.name} would have {units:g} channels or units, which is not a multiple of "
                    f"towers={self.towers}; change width={self.width:g}, towers or the layer"
                )
        if self.pool_size is not None:
            check_positive("pool_size", self.pool_size)
        layers = self.effective_layers()
        for field, kind in (("norm_average", Norm), ("pool_size", Pool)):
            if (value := getattr(self, field)) is not None and not any(isinstance(layer, kind) for layer in layers):
                raise ValueError(f"{self.name}: {field}={value} needs a {kind.__name__} layer, but there is none")
        kinds = [type(layer) for layer in self.layers]
        if self.dropout != NetConfig.dropout and Dropout not in kinds:
            raise ValueError(f"{self.name}: dropout={self.dropout} needs a Dropout layer, but there is none")
        if not self.norms and not {Norm, WithinChannelNorm} & set(kinds):
            raise ValueError(f"{self.name}: norms=False needs a Norm or WithinChannelNorm layer, but there is none")
        if self.towers > 1 and type(layers[0]) is not Conv:
            raise ValueError(
                f"{self.name}: with towers={self.towers} the first layer, which reads the image, must be a Conv, "
                f"not {layers[0].name}"
            )
        if self.towers > 1 and not any(getattr(layer, "reads", "all") == "own" for layer in layers):
            raise ValueError(
                f"{self.name}: towers={self.towers} would change nothing, as every layer reads all towers: give a "
                "layer of the middle reads='own', or leave towers out"
            )

    def effective_layers(self) -> tuple[Layer, ...]:
        """The layers as they are built: with width, norms, norm_average and pool_size applied."""
        kept = self.layers if self.norms else [x for x in self.layers if not isinstance(x, Norm | WithinChannelNorm)]
        return tuple(self._effective(layer) for layer in kept)

    def _effective(self, layer: Layer) -> Layer:
        match layer:
            case Conv() if self.width != 1:
                return dataclasses.replace(layer, channels=round(layer.channels * self.width))
            case Linear(outputs=int() as outputs) if self.width != 1:
                return dataclasses.replace(layer, outputs=round(outputs * self.width))
            case Norm() if self.norm_average is not None:
                return dataclasses.replace(layer, average=self.norm_average)
            case Pool() if self.pool_size is not None:
                return dataclasses.replace(layer, size=self.pool_size)
        return layer

    @staticmethod
    def preset(name: str) -> NetConfig:
        """The preset of that name; if there is none, a ``ValueError`` lists the names."""
        from alexnet_repro.networks.presets import PRESETS  # which imports this module

        return chosen("preset", name, PRESETS)

    def without(self, *layer_types: type) -> NetConfig:
        """The same network with every layer of these types taken out, e.g. ``without(Norm, WithinChannelNorm)``.

        Raises:
            ValueError: something is no kind of layer, or there is no layer to take out.
        """
        known = {kind.__name__: kind for kind in get_args(Layer)}
        if wrong := [kind for kind in layer_types if kind not in known.values()]:
            raise ValueError(
                f"the kinds of layers are {', '.join(known)}, not {getattr(wrong[0], '__name__', wrong[0])}"
            )
        kept = tuple(layer for layer in self.layers if not isinstance(layer, layer_types))
        if kept == self.layers:
            raise ValueError(
                f"{self.name} has no layer {' or '.join(kind.__name__ for kind in layer_types)} to take out"
            )
        return dataclasses.replace(self, layers=kept)

    def changed(self, name: str, **layers: Mapping[str, Any]) -> NetConfig:
        """The network under another name, with fields of some layers changed: ``changed("wide", conv1={"std": 0.02})``.

        Raises:
            ValueError: there is no layer with one of these names, or a layer has no such field.
        """
        fields = {layer.name: [field.name for field in dataclasses.fields(layer)] for layer in self.layers}
        if unknown := sorted(set(layers) - set(fields)):
            raise ValueError(f"{self.name} has no layer {', '.join(unknown)}: {', '.join(fields)}")
        for layer, changes in layers.items():
            if strange := sorted(set(changes) - set(fields[layer])):
                raise ValueError(f"{layer} has no field {', '.join(strange)}: {', '.join(fields[layer])}")
        new = tuple(dataclasses.replace(x, **layers[x.name]) if x.name in layers else x for x in self.layers)
        return dataclasses.replace(self, name=name, layers=new)
