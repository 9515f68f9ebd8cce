"""Captured steps, with a stand-in for CUDA graphs that computes into the same memory again."""

from dataclasses import replace

import pytest
import torch
from run_case import NET

from alexnet_repro import TrainConfig, build, train
from alexnet_repro.data import Batches, Dataset
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.layers import Dropout
from alexnet_repro.training import loop, replay

CONFIG = TrainConfig(epochs=3, lr=1e-3, lr_drops=(1,), weight_decay={"fc6": 5e-4})


@pytest.fixture
def captures(monkeypatch):
    """As many as there were; steps are replayed on the CPU."""
    made = []

    class Graph(replay.Replayed):
        def __init__(self, passes, model):
            super().__init__(passes, model, self.graph)

        def graph(self, work):
            assert all(layer.numbers is numbers for layer, numbers in self.numbers.items())
            assert len(self.numbers) == sum(isinstance(module, Dropout) for module in self.model.modules())
            work()
            made.append(self.captured)
            kept = self.outputs, [p.grad for p in self.model.parameters()]

            def again():
                for layer, numbers in self.numbers.items():
                    layer.numbers = numbers
                outputs = self.passes(self.inputs, self.labels)
                for layer in self.numbers:
                    layer.numbers = None
                for old, new in zip(kept[0], outputs, strict=True):
                    old.copy_(new)
                for old, p in zip(kept[1], self.model.parameters(), strict=True):
                    if old is not None:
                        old.copy_(p.grad)

            return again

    monkeypatch.setattr(loop, "Replayed", Graph)
    monkeypatch.setattr(loop, "replayable", lambda *arguments: True)
    return made


def trained(on_step=lambda training: None, net=NET):
    labels = torch.arange(100) % 3
    images = torch.randint(0, 256, (100, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    dataset = Dataset("tiny", "train", images, labels, ("red", "green", "blue"), "made up")
    config = InputConfig(crop=12, batch_size=16, reshuffle=True)
    batches = Batches(dataset, InputTransform.fit(config, dataset.moments), torch.Generator().manual_seed(0))
    model = build(net, torch.Generator().manual_seed(5))
    losses = []

    def step_over(training):
        losses.append(training.loss)
        on_step(training)

    train(model, batches, CONFIG, on_step=step_over)
    return [torch.stack(losses), *model.parameters()]


def same(one, other):
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


def test_replayed_steps_are_the_steps(captures, monkeypatch):
    """With dropout's masks and learning rates that change; the last minibatch of an epoch has four images."""
    found = trained()
    assert len(captures) == 1
    monkeypatch.setattr(loop, "replayable", lambda *arguments: False)
    assert same(found, trained())
    assert len(captures) == 1


def test_what_changes_in_the_model_is_captured_anew(captures, monkeypatch):
    def freeze(training):
        if training.step == 8:
            training.model[0].weight.requires_grad_(False)

    found = trained(freeze)
    assert len(captures) == 2
    monkeypatch.setattr(loop, "replayable", lambda *arguments: False)
    assert same(found, trained(freeze))


def test_a_hook_is_called_at_every_step(captures):
    calls = []

    def on_step(training):
        if training.step == 6:
            training.model[0].register_forward_hook(lambda *arguments: calls.append(training.step))

    trained(on_step)
    assert calls == list(range(6, 21))
    assert len(captures) == 1


def test_what_is_captured():
    net, device = build(replace(NET, dropout=0.0)), torch.device("cuda")
    assert replay.replayable(net, device, CONFIG)
    assert not replay.replayable(net, torch.device("cpu"), CONFIG)

    for change in ({"compile": True}, {"accumulate": 2}, {"precision": "float16"}):
        assert not replay.replayable(net, device, replace(CONFIG, **change))
    assert not replay.replayable(torch.nn.Sequential(*net), device, CONFIG)

    class Mine(torch.nn.ReLU):
        """Of which nobody knows what it does."""

    net.relu1 = Mine()
    assert not replay.replayable(net, device, CONFIG)


def test_an_environment_variable_turns_it_off(monkeypatch):
    monkeypatch.setenv("ALEXNET_REPRO_GRAPHS", "0")
    assert not replay.replayable(build(NET), torch.device("cuda"), CONFIG)
