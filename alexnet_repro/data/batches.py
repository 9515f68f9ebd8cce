"""A data set as batches, one pass per iteration."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from alexnet_repro.augment import InputTransform
from alexnet_repro.data.dataset import Dataset


class Batches:
    """Every iteration is one epoch of training batches: (n, 3, h, w) float32 inputs and (n,) int64 labels.

    The order is shuffled once, or anew for every epoch where the configuration says so; the last batch may be smaller.

    Args:
        dataset: the training set.
        transform: pixels to inputs; its ``config`` gives batch size and shuffling.
        generator: a CPU generator for order, crops and flips; two equal ones give equal batches.
        device: where the data set is kept and the batches are made.
    """

    def __init__(
        self,
        dataset: Dataset,
        transform: InputTransform,
        generator: torch.Generator,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.images, self.labels = dataset.images.to(self.device), dataset.labels.to(self.device)
        self.transform, self.generator = transform.to(self.device), generator
        self.order = torch.randperm(len(dataset), generator=generator)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.transform.config.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.transform.config.reshuffle:
            self.order = torch.randperm(len(self.order), generator=self.generator)
        for indices in self.order.to(self.device).split(self.transform.config.batch_size):
            images = self.images.index_select(0, indices)  # a tenth of the time of images[indices]
            yield self.transform.training(images, self.generator), self.labels[indices]
