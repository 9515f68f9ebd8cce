import torch
from tiny_net import TINY_NET

from alexnet_repro import AlexNet, build
from alexnet_repro.networks import inspect
from alexnet_repro.networks.inspect import agreements, last_hidden, spaces


def test_the_last_hidden_layer_is_the_paper_s():
    assert last_hidden(AlexNet()) == "relu7"
    assert last_hidden(build(TINY_NET)) == "act1"


def test_the_three_spaces_hold_the_same_images_whatever_the_batches():
    networks = {"one": build(TINY_NET), "other": build(TINY_NET, torch.Generator().manual_seed(5))}
    x = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = spaces(networks, x, batch_size=3)
    assert list(found) == ["pixels", "one", "other"]
    assert torch.equal(found["pixels"], x)
    for name, network in networks.items():
        torch.testing.assert_close(found[name], inspect.activations(network, x, "act1"))
    assert not torch.equal(found["one"], found["other"])


def test_images_that_come_in_equal_pairs_have_neighbours_of_their_own_label_in_every_space(tiny_dataset):
    inputs = tiny_dataset.images[:6].repeat(2, 1, 1, 1) - 100.0
    networks = {"net": build(TINY_NET)}
    assert agreements(networks, inputs, torch.arange(6).repeat(2)) == {"pixels": 1.0, "net": 1.0}
    assert agreements(networks, inputs, torch.arange(12)) == {"pixels": 0.0, "net": 0.0}
