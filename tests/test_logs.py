import pytest
import torch
from conftest import TINY_NET

from alexnet_repro import TrainConfig, build, train
from alexnet_repro.config import InputConfig
from alexnet_repro.data import Batches
from alexnet_repro.inputs import InputTransform
from alexnet_repro.logs import describe, progress_bar, tensorboard


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


def test_tensorboard_that_is_not_installed_is_asked_for(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        tensorboard(tmp_path)
