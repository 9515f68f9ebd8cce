"""What a network, its input and its training are, as frozen values.

Two runs with equal configurations and equal seeds are the same experiment. A variant is ``dataclasses.replace``:
``replace(NetConfig.preset("cifar-18pct"), activation="tanh")``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from alexnet_repro.schedules import Drops, Plateau, Schedule, Stage, Stages
from alexnet_repro.values import check_choice, check_positive, from_json

Activation = Literal["relu", "tanh"]
Initialization = Literal["gaussian", "torch"]
Pixels = Literal["minus-mean-image", "standardized"]
Reads = Literal["all", "own"]
Views = Literal["grid", "ten", "centre"]
MeanPosition = Literal["central", "matched"]
ColorReading = Literal["run145", "paper", "lighting"]
Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Conv:
    """A convolution with one bias per map."""

    name: str  #: of the layer
    _: dataclasses.KW_ONLY
    maps: int  #: of all towers together
    kernel: int  #: pixels
    std: float  #: of the initial weights, with initialization "gaussian"
    bias: float = 0.0  #: initial, with initialization "gaussian"
    stride: int = 1  #: pixels
    #: zero pixels; a pair: left and top, right and bottom; None: the size is kept
    padding: int | tuple[int, int] | None = None
    reads: Reads = "all"  #: the maps of all towers, or of its own only


@dataclass(frozen=True)
class Local(Conv):
    """Like ``Conv``, but every position has its own weights and its own bias (locally connected)."""


@dataclass(frozen=True)
class Pool:
    """Windows clipped at the border (2012's ceil mode); an average counts the cells inside only."""

    name: str  #: of the layer
    kind: Literal["max", "avg"]  #: the largest of a window, or the mean
    size: int = 3  #: pixels
    stride: int = 2  #: pixels


@dataclass(frozen=True)
class Neuron:
    """The place where the network's activation function is applied."""

    name: str  #: of the layer


@dataclass(frozen=True)
class Norm:
    """Response normalization across maps; the arguments of ``alexnet_repro.LocalResponseNorm``."""

    name: str  #: of the layer
    _: dataclasses.KW_ONLY
    size: int  #: maps
    alpha: float  #: weight of the energy
    k: float  #: constant
    beta: float = 0.75  #: exponent
    average: bool = True  #: the 2012 code divides alpha by the window size
    reads: Reads = "own"  #: whether a window may cross from one tower to the other: "all". OURS in preset paper


@dataclass(frozen=True)
class MapNorm:
    """Response normalization within each map; the arguments of ``alexnet_repro.lrn.SameMapNorm``."""

    name: str  #: of the layer
    _: dataclasses.KW_ONLY
    size: int  #: side of the window, odd, pixels
    scale: float  #: weight of the window's mean energy
    beta: float = 0.75  #: exponent


@dataclass(frozen=True)
class Dropout:
    """Units set to 0 at random with the network's probability ``dropout``.

    ``rescale=False`` is the paper's: no change of scale in training, outputs times the probability of being kept in
    testing. ``True`` is today's (inverted) dropout: divided by that probability in training, nothing in testing.
    """

    name: str  #: of the layer
    rescale: bool = False  #: in training rather than in testing


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; as the last layer of a network it has one output per class."""

    name: str  #: of the layer
    _: dataclasses.KW_ONLY
    std: float  #: of the initial weights, with initialization "gaussian"
    outputs: int | None = None  #: of all towers together; None: the number of classes
    bias: float = 0.0  #: initial, with initialization "gaussian"
    reads: Reads = "all"  #: the units of all towers, or of its own only


Layer = Conv | Local | Pool | Neuron | Norm | MapNorm | Dropout | Linear


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """One network: its input, its layers from the picture to the logits, and how its weights start.

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
    layers: tuple[Layer, ...]  #: from the picture to the logits
    image_size: int = 32  #: pixels, height and width of the input
    num_classes: int = 10  #: outputs of the last layer
    activation: Activation = "relu"  #: of every Neuron layer
    initialization: Initialization = "gaussian"  #: gaussian: N(0, std), constant biases; torch: PyTorch's default
    towers: int = 1  #: equal parts of the maps; a layer that reads "own" is split into so many
    width: float = 1.0  #: maps and hidden units as a multiple of the layers'
    dropout: float = 0.5  #: probability, of every Dropout layer
    norms: bool = True  #: False: without the layers Norm and MapNorm
    norm_average: bool | None = None  #: of every Norm: alpha divided by the window or not; None: as the layers say
    pool_size: int | None = None  #: pixels, of every Pool; None: as the layers say

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, get_args(Activation))
        check_choice("initialization", self.initialization, get_args(Initialization))
        for name in ("image_size", "num_classes", "towers", "width"):
            check_positive(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a probability of at least 0 and less than 1, not {self.dropout!r}")
        names = [layer.name for layer in self.layers]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: layer names must differ, but {', '.join(repeated)} is used more than once")
        if not (self.layers and isinstance(self.layers[-1], Linear) and self.layers[-1].outputs is None):
            raise ValueError(f"{self.name}: the last layer must be a Linear with outputs=None, one output per class")
        self._check_contradictions()

    def _check_contradictions(self) -> None:
        if self.norm_average is not None and not any(isinstance(layer, Norm) for layer in self.effective_layers()):
            raise ValueError(f"{self.name}: norm_average={self.norm_average} needs a Norm layer, but there is none")
        if self.pool_size is not None:
            check_positive("pool_size", self.pool_size)
        for layer in self.effective_layers():
            units = getattr(layer, "maps", None) or getattr(layer, "outputs", None)
            if units is not None and (units != int(units) or int(units) % self.towers):
                raise ValueError(
                    f"{self.name}: {layer.name} would have {units:g} maps or units, which is no multiple of "
                    f"towers={self.towers}; change width={self.width:g}, towers or the layer"
                )

    def effective_layers(self) -> tuple[Layer, ...]:
        """The layers as they are built: with width, norms, norm_average and pool_size applied."""
        return tuple(self._effective(layer) for layer in self.layers if self.norms or not _is_norm(layer))

    def _effective(self, layer: Layer) -> Layer:
        match layer:
            case Conv():
                return dataclasses.replace(layer, maps=_whole(layer.maps * self.width))
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
        check_choice("preset", name, tuple(PRESETS))
        return PRESETS[name]

    def without(self, *layer_types: type) -> NetConfig:
        """The same network with every layer of these types taken out, e.g. ``without(Norm, MapNorm)``."""
        kept = tuple(layer for layer in self.layers if not isinstance(layer, layer_types))
        return dataclasses.replace(self, layers=kept)

    def changed(self, name: str, **layers: Mapping[str, Any]) -> NetConfig:
        """The network under another name, with fields of some layers changed: ``changed("wide", conv1={"maps": 128})``.

        Raises:
            ValueError: there is no layer of that name.
        """
        if unknown := sorted(set(layers) - {layer.name for layer in self.layers}):
            raise ValueError(f"{self.name} has no layer {', '.join(unknown)}: {', '.join(x.name for x in self.layers)}")
        new = tuple(dataclasses.replace(layer, **layers.get(layer.name, {})) for layer in self.layers)
        return dataclasses.replace(self, name=name, layers=new)


PRESETS: dict[str, NetConfig] = {}  # filled by alexnet_repro.presets


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How stored pictures become batches.

    ``pixels="minus-mean-image"`` is 2012's input: values 0..255 minus the training set's mean picture.
    ``"standardized"`` is today's: each colour channel with mean 0 and deviation 1.

    Source: 2012 code, data providers ``cifar`` and ``cifar-cropped``; for ImageNet ``convdata_jpeg.py``: crop=224,
        crop_share=32, color="run145", views="ten". The paper (Sec. 4.1) has crop_offsets=32, "a factor of 2048", and
        one draw per image.

    Raises:
        ValueError: a field outside its allowed values, or one that says something of crops where there are none.

    Example:
        >>> from alexnet_repro import InputConfig
        >>> run145 = InputConfig.preset("run145")
        >>> run145.crop, run145.views, run145.color
        (224, 'ten', 'run145')
        >>> InputConfig(pixels="grey")
        Traceback (most recent call last):
        ValueError: pixels must be one of minus-mean-image, standardized, not 'grey'
    """

    pixels: Pixels = "minus-mean-image"  #: what the network sees of a grey level
    crop: int | None = None  #: pixels, side; None: the whole picture, and the fields up to views have no meaning
    random_crops: bool = True  #: in training: at random places and mirrored at random; False: the centre as it is
    crop_offsets: int | None = None  #: places per axis; None: all, 33 for a crop of 224 pixels from 256
    crop_share: int = 1  #: consecutive images that share place and mirroring
    mean_position: MeanPosition = "central"  #: part of the mean picture subtracted from a crop; or the one under it
    views: Views = "grid"  #: in testing: 9 crops on a grid; corners, centre and their mirror images; the centre alone
    color: ColorReading | None = None  #: PCA colour noise in training
    batch_size: int = 128  #: images
    reshuffle: bool = False  #: every epoch; the 2012 code shuffled once and kept that order

    def __post_init__(self) -> None:
        check_choice("pixels", self.pixels, get_args(Pixels))
        check_positive("batch_size", self.batch_size)
        check_choice("views", self.views, get_args(Views))
        check_choice("mean_position", self.mean_position, get_args(MeanPosition))
        if self.color is not None:
            check_choice("color", self.color, get_args(ColorReading))
        for name in ("crop", "crop_offsets", "crop_share"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        about_crops = ("random_crops", "crop_offsets", "crop_share", "mean_position", "views")
        idle = [name for name in about_crops if getattr(self, name) != getattr(InputConfig, name)]
        if self.crop is None and idle:
            raise ValueError(f"{', '.join(idle)} say something of crops, but crop=None; set crop or leave them out")

    @staticmethod
    def preset(name: str) -> InputConfig:
        """The input of that name; ``ValueError`` lists the names if there is none."""
        check_choice("preset", name, tuple(INPUT_PRESETS))
        return INPUT_PRESETS[name]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How one network is trained, by the paper's update rule.

    Source:  Sec. 5.
    Differs: ``accumulate`` gives the gradient of the undivided minibatch but for dropout, whose layers draw their masks
        for one part after the other, and so, where there are several such layers, others than for the whole.

    Raises:
        ValueError: a field outside its allowed values, or two schedules.

    Example:
        >>> from alexnet_repro import TrainConfig
        >>> config = TrainConfig(epochs=90, lr=0.01, lr_drops=(60, 80))
        >>> [f"{config.lr * config.stage(epoch).rate:g}" for epoch in (60, 61, 81)]
        ['0.01', '0.001', '0.0001']
        >>> config.shortened(9).lr_drops
        (6, 8)
    """

    epochs: int  #: at most; fewer if target_error is reached
    lr: float  #: of the weights, initial
    bias_lr_factor: float = 2.0  #: rate of the biases as a multiple of lr; the 2012 code's epsB over epsW
    lr_drops: tuple[int, ...] = ()  #: epochs after which the weights' rate is divided by 10; the biases keep theirs
    schedule: Schedule | None = None  #: in place of lr_drops
    momentum: float = 0.9  #: fraction of the velocity kept
    weight_decay: Mapping[str, float] = field(default_factory=dict)  #: layer name -> decay of its weights; others 0
    target_error: float | None = None  #: fraction; stop after the first epoch whose training error is at most this
    stuck_after: int | None = None  #: steps; an error if the mean loss over so many in a row is no better than chance
    precision: Precision = "float32"  #: of the forward pass, where the device has it; weights are always float32
    accumulate: int = 1  #: parts of a minibatch that are computed one after the other, where memory is small
    compile: bool = False  #: by torch.compile

    def __post_init__(self) -> None:
        for name in ("epochs", "lr", "bias_lr_factor", "accumulate"):
            check_positive(name, getattr(self, name))
        check_choice("precision", self.precision, get_args(Precision))
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and less than 1, not {self.momentum!r}")
        if self.target_error is not None and not 0 < self.target_error < 1:
            raise ValueError(f"target_error is a fraction between 0 and 1, not {self.target_error!r}")
        if self.stuck_after is not None:
            check_positive("stuck_after", self.stuck_after)
        if self.schedule is not None and self.lr_drops:
            raise ValueError("schedule takes the place of lr_drops; leave one of them out")

    @staticmethod
    def preset(name: str) -> TrainConfig:
        """The training of that name; ``ValueError`` lists the names if there is none."""
        check_choice("preset", name, tuple(TRAIN_PRESETS))
        return TRAIN_PRESETS[name]

    def stage(self, epoch: int, val_errors: Sequence[float] = ()) -> Stage:
        """What epoch number ``epoch`` (1, 2, ...) is trained with, given the validation errors of those before it."""
        return (self.schedule or Drops(self.lr_drops)).stage(epoch, self.epochs, val_errors)

    def shortened(self, epochs: int) -> TrainConfig:
        """The same in ``epochs`` epochs, its stages or drops in proportion; ``ValueError`` if they are too few."""
        drops = tuple(max(1, round(drop * epochs / self.epochs)) for drop in self.lr_drops)
        schedule = self.schedule.shortened(epochs) if isinstance(self.schedule, Stages) else self.schedule
        return dataclasses.replace(self, epochs=epochs, lr_drops=drops, schedule=schedule)

    def needs_validation(self) -> bool:
        """Whether the schedule looks at validation errors."""
        return isinstance(self.schedule, Plateau)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run, whole: what ``alexnet-repro train`` trains."""

    dataset: str  #: as for load_dataset
    size: int | None = None  #: of the stored pictures, pixels
    seed: int = 0  #: of weights, order, crops and masks
    net: NetConfig  #: the network
    input: InputConfig  #: how pictures become batches
    train: TrainConfig  #: the training

    @classmethod
    def from_json(cls, value: Any) -> RunConfig:
        """From ``values.as_json``'s form; ``ValueError`` names what it does not know."""
        layers = get_args(Layer)
        return from_json(value, (cls, NetConfig, InputConfig, TrainConfig, *layers, Stage, *get_args(Schedule)))


TRAIN_PRESETS: dict[str, TrainConfig] = {}  # filled by alexnet_repro.recipes
INPUT_PRESETS: dict[str, InputConfig] = {}


def _is_norm(layer: Layer) -> bool:
    return isinstance(layer, Norm | MapNorm)


def _whole(number: float) -> int | float:
    """2.0 as 2; what is no whole number stays as it is, for a message to name."""
    return int(number) if number == int(number) else number
