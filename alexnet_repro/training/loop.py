"""The trainer. It takes a model, batches and a configuration, and prints, plots, saves and seeds nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from alexnet_repro.support.environment import send
from alexnet_repro.training.config import TrainConfig
from alexnet_repro.training.diagnosis import TrainingError, stuck
from alexnet_repro.training.optim import set_learning_rates
from alexnet_repro.training.replay import Passes, Replayed, replayable
from alexnet_repro.training.state import Epoch, Training, summed

BETTER = 0.99  # fraction of the loss of guessing; a loss above it is no better than chance
LOOK_EVERY = 50  # steps between looks at the losses on a GPU, which has to be waited for; also before a state is saved

Callback = Callable[[Training], object]


@dataclass(frozen=True)
class History:
    """What a training run did and why it ended; only the history of a ``TrainingError`` is "diverged".

    Example:
        >>> import torch
        >>> from alexnet_repro import TrainConfig, train
        >>> batch = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> history = train(torch.nn.Linear(2, 2), [batch], TrainConfig(epochs=3, lr=0.1))
        >>> history.ended, [epoch.epoch for epoch in history.epochs]
        ('epochs', [1, 2, 3])
    """

    epochs: tuple[Epoch, ...]  #: in order
    ended: Literal["epochs", "target", "diverged"]  #: all epochs done; ``target_error`` reached; ``TrainingError``


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

    Source:  Sec. 5; the training error is that of the minibatches as they are trained on, as cuda-convnet reported it.

    Args:
        model: maps inputs to logits, on the device of the batches. For several processes, as ``parallel`` wraps it.
            Every step is in training mode, but modules that are in eval mode within a model in training mode stay so.
        batches: iterated once per epoch; yields inputs (n, ...) and labels (n,). If it has a ``sampler`` with
            ``set_epoch``, as a ``DataLoader`` may, that is called before every epoch.
        config: the recipe.
        validate: called after every epoch; a ``Plateau`` needs the ``top1_error`` that it returns.
        on_step: called after every minibatch with the ``Training``, whose ``state_dict()`` is then complete and can be
            saved.
        on_epoch: the same after every epoch.
        resume: a state of such a ``Training`` to resume from; not used after the first step.

    Raises:
        TrainingError: the loss or a weight is no longer finite, or the loss is no better than chance over
            ``stuck_after`` steps. It names step, layer and likely cause; its ``history`` is the training so far.
        ValueError: the schedule needs ``validate`` and its ``top1_error``, or batches that have ``enter``; the schedule
            names a layer that does not exist, or the weight decay one without weights; an epoch yields no minibatch;
            ``validate`` returns something that is not a number.

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
        raise ValueError(f"{config.schedule} needs validation errors: pass validate=... to train")
    check_callbacks(False, on_step=on_step, on_epoch=on_epoch)
    training = Training(model, batches, config)
    if resume is not None:
        training.load_state_dict(resume)
    passes = _passes(training)
    while (ended := _ended(training)) is None:
        try:
            _one_epoch(training, passes, validate, on_step)
        except TrainingError as error:
            error.history = History((*training.epochs, training.epoch(training.tally)), "diverged")
            raise
        on_epoch(training)
    return History(tuple(training.epochs), ended)


def check_callbacks(several: bool, **callbacks: object) -> None:
    """``TypeError`` unless each is a function of the ``Training`` or, if ``several``, a list of such functions."""
    for name, given in callbacks.items():
        if callable(given) == several:
            wanted = f"a list of functions, such as {name}=[report]" if several else f"one function, {name}=report"
            raise TypeError(f"{name} takes {wanted}, not {given!r}")


def _ended(training: Training) -> Literal["epochs", "target"] | None:
    config, epochs = training.config, training.epochs
    if epochs and config.target_error is not None and epochs[-1].train_error <= config.target_error:
        return "target"
    return "epochs" if len(epochs) >= config.epochs else None


def _one_epoch(
    training: Training, passes: Passes, validate: Callable[[], Mapping[str, float]] | None, on_step: Callback
) -> None:
    training.enter_modes()  # ``validate`` and callbacks may have changed them
    modes = [(module, module.training) for module in training.model.modules()]
    stage = training.stage()
    set_learning_rates(training.optimizer, stage)
    if hasattr(training.batches, "enter"):
        training.batches.enter(stage.color, stage.part)
    elif stage.part < 1 or not stage.color:
        raise ValueError(f"{stage} changes the input, but these batches have no enter(color, part)")
    set_epoch = getattr(getattr(training.batches, "sampler", None), "set_epoch", None)
    if set_epoch is not None:  # a DistributedSampler would give every epoch the same order
        set_epoch(len(training.epochs))
    start = perf_counter() - training.seconds
    for inputs, labels in training.batches:
        _step(training, passes, send(inputs, training.device), send(labels, training.device))
        training.seconds = perf_counter() - start
        on_step(training)
        if any(module.training is not mode for module, mode in modes):
            training.enter_modes()
    training.check()
    training.end_epoch(None if validate is None else validate())


def _step(training: Training, passes: Passes, inputs: Tensor, labels: Tensor) -> None:
    loss, wrong = passes(inputs, labels)
    training.count(loss, wrong, len(labels))
    _look(training, inputs)
    training.scaler.step(training.optimizer)
    training.scaler.update()


def _passes(training: Training) -> Passes:
    """The forward and backward pass of a minibatch; they return its mean loss and number of wrong images."""

    def passes(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        config, n = training.config, len(labels)
        loss, wrong = torch.zeros((), device=training.device), torch.zeros((), device=training.device)
        training.optimizer.zero_grad()
        share, parts = _share(training, labels), _parts(training, inputs, labels)
        model = training.model
        for number, (x, y) in enumerate(parts, 1):
            more = number < len(parts)
            with model.no_sync() if more and isinstance(model, DistributedDataParallel) else nullcontext():
                with config.autocast(training.device):
                    logits = (training.forward if len(x) else model)(x)  # compiled code may need images
                    # In float32, whatever the logits are; of no images, 0.
                    part = _cross_entropy(logits, y) * (len(y) / n) if len(y) else logits.float().sum()
                training.scaler.scale(part * share).backward()
            loss = loss + part.detach()
            wrong += (logits.argmax(1) != y).sum()
        training.chance = math.log(logits.shape[1])
        return loss, wrong

    return Replayed(passes, training.model) if replayable(training.model, training.device, training.config) else passes


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    try:
        return F.cross_entropy(logits, labels)
    except IndexError as error:  # on a CPU; a GPU has stopped the process
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(
            f"labels go from {low} to {high}, but the model has {logits.shape[-1]} outputs: build it with "
            f"num_classes={high + 1}, or number the classes from 0 on"
        ) from error


def _parts(training: Training, inputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """A minibatch in at most ``accumulate`` parts; the processes of a group have equally many, some perhaps empty."""
    split = torch.chunk if training.group is None else torch.tensor_split
    return list(zip(*(split(whole, training.config.accumulate) for whole in (inputs, labels)), strict=True))


def _share(training: Training, labels: Tensor) -> Tensor | float:
    """The weight of this process's mean loss over its part of a minibatch in the average over its group."""
    if training.group is None:
        return 1.0
    n = torch.full((), len(labels), dtype=torch.float64, device=labels.device)
    return n * dist.get_world_size(training.group) / summed(n, training.group)


def looks_are_free(device: torch.device) -> bool:
    """Whether numbers on the device can be read without waiting for it."""
    return device.type == "cpu"


def _look(training: Training, inputs: Tensor) -> None:
    """Raises ``diagnosis``'s error for a loss that is not finite, or for losses that are no better than chance."""
    config, step = training.config, training.step
    training.inputs = inputs
    training.unseen.append(training.loss)
    full = config.stuck_after is not None and step % config.stuck_after == 0
    if full or step == 1 or looks_are_free(training.device) or step % LOOK_EVERY == 0:
        training.look()
    if full:
        total, images = summed(training.recent, training.group).tolist()
        training.recent.zero_()
        if training.chance and not total / images < BETTER * training.chance:  # it is 0 with one class
            raise stuck(training, total / images)
