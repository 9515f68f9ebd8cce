"""The paper's update rule."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_repro.networks.weights import plain_name
from alexnet_repro.support.threads import CACHED, share_out
from alexnet_repro.training.schedules import Stage


class KrizhevskySGD(torch.optim.Optimizer):
    r"""Stochastic gradient descent with the learning rate inside the velocity.

    .. math:: v \leftarrow \text{momentum} \cdot v - \text{lr} \cdot (\text{decay} \cdot w + \text{gradient}), \qquad
        w \leftarrow w + v

    Source:  Sec. 5; 2012 code, weights.cu.
    Differs: from torch.optim.SGD after a change of ``lr``: here the steps already in the velocity keep their old rate.

    Args:
        params: parameters, or groups of them with their own ``lr``, ``momentum``, ``weight_decay``.
        lr: learning rate; parameters with learning rate 0 do not change: no decay, and their velocity is kept as it is.
        momentum: fraction of the velocity kept.
        weight_decay: fraction; multiplied by ``lr``.

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value, most in (
            ("lr", lr, math.inf),
            ("momentum", momentum, 1),
            ("weight_decay", weight_decay, math.inf),
        ):
            if not 0 <= value < most:
                raise ValueError(f"{name} must be at least 0 and less than {most}, not {value!r}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Does one update; as in torch, ``closure`` may compute the gradients first, and its result is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        equal: dict[tuple[float, float, float], list[Tensor]] = defaultdict(list)
        for group in self.param_groups:
            if group["lr"]:
                settings = group["lr"], group["momentum"], group["weight_decay"]
                equal[settings] += [p for p in group["params"] if p.grad is not None]
        slices: list[tuple[Any, ...]] = []
        for settings, params in equal.items():
            gradients = [p.grad for p in params if p.grad is not None]
            for parts in _in_slices(params, [self.velocity(p) for p in params], gradients):
                first = parts[0][0]
                if first.device.type == "cpu" and first.numel() >= CACHED:
                    slices.append((settings, *parts))
                else:
                    _update(settings, *parts)
        share_out(_update_all, slices)
        return loss

    def velocity(self, p: Tensor) -> Tensor:
        """The velocity of a parameter; 0 before its first step."""
        state = self.state[p]
        if not state:
            state["velocity"] = torch.zeros_like(p)
        return state["velocity"]


def _update_all(pieces: Iterable[tuple[Any, ...]]) -> None:
    for piece in pieces:
        _update(*piece)


def _update(settings: tuple[float, float, float], w: list[Tensor], v: list[Tensor], g: list[Tensor]) -> None:
    lr, momentum, weight_decay = settings
    torch._foreach_mul_(v, momentum)
    torch._foreach_add_(v, g, alpha=-lr)
    if weight_decay:
        torch._foreach_add_(v, w, alpha=-lr * weight_decay)
    torch._foreach_add_(w, v)


def _in_slices(*lists: list[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """The lists as they are on a GPU; on a CPU slice by slice, so that reused values are still in the cache."""
    if not lists[0]:
        return
    if lists[0][0].device.type != "cpu":
        yield lists
        return
    for tensors in zip(*lists, strict=True):
        first = tensors[0]
        if first.numel() <= CACHED or len({tensor.stride() for tensor in tensors}) > 1:
            yield tuple([tensor] for tensor in tensors)
        else:  # the same layout in all: a slice of memory has the same elements in all
            whole = [tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors]
            for parts in zip(*(tensor.split(CACHED) for tensor in whole), strict=True):
                yield tuple([part] for part in parts)


def layer_of(parameter: str) -> str:
    """The name of a parameter's layer, wherever its towers are and whatever the network is wrapped in."""
    return re.sub(r"^(tower\.|towers\.\d+\.)?", "", plain_name(parameter)).rpartition(".")[0]


def is_bias(parameter: str) -> bool:
    """Whether a parameter of that name is a bias, like ``fc8.bias`` and ``attention.in_proj_bias``."""
    return parameter.endswith("bias")


def check_layers(parameters: Iterable[str], weight_decay: Iterable[str], layer_lr_factors: Iterable[str]) -> None:
    """``ValueError`` if a setting names a layer that has no weights to decay, or no parameters at all.

    Args:
        parameters: names of the undivided network's parameters.
        weight_decay, layer_lr_factors: the layers that the settings name.
    """
    layers = {layer_of(name) for name in parameters}
    weighted = {layer_of(name) for name in parameters if not is_bias(name)}
    for setting, names, known, which in (
        ("weight_decay", weight_decay, weighted, "layers with weights"),
        ("layer_lr_factors", layer_lr_factors, layers, "layers"),
    ):
        if unknown := sorted(set(names) - known):
            raise ValueError(f"{setting} names {', '.join(unknown)}; the {which} are {', '.join(sorted(known))}")


def set_learning_rates(optimizer: KrizhevskySGD, stage: Stage) -> None:
    """Sets the learning rates of a stage; a layer with learning rate 0 is frozen, biases included.

    Args:
        optimizer: an optimizer with the groups from ``parameter_groups``.
        stage: the stage of the next epoch.
    """
    for group in optimizer.param_groups:
        factor = stage.layer_lr_factors.get(group["layer"], stage.lr_factor)
        if group["role"] == "bias":
            factor = stage.bias_lr_factor if factor else 0.0
        group["lr"] = group["initial_lr"] * factor


@torch.no_grad()
def velocities(model: nn.Module, optimizer: KrizhevskySGD) -> dict[str, Any]:
    """A copy of the velocities, under the names of the model's ``state_dict``, wherever its parameters are."""
    with _in_place_of_weights(model, optimizer):
        state = model.state_dict().items()  # a module's extra state may be anything
        return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in state}


@torch.no_grad()
def load_velocities(model: nn.Module, optimizer: KrizhevskySGD, state: Mapping[str, Any]) -> None:
    """Loads the velocities from ``velocities``, even of a model whose parameters were in other places."""
    with _in_place_of_weights(model, optimizer):
        model.load_state_dict(state)


@contextmanager
def _in_place_of_weights(model: nn.Module, optimizer: KrizhevskySGD) -> Iterator[None]:
    """Exchanges every parameter's velocity and weight, so that the model splits and joins velocities like weights."""

    def exchange() -> None:
        for p in model.parameters():
            velocity = optimizer.velocity(p)
            p.data, optimizer.state[p]["velocity"] = velocity, p.data

    exchange()
    try:
        yield
    finally:
        exchange()


def parameter_groups(
    model: nn.Module, lr: float, bias_lr_factor: float, weight_decay: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One group per parameter: weights with their layer's decay, biases with their own learning rate and no decay.

    Args:
        model: its parameters are called ``<layer>.<name>``; those whose name ends in "bias" are biases.
        lr: learning rate of the weights.
        bias_lr_factor: learning rate of the biases as a multiple of ``lr``.
        weight_decay: layer name -> decay of its weights; layers not named have none.

    Returns: groups with ``params``, ``lr``, ``weight_decay``, and for ``set_learning_rates`` ``initial_lr``, ``layer``
        and ``role`` ("weight" or "bias").
    """
    groups = []
    for name, p in model.named_parameters():
        layer, role = layer_of(name), "bias" if is_bias(name) else "weight"
        own = lr * bias_lr_factor if role == "bias" else lr
        decay = 0.0 if role == "bias" else weight_decay.get(layer, 0.0)
        groups.append(
            {"params": [p], "lr": own, "initial_lr": own, "weight_decay": decay, "layer": layer, "role": role}
        )
    return groups
