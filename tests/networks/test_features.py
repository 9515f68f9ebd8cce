from dataclasses import replace

import pytest
import torch
from tiny_net import TINY_NET
from torchvision.models.feature_extraction import create_feature_extractor

from alexnet_repro import build
from alexnet_repro.networks import inspect
from alexnet_repro.networks.inspect import activations, agreement, evaluating, last_hidden, mean_derivatives, nearest
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.networks.spec import Activation


def test_a_layer_s_activations_are_those_of_the_layers_up_to_it():
    network = build(TINY_NET).train()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(activations(network, x, "conv1"), network.conv1(x))
    assert torch.equal(activations(network, x, "act1"), network.conv1(x).relu())
    assert torch.equal(activations(network, x, "fc10"), network(x))
    assert network.training
    with pytest.raises(ValueError, match="layer must be one of conv1, act1, pool1, fc10, not 'fc7'"):
        activations(network, x, "fc7")


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("preset", ["paper", "run145", "torchvision", "cifar-11pct"])
def test_torchvision_s_feature_extractor_gives_the_network_s_own_activations(preset, train):
    config = PRESETS[preset]
    network = build(config if preset == "cifar-11pct" else replace(config, width=1 / 16)).train(train)
    layers = dict(network.named_children())
    extract = create_feature_extractor(network, list(layers))
    x = torch.randn(2, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0))
    masks = network.generator.get_state()
    found = extract(x)
    network.generator.set_state(masks)
    for name, layer in layers.items():
        x = layer(x)
        assert found[name].equal(x), name


def test_a_network_without_activations_has_no_last_hidden_layer():
    with pytest.raises(ValueError, match="tiny has no activation layer"):
        last_hidden(build(TINY_NET.without(Activation)))


def test_every_module_is_afterwards_as_it_was_whatever_happens():
    network = build(TINY_NET)
    network.pool1.eval()
    modes = [module.training for module in network.modules()]
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == modes
    for look in (lambda x: activations(network, x, "act1"), lambda x: mean_derivatives(network, x)):
        with pytest.raises(RuntimeError, match="to have 3 channels, but got 2"):
            look(torch.zeros(1, 2, 8, 8))
    assert [module.training for module in network.modules()] == modes


def test_the_nearest_by_hand():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [3.0, 3.0]])
    assert nearest(points, 2).tolist() == [[2, 3], [3, 2], [0, 3], [1, 2]]
    assert nearest(points)[:, 0].tolist() == [2, 3, 0, 1]
    with pytest.raises(ValueError, match="between 1 and the number of other rows, 3, not 4"):
        nearest(points, 4)
    with pytest.raises(ValueError, match="other rows, 0, not 1"):
        nearest(points[:1])


def test_no_row_is_its_own_neighbour_even_where_rows_repeat():
    assert nearest(torch.zeros(3, 2))[:, 0].tolist() != [0, 1, 2]
    found = nearest(torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), 19)
    assert all(sorted([i, *row]) == list(range(20)) for i, row in enumerate(found.tolist()))


def test_of_many_rows_some_are_compared_with_all_at_a_time(monkeypatch):
    points = torch.randn(23, 40, generator=torch.Generator().manual_seed(0))
    whole, sizes, distances = nearest(points, 3), [], torch.cdist
    monkeypatch.setattr(inspect, "DISTANCES", 100)
    monkeypatch.setattr(torch, "cdist", lambda a, b: sizes.append(len(a)) or distances(a, b))
    assert nearest(points, 3).equal(whole)
    assert max(sizes) == 100 // 23
    assert sum(sizes) == 23


def test_agreement_is_the_share_of_neighbours_of_the_same_label():
    points = torch.tensor([[0.0], [1.0], [10.0], [11.5]])
    assert agreement(points, torch.tensor([0, 0, 1, 1])) == 1.0
    assert agreement(points, torch.tensor([0, 1, 2, 2])) == 0.5
