"""Networks built from their configurations."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from alexnet_repro.config import Conv, Layer, Linear, Local, NetConfig, Neuron, Norm, Pool
from alexnet_repro.layers import LocallyConnected2d
from alexnet_repro.lrn import LocalResponseNorm


def build(config: NetConfig, generator: torch.Generator | None = None) -> nn.Sequential:
    """The network of a configuration, its layers under their names, its weights drawn from ``generator``.

    Without a generator the weights come from one seeded with 0; torch's global generator is never touched.

    Shape: (N, 3, image_size, image_size) float -> (N, num_classes) logits.
    """
    generator = generator or torch.Generator().manual_seed(0)
    shape = (3, config.image_size, config.image_size)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in config.layers:
        module = _module(layer, shape, config)
        if isinstance(layer, Conv | Linear):
            _initialize(module, layer, config, generator)
        modules[layer.name] = module
        shape = tuple(module(torch.zeros(1, *shape)).shape[1:])
    return nn.Sequential(modules)


def neuron_slopes(model: nn.Sequential, inputs: Tensor) -> dict[str, float]:
    """Layer name -> mean slope of its neurons over a batch, for every layer of neurons.

    What a layer passes back of the gradient it gets: ``1 - tanh**2`` on average, or the share of ReLUs that are active.
    Near 0 the layers below it hardly learn.

    Shape: inputs (N, 3, image_size, image_size) float.
    """
    slopes = {}
    x = inputs
    for name, layer in model.named_children():
        x = x.detach()
        if isinstance(layer, nn.ReLU | nn.Tanh):
            with torch.enable_grad():
                before = x.requires_grad_()
                x = layer(before)
                slopes[name] = torch.autograd.grad(x.sum(), before)[0].mean().item()
        else:
            with torch.no_grad():
                x = layer(x)
    return slopes


class _Flattened(nn.Linear):
    """A fully connected layer that takes maps as well as vectors."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


def _module(layer: Layer, shape: tuple[int, ...], config: NetConfig) -> nn.Module:
    match layer:
        case Local():
            return LocallyConnected2d(shape[0], layer.maps, *shape[1:], layer.kernel)
        case Conv():
            return skip_init(nn.Conv2d, shape[0], layer.maps, layer.kernel, padding="same")
        case Pool(kind="max"):
            return nn.MaxPool2d(3, 2, ceil_mode=True)
        case Pool(kind="avg"):
            return nn.AvgPool2d(3, 2, ceil_mode=True)
        case Norm():
            return LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k, layer.average)
        case Neuron():
            return nn.ReLU() if config.activation == "relu" else nn.Tanh()
        case Linear():
            outputs = config.num_classes if layer.outputs is None else layer.outputs
            return skip_init(_Flattened, torch.Size(shape).numel(), outputs)


@torch.no_grad()
def _initialize(module: nn.Module, layer: Conv | Linear, config: NetConfig, generator: torch.Generator) -> None:
    """2012's Gaussian weights and zero biases, or PyTorch's uniform ones within 1 / sqrt(fan in)."""
    if config.initialization == "gaussian":
        module.weight.normal_(0.0, layer.std, generator=generator)
        module.bias.zero_()
    else:
        fan_in = module.weight.shape[-1] if isinstance(layer, Local) else module.weight[0].numel()
        module.weight.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
        module.bias.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
