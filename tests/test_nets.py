from dataclasses import replace

import pytest
import torch
from conftest import TINY_NET
from torch import nn

from alexnet_repro import LocalResponseNorm, NetConfig, build
from alexnet_repro.config import PRESETS
from alexnet_repro.nets import neuron_slopes


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def shapes(config: NetConfig) -> dict[str, tuple[int, ...]]:
    x = torch.zeros(1, 3, config.image_size, config.image_size)
    found = {}
    for name, layer in build(config).named_children():
        x = layer(x)
        found[name] = tuple(x.shape[1:])
    return found


def test_parameter_counts_follow_from_the_layer_files():
    conv = lambda maps, channels: maps * (channels * 25 + 1)  # noqa: E731
    assert parameters(build(NetConfig.preset("cifar-19pct"))) == 89_578
    assert conv(32, 3) + conv(32, 32) + conv(64, 32) + 10 * (64 * 16 + 1) == 89_578
    local3, local4, fc10 = 36 * 32 * (64 * 9 + 1), 36 * 32 * (32 * 9 + 1), 10 * (32 * 36 + 1)
    assert parameters(build(NetConfig.preset("cifar-13pct"))) == conv(64, 3) + conv(64, 64) + local3 + local4 + fc10
    assert parameters(build(NetConfig.preset("cifar-11pct-r540"))) == parameters(build(NetConfig.preset("cifar-13pct")))


def test_maps_shrink_by_2012s_ceiling():
    assert shapes(NetConfig.preset("cifar-19pct")) == {
        "conv1": (32, 32, 32),
        "pool1": (32, 16, 16),
        "act1": (32, 16, 16),
        "conv2": (32, 16, 16),
        "act2": (32, 16, 16),
        "pool2": (32, 8, 8),
        "conv3": (64, 8, 8),
        "act3": (64, 8, 8),
        "pool3": (64, 4, 4),
        "fc10": (10,),
    }
    assert shapes(NetConfig.preset("cifar-13pct"))["local4"] == (32, 6, 6)  # 24 -> 12 -> 6


def test_an_average_pool_divides_by_the_cells_inside_the_map():
    pool = build(NetConfig.preset("cifar-19pct")).pool2
    assert pool(torch.ones(1, 1, 16, 16)).eq(1).all()


def test_the_norms_are_the_library_s_in_the_reading_that_was_run():
    norm = build(NetConfig.preset("cifar-11pct-r540")).norm1
    assert isinstance(norm, LocalResponseNorm)
    assert (norm.size, norm.alpha, norm.beta, norm.k, norm.average) == (5, 1e-3, 0.75, 1.0, True)


def test_gaussian_weights_have_the_layer_files_deviations_and_no_biases():
    net = build(NetConfig.preset("cifar-13pct"))
    for name, std in {"conv1": 1e-4, "conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc10": 0.01}.items():
        layer = net.get_submodule(name)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert not layer.bias.any()


def test_torch_initialization_is_what_torch_does_by_itself():
    net = build(replace(NetConfig.preset("cifar-19pct"), initialization="torch"))
    torchs = {"conv1": nn.Conv2d(3, 32, 5), "conv3": nn.Conv2d(32, 64, 5), "fc10": nn.Linear(1024, 10)}
    for name, other in torchs.items():
        for parameter in ("weight", "bias"):
            ours, theirs = getattr(net.get_submodule(name), parameter), getattr(other, parameter)
            bound = (3 * 25 if name == "conv1" else 1024 if name == "fc10" else 32 * 25) ** -0.5
            assert ours.abs().max() <= bound
            assert theirs.abs().max() <= bound
            if parameter == "weight":
                assert ours.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
                assert theirs.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    first, same, other = (build(TINY_NET, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert all(a.equal(b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not first.conv1.weight.equal(other.conv1.weight)
    assert torch.get_rng_state().equal(state)


def test_the_two_neurons_start_from_the_same_weights():
    relu, tanh = (build(replace(TINY_NET, activation=activation)) for activation in ("relu", "tanh"))
    assert relu.conv1.weight.equal(tanh.conv1.weight)
    assert isinstance(relu.act1, nn.ReLU)
    assert isinstance(tanh.act1, nn.Tanh)


@pytest.mark.parametrize("name", PRESETS)
def test_every_layer_of_every_preset_gets_a_gradient(name):
    config = replace(PRESETS[name], initialization="torch")
    net = build(config)
    x = torch.rand(4, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0))
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_neuron_slopes_are_the_mean_derivatives(activation):
    net = build(replace(TINY_NET, activation=activation))
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    z = net.conv1(x).detach()
    expected = (z > 0).float() if activation == "relu" else 1 - z.tanh() ** 2
    assert neuron_slopes(net, x) == {"act1": pytest.approx(expected.mean().item(), rel=1e-5)}
    assert all(p.grad is None for p in net.parameters())
    assert not x.requires_grad


def test_saturated_neurons_have_no_slope():
    net = build(replace(TINY_NET, activation="tanh"))
    assert neuron_slopes(net, torch.full((1, 3, 8, 8), 1e4))["act1"] < 1e-3
