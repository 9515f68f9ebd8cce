from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import tower_worker
from processes import torchrun
from torch import nn
from tower_case import BATCH, STEPS, case, optimizer

from alexnet_repro import NetConfig, build, place
from alexnet_repro.networks import towers

CPUS = ("cpu", "cpu")
SMALL = replace(NetConfig.preset("run145"), width=1 / 16)


def trained(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[list, list]:
    """Losses and logits of a few steps."""
    sgd = optimizer(model)
    losses, logits = [], []
    for _ in range(STEPS):
        out = model(images)
        loss = F.cross_entropy(out, labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.detach())
        logits.append(out.detach())
    return losses, logits


def undivided(preset: str = "run145") -> tuple[list, list, dict[str, torch.Tensor]]:
    config, images, labels, generator = case(preset)
    net = build(config, generator).double()
    losses, logits = trained(net, images, labels)
    return losses, logits, net.state_dict()


def assert_close(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("preset", ["paper", "run145", "run147", "run148", "notes"])
def test_placed_towers_train_as_the_undivided_network_does(preset):
    losses, logits, state = undivided(preset)
    config, images, labels, generator = case(preset)
    placed = place(build(config, generator).double(), CPUS)
    found = trained(placed, images, labels)
    assert_close(found, (losses, logits))
    assert placed.state_dict().keys() == state.keys()
    assert_close(placed.state_dict(), state)


def test_weights_move_while_it_trains():
    config, _, _, generator = case()
    before = build(config, generator).double().state_dict()
    after = undivided()[2]
    assert all(not before[name].equal(after[name]) for name in before)


def test_what_is_frozen_stays_frozen_in_the_towers():
    net = build(SMALL)
    net.conv1.requires_grad_(False)
    frozen = {name for name, parameter in place(net, CPUS).named_parameters() if not parameter.requires_grad}
    assert frozen == {f"towers.{tower}.conv1.{name}" for tower in range(2) for name in ("weight", "bias")}


def test_in_testing_too():
    config, images, _, generator = case()
    net = build(config, generator).double().eval()
    placed = place(net, CPUS)
    assert not placed.training
    assert_close(placed(images), net(images))


def test_a_checkpoint_of_one_loads_into_the_other():
    config, images, _, generator = case()
    net, other = build(config, generator).double().eval(), build(config).double().eval()
    placed = place(other, CPUS)
    placed.load_state_dict(net.state_dict())
    assert_close(placed(images), net(images))
    other.load_state_dict(placed.state_dict())
    assert_close(other(images), net(images))


def test_in_another_module_the_state_is_the_undivided_network_s_too():
    config, images, _, generator = case()
    net = build(config, generator).double().eval()
    whole, apart = nn.Sequential(net), nn.Sequential(place(build(config).double().eval(), CPUS))
    apart.load_state_dict(whole.state_dict())
    assert_close(apart(images), net(images))
    assert_close(apart.state_dict(), dict(whole.state_dict()))
    with pytest.raises(RuntimeError, match=r"0\.towers\.0\.conv1\.bias"):
        apart.load_state_dict({name: x for name, x in whole.state_dict().items() if name != "0.conv1.bias"})


def test_a_checkpoint_with_something_missing_is_refused_by_name():
    config, *_ = case()
    net = build(config)
    state = net.state_dict()
    del state["conv3.bias"]
    with pytest.raises(RuntimeError, match=r"conv3\.bias"):
        place(net, CPUS).load_state_dict(state)


def numbers_that_meet() -> dict[str, int]:
    """Layer that reads both towers -> how many numbers there are before it, for the whole batch."""
    shapes = build(case()[0]).shapes
    before = {"conv3": "pool2", "fc6": "relu5", "fc7": "drop6", "fc8": "drop7"}
    return {layer: BATCH * torch.Size(shapes[source]).numel() for layer, source in before.items()}


def test_traffic_is_what_the_crossings_of_the_paper_amount_to():
    config, images, labels, generator = case()
    placed = place(build(config, generator).double(), CPUS)
    F.cross_entropy(placed(images), labels).backward()
    # Each tower receives the other's half, once forward and once backward, 8 bytes a number; fc8 is on one tower only.
    assert placed.traffic == {
        layer: 8 * 2 * n // (2 if layer == "fc8" else 1) for layer, n in numbers_that_meet().items()
    }


def test_without_gradients_only_the_way_forward_counts():
    config, images, _, generator = case()
    placed = place(build(config, generator).double(), CPUS)
    with torch.no_grad():
        placed(images)
    once = dict(placed.traffic)
    placed.traffic.clear()
    placed(images).sum().backward()
    assert placed.traffic == {layer: 2 * count for layer, count in once.items()}


@pytest.mark.parametrize("processes", [2, 4])
def test_towers_in_processes_of_their_own_train_as_the_undivided_network_does(processes, tmp_path):
    losses, logits, state = undivided()
    torchrun(processes, tower_worker.main, tmp_path)
    found = [torch.load(path, weights_only=True) for path in sorted(tmp_path.iterdir())]
    assert len(found) == processes // 2
    for step in range(STEPS):
        assert_close(torch.cat([shard["logits"][step] for shard in found]), logits[step])
        assert_close(torch.stack([shard["losses"][step] for shard in found]).mean(), losses[step])
    for shard in found:
        assert_close(shard["state"], dict(state))
        # In every step a tower receives the other's half of its shard's numbers forward, and as many backward.
        expected = {layer: STEPS * 8 * n // len(found) for layer, n in numbers_that_meet().items()}
        assert shard["traffic"] == expected


@pytest.mark.parametrize(
    ("config", "devices", "message"),
    [
        (NetConfig.preset("cifar-19pct"), CPUS, "cifar-19pct has one tower"),
        (replace(NetConfig.preset("cifar-11pct"), towers=2), CPUS, "local3 is locally connected"),
        (replace(NetConfig.preset("caffe"), width=1 / 16), CPUS, "windows of norm1 cross"),
        (SMALL.changed("apart", fc8={"reads": "own"}), CPUS, "apart: fc8, the last layer, is in the first tower"),
        (replace(NetConfig.preset("paper"), width=1 / 16), ("cpu",), "need a list of as many devices, not .'cpu',.$"),
        (replace(NetConfig.preset("paper"), width=1 / 16), "cpu", "need a list of as many devices, not 'cpu'$"),
    ],
)
def test_what_does_not_come_apart_is_refused_by_name(config, devices, message):
    with pytest.raises(ValueError, match=message):
        place(build(config), devices)


def test_a_device_whose_copies_arrive_changed_is_refused_and_one_device_is_never_asked(monkeypatch):
    network = build(replace(NetConfig.preset("paper"), width=1 / 16))
    place(network, ("cpu", "cpu:0"))
    monkeypatch.setattr(towers, "_arrived", lambda sent, here, there: torch.zeros_like(sent))
    place(network, CPUS)
    with pytest.raises(RuntimeError, match="a copy from cpu to cpu:0 arrives changed: peer access"):
        place(network, ("cpu", "cpu:0"))


@pytest.mark.parametrize("rescale", [False, True])
def test_placed_towers_keep_what_is_no_default(rescale):
    changed = SMALL.changed("changed", drop6={"rescale": rescale}, norm2={"beta": 0.5})
    config = replace(changed, image_size=67, num_classes=5, dropout=0.3)
    net = build(config, torch.Generator().manual_seed(3)).double()
    apart, images = place(net, CPUS), 100 * torch.randn(2, 3, 67, 67, dtype=torch.float64)
    torch.testing.assert_close(apart(images), net(images))
    torch.testing.assert_close(apart.eval()(images), net.eval()(images))


def test_a_new_head_is_in_the_first_tower_and_other_new_layers_are_refused():
    net = build(SMALL)
    inputs = next(module for name, module in net.named_children() if name == "fc8").weight.shape[1]
    net.fc8 = nn.Linear(inputs, 5)
    placed = place(net, ["cpu", "cpu"])
    images = torch.randn(2, 3, SMALL.image_size, SMALL.image_size)
    torch.testing.assert_close(placed.eval()(images), net.eval()(images))
    assert placed.state_dict()["fc8.weight"].equal(net.fc8.weight)
    net.fc6 = nn.Linear(8, 16)
    with pytest.raises(ValueError, match="fc6 is a Linear, whose weights can't be divided"):
        place(net, ["cpu", "cpu"])
