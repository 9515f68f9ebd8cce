"""The trainer. It takes a model, batches and a configuration, and prints, plots and seeds nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_repro.config import TrainConfig
from alexnet_repro.optim import KrizhevskySGD, parameter_groups


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set; error and loss are means over its minibatches as they were trained on."""

    epoch: int  # 1, 2, ...
    lr: float  # of the weights
    train_error: float  # fraction
    train_loss: float  # nats
    seconds: float


@dataclass(frozen=True)
class History:
    """What a training run did and why it ended; "diverged" means that the loss was no longer finite."""

    epochs: tuple[Epoch, ...]
    ended: Literal["epochs", "target", "diverged"]


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    config: TrainConfig,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[Tensor], None] = lambda loss: None,
) -> History:
    """Trains ``model`` in place.

    Source:  Sec. 5; the training error is that of the minibatches as they pass, as cuda-convnet reported it.

    Args:
        model: logits from inputs, on the device of the batches.
        batches: iterated once per epoch; yields inputs (n, ...) and labels (n,).
        config: the recipe.
        on_epoch: called after every epoch.
        on_step: called after every minibatch with its loss, (), in nats, where the model is.
    """
    groups = parameter_groups(model, config.lr, config.bias_lr_factor, config.weight_decay)
    optimizer = KrizhevskySGD(groups, config.lr, config.momentum)
    model.train()
    epochs: list[Epoch] = []
    for number in range(1, config.epochs + 1):
        lr = config.lr * 0.1 ** sum(number > drop for drop in config.lr_drops)
        for group in optimizer.param_groups:
            if group["role"] == "weight":
                group["lr"] = lr
        epochs.append(_one_epoch(model, batches, optimizer, number, lr, on_step))
        on_epoch(epochs[-1])
        if not math.isfinite(epochs[-1].train_loss):
            return History(tuple(epochs), "diverged")
        if config.target_error is not None and epochs[-1].train_error <= config.target_error:
            return History(tuple(epochs), "target")
    return History(tuple(epochs), "epochs")


def _one_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: KrizhevskySGD,
    number: int,
    lr: float,
    on_step: Callable[[Tensor], None],
) -> Epoch:
    start, seen, wrong, loss_sum = perf_counter(), 0, 0, 0.0
    for inputs, labels in batches:
        logits = model(inputs)
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += len(labels)
        wrong += (logits.argmax(1) != labels).sum()  # summed where the model is: no wait for a GPU
        loss_sum += loss.detach() * len(labels)
        on_step(loss.detach())
    return Epoch(number, lr, float(wrong) / seen, float(loss_sum) / seen, perf_counter() - start)
