"""Schedules as frozen values: when the learning rates change, and the input with them.

A schedule determines the ``Stage`` of an epoch from the epoch's number and the earlier validation errors alone. So a
run has no state of its schedule to save.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from alexnet_repro.support.values import check_positive, check_types


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Consecutive epochs that are trained in the same way."""

    epochs: int | None = None  #: number of epochs; None: all that remain, for the last stage
    lr_factor: float = 1.0  #: learning rate of the weights, as a multiple of TrainConfig.lr
    bias_lr_factor: float = 1.0  #: learning rate of the biases, as a multiple of their initial one
    #: layer -> factor for its weights in place of ``lr_factor``; 0 freezes the layer, biases included
    layer_lr_factors: Mapping[str, float] = field(default_factory=dict)
    color: bool = True  #: whether colour noise is on, if the input has any
    part: float = 1.0  #: fraction of the training images that is used, the first in their order

    def __post_init__(self) -> None:
        check_types(self)
        if self.epochs is not None:
            check_positive("epochs of a stage", self.epochs)
        if not 0 < self.part <= 1:
            raise ValueError(f"part of a stage is a fraction above 0 and at most 1, not {self.part!r}")
        factors = {"lr_factor": self.lr_factor, "bias_lr_factor": self.bias_lr_factor, **self.layer_lr_factors}
        for name, factor in factors.items():
            if not factor >= 0:
                raise ValueError(f"the learning rate factor {name} of a stage must be at least 0, not {factor!r}")


@dataclass(frozen=True)
class Stages:
    """One stage after the other; the last continues for as long as the training does."""

    stages: tuple[Stage, ...]  #: in order

    def __post_init__(self) -> None:
        check_types(self)
        if not self.stages or any(stage.epochs is None for stage in self.stages[:-1]):
            raise ValueError("Stages needs at least one stage, and all but the last need their number of epochs")

    @classmethod
    def of_drops(cls, drops: Sequence[int], epochs: int) -> Stages:
        """Stages that divide the weights' learning rate by 10 after each epoch in ``drops``; the biases keep theirs."""
        ends = sorted({0, epochs, *(drop for drop in drops if drop < epochs)})
        return cls(
            tuple(
                Stage(epochs=end - start, lr_factor=0.1 ** sum(drop <= start for drop in drops))
                for start, end in pairwise(ends)
            )
        )

    def stage(self, epoch: int, epochs: int, val_errors: Sequence[float]) -> Stage:
        """The stage of epoch number ``epoch`` (1, 2, ...) of ``epochs``, given the validation errors before it."""
        ends = accumulate(stage.epochs or 0 for stage in self.stages[:-1])  # all of these have a number
        return self.stages[sum(epoch > end for end in ends)]

    def shortened(self, epochs: int, whole: int) -> Stages:
        """The stages of a training of ``whole`` epochs in proportion, in one of ``epochs``; each keeps at least one.

        Raises:
            ValueError: there are fewer epochs than stages.
        """
        starts = [0, *accumulate(stage.epochs or 0 for stage in self.stages[:-1])]
        stages = [stage for stage, start in zip(self.stages, starts, strict=True) if start < whole]
        lasts = [*starts[1 : len(stages)], whole]
        if epochs < len(stages):
            raise ValueError(
                f"{len(stages)} stages that end with epochs {lasts} can't be shortened to {epochs} epochs in all: give "
                f"at least {len(stages)}, or set epochs alone, --set train.epochs={epochs}, to train the first stages"
            )
        shortened, end = [], 0
        for left, stage, last in zip(reversed(range(len(stages))), stages, lasts, strict=True):
            start, end = end, min(max(round(last * epochs / whole), end + 1), epochs - left)
            shortened.append(replace(stage, epochs=end - start))
        return Stages(tuple(shortened))


@dataclass(frozen=True)
class Plateau:
    """All learning rates are multiplied by ``factor`` each time the validation error stops improving.

    This happens at most ``drops`` times.

    Source:  Sec. 5: divided by 10 when it stopped improving, three times in all, by hand. OURS: ``patience``.
    """

    patience: int = 3  #: epochs without a new lowest validation error, counted anew after every drop
    drops: int = 3  #: largest number of drops
    factor: float = 0.1  #: multiplies all learning rates at a drop

    def __post_init__(self) -> None:
        check_types(self)
        check_positive("patience", self.patience)
        check_positive("factor", self.factor)
        if self.drops < 0:
            raise ValueError(f"drops of a Plateau must be at least 0, not {self.drops!r}")

    def stage(self, epoch: int, epochs: int, val_errors: Sequence[float]) -> Stage:
        """As for ``Stages``."""
        lowest, waited, drops = float("inf"), 0, 0
        for error in val_errors:
            lowest, waited = (error, 0) if error < lowest else (lowest, waited + 1)
            if waited == self.patience and drops < self.drops:
                waited, drops = 0, drops + 1
        return Stage(lr_factor=self.factor**drops, bias_lr_factor=self.factor**drops)


@dataclass(frozen=True)
class Dexp:
    r"""Equal intervals, each with a learning rate lower by the same factor: a "discretized exponential".

    .. math:: \text{lr}_i = \text{lr} \cdot \text{total}^{-i / (n - 1)}, \qquad i = 0, \dots, n - 1

    Source:  2012 code, src/lr.cu; the values are those of cuda-convnet2, layer-params-imagenet-1gpu.cfg.
    Differs: from the code, where an interval may begin in the middle of an epoch.
    """

    intervals: int = 4  #: number of intervals of the weights' learning rate
    total: float = 250.0  #: ratio of the first learning rate to the last
    bias_intervals: int = 2  #: number of intervals of the biases' learning rate
    bias_total: float = 10.0  #: as ``total``, for the biases

    def __post_init__(self) -> None:
        check_types(self)
        if min(self.intervals, self.bias_intervals) < 2:
            raise ValueError(f"Dexp needs at least 2 intervals, not {self.intervals} and {self.bias_intervals}")
        check_positive("total", self.total)
        check_positive("bias_total", self.bias_total)

    def stage(self, epoch: int, epochs: int, val_errors: Sequence[float]) -> Stage:
        """As for ``Stages``."""
        lr_factor, bias_lr_factor = (
            total ** -(((epoch - 1) * n // epochs) / (n - 1))
            for n, total in ((self.intervals, self.total), (self.bias_intervals, self.bias_total))
        )
        return Stage(lr_factor=lr_factor, bias_lr_factor=bias_lr_factor)


Schedule = Stages | Plateau | Dexp
