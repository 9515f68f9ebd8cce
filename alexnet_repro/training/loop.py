"""The trainer. It takes a model, batches and a configuration, and prints, plots, saves and seeds nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_repro.training.config import TrainConfig
from alexnet_repro.training.diagnosis import TrainingError, not_finite, stuck
from alexnet_repro.training.optim import set_learning_rates
from alexnet_repro.training.state import Epoch, Training, summed

BETTER = 0.99  # of the loss of guessing; one above it is no better than chance
LOOK_EVERY = 50  # steps; a GPU would wait for every look at a loss, a CPU does not

Callback = Callable[[Training], object]


@dataclass(frozen=True)
class History:
    """What a training run did and why it ended; "diverged" is that of a ``TrainingError``.

    Example:
        >>> import torch
        >>> from alexnet_repro import TrainConfig, train
        >>> batch = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> history = train(torch.nn.Linear(2, 2), [batch], TrainConfig(epochs=3, lr=0.1))
        >>> history.ended, [epoch.epoch for epoch in history.epochs]
        ('epochs', [1, 2, 3])
    """

    epochs: tuple[Epoch, ...]  #: in their order
    ended: Literal["epochs", "target", "diverged"]  #: all epochs; ``target_error``; the loss


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    config: TrainConfig,
    *,
    validate: Callable[[], Mapping[str, float]] | None = None,
    on_step: Callback = lambda training: None,
    on_epoch: Callback = lambda training: None,
    resume: Mapping[str, Any] | None = None,
) -> History:
    """Trains ``model`` in place.

    Source:  Sec. 5; the training error is that of the minibatches as they pass, as cuda-convnet reported it.

    Args:
        model: logits from inputs, on the device of the batches. In several processes, as ``parallel`` makes it.
        batches: iterated once per epoch; yields inputs (n, ...) and labels (n,).
        config: the recipe.
        validate: called after every epoch; its ``top1_error`` is what a schedule looks at.
        on_step: called after every minibatch with the ``Training``, whose state is then complete and can be saved.
        on_epoch: the same after every epoch.
        resume: a state of such a ``Training`` to go on from.

    Raises:
        TrainingError: the loss is no longer finite, or after ``stuck_after`` steps no better than chance. It names
            step, layer and likely cause; its ``history`` is what was trained before.
        ValueError: the schedule needs ``validate``, or batches that can hold images back.

    Example:
        >>> import torch
        >>> from alexnet_repro import TrainConfig, train
        >>> batch = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> model = torch.nn.Linear(2, 2)
        >>> history = train(model, [batch], TrainConfig(epochs=50, lr=0.5))
        >>> history.epochs[-1].train_error, model(batch[0]).argmax(1)
        (0.0, tensor([0, 1]))
    """
    if config.needs_validation() and validate is None:
        raise ValueError(f"{config.schedule} looks at validation errors: train(..., validate=...) has to give them")
    training = Training(model, batches, config)
    if resume is not None:
        training.load_state_dict(resume)
    model.train()
    while (ended := _ended(training)) is None:
        try:
            _one_epoch(training, validate, on_step)
        except TrainingError as error:
            error.history = History((*training.epochs, training.epoch(training.tally)), "diverged")
            raise
        on_epoch(training)
    return History(tuple(training.epochs), ended)


def _ended(training: Training) -> Literal["epochs", "target"] | None:
    config, epochs = training.config, training.epochs
    if epochs and config.target_error is not None and epochs[-1].train_error <= config.target_error:
        return "target"
    return "epochs" if len(epochs) >= config.epochs else None


def _one_epoch(training: Training, validate: Callable[[], Mapping[str, float]] | None, on_step: Callback) -> None:
    stage = training.stage()
    set_learning_rates(training.optimizer, stage)
    if hasattr(training.batches, "enter"):
        training.batches.enter(stage.color, stage.part)
    elif stage.part < 1 or not stage.color:
        raise ValueError(f"{stage} changes the input, but these batches have no enter(color, part)")
    start = perf_counter() - training.seconds
    for inputs, labels in training.batches:
        _step(training, inputs, labels)
        training.seconds = perf_counter() - start
        on_step(training)
    training.end_epoch(None if validate is None else validate())


def _step(training: Training, inputs: Tensor, labels: Tensor) -> None:
    config, n = training.config, len(labels)
    loss, wrong = torch.zeros((), device=training.device), torch.zeros((), device=training.device)
    training.optimizer.zero_grad()
    share = _share(labels)
    for x, y in zip(inputs.chunk(config.accumulate), labels.chunk(config.accumulate), strict=True):
        with torch.autocast(training.device.type, training.dtype, enabled=training.dtype is not torch.float32):
            logits = training.forward(x)
            part = F.cross_entropy(logits, y) * (len(y) / n)  # in float32, whatever the logits are
        training.scaler.scale(part * share).backward()
        loss = loss + part.detach()
        wrong += (logits.argmax(1) != y).sum()
    training.count(loss, wrong, n, logits.shape[1])
    _look(training, inputs)
    training.scaler.step(training.optimizer)
    training.scaler.update()


def _share(labels: Tensor) -> Tensor | float:
    """What the mean loss of this process's part of a minibatch counts, where the mean over processes is taken."""
    if not dist.is_initialized():
        return 1.0
    n = torch.tensor(float(len(labels)), dtype=torch.float64, device=labels.device)
    return n * dist.get_world_size() / summed(n)


def _look(training: Training, inputs: Tensor) -> None:
    """Raises what ``diagnosis`` says of a loss that is no number, or of losses that are no better than chance."""
    config, step = training.config, training.step
    full = config.stuck_after is not None and step % config.stuck_after == 0
    if not full and step > 1 and training.device.type != "cpu" and step % LOOK_EVERY:
        return
    loss, lr = training.loss.item(), training.optimizer.param_groups[0]["lr"]
    training.first_loss = loss if training.first_loss is None else training.first_loss
    if not math.isfinite(loss):
        raise not_finite(training.plain, inputs, step, loss, training.first_loss, lr)
    if full:
        total, images = summed(training.recent).tolist()
        training.recent.zero_()
        if not total / images < BETTER * training.chance:
            raise stuck(training.plain, inputs, step, total / images, training.first_loss, lr)
