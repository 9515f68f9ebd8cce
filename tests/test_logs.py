from types import SimpleNamespace

import pytest
import torch
from conftest import TINY_NET

from alexnet_repro import TrainConfig, build, train
from alexnet_repro.config import InputConfig
from alexnet_repro.data import Batches
from alexnet_repro.inputs import InputTransform
from alexnet_repro.logs import describe, progress_bar, tensorboard
from alexnet_repro.training import Epoch


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
    assert lines[1].startswith("epoch 2/2: rate 0.05, loss ")
    assert "validation error 25.00%" in lines[0]


def test_tensorboard_gets_every_number_of_every_epoch(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator as accumulator

    write = tensorboard(tmp_path)
    epochs = [
        Epoch(epoch=n, lr=0.1, train_error=0.5 / n, train_loss=2.0 / n, seconds=1.0, val={"top1_error": 0.25 * n})
        for n in (1, 2)
    ]
    for n in (1, 2):
        write(SimpleNamespace(epochs=epochs[:n]))
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {"lr", "train/error", "train/loss", "val/top1_error"}
    assert [(e.step, e.value) for e in events.Scalars("train/error")] == [(1, 0.5), (2, 0.25)]
    assert [e.value for e in events.Scalars("val/top1_error")] == [0.25, 0.5]


def test_tensorboard_that_is_not_installed_is_asked_for(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install 'alexnet_repro\\[tensorboard\\]'"):
        tensorboard(tmp_path)
