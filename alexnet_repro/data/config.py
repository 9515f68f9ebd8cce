"""How stored images become batches, as a frozen value, with presets for the networks of the same names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from alexnet_repro.support.values import check_positive, check_types, chosen

Pixels = Literal["minus-mean-image", "standardized"]
Views = Literal["grid", "ten", "centre"]
MeanPosition = Literal["central", "matched"]
ColorVariant = Literal["run145", "paper", "lighting"]


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How stored images become batches.

    ``pixels="minus-mean-image"`` is the input of 2012: values 0..255 minus the training set's mean image.
    ``"standardized"`` is usual today: each colour channel has mean 0 and standard deviation 1.

    Source: 2012 code, data providers ``cifar`` and ``cifar-cropped``; for ImageNet ``convdata_jpeg.py``: crop=224,
        crop_share=32, color="run145", views="ten". The paper (Sec. 4.1) has crop_offsets=32, "a factor of 2048", and
        one draw per image.

    Raises:
        ValueError: a field is outside its allowed values, or one about crops is set although ``crop`` is None.

    Example:
        >>> from alexnet_repro import InputConfig
        >>> run145 = InputConfig.preset("run145")
        >>> run145.crop, run145.views, run145.color
        (224, 'ten', 'run145')
        >>> InputConfig(pixels="grey")
        Traceback (most recent call last):
        ValueError: pixels must be one of minus-mean-image, standardized, not 'grey'
    """

    pixels: Pixels = "minus-mean-image"  #: how pixel values are centred and scaled
    crop: int | None = None  #: side, pixels; None: the whole image, and the next fields up to views may not be set
    random_crops: bool = True  #: in training: crop and flip at random; False: the centre crop, unflipped
    crop_offsets: int | None = None  #: places per axis; None: all, 33 for a crop of 224 pixels from 256
    crop_share: int = 1  #: number of consecutive images that share place and flip
    mean_position: MeanPosition = "central"  #: part of the mean image to subtract: its centre; the part under the crop
    views: Views = "grid"  #: at test time: 9 crops on a grid; corners and centre with their flips; the centre alone
    color: ColorVariant | None = None  #: PCA colour noise in training
    batch_size: int = 128  #: images
    reshuffle: bool = False  #: before every epoch; the 2012 code shuffled once and kept that order

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("batch_size", "crop", "crop_offsets", "crop_share"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        about_crops = ("random_crops", "crop_offsets", "crop_share", "mean_position", "views")
        idle = [name for name in about_crops if getattr(self, name) != getattr(InputConfig, name)]
        if self.crop is None and idle:
            raise ValueError(f"{', '.join(idle)} only apply to crops, but crop=None; set crop or leave them out")

    @staticmethod
    def preset(name: str) -> InputConfig:
        """The input preset of that name; if there is none, ``ValueError`` lists the names."""
        return chosen("preset", name, INPUT_PRESETS)


_PAPER = InputConfig(crop=224, crop_offsets=32, mean_position="matched", views="ten", color="lighting")
"""Sec. 2 and 4.1. OURS: the printed formula of the colour noise is applied to pixels between 0 and 1; between 0 and 255
its shifts would be larger than the pixel values. As in the code, the order is shuffled only once."""

_RUN145 = InputConfig(crop=224, crop_share=32, views="ten", color="run145")
"""2012 code, convdata_jpeg.py."""

_CAFFE = InputConfig(crop=227, mean_position="matched", views="centre", batch_size=256)

_WHOLE, _CROPS = InputConfig(), InputConfig(crop=24)

INPUT_PRESETS: dict[str, InputConfig] = {
    **dict.fromkeys(("paper", "torchvision", "notes"), _PAPER),  # torchvision's own crops are not the paper's
    **dict.fromkeys(("run145", "run145-half", "run147", "run148", "run145-2010"), _RUN145),
    "run145-small": replace(_RUN145, crop=112, crop_share=1, reshuffle=True),  # few images need variety
    "cuda-convnet2": replace(_RUN145, crop_share=1),
    "caffe": _CAFFE,
    **dict.fromkeys(("cifar-80sec", "cifar-19pct", "cifar-18pct"), _WHOLE),
    **dict.fromkeys(("cifar-13pct", "cifar-11pct-r540"), _CROPS),
    "cifar-11pct": replace(_CROPS, views="ten"),
}
"""Name -> input, for the networks and training recipes of the same names."""
