import math

import pytest
import torch
from tiny_net import TINY_NET
from torch import nn

from alexnet_repro import TrainConfig, build
from alexnet_repro.training.optim import KrizhevskySGD, parameter_groups, set_learning_rates
from alexnet_repro.training.schedules import Stage, Stages
from alexnet_repro.training.state import Training


def steps(make, gradients: list[float], lrs: list[float]) -> list[float]:
    """The values one weight takes, starting from 1, when it gets these gradients at these rates."""
    w = torch.ones(1, dtype=torch.float64)
    optimizer = make([w])
    values = []
    for gradient, lr in zip(gradients, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        w.grad = torch.full_like(w, gradient)
        optimizer.step()
        values.append(w.item())
    return values


def test_two_steps_by_hand():
    # v1 = -0.5*0.1*1 - 0.1*2 = -0.25, w1 = 0.75; v2 = 0.9*-0.25 - 0.1*(0.5*0.75 + 1) = -0.3625, w2 = 0.3875
    made = steps(lambda p: KrizhevskySGD(p, lr=0.1, momentum=0.9, weight_decay=0.5), [2.0, 1.0], [0.1, 0.1])
    assert made == pytest.approx([0.75, 0.3875])


def test_at_a_constant_rate_it_is_torchs_sgd():
    gradients, lrs = [0.3, -1.0, 2.0, 0.1], [0.1] * 4
    ours = steps(lambda p: KrizhevskySGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), gradients, lrs)
    torchs = steps(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), gradients, lrs)
    assert ours == pytest.approx(torchs, rel=1e-12)


def test_after_a_drop_the_velocity_keeps_the_steps_already_decided():
    gradients, lrs = [1.0, 0.0], [0.1, 0.01]
    ours = steps(lambda p: KrizhevskySGD(p, lr=0.1, momentum=0.9), gradients, lrs)
    torchs = steps(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), gradients, lrs)
    assert ours == pytest.approx([0.9, 0.9 - 0.09])
    assert torchs == pytest.approx([0.9, 0.9 - 0.009])


def test_parameters_without_a_gradient_stay_as_they_are():
    w = torch.ones(2)
    KrizhevskySGD([w], lr=1.0, weight_decay=1.0).step()
    assert w.tolist() == [1.0, 1.0]


def test_biases_have_their_own_rate_and_no_decay():
    groups = parameter_groups(build(TINY_NET), lr=0.1, bias_lr_factor=2.0, weight_decay={"fc10": 0.004})
    found = [(group["role"], group["lr"], group["weight_decay"]) for group in groups]
    assert found == [("weight", 0.1, 0.0), ("bias", 0.2, 0.0), ("weight", 0.1, 0.004), ("bias", 0.2, 0.0)]


def test_every_parameter_is_in_exactly_one_group():
    net = build(TINY_NET)
    groups = parameter_groups(net, 0.1, 1.0, {})
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in net.parameters())


def test_decay_of_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="weight_decay names fc8; the layers with weights are conv1, fc10"):
        Training(build(TINY_NET), [], TrainConfig(epochs=1, lr=0.1, weight_decay={"fc8": 0.1}))


def tied() -> nn.Module:
    model = nn.ModuleDict({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 4)})
    model["decoder"].weight = model["encoder"].weight
    return model


@pytest.mark.parametrize(
    ("model", "layer", "known"),
    [
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))), "0", "0.parametrizations.weight"),
        (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)), "1", "0"),
        (tied(), "decoder", "encoder"),
    ],
    ids=["the weight is computed", "no parameters", "the weight is another layer's"],
)
def test_decay_of_a_layer_without_a_weight_of_its_own_is_refused(model, layer, known):
    with pytest.raises(ValueError, match=f"weight_decay names {layer}; the layers with weights are {known}$"):
        Training(model, [], TrainConfig(epochs=1, lr=0.1, weight_decay={layer: 0.1}))
    training = Training(model, [], TrainConfig(epochs=1, lr=0.1, weight_decay={known: 0.1}))
    assert {group["layer"] for group in training.optimizer.param_groups if group["weight_decay"]} == {known}


def test_the_biases_of_attention_are_biases():
    groups = parameter_groups(nn.ModuleDict({"a": nn.MultiheadAttention(4, 2)}), 0.1, 2.0, {"a": 0.5, "a.out_proj": 1})
    found = [(group["layer"], group["role"], group["lr"], group["weight_decay"]) for group in groups]
    assert found == [
        ("a", "weight", 0.1, 0.5),
        ("a", "bias", 0.2, 0.0),
        ("a.out_proj", "weight", 0.1, 1),
        ("a.out_proj", "bias", 0.2, 0.0),
    ]


def test_a_stage_s_learning_rate_of_a_layer_that_is_not_there_is_refused():
    schedule = Stages((Stage(epochs=1), Stage(layer_lr_factors={"conv1": 0.5, "typo": 0.0})))
    with pytest.raises(ValueError, match="layer_lr_factors names typo; the layers are conv1, fc10"):
        Training(build(TINY_NET), [], TrainConfig(epochs=2, lr=0.1, schedule=schedule))


def test_a_step_takes_a_closure_as_torch_s_do():
    values = []
    for make in (KrizhevskySGD, torch.optim.SGD):
        w = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = make([w], lr=0.1, momentum=0.9)

        def closure(w=w, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (w**2).sum()
            loss.backward()
            return loss

        values.append([optimizer.step(closure).item(), optimizer.step(closure).item(), w.item()])
    assert values[0] == pytest.approx(values[1])


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda net: nn.DataParallel(torch.compile(net))])
def test_a_wrapped_network_s_layers_have_their_own_rates_and_decay(wrap):
    decay = {"fc10": 0.004}
    plain, wrapped = (parameter_groups(net, 0.1, 2.0, decay) for net in (build(TINY_NET), wrap(build(TINY_NET))))
    optimizers = [KrizhevskySGD(groups, 0.1) for groups in (plain, wrapped)]
    for optimizer in optimizers:
        set_learning_rates(optimizer, Stage(layer_lr_factors={"conv1": 0.5}))
    found = [[(g["layer"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] for optimizer in optimizers]
    assert found[0] == found[1]
    assert found[0][0] == ("conv1", pytest.approx(0.05), 0.0)


def test_one_layer_that_is_compiled_keeps_its_name():
    net = build(TINY_NET)
    net.conv1 = torch.compile(net.conv1)
    assert {group["layer"] for group in parameter_groups(net, 0.1, 1.0, {})} == {"conv1", "fc10"}


@pytest.mark.parametrize(
    ("name", "value"), [("lr", -1.0), ("lr", math.inf), ("momentum", 5.0), ("momentum", 1.0), ("weight_decay", -0.1)]
)
def test_a_number_outside_its_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 0 and less than .*, not {value}"):
        KrizhevskySGD([torch.zeros(1)], **{"lr": 0.1} | {name: value})


@pytest.mark.parametrize("which", ["gradient", "velocity"])
def test_a_large_parameter_and_its_gradient_may_lie_in_memory_in_different_orders(which):
    torch.manual_seed(0)
    w, gradient = torch.randn(1024, 1025), torch.randn(1024, 1025)
    expected = w - 0.1 * gradient - 0.9 * 0.1 * gradient - 0.1 * gradient
    optimizer = KrizhevskySGD([w], lr=0.1)
    w.grad = gradient.T.contiguous().T if which == "gradient" else gradient
    if which == "velocity":
        optimizer.state[w]["velocity"] = torch.zeros(1025, 1024).T
    assert (w.stride() == w.grad.stride()) is (which == "velocity")
    for _ in range(2):
        optimizer.step()
    torch.testing.assert_close(w, expected)
