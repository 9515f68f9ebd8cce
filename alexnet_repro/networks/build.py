"""Networks built from their configurations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Never, overload

import torch
from torch import nn
from torch.nn.utils import skip_init

from alexnet_repro.networks import layers
from alexnet_repro.networks.lrn import LocalResponseNorm, WithinChannelResponseNorm
from alexnet_repro.networks.spec import (
    Activation,
    Conv,
    Dropout,
    Layer,
    Linear,
    Local,
    NetConfig,
    Norm,
    Pool,
    WithinChannelNorm,
)
from alexnet_repro.support.chance import streams
from alexnet_repro.support.table import Table


@dataclass(frozen=True)
class LayerCost:
    """The size and cost of one layer, for one image."""

    name: str  #: name of the layer
    shape: tuple[int, ...]  #: shape of its output
    parameters: int  #: number of weights and biases
    multiply_adds: int  #: of the forward pass, biases not counted

    @property
    def activations(self) -> int:
        """The number of values in the layer's output."""
        return torch.Size(self.shape).numel()


def _refuse(*_: Any, **__: Any) -> Any:
    raise TypeError(
        "a network's layers keep their names, so that none can be appended, inserted or deleted: net[:-1] is an "
        "nn.Sequential without the last one, net.fc8 = ... replaces one, and nn.Sequential(net, ...) adds some"
    )


class Network(nn.Sequential):
    """The network of a configuration: its layers in sequence, under their names.

    Each layer's initial weights are drawn from a generator of their own: adding or removing a layer does not change the
    random numbers of the others. Another generator draws dropout's masks. torch's global generator is never touched.
    The network is made on the CPU, whatever torch's default device is.

    Args:
        config: the network's configuration; None: preset ``paper``, AlexNet as printed.
        generator: a CPU generator; one draw from it seeds all of these generators. None: a generator seeded with 0.
        fields: none; for ``num_classes`` and the like an error says how the configuration gets them.

    Attributes:
        generator: draws dropout's masks.

    Shape: (N, 3, image_size, image_size) float -> (N, num_classes) logits.

    Raises:
        ValueError: the layers do not fit the image or each other; the message names the layer.
        TypeError: something else than a configuration; says what to write.
    """

    def __init__(
        self, config: NetConfig | None = None, generator: torch.Generator | None = None, **fields: Never
    ) -> None:
        config = config or NetConfig.preset("paper")
        if not isinstance(config, NetConfig):
            raise TypeError(f"a network is built from a NetConfig, such as NetConfig.preset({str(config)!r})")
        if fields:
            wrong: dict[str, object] = dict(fields)
            given = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
            raise TypeError(f"these belong to the configuration: replace(NetConfig.preset({config.name!r}), {given})")
        wanted = config.effective_layers()
        masks, *weights = streams(
            generator or torch.Generator().manual_seed(0), "dropout's masks", *(layer.name for layer in wanted)
        )
        shape: tuple[int, ...] = (3, config.image_size, config.image_size)
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for layer, drawn in zip(wanted, weights, strict=True):
            try:
                with torch.device("cpu"):
                    module = _module(layer, shape, config, masks)
                    shape = _shape_after(module, shape)
            except (ValueError, RuntimeError) as error:
                small = len(shape) == 3 and min(shape[1:]) < getattr(layer, "kernel", getattr(layer, "size", 0))
                remedy = ". Give it larger images (in a command, --size and --crop), or take a CIFAR preset" * small
                raise ValueError(
                    f"{config.name}: {layer.name} does not fit its input {shape}: {error}{remedy}"
                ) from error
            if isinstance(layer, Conv | Linear):
                _initialize(module, layer, config, drawn)
            modules[layer.name] = module
        super().__init__(modules)
        self.config, self.generator = config, masks

    @overload
    def __getitem__(self, index: slice) -> nn.Sequential: ...
    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    def __getitem__(self, index: int | slice) -> nn.Module:
        """One layer, or for a slice an ``nn.Sequential`` of those layers, which are shared and not copied."""
        return (
            nn.Sequential(OrderedDict(list(self.named_children())[index]))
            if isinstance(index, slice)
            else super().__getitem__(index)
        )

    append = extend = insert = pop = __delitem__ = __iadd__ = __imul__ = _refuse

    @property
    @torch.no_grad()
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each layer -> shape of its output for one image; computed from the layers as they are now."""
        found, side = {}, self.config.image_size
        x = torch.zeros(1, 3, side, side, device="cpu")
        with evaluating(self):
            for name, layer in self.named_children():
                x = layer(x.to(next(layer.parameters(), x)))  # a layer that is new may be elsewhere than the others
                found[name] = tuple(x.shape[1:])
        return found

    def costs(self) -> list[LayerCost]:
        """The size and cost of each layer, in the network's order."""
        costs, shapes = [], self.shapes
        for layer, module in self.named_children():
            parameters = sum(p.numel() for p in module.parameters())
            positions = torch.Size(shapes[layer][1:]).numel() if isinstance(module, nn.Conv2d) else 1
            weights = sum(p.numel() for name, p in module.named_parameters() if not name.endswith("bias"))
            costs.append(LayerCost(layer, shapes[layer], parameters, positions * weights))
        return costs

    def summary(self) -> Table:
        """The ``costs`` as a table, with activations per tower; the output layer belongs to the first tower only."""
        costs, towers = self.costs(), self.config.towers
        rows = [
            [
                cost.name,
                "x".join(map(str, cost.shape)),
                f"{cost.activations:,}"
                if towers == 1 or cost is costs[-1]
                else f"{towers} x {cost.activations // towers:,}",
                f"{cost.parameters:,}",
                f"{cost.multiply_adds:,}",
            ]
            for cost in costs
        ]
        totals = sum(cost.parameters for cost in costs), sum(cost.multiply_adds for cost in costs)
        rows.append(["total", "", "", *(f"{total:,}" for total in totals)])
        return Table(["layer", "output", "activations", "parameters", "multiply-adds"], rows)


class AlexNet(Network):
    """AlexNet, by default as printed in the paper (preset ``paper``). The presets list every layer with its shape.

    Source:  Sec. 3.5, Fig. 2.

    Args:
        config: another variant, e.g. ``NetConfig.preset("run145")``.
        generator, fields: see ``Network``.

    Shape: (N, 3, 224, 224) float, pixels 0..255 minus the mean -> (N, 1000) logits.

    Example:
        >>> import torch
        >>> from alexnet_repro import AlexNet, NetConfig
        >>> net = AlexNet(NetConfig.preset("run145"))
        >>> net(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
        >>> f"{sum(parameter.numel() for parameter in net.parameters()):,}"
        '60,965,224'
    """


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model in eval mode, and afterwards returns each of its modules to the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def build(config: NetConfig, generator: torch.Generator | None = None) -> Network:
    """Builds the network of a configuration.

    Args:
        config, generator: as for ``Network``.

    Raises:
        ValueError: the layers do not fit the image or each other; the message names the layer.

    Example:
        >>> import torch
        >>> from alexnet_repro import NetConfig, build
        >>> net = build(NetConfig.preset("cifar-18pct"))
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return Network(config, generator)


def _module(layer: Layer, shape: tuple[int, ...], config: NetConfig, masks: torch.Generator) -> nn.Module:
    groups = config.towers if getattr(layer, "reads", "all") == "own" else 1
    match layer:
        case Local():
            channels, height, width = shape
            return layers.LocallyConnected2d(channels, layer.channels, height, width, layer.kernel)
        case Conv():
            padding = (layer.kernel - 1) // 2 if layer.padding is None else layer.padding
            pair = (padding, padding) if isinstance(padding, int) else padding
            return skip_init(
                layers.PaddedConv2d, shape[0], layer.channels, layer.kernel, layer.stride, padding=pair, groups=groups
            )
        case Pool():
            if layer.kind == "max":
                return nn.MaxPool2d(layer.size, layer.stride, ceil_mode=True)
            return layers.CeilAvgPool2d(layer.size, layer.stride)
        case Norm():
            return LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k, layer.average, groups)
        case WithinChannelNorm():
            return WithinChannelResponseNorm(layer.size, layer.scale, layer.beta)
        case Activation():
            return nn.ReLU() if config.activation == "relu" else nn.Tanh()
        case Dropout():
            return layers.Dropout(config.dropout, layer.rescale, masks)
        case Linear():
            outputs = config.num_classes if layer.outputs is None else layer.outputs
            return layers.TowerLinear(torch.Size(shape).numel(), outputs, groups)


@torch.no_grad()
def _shape_after(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(module.eval()(torch.zeros(1, *shape)).shape[1:])  # in training mode, dropout would draw a mask
    module.train()
    return shape


@torch.no_grad()
def _initialize(module: nn.Module, layer: Conv | Linear, config: NetConfig, generator: torch.Generator) -> None:
    """Sets the paper's Gaussian weights and constant biases, or PyTorch's uniform ones within 1 / sqrt(fan in)."""
    weight, bias = module.get_parameter("weight"), module.get_parameter("bias")
    if config.initialization == "gaussian":
        weight.normal_(0.0, layer.std, generator=generator)
        bias.fill_(layer.bias)
    else:
        fan_in = weight.shape[-1] if isinstance(layer, Local) else weight[0].numel()
        weight.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
        bias.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
