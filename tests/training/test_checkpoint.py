import errno
import os

import pytest
import torch
from torch import nn

from alexnet_repro.training.checkpoint import CheckpointError, load_checkpoint, reading, save_checkpoint

STATE = {"model": {"w": torch.arange(3.0)}, "counts": {"step": 7, "first_loss": None}, "epochs": [{"lr": 0.1}]}


def test_what_is_saved_is_loaded(tmp_path):
    save_checkpoint(tmp_path / "new" / "last.pt", {"seed": 0}, STATE)
    found = load_checkpoint(tmp_path / "new" / "last.pt", {"seed": 0})
    assert found["config"] == {"seed": 0}
    assert found["state"]["model"]["w"].equal(torch.arange(3.0))
    assert found["state"]["counts"] == STATE["counts"]
    assert load_checkpoint(str(tmp_path / "new" / "last.pt"))["config"] == {"seed": 0}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.pt"]


def test_that_of_another_run_is_refused_with_what_differs(tmp_path):
    save_checkpoint(tmp_path / "last.pt", {"train": {"lr": 0.1, "epochs": 3}}, STATE)
    with pytest.raises(CheckpointError, match=r"another run: train\.lr went from 0\.1 to 0\.2\. Choose"):
        load_checkpoint(tmp_path / "last.pt", {"train": {"lr": 0.2, "epochs": 3}})


def test_the_same_data_in_another_place_are_no_other_run(tmp_path):
    data = {"train": {"name": "pets", "origin": "class folders pets", "images": 3, "sha256": "0"}}
    save_checkpoint(tmp_path / "last.pt", {"dataset": "pets", "seed": 0, "data": data}, STATE)
    moved = {"train": data["train"] | {"name": "animals", "origin": "class folders animals"}}
    assert load_checkpoint(tmp_path / "last.pt", {"dataset": "/there/animals", "seed": 0, "data": moved})
    other = {"train": data["train"] | {"sha256": "1"}}
    with pytest.raises(CheckpointError, match=r"data\.train\.sha256 went from '0' to '1'"):
        load_checkpoint(tmp_path / "last.pt", {"dataset": "pets", "seed": 0, "data": other})


def test_missing_cut_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "last.pt")
    save_checkpoint(tmp_path / "whole.pt", {}, STATE)
    content = (tmp_path / "whole.pt").read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.pt").write_bytes(content[:cut])
        with pytest.raises(CheckpointError, match="not a complete checkpoint"):
            load_checkpoint(tmp_path / "cut.pt")
    torch.save([1, 2], tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        load_checkpoint(tmp_path / "foreign.pt")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "config": {}, "state": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "evil.pt")
    assert [path.name for path in (tmp_path).iterdir()] == ["evil.pt"]


def test_a_checkpoint_that_can_t_be_written_leaves_the_one_before(tmp_path):
    save_checkpoint(tmp_path / "last.pt", {}, STATE)
    before = (tmp_path / "last.pt").read_bytes()

    class Full:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path / "last.pt", {}, {"x": Full()})
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [path.name for path in (tmp_path).iterdir()] == ["last.pt"]


def test_a_file_of_another_format_is_refused_by_number(tmp_path):
    torch.save({"format": 2, "config": {}, "state": STATE}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt has format 2, this version reads 1"):
        load_checkpoint(tmp_path / "last.pt")


def test_what_torch_says_when_a_disk_is_full_is_an_error_of_the_file(tmp_path, monkeypatch):
    def fail(content, file):
        raise RuntimeError("[enforce fail at inline_container.cc:672] unexpected pos 64 vs 0")

    save_checkpoint(tmp_path / "last.pt", {}, STATE)
    before = (tmp_path / "last.pt").read_bytes()
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"last\.pt can't be written: is the disk full\? .*unexpected pos") as caught:
        save_checkpoint(tmp_path / "last.pt", {}, STATE)
    assert caught.value.errno == errno.EIO
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("last.pt", before)]


def test_what_torch_says_in_several_lines_is_said_whole_in_one(tmp_path):
    said = r"net\.pt is not .*: Error.* for Linear: size mismatch for weight"
    with pytest.raises(CheckpointError, match=said) as caught, reading("net.pt"):
        nn.Linear(2, 3).load_state_dict(nn.Linear(3, 3).state_dict())
    assert "\n" not in str(caught.value)
