"""Why a training run cannot continue: at which step, in which layer, and the likely cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from alexnet_repro.training.optim import layer_of

if TYPE_CHECKING:
    from alexnet_repro.training.loop import History
    from alexnet_repro.training.state import Training

EXPLODED = 2.0  # a first loss this many times that of chance means that the initial weights are too large


class TrainingError(RuntimeError):
    """The loss or a weight is no longer finite, or the loss is no better than chance.

    Attributes:
        step: number of minibatches trained on, this one included.
        layer: the first layer that shows the problem; None if no single layer stands out.
        cause: the likely cause, and what to do.
        loss: loss of the minibatch, nats; for a run that is stuck, the mean over its last steps.
        history: the training up to the error; set by ``train``.
    """

    def __init__(self, step: int, layer: str | None, cause: str, loss: float) -> None:
        super().__init__(step, layer, cause, loss)  # the arguments that a pickle keeps
        self.step, self.layer, self.cause, self.loss = step, layer, cause, loss
        self.history: History | None = None

    def __str__(self) -> str:
        where = "" if self.layer is None else f", layer {self.layer}"
        return f"step {self.step}{where}: the loss is {self.loss:.4g}. {self.cause}"


def not_finite(training: Training, step: int, loss: float) -> TrainingError:
    """The error for a loss that is not finite; its layer is the first with weights or outputs that are not finite."""
    if step != training.step:  # its input is no longer known, and by now no weight is finite
        cause = f"Its images, gone by now, may have held numbers that are not finite. If not: {_cause(training)}"
        return TrainingError(step, None, cause, loss)
    if not training.inputs.isfinite().all():
        return TrainingError(step, None, "The input itself contains values that are not finite: check the data.", loss)
    return TrainingError(step, _first(training, lambda module, out: not _finite(module, out)), _cause(training), loss)


def weights_not_finite(training: Training, loss: float) -> TrainingError | None:
    """The error for an update that left weights that are not finite after a finite loss; None if all are finite."""
    for name, parameter in training.plain.named_parameters():
        if not parameter.isfinite().all():
            cause = f"The update after it left weights that are not finite. {_cause(training)}"
            return TrainingError(training.step, layer_of(name) or None, cause, loss)
    return None


def stuck(training: Training, loss: float) -> TrainingError:
    """The error for a mean loss no better than chance; its layer is the first whose units are all inactive."""
    layer = _first(training, lambda module, out: isinstance(module, nn.ReLU) and len(out) > 0 and not out.any())
    cause, exploded = _cause(training), EXPLODED * training.chance
    if layer is not None:
        cause = f"None of its units is active for any image, so that nothing below it learns. {cause}"
    elif training.first_loss < exploded and loss < exploded:
        cause = (
            "Signal or gradient may be too small: larger initial weights, or a higher learning rate than "
            f"{training.lr:g}."
        )
    found = f"Chance is {training.chance:.4g}, and the last steps were no better. "
    return TrainingError(training.step, layer, found + cause, loss)


def _cause(training: Training) -> str:
    if not training.first_loss < EXPLODED * training.chance:
        return (
            f"The initial weights are too large: the first loss was {training.first_loss:.4g}, guessing has "
            f"{training.chance:.4g}. Lower their std, and the learning rate of {training.lr:g} with it if it was "
            f"chosen with them."
        )
    return f"The learning rate of {training.lr:g} is too high for this network and input: try a third or a tenth."


def _finite(module: nn.Module, out: Tensor) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in (out, *module.parameters(recurse=False)))


@torch.no_grad()
def _first(training: Training, found: Callable[[nn.Module, Tensor], bool]) -> str | None:
    """The first layer in a forward pass of the last minibatch for which ``found(module, output)`` is true."""
    names: list[str] = []

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def look(module: nn.Module, _: object, out: Tensor) -> None:
            if not names and found(module, out):
                names.append(name)

        return look

    leaves = [(name, module) for name, module in training.plain.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(hook(name)) for name, module in leaves]
    try:
        training.plain(training.inputs)
    finally:
        for handle in handles:
            handle.remove()
    return layer_of(f"{names[0]}.") or None if names else None
