import io
from types import SimpleNamespace

import pytest
import torch
from tiny_net import TINY_NET
from tqdm import tqdm

from alexnet_repro import TrainConfig, build, train
from alexnet_repro.data import Batches
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.training import progress
from alexnet_repro.training.progress import describe, progress_bar, tensorboard
from alexnet_repro.training.state import Epoch


def test_off_a_terminal_there_is_a_line_an_epoch_and_no_bar(tiny_dataset, capsys):
    inputs = InputConfig(pixels="standardized", batch_size=8)
    transform = InputTransform.fit(inputs, tiny_dataset.images)
    batches = Batches(tiny_dataset, transform, torch.Generator().manual_seed(0))
    on_step, on_epoch = progress_bar()
    lines = []

    def both(training):
        on_epoch(training)
        lines.append(describe(training))

    train(build(TINY_NET), batches, TrainConfig(epochs=2, lr=0.05), on_step=on_step, on_epoch=both,
          validate=lambda: {"top1_error": 0.25})  # fmt: skip
    printed = capsys.readouterr()
    assert printed.out.splitlines() == lines
    assert printed.err == ""
    assert lines[1].startswith("epoch 2/2: learning rate 0.05, loss ")
    assert "validation error 25.00%" in lines[0]


def test_the_bar_counts_whole_images(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(
        progress, "tqdm", lambda **how: tqdm(**how | {"disable": False, "file": shown, "mininterval": 0})
    )
    training = SimpleNamespace(
        batches=SimpleNamespace(epoch_size=30), epochs=[], config=SimpleNamespace(epochs=2), step=1,
        device=torch.device("cpu"), tally=torch.tensor([1.0, 9.0, 8.0]), inputs=torch.zeros(8),
    )  # fmt: skip
    progress_bar()[0](training)
    assert " 8/30 [" in shown.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_batches_that_do_not_know_how_many_images_they_have_get_a_bar_too(monkeypatch, terminal):
    shown = io.StringIO()
    how = {"disable": not terminal, "file": shown, "mininterval": 0}
    monkeypatch.setattr(progress, "tqdm", lambda **given: tqdm(**given | how))
    on_step, _ = progress_bar()
    batch = torch.rand(8, 3, 8, 8), torch.zeros(8).long()
    train(build(TINY_NET), [batch] * 2, TrainConfig(epochs=1, lr=0.01), on_step=on_step)
    assert ("16 images [" in shown.getvalue()) is terminal


def test_the_bar_can_wait_for_the_first_image(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(
        progress, "tqdm", lambda **how: tqdm(**how | {"disable": False, "file": shown, "mininterval": 0})
    )
    training = SimpleNamespace(
        batches=SimpleNamespace(epoch_size=15), epochs=[], config=SimpleNamespace(epochs=2), step=1,
        device=torch.device("cpu"), tally=torch.zeros(3), inputs=torch.zeros(0),
    )  # fmt: skip
    progress_bar(shards=16)[0](training)
    assert " 0/15 [" in shown.getvalue()


def test_in_a_resumed_epoch_the_images_before_are_neither_multiplied_nor_counted_into_the_speed(monkeypatch):
    bars = []
    monkeypatch.setattr(
        progress, "tqdm", lambda **how: bars.append(tqdm(**how | {"disable": False, "file": io.StringIO()})) or bars[0]
    )
    training = SimpleNamespace(
        batches=SimpleNamespace(epoch_size=30), epochs=[], config=SimpleNamespace(epochs=2), step=4,
        device=torch.device("cpu"), tally=torch.tensor([1.0, 9.0, 12.0 + 2.0]), inputs=torch.zeros(2),
    )  # fmt: skip
    on_step, _ = progress_bar(shards=2)  # of which the first has the sums of both up to the checkpoint
    on_step(training)
    assert (bars[0].initial, bars[0].n) == (12, 16)
    training.tally += torch.tensor([0.0, 0.0, 2.0])
    on_step(training)
    assert bars[0].n == 20


def epochs_of(errors: list[float]) -> SimpleNamespace:
    made = [
        Epoch(epoch=n, lr=0.1, train_error=error, train_loss=2.0, seconds=1.0, val={"top1_error": error / 2})
        for n, error in enumerate(errors, 1)
    ]
    return SimpleNamespace(epochs=made)


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_without_a_bar_no_step_looks_at_the_counts():
    training = SimpleNamespace(
        batches=SimpleNamespace(epoch_size=30), epochs=[], config=SimpleNamespace(epochs=2), step=1,
        device=torch.device("cpu"), tally=torch.empty(3, device="meta"), inputs=torch.zeros(8),
    )  # fmt: skip
    progress_bar()[0](training)  # on a GPU reading them would wait; on this device it fails


def test_tensorboard_gets_every_number_of_every_epoch(tmp_path):
    write = tensorboard(tmp_path)
    write(epochs_of([0.5]))
    write(epochs_of([0.5, 0.25]))
    found = scalars(tmp_path)
    assert set(found) == {"lr", "train/error", "train/loss", "val/top1_error"}
    assert found["train/error"] == [(1, 0.5), (2, 0.25)]
    assert found["val/top1_error"] == [(1, 0.25), (2, 0.125)]


def test_tensorboard_shows_every_epoch_of_an_interrupted_run_once(tmp_path):
    write = tensorboard(tmp_path)
    write(epochs_of([0.5]))
    tensorboard(tmp_path)  # called again, and nothing was left to do
    assert scalars(tmp_path)["train/error"] == [(1, 0.5)]
    tensorboard(tmp_path)(epochs_of([0.5, 0.25, 0.125]))  # the second was saved, but killed before it was written here
    assert scalars(tmp_path)["train/error"] == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_tensorboard_that_is_not_installed_is_asked_for(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install 'alexnet_repro\\[tensorboard\\]'"):
        tensorboard(tmp_path)
