"""Layers and networks on a GPU have a CPU's numbers: in float64 to its last digits, in float32 to those of float32."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tower_case import case

from alexnet_repro import LocalResponseNorm, build, place
from alexnet_repro.networks.layers import Dropout, LocallyConnected2d, PaddedConv2d, TowerLinear
from alexnet_repro.networks.lrn import WithinChannelResponseNorm

# What torch warns of on a machine that nobody has seen is shown, and fails nothing.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

LAYERS = {
    "convolution": (lambda: PaddedConv2d(6, 8, 3, 2, (0, 2), groups=2), (4, 6, 9, 9)),
    "towers of units": (lambda: TowerLinear(6 * 16, 10, towers=2), (4, 6, 4, 4)),
    "locally connected": (lambda: LocallyConnected2d(6, 5, 4, 4, 3), (4, 6, 4, 4)),
    "normalization": (lambda: LocalResponseNorm(alpha=0.1), (4, 12, 5, 5)),
    "normalization in towers, as run": (lambda: LocalResponseNorm(alpha=0.5, average=True, groups=2), (4, 12, 5, 5)),
    "normalization of another power": (lambda: LocalResponseNorm(size=4, alpha=0.1, beta=0.6), (4, 12, 5, 5)),
    "normalization of vectors": (lambda: LocalResponseNorm(alpha=0.1), (4, 12)),
    "within channels": (lambda: WithinChannelResponseNorm(3, 0.2), (4, 6, 5, 5)),
    "pool": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), (4, 6, 8, 8)),
    "dropout in testing": (lambda: Dropout(0.3).eval(), (4, 6)),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def filled(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.double().parameters():
        parameter.data.normal_(generator=generator)
    return module


def outcome(module: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The output, and the gradients of a weighted sum of it, on the CPU."""
    inputs = inputs.detach().requires_grad_()
    out = module(inputs)
    weights = normal(*out.shape, seed=2).to(out)
    return [t.cpu() for t in (out, *torch.autograd.grad((out * weights).sum(), [inputs, *module.parameters()]))]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-10) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance * b.abs().max().item())


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_and_its_gradients(device, name, last):
    make, shape = LAYERS[name]
    layer, inputs = filled(make()), normal(*shape)
    there = inputs.to(device)
    if last and inputs.ndim == 4:
        there = there.to(memory_format=torch.channels_last)
    assert_close(outcome(copy.deepcopy(layer).to(device), there), outcome(layer, inputs))


@pytest.mark.parametrize("groups", [1, 2])
def test_the_normalization_s_gradient_is_that_of_its_numbers(device, groups):
    a = normal(2, 8, 2, 2).to(device).requires_grad_()
    assert torch.autograd.gradcheck(LocalResponseNorm(alpha=0.3, groups=groups), a)


def test_the_compiled_normalization_is_the_layer(device):
    layer, inputs = LocalResponseNorm(alpha=0.1), normal(4, 12, 5, 5).to(device)
    assert_close(outcome(torch.compile(layer), inputs), outcome(layer, inputs))


def test_of_half_precision_the_normalization_is_computed_in_float32(device):
    layer, a = LocalResponseNorm(alpha=0.1), normal(4, 12, 5, 5).to(device, torch.bfloat16)
    with torch.autocast(device.type, torch.bfloat16):
        assert layer(a).equal(layer(a.float()).bfloat16())


@pytest.mark.parametrize("preset", ["paper", "run145", "run147", "caffe"])
def test_a_network_and_its_gradients(device, preset):
    config, images, _, generator = case(preset)
    net = build(replace(config, dropout=0.0), generator).double()
    assert_close(outcome(copy.deepcopy(net).to(device, memory_format=torch.channels_last), images.to(device)),
                 outcome(net, images))  # fmt: skip


def test_float32_is_float32_in_convolutions_and_in_products(device):
    """TF32 keeps ten bits of every factor: the largest error would be some 3e-4 of the largest number."""
    x, kernel = (normal(*shape).to(device) for shape in ((8, 64, 16, 16), (64, 64, 3, 3)))
    assert_close([F.conv2d(x.float(), kernel.float())], [F.conv2d(x, kernel)], 5e-5)
    a, b = x.flatten(2).flatten(0, 1), kernel.flatten()[: 256 * 64].view(256, 64)
    assert_close([a.float() @ b.float()], [a @ b], 5e-5)


def test_towers_on_one_device_are_the_undivided_network(device):
    """With its dropout: the towers cut their masks from the same ones."""
    config, images, *_ = case()
    nets = [build(config, torch.Generator().manual_seed(1)).double() for _ in range(2)]
    placed, whole = place(nets[0], [device, device]), nets[1].to(device)
    logits = [net(images.to(device)) for net in (placed, whole)]
    assert_close(logits[:1], logits[1:])
    logits[0].sum().backward()
    assert placed.traffic["conv3"] > 0


def dropout(device: torch.device, n: int = 8, **attributes: object) -> Tensor:
    layer = Dropout(0.5, generator=torch.Generator().manual_seed(3))
    vars(layer).update(attributes)
    return torch.cat([layer.draw(torch.ones(n, 6 // layer.towers, device=device)) for _ in range(2)])


def test_processes_and_towers_share_out_the_masks_of_the_whole_batch(device):
    whole = dropout(device)
    assert whole[:8].ne(whole[8:]).any()
    assert whole.equal(dropout(device))
    shares = [dropout(device, 4, place=lambda first=first: (first, 8)) for first in (0, 4)]
    assert torch.cat([shares[0][:4], shares[1][:4], shares[0][4:], shares[1][4:]]).equal(whole)
    towers = [dropout(device, tower=tower, towers=2) for tower in (0, 1)]
    assert torch.cat(towers, 1).equal(whole)


def test_a_unit_is_dropped_with_its_probability_whatever_the_device(device):
    layer = Dropout(0.3, generator=torch.Generator().manual_seed(0))
    x = torch.ones(500, 1000, device=device)
    assert (layer(x) == 0).double().mean().item() == pytest.approx(0.3, abs=0.003)
