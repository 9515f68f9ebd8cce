"""A data set as batches, one pass per iteration."""

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
from alexnet_repro.data.inputs import Chance, Draws, InputTransform
from alexnet_repro.support.chance import streams
from alexnet_repro.support.environment import send

RESIDENT = 4 * 2**30  # bytes; a data set of at most so many is kept on the device, a larger one stays where it is

Batch = tuple[Tensor, Tensor]


def resident(images: Tensor, device: torch.device) -> Tensor:
    """The images on the device if they are at most ``RESIDENT`` bytes of pixels, else where they are."""
    return images.to(device) if isinstance(images, Tensor) and images.nbytes <= RESIDENT else images


class Batches:
    """Every iteration is one epoch of training batches: (n, 3, h, w) float32 inputs and (n,) int64 labels.

    The order is shuffled once, or anew for every epoch where the configuration says so; the last batch may be smaller.
    Batches are made ahead in the background, ``ahead`` of them at a time, each by a thread of its own. What chance
    decides is drawn beforehand and in order, so that a batch depends neither on ``ahead`` nor on ``ranks``: the parts
    that all ranks get of a batch are the batch.

    Args:
        dataset: the training set.
        transform: pixels to inputs; its ``config`` gives batch size and shuffling.
        generator: on the CPU; order, crops with flips, and colours each have a generator of their own from it, by one
            draw. Two equal ones give equal batches.
        device: where the batches go.
        rank, ranks: of every batch only the part ``rank`` of ``ranks`` equal parts, for data parallelism.
        ahead: batches.

    Raises:
        ValueError: a rank that there is not, or a batch with fewer images than there are ranks.
    """

    def __init__(
        self,
        dataset: Dataset,
        transform: InputTransform,
        generator: torch.Generator,
        device: str | torch.device = "cpu",
        *,
        rank: int = 0,
        ranks: int = 1,
        ahead: int = 2,
    ) -> None:
        self.device = torch.device(device)
        self.transform = transform.to(self.device)
        self._generators = streams(generator, "order", "crops", "colour")
        self._chance = Chance(*self._generators[1:])
        self.rank, self.ranks, self.ahead = rank, ranks, ahead
        self._check(len(dataset))
        self.images, self.labels = resident(dataset.images, self.device), dataset.labels
        self.order = torch.randperm(len(dataset), generator=self._generators[0])
        self.color, self.part = True, 1.0  # as the last call of ``enter`` said
        self.place = (0, 0)  # in the batch given last: this rank's first image, and how many all ranks have
        self._begun = False  # an epoch
        self._given = 0  # batches of it that the caller has had
        self._resumed = False
        self._iterations = 0  # that were begun; only the last of them goes by
        self._drawn = self._states()  # before the first draw that no given batch has used

    def __len__(self) -> int:
        return math.ceil(self._count() / self.transform.config.batch_size)

    def enter(self, color: bool, part: float) -> None:
        """From the next epoch on: colour noise or none, and the part of the images, the first in their order."""
        self.color, self.part = color, part
        self._check(self._count())

    def __iter__(self) -> Iterator[Batch]:
        self._set_states(self._drawn)  # if another iteration is under way, it has drawn ahead
        if not self._resumed:
            self._given = 0
            if self.transform.config.reshuffle:
                new = torch.randperm(self._count(), generator=self._generators[0])
                self.order = new if self.part == 1 else torch.cat([self.order[new], self.order[len(new) :]])
        self._begun, self._resumed, self._drawn = True, False, self._states()
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
        """Where the caller is in the epoch; the next batch, and all after it, follow from it."""
        return {"order": self.order, "begun": self._begun, "given": self._given, "generators": self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration goes on after the batches that had been given."""
        if len(state["order"]) != len(self.order):
            raise ValueError(f"the state is of a data set of {len(state['order'])} images, not {len(self.order)}")
        if not state["order"].sort().values.equal(torch.arange(len(self.order))):
            raise ValueError("the state's order is not of each image once")
        if not 0 <= state["given"] <= len(self) or type(state["begun"]) is not bool:
            raise ValueError(f"the state's place is not in an epoch of {len(self)} batches")
        self.order, self._given, self._drawn = state["order"], state["given"], state["generators"]
        self._set_states(self._drawn)
        self._begun = self._resumed = state["begun"]

    def begin(self) -> None:
        """The next iteration is a new epoch, whatever the state that was loaded has left of another."""
        self._begun = self._resumed = False

    def _count(self) -> int:
        return round(self.part * len(self.order))

    def _jobs(self, start: int) -> Iterator[tuple[Tensor, Draws, tuple[int, int]]]:
        """This rank's images, draws and place of every batch from the given one on."""
        for rows in islice(self.order[: self._count()].split(self.transform.config.batch_size), start, None):
            draws = self.transform.draw((len(rows), *self.images.shape[2:]), self._chance, self.color)
            first, last = (len(rows) * r // self.ranks for r in (self.rank, self.rank + 1))
            yield rows[first:last], draws[first:last], (first, len(rows))

    def _made(self, rows: Tensor, draws: Draws) -> Batch:
        labels = send(self.labels.index_select(0, rows), self.device)
        if not isinstance(self.images, Tensor):
            images = self.images.index_select(0, rows)
        elif self.images.device.type == "cpu":
            images = torch.from_numpy(self.images.numpy().take(rows.numpy(), axis=0))  # in this thread alone
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
        if not 0 <= self.rank < self.ranks:
            raise ValueError(f"rank must be between 0 and {self.ranks - 1}, not {self.rank}")
        if self.ahead < 1:
            raise ValueError(f"ahead must be at least 1 batch, not {self.ahead}")
        if not images:
            raise ValueError("an epoch would have no images: give more of them, or a larger part")
        size = self.transform.config.batch_size
        smallest = images % size or size
        if smallest < self.ranks:
            raise ValueError(f"the last batch of {images} images has {smallest}: too few for {self.ranks} ranks")
