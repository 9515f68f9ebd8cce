"""Training in progress: everything that its next step depends on, to be saved and restored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from alexnet_repro.networks.towers import TowerProcess
from alexnet_repro.networks.weights import unwrapped
from alexnet_repro.support.values import typed
from alexnet_repro.training.checkpoint import Counts, State, reading
from alexnet_repro.training.config import TrainConfig
from alexnet_repro.training.diagnosis import not_finite, weights_not_finite
from alexnet_repro.training.optim import KrizhevskySGD, check_layers, load_velocities, parameter_groups, velocities
from alexnet_repro.training.schedules import Stage


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set; error and loss are means over its minibatches as they were trained on."""

    epoch: int  #: 1, 2, ...
    lr: float  #: learning rate of the weights
    train_error: float  #: fraction
    train_loss: float  #: nats
    seconds: float  #: of training, without ``validate``
    val: Mapping[str, float] | None = None  #: results of ``validate``


class Training:
    """Training in progress, which ``train`` creates, advances and passes to its callbacks.

    Args:
        model, batches, config: as for ``train``.

    Attributes:
        model: as it was given, perhaps compiled or wrapped for several processes; ``plain`` is the network itself.
        group: the processes among which the model's minibatches are divided; None: it gets whole minibatches.
        epochs: the finished epochs.
        step: number of minibatches trained on, in total.
        loss: mean over this process's part of the last minibatch, (), nats, on the model's device; 0 if it is empty.
        tally: of this process in the current epoch, (3,) float64: wrong images, loss summed over images, images.
    """

    def __init__(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], config: TrainConfig) -> None:
        self.model, self.config = model, config
        self.batches: Any = batches  # those of ``Batches`` have a state, and stages to enter
        self.plain, self.group = unwrapped(model), data_group(model)
        self.still = [module for module in model.modules() if model.training and not module.training]
        stages = getattr(config.schedule, "stages", ())
        factors = [layer for stage in stages for layer in stage.layer_lr_factors]
        apart = isinstance(self.plain, TowerProcess)  # whose layers are not all in this process
        parameters = self.plain.state_dict() if apart else dict(self.plain.named_parameters())
        check_layers(parameters, config.weight_decay, factors)
        self.forward = torch.compile(model, dynamic=False) if config.compile else model
        groups = parameter_groups(model, config.lr, config.bias_lr_factor, config.weight_decay)
        self.optimizer = KrizhevskySGD(groups, config.lr, config.momentum)
        self.device = next(model.parameters()).device
        if config.precision == "bfloat16" and self.device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise ValueError(f"precision bfloat16 is not supported by {torch.cuda.get_device_name(self.device)}")
        if config.precision == "float16" and apart:
            raise ValueError("precision float16 can't be used with a process per tower, where each would scale its own")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.epochs: list[Epoch] = []
        self.step, self.seconds = 0, 0.0  # in total; in the current epoch
        self.loss = torch.full((), math.nan, device=self.device)
        self.chance = math.inf  # the loss of guessing, nats
        self.first_loss = math.nan
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.inputs = torch.empty(0, device=self.device)  # of the last minibatch
        self.unseen: list[Tensor] = []  # losses not yet looked at, on the model's device
        self.recent = torch.zeros(2, dtype=torch.float64, device=self.device)  # loss and images, for ``stuck_after``

    @property
    def lr(self) -> float:
        """The learning rate of the weights in the current epoch."""
        return self.config.lr * self.stage().lr_factor

    def stage(self) -> Stage:
        """The stage of the current epoch."""
        vals = [epoch.val for epoch in self.epochs if epoch.val is not None] if self.config.needs_validation() else []
        if wrong := [sorted(val) for val in vals if "top1_error" not in val]:
            raise ValueError(f"{self.config.schedule} needs top1_error from validate, which returned only {wrong[0]}")
        return self.config.stage(len(self.epochs) + 1, [val["top1_error"] for val in vals])

    def enter_modes(self) -> None:
        """Puts the model into training mode, but those of its modules that alone were in eval mode at the start."""
        self.model.train()
        for module in self.still:
            module.training = False

    def count(self, loss: Tensor, wrong: Tensor, images: int) -> None:
        """Counts one more minibatch."""
        self.step, self.loss = self.step + 1, loss
        counted = torch.stack([wrong.double(), loss.double() * images, torch.full_like(loss, images).double()])
        self.tally += counted
        if self.config.stuck_after is not None:
            self.recent += counted[1:]

    def look(self) -> None:
        """Waits for the losses not yet looked at; raises ``TrainingError`` for the first that is not finite."""
        losses = torch.stack(self.unseen).tolist() if self.unseen else []
        self.unseen.clear()
        for step, loss in enumerate(losses, self.step - len(losses) + 1):
            self.first_loss = loss if step == 1 else self.first_loss
            if not math.isfinite(loss):
                raise not_finite(self, step, loss)

    def check(self) -> None:
        """Raises ``TrainingError`` if a loss or a weight is not finite, before such a state could be saved."""
        self.look()
        if self.step and (error := weights_not_finite(self, self.loss.item())) is not None:
            raise error

    def epoch(self, tally: Tensor, val: Mapping[str, float] | None = None) -> Epoch:
        """The current epoch as a finished one."""
        wrong, loss, images = tally.tolist()
        error, loss = (wrong / images, loss / images) if images else (math.nan, math.nan)  # it may have had none here
        return Epoch(len(self.epochs) + 1, self.lr, error, loss, self.seconds, val and _numbers(val))

    def end_epoch(self, val: Mapping[str, float] | None) -> None:
        """Ends the current epoch and begins the next."""
        tally = summed(self.tally, self.group)
        if not tally[2]:
            raise ValueError(
                f"epoch {len(self.epochs) + 1} had no minibatch: batches must yield some every time they are iterated; "
                "a generator can be iterated only once, a list or a DataLoader again and again"
            )
        self.epochs.append(self.epoch(tally, val))
        self.tally.zero_()
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The state in tensors and plain values, wherever the towers are; all processes must call it together.

        The tensors under "model" may be the network's own, as in any module's state dict: save the state, or make a
        deep copy of it, before the next step changes them.

        Batches without a ``state_dict`` start from their beginning when the state is restored, and the epoch with them.

        Raises:
            TrainingError: a loss or a weight is not finite.
        """
        self.check()
        return {
            "model": self.plain.state_dict(),
            "velocities": velocities(self.plain, self.optimizer),
            "batches": self.batches.state_dict() if hasattr(self.batches, "state_dict") else None,
            "generators": [generator.get_state() for generator in self._generators()],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "scaler": self.scaler.state_dict(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "counts": {"step": self.step, "seconds": self.seconds, "first_loss": self.first_loss},
            "tally": summed(self.tally, self.group),
            "recent": summed(self.recent, self.group),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resumes from a state; on the same hardware, with the same number of threads, bit for bit.

        Raises:
            CheckpointError: it is not the state of such a training.
        """
        with reading("the state to go on from"):
            found = typed(State, state)
            counts = typed(Counts, found.counts)
            self.plain.load_state_dict(found.model)
            load_velocities(self.plain, self.optimizer, found.velocities)
            if found.batches is not None:
                self.batches.load_state_dict(found.batches)
                if not found.tally[2] and hasattr(self.batches, "begin"):
                    self.batches.begin()  # it was saved between epochs, when the batches were at the end of one
            generators, masks = self._generators(), found.generators
            if len(generators) != len(masks):  # the towers were elsewhere; those without dropout have no generator
                masks = masks[:1] * len(generators)
            for generator, saved in zip(generators, masks, strict=False):
                generator.set_state(saved)
            torch.set_rng_state(found.torch)
            if found.cuda is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(found.cuda, self.device)
            if found.scaler:  # empty in any other precision than float16
                self.scaler.load_state_dict(found.scaler)
            self.epochs = [typed(Epoch, epoch) for epoch in found.epochs]
            self.stage()  # raises if the schedule needs an error that the epochs lack
            self.step, self.seconds, self.first_loss = counts.step, counts.seconds, counts.first_loss
            # from now on, the first process of the group keeps the sums of all
            first = self.group is None or dist.get_rank(self.group) == 0
            self.tally.copy_(found.tally.reshape(self.tally.shape) * first)
            if found.batches is None:  # they begin the epoch again
                self.tally.zero_()
                self.seconds = 0.0
            self.recent.copy_(found.recent.reshape(self.recent.shape) * first)

    def _generators(self) -> list[torch.Generator]:
        """The generators of the dropout layers; those of several towers are in the same state."""
        found = (getattr(module, "generator", None) for module in self.plain.modules())
        return list(dict.fromkeys(generator for generator in found if isinstance(generator, torch.Generator)))


def _numbers(val: Mapping[str, Any]) -> dict[str, float]:
    """The results of ``validate`` as Python's own numbers, which a checkpoint can hold."""
    found = {}
    for name, value in val.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"validate returned {name}={value!r}, and only numbers can be recorded: leave it out, or make it one"
            ) from error
    return found


def data_group(model: nn.Module) -> dist.ProcessGroup | None:
    """The processes among which a model's minibatches are divided, one tower of it in each or all; None: only this."""
    found = (part.process_group for part in model.modules() if isinstance(part, DistributedDataParallel))
    return next(found, None)


def summed(tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """A copy of the tensor, summed over the processes of a group, if there is one."""
    total = tensor.clone()
    if group is not None:
        dist.all_reduce(total, group=group)
    return total
