"""The towers of a network on devices, or in processes, of their own. The numbers are those of the undivided network.

Wherever the towers are, a state dict is that of the undivided network: a checkpoint of one loads into the others.

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
from alexnet_repro.networks.spec import Conv, Layer, Linear, Local, NetConfig, Norm


def place(network: Network, devices: Sequence[torch.device | str]) -> PlacedNetwork:
    """A network with one tower on each device, in this process; a copy, the weights as they are.

    Args:
        network: its ``config.towers`` are at least 2.
        devices: one per tower; the image is sent to each, the logits are on the first. They may be the same.

    Raises:
        ValueError: not as many devices as towers, or a layer that does not come apart; names it.
        RuntimeError: what one device sends arrives changed at another.

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
    """A network in towers; the state it gives and takes, alone and as part of another module, is the undivided one's.

    Args:
        network: the undivided network.

    Attributes:
        own: what the names of the parameters that are here begin with -> their tower.
    """

    own: dict[str, int]

    def __init__(self, network: Network) -> None:
        super().__init__()
        config = network.config
        _check(config)
        self.count, self.output = config.towers, config.layers[-1].name
        #: the layers that read all towers; not the first, which reads the image
        self.meetings = frozenset(layer.name for layer in config.effective_layers()[1:] if _reads_all(layer))
        self.traffic: Counter[str] = Counter()
        self.register_state_dict_post_hook(_join)
        self.register_load_state_dict_pre_hook(_cut)

    def _gathered(self, towers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """The parameters of all towers, given those that are here."""
        return towers


class PlacedNetwork(_Divided):
    """See ``place``.

    Args:
        network, devices: as for ``place``.

    Attributes:
        traffic: layer -> bytes that went from one tower to another on its account, forward and backward, up to now.

    Shape: as the network's.
    """

    def __init__(self, network: Network, devices: Sequence[torch.device | str]) -> None:
        super().__init__(network)
        if len(devices) != self.count:
            raise ValueError(f"{self.count} towers need as many devices, not {len(devices)}: {devices}")
        self.devices = [torch.device(device) for device in devices]
        _check_copies(self.devices)
        self.own = {f"towers.{tower}.": tower for tower in range(self.count)}
        self.towers = nn.ModuleList(_tower(network, i).to(device) for i, device in enumerate(self.devices))
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        states = [x.to(device) for device in self.devices]
        for name in self.towers[0]:
            parts = [tower[name] for tower in self.towers if name in tower]  # the output layer is in the first only
            if name in self.meetings:
                states = [self._meet(states, tower, name) for tower in range(len(parts))]
            states = [part(state) for part, state in zip(parts, states, strict=True)]
        return states[0]

    def _meet(self, states: Sequence[Tensor], tower: int, layer: str) -> Tensor:
        """What all towers have, on the device of one."""
        there = [state if i == tower else self._send(state, tower, layer) for i, state in enumerate(states)]
        return torch.cat(there, 1)

    def _send(self, state: Tensor, tower: int, layer: str) -> Tensor:
        def count(sent: Tensor) -> None:
            self.traffic[layer] += sent.numel() * sent.element_size()

        count(state)
        sent = state.to(self.devices[tower]).view_as(state)  # a tensor of its own, even on the same device
        if sent.requires_grad:
            sent.register_hook(count)
        return sent


class TowerProcess(_Divided):
    """One tower of a network, in this process; the others are in the other processes of a group.

    Made, called, back-propagated and asked for its state by all processes of the group together, each with the same
    input, which gives each the same logits, and the state on the CPU. Gradients are those of the loss, as if one
    process had computed it. For data parallelism wrap it in ``DistributedDataParallel`` over the processes that hold
    the same tower (``mesh["data"]`` of a 2-D device mesh), as ``alexnet_repro.parallel`` does.

    Args:
        network: the undivided network, equal in all processes; its ``config.towers`` are as many as the group.
        group: of ``torch.distributed``; this process's rank in it is its tower.

    Attributes:
        traffic: layer -> bytes that this tower received from the others on its account, forward and backward, up to
            now. (The logits, which the first tower sends to the others, are not counted.)

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
        if self.output not in self.tower:  # the first tower has it: take part in the exchange, and in its backward pass
            x = _Gather.apply(x, self.group, self.traffic, self.output).flatten(1)[:, :1]
        return _FromFirst.apply(x, self.num_classes, self.group)

    def _gathered(self, towers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, {name: tensor.cpu() for name, tensor in towers[0].items()}, self.group)
        return parts


class _Gather(torch.autograd.Function):
    """Every process's feature maps, side by side; backward the sum of what all processes ask of one's own."""

    @staticmethod
    def forward(ctx, x, group, traffic, layer):
        ctx.group, ctx.count, ctx.traffic, ctx.layer = group, dist.get_world_size(group), traffic, layer
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(ctx.count)]
        dist.all_gather(parts, x.contiguous(), group)
        traffic[layer] += (ctx.count - 1) * x.numel() * x.element_size()
        return torch.cat(parts, 1)

    @staticmethod
    def backward(ctx, grad):
        asked = torch.stack(grad.chunk(ctx.count, 1)).contiguous()
        of_mine = torch.empty_like(asked)
        dist.all_to_all_single(of_mine, asked, group=ctx.group)  # gloo's reduce-scatter would send the whole sum
        mine = of_mine.sum(0)
        ctx.traffic[ctx.layer] += (ctx.count - 1) * mine.numel() * mine.element_size()
        return mine, None, None, None


class _FromFirst(torch.autograd.Function):
    """The first process's logits in all of them; backward its own gradient, since the others' are the same again."""

    @staticmethod
    def forward(ctx, x, num_classes, group):
        ctx.first, ctx.shape = dist.get_rank(group) == 0, x.shape
        logits = x.contiguous().clone() if ctx.first else x.new_empty(len(x), num_classes)
        dist.broadcast(logits, group=group, group_src=0)
        return logits

    @staticmethod
    def backward(ctx, grad):
        return grad if ctx.first else grad.new_zeros(ctx.shape), None, None


def _check(config: NetConfig) -> None:
    """``ValueError`` if the network does not come apart into its towers."""
    if config.towers < 2:
        raise ValueError(f"{config.name} has one tower; replace(config, towers=2) has two")
    for layer in config.effective_layers():
        if isinstance(layer, Local):
            raise ValueError(f"{config.name}: {layer.name} is locally connected, which has no towers")
        if isinstance(layer, Norm) and layer.reads == "all":
            raise ValueError(f"{config.name}: the windows of {layer.name} cross from one tower to the other")


def _check_copies(devices: Sequence[torch.device]) -> None:
    """``RuntimeError`` if a copy from one of the devices to another is not what was sent.

    Between GPUs whose peer access the machine's IOMMU breaks, copies are all zeros, and nothing else says so.
    """
    sent = torch.rand(4096, generator=torch.Generator().manual_seed(0))
    for here, there in permutations(dict.fromkeys(devices), 2):
        if not _arrived(sent, here, there).equal(sent):
            raise RuntimeError(
                f"a copy from {here} to {there} arrives changed: peer access between these devices is broken. Turn the "
                f"machine's IOMMU off, or place the towers on one device"
            )


def _arrived(sent: Tensor, here: torch.device, there: torch.device) -> Tensor:
    return sent.to(here).to(there).cpu()


def _reads_all(layer: Layer) -> bool:
    return isinstance(layer, Conv | Linear) and layer.reads == "all"


def _tower(network: Network, tower: int) -> nn.ModuleDict:
    """One tower's part of every layer; the last layer is the first tower's alone."""
    generator = torch.Generator()
    generator.set_state(network.generator.get_state())
    towers, output = network.config.towers, network.config.layers[-1].name
    parts = {}
    for name, layer in network.named_children():
        match layer:
            case PaddedConv2d() | TowerLinear() if name == output:
                if tower == 0:
                    parts[name] = copy.deepcopy(layer)
            case PaddedConv2d() | TowerLinear():
                parts[name] = _part(layer, tower, towers)
            case LocalResponseNorm():
                parts[name] = LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k, layer.average)
            case Dropout():
                parts[name] = Dropout(layer.p, layer.rescale, generator)
                parts[name].tower, parts[name].towers = tower, towers
            case _:
                parts[name] = copy.deepcopy(layer)
    return nn.ModuleDict(parts)


def _part(layer: PaddedConv2d | TowerLinear, tower: int, towers: int) -> nn.Module:
    """A layer with one tower's share of the filters or units, which read what they read before."""
    part = copy.deepcopy(layer)
    for name, parameter in layer.named_parameters():
        setattr(part, name, nn.Parameter(parameter.detach().chunk(towers)[tower].clone()))
    if isinstance(part, PaddedConv2d):
        part.out_channels //= towers
        part.in_channels, part.groups = part.in_channels // part.groups, 1
    else:
        part.towers = 1
    return part


def _join(network: _Divided, state: dict[str, Tensor], prefix: str, _: object) -> None:
    """Puts the undivided network's parameters into a state, in the place of its towers'."""
    starts = [prefix + start for start in network.own]
    towers = [
        {name[len(start) :]: state.pop(name) for name in list(state) if name.startswith(start)} for start in starts
    ]
    towers = network._gathered(towers)
    for name in towers[0]:
        parts = [tower[name] for tower in towers if name in tower]
        state[prefix + name] = torch.cat([part.to(parts[0].device) for part in parts])


def _cut(network: _Divided, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Puts the towers' shares into a state, in the place of the undivided network's parameters."""
    for whole in [name for name in state if name.startswith(prefix)]:
        tensor, name = state.pop(whole), whole[len(prefix) :]
        for start, tower in network.own.items():
            if name.rpartition(".")[0] != network.output:
                state[prefix + start + name] = tensor.chunk(network.count)[tower]
            elif tower == 0:
                state[prefix + start + name] = tensor
