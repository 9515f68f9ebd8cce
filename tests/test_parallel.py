import json
import subprocess

import pytest
import torch
from run_case import make_pictures
from test_runs import QUIET, weights, worker

from alexnet_repro.parallel import processes
from alexnet_repro.runs import RESULT


@pytest.mark.parametrize(
    ("count", "options"), [(2, ()), (2, ("--towers",)), (4, ("--towers",))], ids=["data", "towers", "data x towers"]
)
def test_several_processes_have_the_numbers_of_one(tmp_path, count, options):
    config = make_pictures(tmp_path / "pictures")
    for name, command in (
        ("one", worker(config, tmp_path / "one", "--double")),
        ("all", worker(config, tmp_path / "all", "--double", *options, processes=count)),
    ):
        done = subprocess.run(command, capture_output=True, env=QUIET, timeout=300, text=True, check=False)
        assert done.returncode == 0, (name, done.stderr[-2000:])
    one, several = (json.loads((tmp_path / name / RESULT).read_text()) for name in ("one", "all"))
    for mine, theirs in zip(one["epochs"], several["epochs"], strict=True):
        for key in ("train_error", "train_loss"):
            assert theirs[key] == pytest.approx(mine[key], abs=1e-6)
        assert theirs["val"] == pytest.approx(mine["val"], abs=1e-6)
    assert several["final"] == pytest.approx(one["final"], abs=1e-6)
    for name, tensor in weights(tmp_path / "all").items():
        torch.testing.assert_close(tensor, weights(tmp_path / "one")[name], rtol=1e-6, atol=1e-9)


def test_alone_there_is_one_process_and_towers_apart_are_refused():
    with processes("cpu") as here:
        assert (here.rank, here.shard, here.shards, here.mesh) == (0, 0, 1, None)
    with pytest.raises(ValueError, match="need torchrun: --nproc-per-node 2"), processes("cpu", towers=2):
        pass
