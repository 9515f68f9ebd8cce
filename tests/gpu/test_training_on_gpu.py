"""Batches, steps, runs and their states on a GPU."""

import contextlib
import copy
import math
from dataclasses import replace

import pytest
import torch
from run_case import NET
from tiny_net import TINY_NET

from alexnet_repro import TrainConfig, build, evaluate, first_losses, run_claim, train
from alexnet_repro.claims.study import Arm, Protocol, Study
from alexnet_repro.data import Batches, Dataset
from alexnet_repro.data import batches as batching
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.support.environment import environment, settle_gpu
from alexnet_repro.training import replay
from alexnet_repro.training.evaluate import predict

# What torch warns of on a machine that nobody has seen is shown, and fails nothing.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

INPUT = InputConfig(crop=12, batch_size=16, reshuffle=True, color="run145", views="ten")
PLAIN = replace(NET, dropout=0.0)
CONFIG = TrainConfig(epochs=2, lr=1e-3, weight_decay={"fc6": 5e-4})


def dataset(n: int = 200) -> Dataset:
    """Images in which the brightest channel is the class; the last batch of sixteen has eight."""
    labels = torch.arange(n) % 3
    images = torch.randint(0, 100, (n, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    images[torch.arange(n), labels] += 100
    return Dataset("tiny", "train", images.to(torch.uint8), labels, ("red", "green", "blue"), "made up")


def batches(device: torch.device, config: InputConfig = INPUT) -> Batches:
    made = dataset()
    transform = InputTransform.fit(config, made.moments)
    return Batches(made, transform, torch.Generator().manual_seed(0), device)


def network(device: torch.device, config=NET) -> torch.nn.Module:
    return build(config, torch.Generator().manual_seed(5)).to(device, memory_format=torch.channels_last)


CONFIGS = {
    "crops": replace(INPUT, color=None),
    "crops from under the mean": replace(INPUT, color=None, mean_position="matched"),
    "whole images": InputConfig(batch_size=16),
    "the centre": replace(INPUT, color=None, random_crops=False),
    **{f"colour {variant}": replace(INPUT, color=variant) for variant in ("run145", "paper", "lighting")},
    "standardized": replace(INPUT, pixels="standardized"),
}


@pytest.mark.parametrize("kept", [True, False], ids=["on the device", "on the CPU"])
@pytest.mark.parametrize("name", CONFIGS)
def test_batches_are_those_of_a_cpu_to_a_rounding_and_without_colour_to_the_bit(device, monkeypatch, name, kept):
    config = CONFIGS[name]
    expected = list(batches(torch.device("cpu"), config))
    monkeypatch.setattr(batching, "RESIDENT", batching.RESIDENT if kept else 0)
    made = batches(device, config)
    assert made.images.device.type == (device.type if kept else "cpu")
    for (inputs, labels), (inputs_there, labels_there) in zip(expected, made, strict=True):
        assert inputs_there.device.type == labels_there.device.type == device.type
        assert labels_there.cpu().equal(labels)
        largest = inputs.abs().max().item() * 1e-6 if config.color or config.pixels == "standardized" else 0.0
        torch.testing.assert_close(inputs_there.cpu(), inputs, rtol=0, atol=largest)


def losses(device: torch.device, net=PLAIN, **changes: object) -> list[float]:
    seen: list[torch.Tensor] = []
    config = replace(CONFIG, **changes)
    train(network(device, net), batches(device), config, on_step=lambda training: seen.append(training.loss))
    return [loss.item() for loss in seen]


def test_steps_are_those_of_a_cpu(device):
    found, expected = losses(device), losses(torch.device("cpu"))
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found == pytest.approx(expected, rel=1e-2)  # roundings grow with every step


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_replayed_steps_are_the_steps(device, monkeypatch, precision):
    """With their dropout; the last minibatch of an epoch is smaller, and is not replayed."""
    captured = []
    whole = replay.Replayed._capture
    monkeypatch.setattr(replay.Replayed, "_capture", lambda *arguments: captured.append(whole(*arguments)))
    found = losses(device, NET, precision=precision)
    assert len(captured) == (device.type == "cuda")
    monkeypatch.setenv("ALEXNET_REPRO_GRAPHS", "0")
    assert found == pytest.approx(
        losses(device, NET, precision=precision), rel=1e-3 if precision == "float32" else 0.02
    )
    assert len(captured) == (device.type == "cuda")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_half_precision_it_begins_as_in_float32_and_learns(device, precision):
    found = losses(device, precision=precision)
    assert found[0] == pytest.approx(losses(device, epochs=1)[0], rel=0.01)
    assert sum(found[-13:]) < 0.9 * sum(found[:13])


def test_compiled_steps_have_the_masks_and_numbers_of_others(device):
    """The network is one graph, and the short last batch a second."""
    import torch._dynamo as dynamo

    dynamo.reset()
    with dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True):
        assert losses(device, NET, compile=True) == pytest.approx(losses(device, NET), rel=1e-2)


def test_no_step_waits_for_the_gpu(device):
    """Neither the network nor the threads that make its batches; the first step shows its loss."""

    def forbid(training: object) -> None:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error" if training.step % 13 else "default")

    with contextlib.ExitStack() as stack:
        if device.type == "cuda":
            stack.callback(torch.cuda.set_sync_debug_mode, "default")
        history = train(network(device), batches(device), CONFIG, on_step=forbid)
    assert [epoch.epoch for epoch in history.epochs] == [1, 2]


class StopError(Exception):
    pass


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_deterministic_run_goes_on_to_the_same_bits(device, monkeypatch, precision):
    monkeypatch.setenv("ALEXNET_REPRO_DETERMINISTIC", "1")
    settle_gpu()
    config = replace(CONFIG, precision=precision)
    saved = {}

    def stop(training: object) -> None:
        if training.step == 17:
            saved.update(copy.deepcopy(training.state_dict()))
            raise StopError

    nets = [network(device) for _ in range(3)]
    for net in nets[:2]:
        train(net, batches(device), config)
    assert_same(nets[0], nets[1])
    with pytest.raises(StopError):
        train(network(device), batches(device), config, on_step=stop)
    torch.rand(3, device=device)
    train(nets[2], batches(device), config, resume=saved)
    assert_same(nets[0], nets[2])


def assert_same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    assert all(x.equal(y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_errors_are_those_of_a_cpu(device):
    made, transform = dataset(), InputTransform.fit(INPUT, dataset().moments)
    here = evaluate(network(torch.device("cpu")), made.images, made.labels, transform)
    net, transform = network(device), transform.to(device)
    for images in (made.images, made.images.to(device)):
        assert evaluate(net, images, made.labels, transform) == pytest.approx(here, rel=1e-4)
    with torch.autocast(device.type, torch.bfloat16):
        assert predict(net, made.images, transform)[0].dtype == torch.float32


def test_runs_share_the_gpu_and_have_the_numbers_of_a_cpu(device):
    net = replace(TINY_NET, image_size=32, num_classes=10)
    arm = Arm(net=net, input=InputConfig(pixels="standardized"), train=TrainConfig(epochs=2, lr=0.01))
    arms = {"relu": arm, "tanh": replace(arm, net=replace(net, activation="tanh"))}
    study = Study(id="tiny", protocols={"smoke": Protocol(dataset="photos", seeds=1, arms=arms)})
    here, there = (run_claim(study, "smoke", device=where, parallel=2) for where in ("cpu", str(device)))
    for a, b in zip(here, there, strict=True):
        assert b.environment["device_kind"] == device.type
        assert [e["train_loss"] for e in b.epochs] == pytest.approx([e["train_loss"] for e in a.epochs], rel=1e-2)
        assert b.final["top1_error"] == pytest.approx(a.final["top1_error"], abs=0.02)


def test_the_first_losses_end_with_the_one_that_is_no_number(device, tiny_claim, tiny_dataset):
    arm = tiny_claim.protocol("smoke").arms["relu"]
    wild = replace(arm, train=replace(arm.train, lr=1e30))
    found = first_losses({"wild": wild}, tiny_dataset, device=str(device))["wild"]
    assert math.isfinite(found[0])
    assert not math.isfinite(found[-1])


def test_a_record_says_what_its_numbers_depend_on(device):
    found = environment(str(device))
    assert found["device_kind"] == device.type
    if device.type == "cuda":
        assert found["tf32"] is False
        assert found["deterministic"] is False
        assert found["cudnn"] == torch.backends.cudnn.version()
