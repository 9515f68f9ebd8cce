"""Why a training run can't go on: at which step, in which layer, and what the likely cause is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from alexnet_repro.training.optim import layer_of

if TYPE_CHECKING:
    from alexnet_repro.training.state import Training

EXPLODED = 2.0  # a first loss of so many times that of chance comes from weights that are too large


class TrainingError(RuntimeError):
    """The loss is no longer a number, or no better than chance.

    Attributes:
        step: minibatches trained on, this one included.
        layer: where it shows first; None where no single layer stands out.
        cause: the likely one, and what to do.
        loss: the minibatch's, nats; for a run that is stuck the mean over its last steps.
        history: what was trained before; set by ``train``.
    """

    def __init__(self, step: int, layer: str | None, cause: str, loss: float) -> None:
        super().__init__(step, layer, cause, loss)  # with which it is pickled
        self.step, self.layer, self.cause, self.loss = step, layer, cause, loss
        self.history = None

    def __str__(self) -> str:
        where = "" if self.layer is None else f", layer {self.layer}"
        return f"step {self.step}{where}: the loss is {self.loss:.4g}. {self.cause}"


def not_finite(training: Training, step: int, loss: float) -> TrainingError:
    """The error of a loss that is no number: its layer is the first whose weights or outputs are none."""
    if step != training.step:  # its input is no longer known, and by now all weights are no numbers
        cause = f"Its images, gone by now, may have held numbers that are not finite. If not: {_cause(training)}"
        return TrainingError(step, None, cause, loss)
    if not training.inputs.isfinite().all():
        return TrainingError(step, None, "The input itself holds numbers that are not finite: look at the data.", loss)
    return TrainingError(step, _first(training, lambda module, out: not _finite(module, out)), _cause(training), loss)


def weights_not_finite(training: Training, loss: float) -> TrainingError | None:
    """The error of an update that left weights that are no numbers, though its loss was one; None if all are finite."""
    for name, parameter in training.plain.named_parameters():
        if not parameter.isfinite().all():
            cause = f"The update after it left weights that are not finite. {_cause(training)}"
            return TrainingError(training.step, layer_of(name) or None, cause, loss)
    return None


def stuck(training: Training, loss: float) -> TrainingError:
    """The error of a mean loss no better than chance: its layer is the first whose units are all off."""
    layer = _first(training, lambda module, out: isinstance(module, nn.ReLU) and not out.any())
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
    """The first layer, in the order of the last minibatch's forward pass, of which ``found(module, output)`` holds."""
    names: list[str] = []

    def hook(name: str):
        return lambda module, _, out: names.append(name) if not names and found(module, out) else None

    leaves = [(name, module) for name, module in training.plain.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(hook(name)) for name, module in leaves]
    try:
        training.plain(training.inputs)
    finally:
        for handle in handles:
            handle.remove()
    return layer_of(f"{names[0]}.") or None if names else None
