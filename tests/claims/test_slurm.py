"""Runs of a claim, and trainings, as jobs of a real Slurm."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import cluster, over, slurm, wait_for
from command import call
from run_case import weights

from alexnet_repro.claims.records import load_evidence, problems
from alexnet_repro.training.checkpoint import LAST, RESULT, load_checkpoint
from alexnet_repro.training.record import Record

pytestmark = pytest.mark.slurm

PROGRAM = [sys.executable, "-m", "alexnet_repro"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *PROGRAM[1:]]
ARMS = ("run145", "centre-crops")
SWEEP = ["claims", "run", "alexnet", "--arms", ",".join(ARMS), "--seeds", "1", "--launcher", "slurm"]
TRAIN = ["train", "photos", "--preset", "cifar-19pct", "--set", "net.width=0.25", "--epochs", "6", "--save-every", "1"]


@pytest.fixture(scope="module", autouse=True)
def slurm_is_there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with cluster(tmp_path_factory.mktemp("slurm")):
        yield


def submitted(folder: Path) -> list[str]:
    """The sweep as a job array whose evidence goes into the folder: the tasks, by arm."""
    done = call(*SWEEP, "--out", "evidence", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return re.findall(r"\d+_\d", done.stdout)


def results(folder: Path) -> dict[str, object]:
    """What is recorded of each arm, without what a clock has measured."""
    records = load_evidence("alexnet", "smoke", folder / "evidence")
    untimed = [[{**epoch, "seconds": None} for epoch in record.epochs] for record in records]
    return {record.arm: (record.final, epochs) for record, epochs in zip(records, untimed, strict=True)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep was run without any trouble."""
    folder = tmp_path_factory.mktemp("undisturbed")
    tasks = submitted(folder)
    assert [over(task) for task in tasks] == ["COMPLETED"] * len(ARMS)
    return folder


def test_the_tasks_of_a_job_array_leave_a_record_each_and_nothing_else(undisturbed):
    assert set(results(undisturbed)) == set(ARMS)
    assert problems(undisturbed / "evidence") == []
    assert not list(undisturbed.rglob("*.pt"))
    again = call(*SWEEP, "--out", "evidence", cwd=undisturbed)
    assert again.stdout.startswith("0 tasks")


def test_tasks_that_are_killed_or_put_back_in_the_queue_go_on_to_the_same_bits(undisturbed, tmp_path):
    tasks = submitted(tmp_path)
    for task, arm in zip(tasks, ARMS, strict=True):
        checkpoint = tmp_path / "evidence" / "alexnet" / "smoke" / f"{arm}-seed0.pt"
        wait_for(f"{task}'s first epoch", checkpoint.exists)
        if task == tasks[0]:
            slurm("scancel", "--signal=KILL", task)
        slurm("scontrol", "requeue", task)
        assert not checkpoint.with_suffix(".json").exists()
    assert [over(task) for task in tasks] == ["COMPLETED"] * len(ARMS)
    assert all("Restarts=1 " in slurm("scontrol", "show", "job", task) for task in tasks)
    assert results(tmp_path) == results(undisturbed)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("slurm_partition=nosuch", "invalid partition specified: nosuch"),
        ("mem_gb=7.5", "Memory specification can not be satisfied"),
        ("timeout_min=soon", "timeout_min"),
    ],
)
def test_an_option_that_slurm_refuses_is_told_in_one_line_and_leaves_nothing(option, reason, tmp_path):
    done = call(*SWEEP, "--out", "evidence", "--slurm", option, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("alexnet-repro: slurm did not take the tasks: ")
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert slurm("squeue", "--noheader") == ""


def script(folder: Path, *command: str) -> str:
    """A batch job of one step, submitted: its number."""
    lines = ["#!/bin/bash", f"#SBATCH --output={folder}/log --open-mode=append", " ".join(["srun", *command])]
    (folder / "job.sh").write_text("\n".join(lines) + "\n")
    return slurm("sbatch", "--parsable", str(folder / "job.sh"))


@pytest.mark.parametrize("program", [PROGRAM, TORCHRUN], ids=["alone", "torchrun"])
def test_a_training_that_is_cancelled_leaves_a_checkpoint_and_goes_on_to_the_same_bits(program, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    whole, out = tmp_path / "whole", tmp_path / "out"
    for folder in (whole, out):
        folder.mkdir()
    jobs = [script(folder, *program, *TRAIN, "--out", str(folder / "run")) for folder in (out, whole)]
    wait_for("a checkpoint", (out / "run" / LAST).exists)
    slurm("scancel", jobs[0])
    assert [over(job) for job in jobs] == ["CANCELLED", "COMPLETED"]
    assert not (out / "run" / RESULT).exists()
    assert load_checkpoint(out / "run" / LAST)["state"]["training"]["counts"]["step"] > 0
    assert over(script(out, *program, "resume", str(out / "run"))) == "COMPLETED"
    expected, found = (weights(folder / "run") for folder in (whole, out))
    assert all(found[name].equal(expected[name]) for name in expected)
    finals = [Record.load(folder / "run" / RESULT).final for folder in (whole, out)]
    assert finals[0] == finals[1]
