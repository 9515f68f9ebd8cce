"""The towers of a network on separate devices or in separate processes, with the undivided network's results.

Wherever the towers are, the state dict is that of the undivided network, so checkpoints are interchangeable.

Source:  Sec. 3.2, Fig. 2; 2012 code, run 145: only conv3 and the fully connected layers read both towers.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet_repro.networks.build import Network
from alexnet_repro.networks.layers import Dropout, PaddedConv2d, TowerLinear
from alexnet_repro.networks.lrn import LocalResponseNorm
from alexnet_repro.networks.spec import Conv, Linear, Local, NetConfig, Norm


def place(network: Network, devices: Sequence[torch.device | str]) -> PlacedNetwork:
    """Copies a network, weights included, and puts one tower on each device, in this process.

    Args:
        network: the undivided network; its ``config.towers`` is at least 2.
        devices: one per tower; images are sent to each, and the logits are on the first. They may be the same device.

    Raises:
        ValueError: fewer than 2 towers, not one device per tower, or a layer that can't be split; names it.
        RuntimeError: a tensor copied from one device to another arrives changed.

    Example:
        >>> from dataclasses import replace
        >>> import torch
        >>> from alexnet_repro import NetConfig, build, place
        >>> net = build(replace(NetConfig.preset("paper"), width=0.125)).eval()
        >>> inputs = torch.ones(1, 3, 224, 224)
        >>> torch.allclose(place(net, ["cpu", "cpu"])(inputs), net(inputs), atol=1e-6)
        True
    """
    return PlacedNetwork(network, devices)


class _Divided(nn.Module):
    """A network split into towers; its state dict, even inside another module, is that of the undivided network.

    Args:
        network: the undivided network.

    Attributes:
        own: prefix of the names of the parameters held here -> their tower.
    """

    own: dict[str, int]

    def __init__(self, network: Network) -> None:
        super().__init__()
        config = network.config
        _check(config)
        self.count, self.output = config.towers, config.layers[-1].name
        #: the layers that read all towers, except the first layer, which reads the image
        self.meetings = frozenset(
            layer.name
            for layer in config.effective_layers()[1:]
            if isinstance(layer, Conv | Linear) and layer.reads == "all"
        )
        self.traffic: Counter[str] = Counter()
        self.register_state_dict_post_hook(_join)
        self.register_load_state_dict_pre_hook(_cut)

    def _gathered(self, towers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """The parameters of all towers, given those of the towers held here."""
        return towers


class PlacedNetwork(_Divided):
    """A network with one tower on each device, as ``place`` returns it.

    Args:
        network, devices: as for ``place``.

    Attributes:
        traffic: layer -> bytes sent between towers so far for this layer's input, forward and backward.

    Shape: as the network's.
    """

    def __init__(self, network: Network, devices: Sequence[torch.device | str]) -> None:
        super().__init__(network)
        if isinstance(devices, str | torch.device) or len(devices) != self.count:
            raise ValueError(f"{self.count} towers need a list of as many devices, not {devices!r}")
        self.devices = [torch.device(device) for device in devices]
        _check_copies(self.devices)
        self.own = {f"towers.{tower}.": tower for tower in range(self.count)}
        self.towers = nn.ModuleList(_tower(network, i).to(device) for i, device in enumerate(self.devices))
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        states = [x.to(device) for device in self.devices]
        towers = [dict(tower.named_children()) for tower in self.towers]
        for name in towers[0]:
            parts = [tower[name] for tower in towers if name in tower]  # the output layer is in the first only
            if name in self.meetings:
                states = [self._meet(states, tower, name) for tower in range(len(parts))]
            states = [part(state) for part, state in zip(parts, states, strict=True)]
        return states[0]

    def _meet(self, states: Sequence[Tensor], tower: int, layer: str) -> Tensor:
        """The activations of all towers, concatenated, on the device of one."""
        there = [state if i == tower else self._send(state, tower, layer) for i, state in enumerate(states)]
        return torch.cat(there, 1)

    def _send(self, state: Tensor, tower: int, layer: str) -> Tensor:
        def count(sent: Tensor) -> None:
            self.traffic[layer] += sent.numel() * sent.element_size()

        count(state)
        sent = state.to(self.devices[tower]).view_as(state)  # a new tensor, even on the same device
        if sent.requires_grad:
            sent.register_hook(count)
        return sent


class TowerProcess(_Divided):
    """One tower of a network, in this process; the other towers are in the other processes of a group.

    All processes of the group must construct it, call it with the same input, run its backward pass and take its state
    dict together. All get the same logits, the gradients that one process would compute from the loss, and the state
    dict on the CPU. For data parallelism, wrap it in ``DistributedDataParallel`` over the processes that hold the same
    tower (``mesh["data"]`` of a 2-D device mesh), as ``alexnet_repro.training.parallel`` does.

    Args:
        network: the undivided network, equal in all processes; its ``config.towers`` is the size of the group.
        group: a process group of ``torch.distributed``; this process's rank in it is the number of its tower.

    Attributes:
        traffic: layer -> bytes that this tower has received from the others for this layer's input, forward and
            backward. (The logits, which the first tower sends to the others, are not counted.)

    Shape: as the network's.
    """

    def __init__(self, network: Network, group: dist.ProcessGroup) -> None:
        super().__init__(network)
        if dist.get_world_size(group) != self.count:
            raise ValueError(f"{self.count} towers need as many processes, not {dist.get_world_size(group)}")
        self.group, self.rank = group, dist.get_rank(group)
        self.own, self.num_classes = {"tower.": self.rank}, network.config.num_classes
        self.tower = _tower(network, self.rank)
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        for name, part in self.tower.items():
            if name in self.meetings:
                x = _Gather.apply(x, self.group, self.traffic, name)
            x = part(x)
        if self.output not in self.tower:  # it is in the first tower; take part in the exchange, forward and backward
            x = _Gather.apply(x, self.group, self.traffic, self.output).flatten(1)[:, :1]
        return _FromFirst.apply(x, self.num_classes, self.group)

    def _gathered(self, towers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, {name: tensor.cpu() for name, tensor in towers[0].items()}, self.group)
        return parts


class _Gather(torch.autograd.Function):
    """Concatenates all processes' feature maps; backward, sums all processes' gradients for this process's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup, traffic: Counter[str], layer: str) -> Tensor:
        ctx.group, ctx.count, ctx.traffic, ctx.layer = group, dist.get_world_size(group), traffic, layer
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(ctx.count)]
        dist.all_gather(parts, x.contiguous(), group)
        traffic[layer] += (ctx.count - 1) * x.numel() * x.element_size()
        return torch.cat(parts, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        asked = torch.stack(grad.chunk(ctx.count, 1)).contiguous()
        of_mine = torch.empty_like(asked)
        dist.all_to_all_single(of_mine, asked, group=ctx.group)  # gloo's reduce-scatter would send the whole sum
        mine = of_mine.sum(0)
        ctx.traffic[ctx.layer] += (ctx.count - 1) * mine.numel() * mine.element_size()
        return mine, None, None, None


class _FromFirst(torch.autograd.Function):
    """Sends the first process's logits to all; backward, only the first passes its gradient on, since all are equal."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_classes: int, group: dist.ProcessGroup) -> Tensor:
        ctx.first, ctx.shape = dist.get_rank(group) == 0, x.shape
        logits = x.contiguous().clone() if ctx.first else x.new_empty(len(x), num_classes)
        dist.broadcast(logits, group=group, group_src=0)
        return logits

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad if ctx.first else grad.new_zeros(ctx.shape), None, None


def _check(config: NetConfig) -> None:
    """Raises ``ValueError`` if the network can't be split into its towers."""
    if config.towers < 2:
        raise ValueError(f"{config.name} has one tower; replace(config, towers=2) has two")
    for layer in config.effective_layers():
        if isinstance(layer, Local):
            raise ValueError(f"{config.name}: {layer.name} is locally connected, which has no towers")
        if isinstance(layer, Norm) and layer.reads == "all":
            raise ValueError(f"{config.name}: the windows of {layer.name} cross from one tower to the other")
    if getattr(output := config.effective_layers()[-1], "reads", "all") == "own":
        raise ValueError(f"{config.name}: {output.name}, the last layer, is in the first tower but reads each its own")


def _check_copies(devices: Sequence[torch.device]) -> None:
    """Raises ``RuntimeError`` if a tensor copied from one of the devices to another arrives changed.

    If the machine's IOMMU breaks peer access between GPUs, copies are all zeros, and there is no other error.
    """
    sent = torch.rand(4096, generator=torch.Generator().manual_seed(0), device="cpu")
    for here, there in permutations(dict.fromkeys(devices), 2):
        if not _arrived(sent, here, there).equal(sent):
            raise RuntimeError(
                f"a copy from {here} to {there} arrives changed: peer access between these devices is broken. Turn the "
                f"machine's IOMMU off, or place the towers on one device"
            )


def _arrived(sent: Tensor, here: torch.device, there: torch.device) -> Tensor:
    return sent.to(here).to(there).cpu()


def _tower(network: Network, tower: int) -> nn.ModuleDict:
    """One tower's part of every layer; the output layer belongs to the first tower alone."""
    generator = torch.Generator()
    generator.set_state(network.generator.get_state())
    towers, output = network.config.towers, network.config.layers[-1].name
    parts: dict[str, nn.Module] = {}
    for name, layer in network.named_children():
        match layer:
            case _ if name == output:
                if tower == 0:
                    parts[name] = copy.deepcopy(layer)
            case PaddedConv2d() | TowerLinear():
                parts[name] = _part(layer, tower, towers)
            case LocalResponseNorm():
                parts[name] = LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k, layer.average)
            case Dropout():
                parts[name] = dropout = Dropout(layer.p, layer.rescale, generator)
                dropout.tower, dropout.towers = tower, towers
            case _ if any(True for _ in layer.parameters()):
                raise ValueError(f"{name} is a {type(layer).__name__}, whose weights can't be divided among towers")
            case _:
                parts[name] = copy.deepcopy(layer)
    return nn.ModuleDict(parts)


def _part(layer: PaddedConv2d | TowerLinear, tower: int, towers: int) -> nn.Module:
    """A layer with one tower's share of the filters or units, which read the same inputs as before."""
    part = copy.deepcopy(layer)
    for name, parameter in layer.named_parameters():
        share = parameter.detach().chunk(towers)[tower].clone()
        setattr(part, name, nn.Parameter(share, parameter.requires_grad))
    if isinstance(part, PaddedConv2d):
        part.out_channels //= towers
        part.in_channels, part.groups = part.in_channels // part.groups, 1
    else:
        part.towers = 1
    return part


def _join(network: _Divided, state: dict[str, Tensor], prefix: str, _: object) -> None:
    """Replaces the towers' parameters in a state dict with those of the undivided network."""
    starts = [prefix + start for start in network.own]
    towers = [
        {name[len(start) :]: state.pop(name) for name in list(state) if name.startswith(start)} for start in starts
    ]
    towers = network._gathered(towers)
    for name in towers[0]:
        parts = [tower[name] for tower in towers if name in tower]
        state[prefix + name] = torch.cat([part.to(parts[0].device) for part in parts])


def _cut(network: _Divided, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Replaces the undivided network's parameters in a state dict with the shares of the towers held here."""
    for whole in [name for name in state if name.startswith(prefix)]:
        tensor, name = state.pop(whole), whole[len(prefix) :]
        for start, tower in network.own.items():
            if name.rpartition(".")[0] != network.output:
                state[prefix + start + name] = tensor.chunk(network.count)[tower]
            elif tower == 0:
                state[prefix + start + name] = tensor
