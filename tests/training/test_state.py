import copy
from dataclasses import replace

import pytest
import torch
from tiny_net import TINY_NET
from torch import nn

from alexnet_repro import NetConfig, TrainConfig, build, place, train
from alexnet_repro.data import Batches
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks import layers
from alexnet_repro.networks.build import Network
from alexnet_repro.networks.spec import Dropout
from alexnet_repro.training import state
from alexnet_repro.training.schedules import Plateau, Stage, Stages
from alexnet_repro.training.state import Training

INPUT = InputConfig(crop=6, batch_size=8, reshuffle=True, color="run145")
STAGES = Stages(
    (Stage(epochs=2, part=0.5), Stage(epochs=1, lr_factor=0.1, color=False), Stage(layer_lr_factors={"conv1": 0.0}))
)
CONFIG = TrainConfig(epochs=4, lr=1e-3, weight_decay={"fc10": 0.01}, schedule=STAGES)


def net(dropout: bool = True) -> nn.Module:
    layers = (*TINY_NET.layers[:-1], Dropout("drop"), TINY_NET.layers[-1]) if dropout else TINY_NET.layers
    return build(replace(TINY_NET, image_size=6, layers=layers), torch.Generator().manual_seed(5))


def batches(dataset) -> Batches:
    transform = InputTransform.fit(INPUT, dataset.images)
    return Batches(dataset, transform, torch.Generator().manual_seed(0))


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


class StopError(Exception):
    pass


@pytest.mark.parametrize(
    ("after", "stop_at"), [("on_step", n) for n in range(1, 13)] + [("on_epoch", n) for n in (2, 4, 8, 12)]
)
def test_a_run_stopped_after_any_step_or_epoch_goes_on_to_the_same_bits(tiny_dataset, after, stop_at):
    whole = net()
    history = train(whole, batches(tiny_dataset), CONFIG, validate=lambda: {"top1_error": 0.5})
    saved = {}

    def stop(training):
        if training.step == stop_at:
            saved.update(copy.deepcopy(training.state_dict()))
            raise StopError

    with pytest.raises(StopError):
        train(net(), batches(tiny_dataset), CONFIG, validate=lambda: {"top1_error": 0.5}, **{after: stop})
    again = net()
    resumed = train(again, batches(tiny_dataset), CONFIG, validate=lambda: {"top1_error": 0.5}, resume=saved)
    assert all(a.equal(b) for a, b in zip(weights(whole), weights(again), strict=True))
    essence = lambda h: [(e.epoch, e.lr, e.train_error, e.train_loss, e.val) for e in h.epochs]  # noqa: E731
    assert essence(resumed) == essence(history)


def test_asking_for_the_state_changes_nothing(tiny_dataset):
    silent, asked = net(), net()
    train(silent, batches(tiny_dataset), CONFIG)
    train(asked, batches(tiny_dataset), CONFIG, on_step=lambda training: training.state_dict())
    assert all(a.equal(b) for a, b in zip(weights(silent), weights(asked), strict=True))


def test_a_frozen_layer_stays_as_it_is_with_its_biases(tiny_dataset):
    seen = []
    train(net(), batches(tiny_dataset), CONFIG, on_step=lambda training: seen.append(weights(training.model)[:2]))
    before, *frozen = seen[-5:]
    assert all(a.equal(b) for step in frozen for a, b in zip(before, step, strict=True))
    assert not seen[0][0].equal(seen[1][0])


def test_stages_hold_images_and_colour_noise_back(tiny_dataset):
    made = batches(tiny_dataset)
    seen = []
    train(net(), made, CONFIG, on_epoch=lambda t: seen.append((len(made), made.color, t.step)))
    assert seen == [(2, True, 2), (2, True, 4), (4, False, 8), (4, True, 12)]


def test_batches_that_know_no_stages_are_refused_where_the_stage_needs_them():
    plain = [(torch.rand(4, 3, 6, 6), torch.tensor([0, 1, 2, 0]))]
    with pytest.raises(ValueError, match=r"no enter\(color, part\)"):
        train(net(), plain, CONFIG)
    train(net(), plain, TrainConfig(epochs=1, lr=0.01))


def test_a_plateau_needs_validation_and_lowers_the_rate_by_it(tiny_dataset):
    config = TrainConfig(epochs=6, lr=0.1, schedule=Plateau(patience=1, drops=2))
    with pytest.raises(ValueError, match="needs validation errors"):
        train(net(), batches(tiny_dataset), config)
    errors = iter([0.5, 0.4, 0.4, 0.3, 0.3, 0.3])
    history = train(net(), batches(tiny_dataset), config, validate=lambda: {"top1_error": next(errors)})
    assert [epoch.lr for epoch in history.epochs] == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_parts_of_a_minibatch_add_up_to_it(tiny_dataset):
    models = net(dropout=False).double(), net(dropout=False).double()
    for model, parts in zip(models, (1, 3), strict=True):
        data = [(x.double(), y) for x, y in batches(tiny_dataset)]
        train(model, data, TrainConfig(epochs=2, lr=1e-3, accumulate=parts))
    for a, b in zip(weights(models[0]), weights(models[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precisions_train_and_keep_their_weights_in_float32(tiny_dataset, precision):
    model = net(dropout=False)
    history = train(model, batches(tiny_dataset), TrainConfig(epochs=8, lr=1e-3, precision=precision))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


def test_a_compiled_step_gives_the_same_losses(tiny_dataset):
    losses = []
    for compiled in (False, True):
        data = [*batches(tiny_dataset), (torch.zeros(0, 3, 6, 6), torch.zeros(0, dtype=torch.int64))]
        history = train(net(False), data, TrainConfig(epochs=1, lr=1e-3, compile=compiled))
        losses.append(history.epochs[0].train_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_state_of_an_undivided_network_goes_on_in_towers_on_devices(tiny_dataset):
    config = replace(NetConfig.preset("run145"), width=1 / 16, image_size=67, num_classes=3)
    generator = torch.Generator().manual_seed(3)
    data = [(100 * torch.randn(4, 3, 67, 67, dtype=torch.float64, generator=generator), torch.arange(4) % 3)] * 3
    recipe = TrainConfig(epochs=2, lr=1e-4, weight_decay={"conv2": 0.01})
    make = lambda: build(config, torch.Generator().manual_seed(4)).double()  # noqa: E731
    whole, states = make(), []
    train(whole, data, recipe, on_epoch=lambda t: states.append(copy.deepcopy(t.state_dict())))
    apart = place(make(), ["cpu", "cpu"])
    train(apart, data, recipe, resume=states[0])
    for name, tensor in apart.state_dict().items():
        torch.testing.assert_close(tensor, whole.state_dict()[name], rtol=1e-9, atol=1e-12)


def test_batches_that_can_t_go_on_within_an_epoch_begin_it_again_with_its_counts():
    data, states = [(torch.rand(4, 5), torch.arange(4) % 3), (torch.rand(2, 5), torch.arange(2))], []
    recipe = TrainConfig(epochs=1, lr=0.1, momentum=0.0)  # what the optimizer keeps would tell the two runs apart
    train(nn.Linear(5, 3), data, recipe,
          on_step=lambda training: states.append(copy.deepcopy(training.state_dict())))  # fmt: skip
    again, counts = nn.Linear(5, 3), []
    again.load_state_dict(states[0]["model"])
    begun = train(again, data, recipe)
    resumed = train(nn.Linear(5, 3), data, recipe, resume=states[0],
                    on_step=lambda training: counts.append(int(training.tally[2])))  # fmt: skip
    assert counts == [4, 6]
    assert resumed.epochs[0].train_error == begun.epochs[0].train_error
    states[0]["counts"]["seconds"] = 3600.0
    assert train(nn.Linear(5, 3), data, recipe, resume=states[0]).epochs[0].seconds < 3600


def test_momentum_precision_and_the_scale_of_the_loss_are_those_of_the_recipe_and_of_the_state():
    recipe = TrainConfig(epochs=1, lr=1e-3, momentum=0.5, precision="float16")
    training = Training(build(TINY_NET), [], recipe)
    assert {group["momentum"] for group in training.optimizer.param_groups} == {0.5}
    saved = training.state_dict()
    assert saved["scaler"]["scale"] == 2.0**16
    saved["scaler"]["scale"] = 512.0
    training.load_state_dict(saved)
    assert training.scaler.get_scale() == 512.0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_forward_passes_are_in_the_precision_of_the_recipe(precision):
    net, seen = build(TINY_NET), []
    net.fc10.register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    data = [(torch.rand(4, 3, 8, 8), torch.arange(4) % 3)]
    train(net, data, TrainConfig(epochs=1, lr=1e-3, precision=precision))
    assert seen == [getattr(torch, precision)]


def test_everything_that_is_counted_and_drawn_comes_back_with_the_state(tiny_dataset):
    states = []
    recipe = TrainConfig(epochs=2, lr=1e-3, stuck_after=50)
    train(net(), batches(tiny_dataset), recipe, on_step=lambda t: states.append(copy.deepcopy(t.state_dict())))
    saved = states[1]
    saved["counts"]["seconds"] = 100.0
    again = Training(net(), batches(tiny_dataset), recipe)
    torch.manual_seed(1)
    again.load_state_dict(saved)
    assert again.first_loss == saved["counts"]["first_loss"] == states[0]["counts"]["first_loss"]
    assert again.recent.equal(saved["recent"])
    assert again.recent.any()
    assert again.seconds == 100.0
    assert torch.get_rng_state().equal(saved["torch"])


def test_half_precision_goes_on_from_the_state_of_a_whole_one(tiny_dataset):
    states = []
    train(net(False), batches(tiny_dataset), TrainConfig(epochs=1, lr=1e-3),
          on_epoch=lambda training: states.append(copy.deepcopy(training.state_dict())))  # fmt: skip
    for precision in ("float16", "float32"):
        config = TrainConfig(epochs=len(states) + 1, lr=1e-3, precision=precision)
        train(net(False), batches(tiny_dataset), config, resume=states[-1],
              on_epoch=lambda training: states.append(copy.deepcopy(training.state_dict())))  # fmt: skip
    assert [len(state["epochs"]) for state in states] == [1, 2, 3]


class Counting(nn.Linear):
    """A layer with a state of its own, which is no tensor."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x)

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


def test_the_extra_state_of_a_module_is_saved_and_restored():
    data, states = [(torch.rand(4, 5), torch.arange(4) % 3)] * 3, []
    train(Counting(5, 3), data, TrainConfig(epochs=1, lr=0.1),
          on_epoch=lambda training: states.append(copy.deepcopy(training.state_dict())))  # fmt: skip
    again = Counting(5, 3)
    train(again, data, TrainConfig(epochs=2, lr=0.1), resume=states[0])
    assert again.calls == 6


def test_half_precision_that_every_tower_s_process_would_scale_for_itself_is_refused(monkeypatch):
    monkeypatch.setattr(state, "TowerProcess", Network)
    with pytest.raises(ValueError, match="precision float16 can't be used with a process per tower"):
        train(net(), [], replace(CONFIG, precision="float16"))


def test_layers_of_dropout_with_generators_of_their_own_go_on_each_with_its_own():
    def network() -> nn.Sequential:
        masks = [layers.Dropout(0.5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 32), masks[0], nn.Linear(32, 32), masks[1], nn.Linear(32, 2))

    batch = [(torch.ones(8, 4), torch.tensor([0, 1] * 4))]
    whole, resumed, saved = network(), network(), []
    config = TrainConfig(epochs=2, lr=0.1)
    train(whole, batch, config, on_epoch=lambda training: saved.append(copy.deepcopy(training.state_dict())))
    train(resumed, batch, config, resume=saved[0])
    assert all(whole.state_dict()[name].equal(value) for name, value in resumed.state_dict().items())
    assert not whole[1].generator.get_state().equal(whole[3].generator.get_state())
