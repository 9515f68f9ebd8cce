"""The paper's update rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class KrizhevskySGD(torch.optim.Optimizer):
    """Stochastic gradient descent with the rate inside the velocity.

    ``v <- momentum * v - lr * weight_decay * w - lr * gradient``, then ``w <- w + v``.

    Source:  Sec. 5; 2012 code, weights.cu.
    Differs: from torch.optim.SGD after a change of ``lr``: here the velocity keeps the steps already decided.

    Args:
        params: parameters, or groups of them with their own ``lr``, ``momentum``, ``weight_decay``.
        lr: learning rate.
        momentum: fraction of the velocity kept.
        weight_decay: fraction; multiplied by ``lr``.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            velocities = [self._velocity(p) for p in params]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, [p.grad for p in params], alpha=-group["lr"])
            if group["weight_decay"]:
                torch._foreach_add_(velocities, params, alpha=-group["lr"] * group["weight_decay"])
            torch._foreach_add_(params, velocities)

    def _velocity(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if not state:
            state["velocity"] = torch.zeros_like(p)
        return state["velocity"]


def parameter_groups(
    model: nn.Module, lr: float, bias_lr_factor: float, weight_decay: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One group per parameter: weights with their layer's decay, biases with their own rate and none.

    Args:
        model: its parameters are called ``<layer>.weight`` and ``<layer>.bias``.
        lr: rate of the weights.
        bias_lr_factor: rate of the biases as a multiple of ``lr``.
        weight_decay: layer name -> decay of its weights; layers not named have none.

    Returns: groups with ``params``, ``lr``, ``weight_decay`` and ``role`` ("weight" or "bias").

    Raises:
        ValueError: ``weight_decay`` names a layer that the model lacks.
    """
    groups = []
    layers = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    if unknown := sorted(set(weight_decay) - layers):
        raise ValueError(f"weight_decay names {', '.join(unknown)}; the layers are {', '.join(sorted(layers))}")
    for name, p in model.named_parameters():
        layer, _, role = name.rpartition(".")
        rate = lr * bias_lr_factor if role == "bias" else lr
        decay = 0.0 if role == "bias" else weight_decay.get(layer, 0.0)
        groups.append({"params": [p], "lr": rate, "weight_decay": decay, "role": role})
    return groups
