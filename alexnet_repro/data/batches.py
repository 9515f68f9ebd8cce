"""A data set in batches, one epoch per iteration."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from alexnet_repro.data.dataset import Dataset
from alexnet_repro.data.inputs import Draws, InputTransform
from alexnet_repro.support.chance import streams
from alexnet_repro.support.environment import send

RESIDENT = 4 * 2**30  # bytes; a data set up to this size is kept on the device, a larger one stays where it is

Batch = tuple[Tensor, Tensor]


def resident(images: Tensor, device: torch.device) -> Tensor:
    """The images, moved to the device if they are a tensor of at most ``RESIDENT`` bytes, else unchanged."""
    return images.to(device) if isinstance(images, Tensor) and images.nbytes <= RESIDENT else images


class Batches:
    """Training batches, one epoch per iteration: (n, 3, h, w) float32 inputs and (n,) int64 labels.

    The order is shuffled once, or before every epoch if the configuration says so; the last batch may be smaller.
    Background threads prepare ``ahead`` batches in advance, each batch in one thread. All random numbers are drawn
    beforehand and in order, so that a batch depends neither on ``ahead`` nor on ``shards``: the shards of a batch add
    up to the batch that a single process gets.

    Args:
        dataset: the training set.
        transform: turns pixels into inputs; its ``config`` gives batch size and shuffling.
        generator: on the CPU; one draw from it seeds separate generators for the order, for crops and flips, and for
            colour noise. Equal generators give equal batches.
        device: where the batches go.
        shard, shards: for data parallelism, of every batch give only part ``shard`` of ``shards`` equal parts; of a
            batch with fewer images than shards, some of these parts are empty.
        ahead: number of batches prepared in advance.

    Raises:
        ValueError: ``shard`` or ``ahead`` is out of range, or there are no images.
    """

    def __init__(
        self,
        dataset: Dataset,
        transform: InputTransform,
        generator: torch.Generator,
        device: str | torch.device = "cpu",
        *,
        shard: int = 0,
        shards: int = 1,
        ahead: int = 2,
    ) -> None:
        self.device = torch.device(device)
        self.transform = transform.to(self.device)
        self._generators = streams(generator, "order", "crops", "colour")
        self.shard, self.shards, self.ahead = shard, shards, ahead
        self._check(len(dataset))
        self.images, self.labels = resident(dataset.images, self.device), dataset.labels
        self.order = torch.randperm(len(dataset), generator=self._generators[0], device="cpu")
        self.color, self.part = True, 1.0  # as set by the last call of ``enter``
        self.place = (0, 0)  # in the batch given out last: index of this shard's first image, and images of all shards
        self._given = 0  # batches of this epoch that the caller has received
        self._resumed = False  # whether the next iteration is the rest of an epoch
        self._iterations = 0  # begun so far; only the latest may reset the generators
        self._drawn = self._states()  # generators before the draws of the next batch to give out

    def __len__(self) -> int:
        return math.ceil(self.epoch_size / self.transform.config.batch_size)

    @property
    def epoch_size(self) -> int:
        """The number of images in an epoch."""
        return round(self.part * len(self.order))

    def enter(self, color: bool, part: float) -> None:
        """Sets for the next epochs whether there is colour noise, and the fraction of images used, first in order."""
        self.color, self.part = color, part
        self._check(self.epoch_size)

    def __iter__(self) -> Iterator[Batch]:
        self._set_states(self._drawn)  # another iteration under way may have drawn ahead
        if not self._resumed:
            self._given = 0
            if self.transform.config.reshuffle:
                new = torch.randperm(self.epoch_size, generator=self._generators[0], device="cpu")
                self.order = new if self.part == 1 else torch.cat([self.order[new], self.order[len(new) :]])
        self._resumed, self._drawn = False, self._states()
        self._iterations = own = self._iterations + 1
        jobs = self._jobs(self._given)
        with ThreadPoolExecutor(self.ahead) as pool:
            waiting: deque[tuple[Future[Batch], tuple[int, int], list[Tensor]]] = deque()
            try:
                for rows, draws, place in jobs:
                    waiting.append((pool.submit(self._made, rows, draws), place, self._states()))
                    if len(waiting) > self.ahead:
                        yield self._give(*waiting.popleft())
                while waiting:
                    yield self._give(*waiting.popleft())
            finally:  # a caller may leave in the middle of an epoch
                for future, *_ in waiting:
                    future.cancel()
                if own == self._iterations:
                    self._set_states(self._drawn)

    def state_dict(self) -> dict[str, Any]:
        """The caller's position in the epoch, which determines the next batch and all later ones."""
        return {"order": self.order, "given": self._given, "generators": self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next iteration resume after the batches that had been given out."""
        if len(state["order"]) != len(self.order):
            raise ValueError(f"the state is of a data set of {len(state['order'])} images, not {len(self.order)}")
        if not state["order"].sort().values.equal(torch.arange(len(self.order), device="cpu")):
            raise ValueError("the state's order does not list each image once")
        if state["given"] not in range(len(self) + 1):
            raise ValueError(f"the state's place is outside an epoch of {len(self)} batches")
        self.order, self._given, self._drawn = state["order"], state["given"], state["generators"]
        self._set_states(self._drawn)
        self._resumed = self._given > 0

    def begin(self) -> None:
        """Makes the next iteration a new epoch, instead of the rest of the epoch in the loaded state."""
        self._given, self._resumed = 0, False

    def _jobs(self, start: int) -> Iterator[tuple[Tensor, Draws, tuple[int, int]]]:
        """For every batch from number ``start`` on: the indices of this shard's images, their draws and their place."""
        _, crops, color = self._generators
        for rows in islice(self.order[: self.epoch_size].split(self.transform.config.batch_size), start, None):
            draws = self.transform.draw((len(rows), *self.images.shape[2:]), crops, color, self.color)
            first, last = (len(rows) * s // self.shards for s in (self.shard, self.shard + 1))
            yield rows[first:last], draws[first:last], (first, len(rows))

    def _made(self, rows: Tensor, draws: Draws) -> Batch:
        labels = send(self.labels.index_select(0, rows), self.device)
        if not isinstance(self.images, Tensor):
            images = self.images.index_select(0, rows)
        elif self.images.device.type == "cpu":
            images = torch.from_numpy(self.images.numpy().take(rows.numpy(), axis=0))  # numpy uses this thread alone
        else:
            images = self.images.index_select(0, send(rows, self.device))
        return self.transform.apply(images, draws), labels

    def _give(self, batch: Future[Batch], place: tuple[int, int], drawn: list[Tensor]) -> Batch:
        made = batch.result()
        self._given, self._drawn, self.place = self._given + 1, drawn, place
        return made

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._generators]

    def _set_states(self, states: list[Tensor]) -> None:
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)

    def _check(self, images: int) -> None:
        if not 0 <= self.shard < self.shards:
            raise ValueError(f"shard must be between 0 and {self.shards - 1}, not {self.shard}")
        if self.ahead < 1:
            raise ValueError(f"ahead must be at least 1 batch, not {self.ahead}")
        if not images:
            raise ValueError("an epoch would have no images: use more images, or a larger part")
