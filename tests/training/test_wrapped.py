import pytest
import torch
from safetensors.torch import save_file
from tiny_net import TINY_NET
from torch import nn

from alexnet_repro import NetConfig, TrainConfig, build
from alexnet_repro.networks.weights import (
    from_torchvision,
    load_weights,
    plain_name,
    save_weights,
    to_torchvision,
    unwrapped,
)
from alexnet_repro.training.state import Training


def partly(net: nn.Module) -> nn.Module:
    net.conv1 = torch.compile(net.conv1)
    return net


WRAPS = [torch.compile, nn.DataParallel, lambda net: nn.DataParallel(torch.compile(net)), partly]


def drawn(seed: int) -> nn.Module:
    return build(TINY_NET, torch.Generator().manual_seed(seed))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("wrap", WRAPS)
def test_weights_of_a_wrapped_network_load_into_a_plain_one_and_the_other_way_round(tmp_path, wrap):
    wrapped = wrap(drawn(1))
    save_file(wrapped.state_dict(), tmp_path / "theirs.safetensors")
    save_weights(wrapped, tmp_path / "ours.safetensors")
    for name in ("theirs", "ours"):
        plain = drawn(2)
        load_weights(plain, tmp_path / f"{name}.safetensors")
        assert same(plain, drawn(1))
        again = wrap(drawn(3))
        load_weights(again, tmp_path / f"{name}.safetensors")
        assert same(again, drawn(1))


def test_names_without_what_wrapping_put_into_them():
    names = {"module.conv1.weight", "_orig_mod.conv1.weight", "module._orig_mod.conv1.weight", "conv1._orig_mod.weight"}
    assert {plain_name(name) for name in names} == {"conv1.weight"}
    assert plain_name("conv1.weight") == "conv1.weight"


def test_torchvision_s_weights_of_a_wrapped_network_are_known():
    state = to_torchvision(build(NetConfig.preset("torchvision")).state_dict())
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
    assert from_torchvision(wrapped).keys() == from_torchvision(state).keys()


@pytest.mark.parametrize("wrap", WRAPS[:3])
def test_the_state_of_a_wrapped_network_s_training_is_that_of_the_network(wrap):
    wrapped = wrap(drawn(1))
    state = Training(wrapped, [], TrainConfig(epochs=1, lr=0.1)).state_dict()
    assert list(state["model"]) == list(unwrapped(wrapped).state_dict()) == list(drawn(1).state_dict())
    assert list(state["velocities"]) == list(state["model"])
