import json
import os
import socket
from pathlib import Path

import pytest
import torch
from processes import started, torchrun
from run_case import make_images, weights
from run_worker import apart, work

from alexnet_repro.training.checkpoint import LAST, RESULT, load_checkpoint
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.parallel import processes


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> tuple[RunConfig, Path]:
    """The run in one process, and its folder."""
    folder = tmp_path_factory.mktemp("one")
    config = make_images(folder / "images")
    process = started(work, config.dataset, str(folder / "out"), False, True)
    process.join()
    assert process.exitcode == 0
    return config, folder / "out"


@pytest.mark.parametrize(
    ("count", "towers"), [(4, False), (2, True), (8, True)], ids=["data", "towers", "data x towers"]
)
def test_several_processes_have_the_numbers_of_one(tmp_path, one, count, towers):
    """The last minibatch has three images: of four processes that share it, one has none."""
    config, alone = one
    torchrun(count, work, config.dataset, str(tmp_path), towers, True)
    one, several = (json.loads((folder / RESULT).read_text()) for folder in (alone, tmp_path))
    for mine, theirs in zip(one["epochs"], several["epochs"], strict=True):
        assert theirs | {"seconds": 0} == pytest.approx(mine | {"seconds": 0}, abs=1e-6)
    assert several["final"] == pytest.approx(one["final"], abs=1e-6)
    for name, tensor in weights(tmp_path).items():
        torch.testing.assert_close(tensor, weights(alone)[name], rtol=1e-6, atol=1e-9)


def test_parts_of_minibatches_are_as_many_in_every_process_and_change_no_number(tmp_path, one):
    config, _ = one
    process = started(work, config.dataset, str(tmp_path / "one"), False, True, None, None, 2)
    process.join()
    assert process.exitcode == 0
    torchrun(4, work, config.dataset, str(tmp_path / "four"), False, True, None, None, 2)
    for name, tensor in weights(tmp_path / "four").items():
        torch.testing.assert_close(tensor, weights(tmp_path / "one")[name], rtol=1e-6, atol=1e-9)


def test_a_run_that_stops_within_an_epoch_goes_on_elsewhere_with_the_same_counts(tmp_path, one):
    """In towers, in one process, and in towers again; without dropout, towers have no generator to save."""
    config, _ = one
    for name, towers, stop_at in (("whole", False, None), ("out", True, 7), ("out", False, 12), ("out", True, None)):
        out = tmp_path / name
        arguments = work, config.dataset, str(out), towers, True, None, stop_at, 2
        if towers:
            torchrun(2, *arguments)
        else:
            process = started(*arguments)
            process.join()
            assert process.exitcode == 0
        assert load_checkpoint(out / LAST)["state"]["training"]["counts"]["step"] == (stop_at or 15)
    whole, several = (json.loads((tmp_path / name / RESULT).read_text()) for name in ("whole", "out"))
    for mine, theirs in zip(whole["epochs"], several["epochs"], strict=True):
        assert theirs | {"seconds": 0} == pytest.approx(mine | {"seconds": 0}, abs=1e-6)


def test_processes_that_share_no_model_do_not_mix_their_numbers():
    torchrun(2, apart)


def test_a_launcher_may_set_nothing_but_what_torch_asks_for(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(os, "environ", os.environ | {
        "RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    })  # fmt: skip
    with processes("cpu") as here:
        assert (here.rank, here.shards, here.extremes(3)) == (0, 1, (3, 3))


@pytest.mark.parametrize(
    ("given", "missing"),
    [({}, "WORLD_SIZE, MASTER_ADDR, MASTER_PORT"), ({"MASTER_PORT": "1"}, "WORLD_SIZE, MASTER_ADDR")],
)
def test_a_launcher_that_sets_a_rank_alone_is_told_what_is_missing(monkeypatch, given, missing):
    monkeypatch.setattr(os, "environ", {"RANK": "3"} | given)
    with pytest.raises(ValueError, match=f"RANK is 3, but {missing} not set: use torchrun, or unset RANK"):
        processes("cpu").__enter__()


def test_alone_there_is_one_process_and_towers_apart_are_refused():
    with processes("cpu") as here:
        assert (here.rank, here.shard, here.shards, here.mesh) == (0, 0, 1, None)
        assert here.extremes(3) == (3, 3)
    with pytest.raises(ValueError, match="need torchrun: --nproc-per-node 2"), processes("cpu", towers=2):
        pass
