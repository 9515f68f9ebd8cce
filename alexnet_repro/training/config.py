"""Frozen values that describe how a network is trained, and a whole run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, get_args

import torch

from alexnet_repro.data.config import InputConfig
from alexnet_repro.networks.spec import Layer, NetConfig
from alexnet_repro.support.values import check_positive, check_types, chosen, from_json
from alexnet_repro.training.schedules import Plateau, Schedule, Stage, Stages

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a network is trained with the paper's update rule.

    Source:  Sec. 5.
    Differs: ``accumulate`` gives the gradient of the undivided minibatch, except for dropout: its masks are drawn part
        by part, and differ from those of the whole minibatch if there are several dropout layers, or on a GPU.

    Raises:
        ValueError: a field is outside its allowed values, or there are both ``lr_drops`` and ``schedule``.

    Example:
        >>> from alexnet_repro import TrainConfig
        >>> config = TrainConfig(epochs=90, lr=0.01, lr_drops=(60, 80))
        >>> [f"{config.lr * config.stage(epoch).lr_factor:g}" for epoch in (60, 61, 81)]
        ['0.01', '0.001', '0.0001']
        >>> config.shortened(9).lr_drops
        (6, 8)
    """

    epochs: int  #: at most; fewer if target_error is reached
    lr: float  #: initial learning rate of the weights
    bias_lr_factor: float = 2.0  #: learning rate of the biases as a multiple of lr; the 2012 code's epsB over epsW
    lr_drops: tuple[int, ...] = ()  #: epochs after which the weights' lr is divided by 10; the biases keep theirs
    schedule: Schedule | None = None  #: in place of lr_drops
    momentum: float = 0.9  #: fraction of the velocity kept
    weight_decay: Mapping[str, float] = field(default_factory=dict)  #: layer name -> decay of its weights; others 0
    target_error: float | None = None  #: fraction; stop after the first epoch whose training error is at most this
    stuck_after: int | None = None  #: steps; error if the mean loss over this many in a row is no better than chance
    precision: Precision = "float32"  #: of forward passes, by autocast; weights are always float32
    accumulate: int = 1  #: parts of a minibatch that are computed one after the other, to save memory
    compile: bool = False  #: whether to use torch.compile

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("epochs", "lr", "bias_lr_factor", "accumulate"):
            check_positive(name, getattr(self, name))
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and less than 1, not {self.momentum!r}")
        if self.target_error is not None and not 0 < self.target_error < 1:
            raise ValueError(f"target_error is a fraction between 0 and 1, not {self.target_error!r}")
        if self.stuck_after is not None:
            check_positive("stuck_after", self.stuck_after)
        for layer, decay in self.weight_decay.items():
            if not 0 <= decay < math.inf:
                raise ValueError(f"weight_decay of {layer} must be at least 0 and finite, not {decay!r}")
        if any(drop < 1 for drop in self.lr_drops):
            raise ValueError(f"lr_drops are epochs from 1 on, not {self.lr_drops}")
        if self.schedule is not None and self.lr_drops:
            raise ValueError("schedule takes the place of lr_drops; leave one of them out")

    @staticmethod
    def preset(name: str) -> TrainConfig:
        """The training preset of that name; if there is none, ``ValueError`` lists the names."""
        from alexnet_repro.training.recipes import TRAIN_PRESETS  # which imports TrainConfig

        return chosen("preset", name, TRAIN_PRESETS)

    def stage(self, epoch: int, val_errors: Sequence[float] = ()) -> Stage:
        """The stage of epoch number ``epoch`` (1, 2, ...), given the validation errors of the epochs before it."""
        schedule = self.schedule or Stages.of_drops(self.lr_drops, self.epochs)
        return schedule.stage(epoch, self.epochs, val_errors)

    def shortened(self, epochs: int) -> TrainConfig:
        """The same training in ``epochs`` epochs, stages or drops in proportion; ``ValueError`` if they are too few."""
        if isinstance(self.schedule, Stages):
            return dataclasses.replace(self, epochs=epochs, schedule=self.schedule.shortened(epochs, self.epochs))
        if self.schedule is not None:
            return dataclasses.replace(self, epochs=epochs)
        whole = Stages.of_drops(self.lr_drops, self.epochs)
        both = whole, whole.shortened(epochs, self.epochs)
        ends = [accumulate(x.epochs or 0 for x in stages.stages) for stages in both]
        moved = dict(zip(*ends, strict=True))
        return dataclasses.replace(self, epochs=epochs, lr_drops=tuple(moved[x] for x in self.lr_drops if x in moved))

    def autocast(self, device: torch.device | str) -> AbstractContextManager[object]:
        """A context in which forward passes on the device have this precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(device).type, getattr(torch, self.precision))

    def needs_validation(self) -> bool:
        """Whether the schedule depends on validation errors."""
        return isinstance(self.schedule, Plateau)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The complete description of one training run, as for ``alexnet-repro train``."""

    dataset: str  #: name or path, as for load_dataset
    size: int | None = None  #: of the stored images, pixels; None: as for load_dataset
    seed: int = 0  #: of initial weights, order, crops and masks
    net: NetConfig  #: the network
    input: InputConfig  #: how images become batches
    train: TrainConfig  #: the training

    def __post_init__(self) -> None:
        check_types(self)
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")

    @classmethod
    def from_json(cls, value: Any) -> RunConfig:
        """The configuration from the form that ``values.as_json`` gives; ``ValueError`` names anything unknown."""
        layers = get_args(Layer)
        config = from_json(value, (cls, NetConfig, InputConfig, TrainConfig, *layers, Stage, *get_args(Schedule)))
        if not isinstance(config, cls):
            found = value.get("type") if isinstance(value, dict) else value
            raise ValueError(f"a configuration has the type {cls.__name__}, not {found!r}")
        return config
