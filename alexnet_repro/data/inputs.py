"""Turns stored images into network inputs, as a configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

import torch
from torch import Tensor

from alexnet_repro.data.augment import Crops, PCAColor, arrays, centre_crop, float32_like, grid_views, slices, ten_crop
from alexnet_repro.data.config import InputConfig, Views
from alexnet_repro.data.dataset import Dataset
from alexnet_repro.data.moments import Moments
from alexnet_repro.support.environment import send
from alexnet_repro.support.values import check_choice

CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Draws:
    """The random draws for a batch of training images.

    Attributes:
        crops: places and flips of the crops; None: no random crops.
        color: (n, 3) standard normal draws, one per image and colour axis; None: no colour noise.
    """

    crops: Crops | None
    color: Tensor | None

    def __getitem__(self, rows: slice) -> Draws:
        crops = None if self.crops is None else self.crops[rows]
        return Draws(crops, None if self.color is None else self.color[rows])


@dataclass(frozen=True, eq=False)
class InputTransform:
    """Turns stored images (uint8) into network inputs (float32), as an ``InputConfig`` says.

    Attributes:
        config: the input configuration.
        mean: subtracted from the images; pixel values, (3, H, W) for a mean image, (3, 1, 1) for channel means.
        scale: factor applied afterwards, in units of 1 / pixel value.
        color: the colour noise of training, or None.
    """

    config: InputConfig
    mean: Tensor = field(repr=False)
    scale: Tensor = field(repr=False)
    color: PCAColor | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, config: InputConfig, images: Tensor | Moments | Dataset) -> InputTransform:
        """The transform with mean, standard deviation and colour axes of the training images.

        Args:
            config: the input configuration.
            images: (N, 3, H, W) uint8, or a data set, or the moments of either.

        Raises:
            ValueError: pixels are to be standardized, but a channel is constant.
        """
        moments = images.moments if isinstance(images, Dataset) else Moments.of(images)
        color = None if config.color is None else PCAColor.fit(moments, config.color)
        if config.pixels == "minus-mean-image":
            return cls(config, moments.mean_image.float(), torch.ones((), device="cpu"), color)
        variances = moments.covariance.diagonal()
        for channel, variance, mean in zip(CHANNELS, variances.tolist(), moments.mean.tolist(), strict=True):
            if not variance > 0:
                raise ValueError(
                    f"the {channel} channel is {mean:g} in every pixel of the training images, so that it has no "
                    f'standard deviation to divide by. Choose pixels="minus-mean-image", or other images'
                )
        stds = variances.sqrt()
        return cls(config, moments.mean.float()[:, None, None], stds.float()[:, None, None].reciprocal(), color)

    def draw(
        self, shape: tuple[int, int, int], crops: torch.Generator, color: torch.Generator, noise: bool = True
    ) -> Draws:
        """Makes all random draws for a batch of ``shape = (n, height, width)``; without ``noise``, no colour noise.

        There are two generators, so that turning colour noise off does not change the crops.
        """
        config, places = self.config, None
        if config.crop is not None and config.random_crops:
            places = Crops.draw(shape, config.crop, crops, offsets=config.crop_offsets, share=config.crop_share)
        colorful = noise and self.color is not None
        return Draws(places, torch.randn(shape[0], 3, generator=color, device="cpu") if colorful else None)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The training inputs for these draws, on the transform's device; the images may be on another device."""
        crop = self._centre if draws.crops is None else draws.crops.of
        crops = send(crop(images), self.mean.device)
        mean = crop(self.mean.expand_as(images)) if self._mean_is_matched() else self._mean()[None]
        color, normal = self.color, draws.color
        shifts = None if color is None or normal is None else color.along_axes(normal)
        inputs = float32_like(crops)
        for rows in slices(crops):  # few images at a time, so that they stay in the cache
            own = mean[rows] if len(mean) > 1 else mean
            operations, (part, under, scale, out) = arrays(crops[rows], own, self.scale, inputs[rows])
            operations.subtract(part, under, out=out)
            if color is not None and shifts is not None:
                color.apply(operations, out, arrays(shifts[rows])[1][0], out)
            if self.config.pixels == "standardized":
                operations.multiply(out, scale, out=out)
        return inputs

    def views(self, images: Tensor) -> Tensor:
        """The evaluation views of each image: (views, N, 3, h, w)."""
        if self._mean_is_matched():
            return self._scale_(self._views(images - self.mean))
        return self._scale_(self._views(images) - self._mean())

    def _views(self, images: Tensor) -> Tensor:
        size, views = self.config.crop, self.config.views
        if size is None or views == "centre":
            return self._centre(images)[None]
        return grid_views(images, size) if views == "grid" else ten_crop(images, size)

    def viewed(self, views: Views) -> InputTransform:
        """The same transform with other evaluation views; without crops, the view remains the whole image."""
        check_choice("views", views, get_args(Views))
        config = self.config if self.config.crop is None else replace(self.config, views=views)
        return replace(self, config=config)

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors that were fitted to the training set."""
        color = {} if self.color is None else {"deviations": self.color.deviations, "axes": self.color.axes}
        return {"mean": self.mean, "scale": self.scale, **color}

    @classmethod
    def from_state(cls, config: InputConfig, state: Mapping[str, Tensor]) -> InputTransform:
        """Restores a transform from its ``state_dict``, without a training set; ``ValueError`` for other shapes."""
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        if config.pixels == "minus-mean-image":
            expected = {"mean": (3, *(*shapes["mean"][1:], 1, 1)[:2]), "scale": ()}
        else:
            expected = {"mean": (3, 1, 1), "scale": (3, 1, 1)}
        expected |= {} if config.color is None else {"deviations": (3,), "axes": (3, 3)}
        if shapes != expected or not all(value.is_floating_point() for value in state.values()):
            raise ValueError(f"the input's state has the shapes {expected}, all of fractions, not {shapes}")
        color = None if config.color is None else PCAColor(state["deviations"], state["axes"], config.color)
        return cls(config, state["mean"], state["scale"], color)

    def to(self, device: torch.device | str) -> InputTransform:
        color = None if self.color is None else self.color.to(device)
        return replace(self, mean=self.mean.to(device), scale=self.scale.to(device), color=color)

    def _mean_is_matched(self) -> bool:
        return self.config.mean_position == "matched" and self.mean.shape[-1] > 1

    def _mean(self) -> Tensor:
        """The mean to subtract from every crop; of a mean image, its centre."""
        return self._centre(self.mean) if self.mean.shape[-1] > 1 else self.mean

    def _centre(self, images: Tensor) -> Tensor:
        """The centre of each image; without crops, all of it."""
        return images if self.config.crop is None else centre_crop(images, self.config.crop)

    def _scale_(self, inputs: Tensor) -> Tensor:
        return inputs if self.config.pixels == "minus-mean-image" else inputs.mul_(self.scale)
