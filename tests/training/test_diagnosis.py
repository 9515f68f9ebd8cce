import pickle
from dataclasses import replace

import pytest
import torch
from tiny_net import TINY_NET
from torch import nn

from alexnet_repro import NetConfig, TrainConfig, build, place, train
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.networks.spec import Conv
from alexnet_repro.training import loop
from alexnet_repro.training.diagnosis import TrainingError
from alexnet_repro.training.recipes import TRAIN_PRESETS


def endless(images: torch.Tensor, labels: torch.Tensor, steps: int) -> list:
    return [(images, labels)] * steps


def test_the_study_notes_recipe_ends_with_step_layer_and_cause():
    net = replace(NetConfig.preset("notes"), width=1 / 8, num_classes=10)
    generator = torch.Generator().manual_seed(0)
    images = 60 * torch.randn(8, 3, 224, 224, generator=generator)
    config = replace(TRAIN_PRESETS["notes"], epochs=1, schedule=None, stuck_after=8)
    with pytest.raises(TrainingError) as caught:
        train(build(net), endless(images, torch.arange(8), 8), config)
    error = caught.value
    assert error.step < 8  # at 8 it would count as stuck
    assert error.layer in ("fc6", "fc7")
    assert "initial weights are too large: the first loss was" in error.cause
    assert str(error).startswith(f"step {error.step}")


def test_the_printed_recipe_raises_no_such_error():
    net = replace(NetConfig.preset("paper"), width=1 / 8, num_classes=10)
    generator = torch.Generator().manual_seed(0)
    images = 60 * torch.randn(8, 3, 224, 224, generator=generator)
    config = replace(TRAIN_PRESETS["paper"], epochs=1, schedule=None)
    assert train(build(net), endless(images, torch.arange(8), 4), config).ended == "epochs"


def test_a_network_whose_units_are_all_off_is_named_by_its_layer():
    net = build(TINY_NET)
    with torch.no_grad():
        net.conv1.bias.fill_(-1e3)
    batches = endless(torch.rand(6, 3, 8, 8), torch.arange(6) % 3, 5)
    with pytest.raises(TrainingError, match=r"layer act1: .* None of its units is active") as caught:
        train(net, batches, TrainConfig(epochs=1, lr=1e-6, stuck_after=5))
    assert (caught.value.step, caught.value.layer) == (5, "act1")


def test_a_network_that_does_not_move_is_told_that_its_signal_may_be_too_small():
    net = build(TINY_NET)
    for p in net.parameters():
        p.data *= 1e-6
    batches = endless(torch.rand(6, 3, 8, 8), torch.arange(6) % 3, 5)
    with pytest.raises(TrainingError, match=r"step 5: .*gradient may be too small"):
        train(net, batches, TrainConfig(epochs=1, lr=1e-6, stuck_after=5))


def test_a_process_whose_part_of_the_minibatch_is_empty_finds_no_units_inactive():
    net = build(TINY_NET)
    for p in net.parameters():
        p.data *= 1e-6
    batches = [*endless(torch.rand(6, 3, 8, 8), torch.arange(6) % 3, 4), (torch.rand(0, 3, 8, 8), torch.arange(0))]
    with pytest.raises(TrainingError, match=r"step 5: .*gradient may be too small"):
        train(net, batches, TrainConfig(epochs=1, lr=1e-6, stuck_after=5))


def test_an_input_that_is_no_number_is_not_blamed_on_the_network():
    images = torch.rand(6, 3, 8, 8)
    images[2, 0, 0, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"step 1: .*The input itself"):
        train(build(TINY_NET), endless(images, torch.arange(6) % 3, 2), TrainConfig(epochs=1, lr=0.1))


def test_where_the_loss_was_seen_later_the_input_may_have_been_the_cause(monkeypatch):
    monkeypatch.setattr(loop, "looks_are_free", lambda device: False)
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6) % 3
    batches = [(images, labels), (images * torch.nan, labels), (images, labels)]
    with pytest.raises(TrainingError, match=r"step 2: .* may have held .* If not: The learning rate of 0.1") as caught:
        train(build(TINY_NET), batches, TrainConfig(epochs=1, lr=0.1))
    assert caught.value.layer is None


def test_in_a_network_whose_towers_are_placed_a_layer_has_its_own_name():
    layers = (*TINY_NET.layers[:-1], Conv("conv2", channels=4, kernel=3, std=0.1, reads="own"), TINY_NET.layers[-1])
    net = place(build(replace(TINY_NET, towers=2, layers=layers)), ["cpu", "cpu"])
    with torch.no_grad():
        net.towers[0].conv2.bias[0] = torch.nan
    with pytest.raises(TrainingError, match="step 1, layer conv2: "):
        train(net, endless(torch.rand(6, 3, 8, 8), torch.arange(6) % 3, 2), TrainConfig(epochs=1, lr=0.1))


def test_a_network_that_is_one_layer_has_no_layer_to_name():
    net = torch.nn.Linear(2, 2)
    net.weight.data[0, 0] = torch.nan
    with pytest.raises(TrainingError, match="step 1: the loss is nan") as caught:
        train(net, [(torch.ones(2, 2), torch.arange(2))], TrainConfig(epochs=1, lr=0.1))
    assert caught.value.layer is None


def test_an_error_that_another_process_raised_says_the_same_here():
    error = TrainingError(3, "conv1", "The cause.", 2.5)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "step 3, layer conv1: the loss is 2.5. The cause."
    assert vars(again) == vars(error)


def test_the_layer_named_is_the_first_whose_output_is_no_number():
    net = build(TINY_NET)
    with torch.no_grad():
        net.fc10.weight[0, 0] = torch.inf
    with pytest.raises(TrainingError) as caught:
        train(net, endless(torch.rand(6, 3, 8, 8), torch.arange(6) % 3, 2), TrainConfig(epochs=1, lr=0.1))
    assert caught.value.layer == "fc10"


@pytest.mark.parametrize("name", PRESETS)
def test_every_network_memorises_one_minibatch(name):
    net = PRESETS[name]
    large = net.image_size > 32
    net = replace(
        net, width=1 / 8 if large else 1.0, num_classes=4, dropout=0.0 if large else net.dropout,
        image_size=67 if large else net.image_size, initialization="torch",
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    spread, lr = (60, 0.003) if large else (1, 0.01)
    images = spread * torch.randn(4, 3, net.image_size, net.image_size, generator=generator)
    model = build(net, generator)
    train(
        model, endless(images, torch.arange(4), 80 if large else 160), TrainConfig(epochs=1, lr=lr, bias_lr_factor=1.0)
    )
    model.eval()
    assert nn.functional.cross_entropy(model(images), torch.arange(4)).item() < 0.1


def test_a_run_that_learns_is_not_stuck_and_one_that_stops_learning_is():
    batches = endless(torch.rand(6, 3, 8, 8), torch.arange(6) % 3, 60)
    assert train(build(TINY_NET), batches, TrainConfig(epochs=2, lr=0.05, stuck_after=40)).ended == "epochs"
    net = build(TINY_NET)

    def forget(training):
        if training.step == 60:
            for parameter in net.parameters():
                parameter.detach().zero_()

    recipe = TrainConfig(epochs=2, lr=0.05, stuck_after=20, momentum=0.0)
    with pytest.raises(TrainingError, match="the last steps were no better") as caught:
        train(net, [(torch.rand(6, 3, 8, 8), torch.arange(6) % 3)] * 60, recipe, on_step=forget)
    assert caught.value.step == 80  # only the steps since the last look count


def test_a_run_that_is_stuck_because_it_exploded_is_not_told_to_start_with_larger_weights():
    net = build(TINY_NET)
    with torch.no_grad():
        net.fc10.weight *= 100
    batches = endless(torch.rand(6, 3, 8, 8), torch.arange(6) % 3, 5)
    with pytest.raises(TrainingError, match="initial weights are too large"):
        train(net, batches, TrainConfig(epochs=1, lr=1e-12, stuck_after=5))
