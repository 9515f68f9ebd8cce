import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_net import TINY_NET
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from alexnet_repro import TrainConfig, build, train
from alexnet_repro.data import Batches
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.spec import Norm
from alexnet_repro.training import loop
from alexnet_repro.training.checkpoint import load_checkpoint, save_checkpoint
from alexnet_repro.training.diagnosis import TrainingError
from alexnet_repro.training.evaluate import predict
from alexnet_repro.training.schedules import Plateau

INPUT = InputConfig(pixels="standardized", batch_size=8)
CONFIG = TrainConfig(epochs=3, lr=0.05)
TWICE = TrainConfig(epochs=2, lr=0.05)


def batches(dataset, config=INPUT, seed=0, device="cpu"):
    transform = InputTransform.fit(config, dataset.images)
    return Batches(dataset, transform, torch.Generator().manual_seed(seed), device)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_it_memorises_a_handful_of_images(tiny_dataset, activation):
    model = build(replace(TINY_NET, activation=activation))
    history = train(model, batches(tiny_dataset), TrainConfig(epochs=60, lr=0.05))
    assert history.epochs[-1].train_error == 0.0
    assert history.epochs[-1].train_loss < 0.1


def test_same_seed_same_history_other_seed_another(tiny_dataset):
    histories = [
        [
            (epoch.train_error, epoch.train_loss)
            for epoch in train(build(TINY_NET), batches(tiny_dataset, seed=seed), CONFIG).epochs
        ]
        for seed in (1, 1, 2)
    ]
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


def test_it_stops_after_the_first_epoch_at_its_target(tiny_dataset):
    history = train(build(TINY_NET), batches(tiny_dataset), TrainConfig(epochs=60, lr=0.05, target_error=0.25))
    assert history.ended == "target"
    assert 1 < len(history.epochs) < 60
    assert history.epochs[-1].train_error <= 0.25
    assert all(epoch.train_error > 0.25 for epoch in history.epochs[:-1])


def test_an_error_that_is_just_the_target_has_reached_it(tiny_dataset):
    config = TrainConfig(epochs=3, lr=0.05)
    first = train(build(TINY_NET), batches(tiny_dataset), config).epochs[0].train_error
    history = train(build(TINY_NET), batches(tiny_dataset), replace(config, target_error=first))
    assert (len(history.epochs), history.ended) == (1, "target")


def test_it_ends_after_its_epochs_otherwise(tiny_dataset):
    seen = []
    history = train(
        build(TINY_NET), batches(tiny_dataset), CONFIG, on_epoch=lambda training: seen.append(training.epochs[-1])
    )
    assert history.ended == "epochs"
    assert tuple(seen) == history.epochs
    assert [epoch.epoch for epoch in seen] == [1, 2, 3]


def test_a_loss_that_is_no_longer_finite_ends_in_an_error_with_what_was_trained(tiny_dataset):
    with pytest.raises(TrainingError, match=r"step 2, layer fc10: the loss is nan. The learning rate of 1e\+30 is too"):
        train(build(TINY_NET), batches(tiny_dataset), TrainConfig(epochs=50, lr=1e30))
    with pytest.raises(TrainingError) as caught:
        train(build(TINY_NET), batches(tiny_dataset), TrainConfig(epochs=50, lr=1e6))
    history = caught.value.history
    assert history.ended == "diverged"
    assert not math.isfinite(history.epochs[-1].train_loss)


@pytest.mark.parametrize("lr", [1e6, 1e10, 1e30])
def test_where_losses_are_seen_later_the_error_names_the_same_step(tiny_dataset, monkeypatch, lr):
    steps = []
    for free in (True, False):
        monkeypatch.setattr(loop, "looks_are_free", lambda device, free=free: free)
        with pytest.raises(TrainingError) as caught:
            train(build(TINY_NET), batches(tiny_dataset), TrainConfig(epochs=50, lr=lr))
        steps.append((caught.value.step, str(caught.value).partition(":")[0].partition(",")[0]))
        assert caught.value.history.ended == "diverged"
    assert steps[0] == steps[1]


def test_no_state_is_given_that_holds_what_is_not_finite(tiny_dataset, monkeypatch):
    """Though nobody has looked at the losses: not after a step, and not after an epoch."""
    monkeypatch.setattr(loop, "looks_are_free", lambda device: False)
    states = []
    with pytest.raises(TrainingError, match="step 2, layer"):
        train(
            build(TINY_NET),
            batches(tiny_dataset),
            TrainConfig(epochs=50, lr=1e30),
            on_step=lambda training: states.append(copy.deepcopy(training.state_dict())),
        )
    assert [state["counts"]["step"] for state in states] == [1]
    assert all(tensor.isfinite().all() for tensor in states[0]["model"].values())
    ended = []
    with pytest.raises(TrainingError):
        train(build(TINY_NET), batches(tiny_dataset), TrainConfig(epochs=1, lr=1e30), on_epoch=ended.append)
    assert ended == []


@pytest.mark.parametrize("ask", ["after the step", "after the epoch"])
def test_an_update_that_leaves_weights_that_are_not_finite_is_an_error_of_its_step(ask):
    data = [(1e4 * torch.ones(3, 4), torch.arange(3))]
    model = nn.Sequential(OrderedDict(fc10=nn.Linear(4, 3)))
    on_step = (lambda training: training.state_dict()) if ask == "after the step" else (lambda training: None)
    with pytest.raises(
        TrainingError, match=r"step 1, layer fc10: the loss is \d.*left weights that are not finite. The"
    ):
        train(model, data, TrainConfig(epochs=1, lr=1e37), on_step=on_step)


def test_a_history_without_an_image_has_no_errors():
    model = nn.Linear(4, 3)
    model.weight.data.fill_(math.inf)
    with pytest.raises(TrainingError, match="left weights that are not finite") as caught:
        train(model, [(torch.zeros(0, 4), torch.arange(0))], TWICE)
    (epoch,) = caught.value.history.epochs
    assert math.isnan(epoch.train_error)
    assert math.isnan(epoch.train_loss)


@pytest.mark.parametrize("batches", [[], (batch for batch in [(torch.zeros(3, 4), torch.arange(3))])])
def test_an_epoch_without_a_minibatch_is_an_error_that_names_it(batches):
    epoch = 1 if batches == [] else 2
    with pytest.raises(ValueError, match=f"epoch {epoch} had no minibatch: .* a generator can be iterated only once"):
        train(nn.Linear(4, 3), batches, TWICE)


def test_validation_may_return_anything_but_a_schedule_that_looks_at_errors_needs_them(tiny_dataset):
    def trained(**schedule):
        config, net = TrainConfig(epochs=2, lr=0.05, **schedule), build(TINY_NET)
        return train(net, batches(tiny_dataset), config, validate=lambda: {"accuracy": 0.5})

    assert [dict(epoch.val) for epoch in trained().epochs] == 2 * [{"accuracy": 0.5}]
    with pytest.raises(ValueError, match=r"Plateau.* needs top1_error .* returned only \['accuracy'\]"):
        trained(schedule=Plateau())


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5), torch.tensor(0.5), "0.5", 1])
def test_what_validation_returns_is_recorded_as_a_number_that_can_be_read_again(tmp_path, value):
    data = [(torch.rand(3, 4), torch.arange(3))]

    def save(training):
        save_checkpoint(tmp_path / "last.pt", {}, training.state_dict())

    (epoch,) = train(nn.Linear(4, 3), data, TrainConfig(epochs=1, lr=0.1), validate=lambda: {"x": value},
                     on_epoch=save).epochs  # fmt: skip
    state = load_checkpoint(tmp_path / "last.pt")["state"]
    resumed = train(nn.Linear(4, 3), data, TWICE, resume=state)
    assert resumed.epochs[0].val == epoch.val == {"x": float(value)}
    assert type(epoch.val["x"]) is float


@pytest.mark.parametrize("value", [None, "high", torch.ones(2), np.ones(2), {}])
def test_what_is_not_a_number_is_refused_after_the_first_epoch(value):
    data, validate = [(torch.rand(3, 4), torch.arange(3))], lambda: {"loss": 1.0, "x": value}
    with pytest.raises(ValueError, match=r"validate returned x=.*, and only numbers can be recorded: leave it out"):
        train(nn.Linear(4, 3), data, TWICE, validate=validate, on_epoch=pytest.fail)


def test_a_validation_that_leaves_the_network_in_eval_mode_does_not_leave_it_so_for_the_next_epoch(tiny_dataset):
    net, modes = build(TINY_NET), []
    net.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    train(net, batches(tiny_dataset), TWICE, validate=lambda: net.eval() and {"top1_error": 0.5})
    assert set(modes) == {True}


def modes_in_steps(net: nn.Module, **callbacks: Callable) -> list[list[bool]]:
    """The modes of the network's modules in every step of two epochs of two."""
    modes, data = [], [(torch.rand(3, 4), torch.arange(3))] * 2
    net.register_forward_pre_hook(lambda module, inputs: modes.append([each.training for each in net.modules()]))
    train(net, data, TWICE, **callbacks)
    assert len(modes) == 4
    return modes


@pytest.mark.parametrize("callback", ["validate", "on_step", "on_epoch"])
def test_modules_in_eval_mode_stay_in_it_and_the_others_in_training_mode(callback):
    net = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.BatchNorm1d(5), nn.Dropout()), nn.Linear(5, 3))
    net[1].eval()
    net[1][1].train()
    before = [True, True, False, False, True, True]
    changes = {"on_step": lambda training: net.eval(), "on_epoch": lambda training: net.train()}
    assert modes_in_steps(net, **{callback: changes.get(callback, lambda: net.eval() and {})}) == [before] * 4
    assert net[1][0].num_batches_tracked == 0


@pytest.mark.parametrize("part", [0, 1])
def test_a_callback_that_leaves_one_layer_in_eval_mode_turns_nothing_off(part):
    net = nn.Sequential(nn.Dropout(), nn.Linear(4, 3))
    assert modes_in_steps(net, on_step=lambda training: net[part].eval()) == [[True] * 3] * 4


def test_a_model_that_is_wholly_in_eval_mode_is_trained_in_training_mode():
    assert modes_in_steps(nn.Sequential(nn.Dropout(), nn.Linear(4, 3)).eval()) == [[True] * 3] * 4


def test_a_sampler_of_several_processes_gives_every_epoch_another_order():
    data = TensorDataset(torch.rand(12, 4), torch.arange(12) % 3)
    sampler, orders = DistributedSampler(data, num_replicas=2, rank=0), []
    loader = DataLoader(data, batch_size=2, sampler=sampler)
    train(nn.Linear(4, 3), loader, CONFIG, on_epoch=lambda training: orders.append(list(sampler)))
    assert len({tuple(order) for order in orders}) == 3
    assert sampler.epoch == 2


def test_a_network_of_one_class_is_never_stuck():
    data = [(torch.rand(2, 4), torch.zeros(2, dtype=torch.int64))] * 3
    assert train(nn.Linear(4, 1), data, replace(TWICE, stuck_after=2)).ended == "epochs"


class Counted(nn.Module):
    """Always answers class 0, with one bias and one weight that are never used for it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 3)
        logits[:, 0] = 1.0
        return logits + 0.0 * self.fc(torch.ones(1)).sum()


def test_errors_are_means_over_images_not_over_batches():
    uneven = [(torch.zeros(4, 1), torch.tensor([0, 0, 0, 1])), (torch.zeros(1, 1), torch.tensor([1]))]
    (epoch,) = train(Counted(), uneven, TrainConfig(epochs=1, lr=0.1)).epochs
    assert epoch.train_error == pytest.approx(2 / 5)


def test_rates_drop_after_the_epochs_named_and_only_for_weights(tiny_dataset, monkeypatch):
    lrs = []
    from alexnet_repro.training.optim import KrizhevskySGD

    step = KrizhevskySGD.step
    monkeypatch.setattr(
        KrizhevskySGD, "step", lambda self: lrs.append([g["lr"] for g in self.param_groups]) or step(self)
    )
    config = TrainConfig(epochs=4, lr=0.1, bias_lr_factor=2.0, lr_drops=(1, 3))
    history = train(build(TINY_NET), batches(tiny_dataset, replace(INPUT, batch_size=30)), config)
    assert [epoch.lr for epoch in history.epochs] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert [weights for weights, *_ in lrs] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert {biases for _, biases, *_ in lrs} == {0.2}


def test_on_another_device_no_step_is_waited_for_but_the_first(tiny_dataset):
    """Device meta computes shapes alone: whoever asks it for a number gets an error."""
    layers = (*TINY_NET.layers[:2], Norm("norm1", size=3, alpha=0.1, k=2.0), *TINY_NET.layers[2:])
    model, data = build(replace(TINY_NET, layers=layers)).to("meta"), batches(tiny_dataset, device="meta")
    training = loop.Training(model, data, replace(CONFIG, stuck_after=20, weight_decay={"fc10": 0.1}))
    training.step = 1
    for inputs, labels in data:
        loop._step(training, loop._passes(training), inputs, labels)
    assert training.step == 1 + len(data)
    assert len(training.unseen) == len(data)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        training.look()


def test_every_minibatch_reports_its_loss(tiny_dataset):
    losses = []
    history = train(
        build(TINY_NET),
        batches(tiny_dataset),
        TrainConfig(epochs=2, lr=0.05),
        on_step=lambda training: losses.append(training.loss),
    )
    assert len(losses) == 2 * 4  # thirty images in batches of 8
    sizes = torch.tensor([8, 8, 8, 6])
    assert float((torch.stack(losses[4:]) * sizes).sum() / 30) == pytest.approx(history.epochs[1].train_loss)
    assert not any(loss.requires_grad for loss in losses)


@pytest.mark.parametrize("name", ["on_step", "on_epoch"])
def test_what_is_no_callback_is_refused_before_the_first_step(tiny_dataset, name):
    with pytest.raises(TypeError, match=f"{name} takes one function, {name}=report, not \\["):
        train(build(TINY_NET), batches(tiny_dataset), CONFIG, **{name: [print]})


def test_labels_without_an_output_are_refused_with_how_many_classes_there_are():
    batch = torch.zeros(3, 3, 8, 8), torch.tensor([0, 5, 2])
    with pytest.raises(
        ValueError, match="labels go from 0 to 5, but the model has 3 outputs: build it with num_classes=6"
    ):
        train(build(TINY_NET), [batch], CONFIG)


def test_minibatches_are_sent_to_the_network_s_device():
    sent = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).to("meta")
    model.register_forward_pre_hook(lambda module, inputs: sent.append(inputs[0].device.type))
    batch = torch.zeros(2, 3, 2, 2), torch.tensor([0, 1])
    with suppress(Exception):  # a device without numbers can't end an epoch
        train(model, [batch], TrainConfig(epochs=1, lr=0.1))
    assert sent == ["meta"]


def test_the_transform_is_sent_to_the_network_s_device():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    transform = InputTransform.fit(InputConfig(), images)
    probabilities, _ = predict(build(TINY_NET).to("meta"), images, transform)
    assert (probabilities.device.type, tuple(probabilities.shape)) == ("meta", (2, 3))
