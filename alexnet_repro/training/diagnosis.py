"""Why a training run can't go on: at which step, in which layer, and what the likely cause is."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from alexnet_repro.training.optim import layer_of

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
        where = "" if layer is None else f", layer {layer}"
        what = f"the loss is {loss:.4g}"
        super().__init__(f"step {step}{where}: {what}. {cause}")
        self.step, self.layer, self.cause, self.loss = step, layer, cause, loss
        self.history = None


def not_finite(model: nn.Module, inputs: Tensor, step: int, loss: float, first_loss: float, lr: float) -> TrainingError:
    """The error of a loss that is no number: its layer is the first whose weights or outputs are none."""
    if not inputs.isfinite().all():
        return TrainingError(step, None, "The input itself holds numbers that are not finite: look at the data.", loss)
    layer = _first(model, inputs, lambda name, module, out: not _finite(module, out))
    return TrainingError(step, layer, _cause(first_loss, _chance(model, inputs), lr), loss)


def weights_not_finite(
    model: nn.Module, step: int, loss: float, first_loss: float, chance: float, lr: float
) -> TrainingError | None:
    """The error of an update that left weights that are no numbers, though its loss was one; None if all are finite."""
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            cause = f"The update after it left weights that are not finite. {_cause(first_loss, chance, lr)}"
            return TrainingError(step, layer_of(name), cause, loss)
    return None


def stuck(model: nn.Module, inputs: Tensor, step: int, loss: float, first_loss: float, lr: float) -> TrainingError:
    """The error of a mean loss no better than chance: its layer is the first whose units are all off."""

    def silent(name: str, module: nn.Module, out: Tensor) -> bool:
        return isinstance(module, nn.ReLU) and not out.any()

    layer, chance = _first(model, inputs, silent), _chance(model, inputs)
    found = f"Chance is {chance:.4g}, and the last steps were no better. "
    if layer is not None:
        found += "None of its units is active for any image, so that nothing below it learns. "
        return TrainingError(step, layer, found + _cause(first_loss, chance, lr), loss)
    if first_loss < EXPLODED * chance and loss < EXPLODED * chance:
        cause = f"Signal or gradient may be too small: larger initial weights, or a higher learning rate than {lr:g}."
    else:
        cause = _cause(first_loss, chance, lr)
    return TrainingError(step, None, found + cause, loss)


def _cause(first_loss: float, chance: float, lr: float) -> str:
    if not first_loss < EXPLODED * chance:
        return (
            f"The initial weights are too large: the first loss was {first_loss:.4g}, guessing has {chance:.4g}. "
            f"Lower their std, and the learning rate of {lr:g} with it if it was chosen with them."
        )
    return f"The learning rate of {lr:g} is too high for this network and input: try a third or a tenth."


@torch.no_grad()
def _chance(model: nn.Module, inputs: Tensor) -> float:
    return math.log(model(inputs[:1]).shape[1])


def _finite(module: nn.Module, out: Tensor) -> bool:
    tensors = [out, *module.parameters(recurse=False)]
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


@torch.no_grad()
def _first(model: nn.Module, inputs: Tensor, found) -> str | None:
    """Name of the first layer, in the order of the forward pass, of which ``found(name, module, output)`` holds."""
    names: list[str] = []

    def hook(name: str):
        return lambda module, _, out: names.append(name) if not names and found(name, module, out) else None

    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(hook(name)) for name, module in leaves]
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return names[0] if names else None
