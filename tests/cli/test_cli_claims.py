import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from command import call
from filed import save

from alexnet_repro import CLAIMS
from alexnet_repro.claims.records import BOOK, load_evidence, problems
from alexnet_repro.cli import claims
from alexnet_repro.report import tables


def claims_command(*arguments: str) -> tuple[int, str, str]:
    """Its exit status, standard output and standard error."""
    done = call("claims", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_every_claim_is_listed():
    status, out, _ = claims_command("list")
    assert status == 0
    assert all(claim.statement in out and claim.original_run in out for claim in CLAIMS.values())


def test_the_status_is_that_of_the_scoreboard():
    _, out, _ = claims_command("status")
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert list(lines) == list(CLAIMS)
    page = (BOOK / "scoreboard.md").read_text("utf-8")
    for claim, (statement, *cells) in zip(CLAIMS.values(), tables.verdict_table(*CLAIMS).rows, strict=True):
        assert all(cell in lines[claim.id] for cell in cells)
        assert f"| [{statement}]({claim.chapter}.ipynb) | {' | '.join(cells)} |\n" in page


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_can_be_shown(claim):
    status, out, _ = claims_command("show", claim)
    assert status == 0
    assert CLAIMS[claim].statement in out
    assert CLAIMS[claim].paper_summary() in out
    (result,) = tables.judged(claim)
    assert CLAIMS[claim].command(result.scale, result.pairs) in out
    assert " 1 seeds" not in out


def test_an_edited_record_and_a_foreign_file_are_named(make_record, tmp_path):
    save(make_record("relu", 0, [0.5]), tmp_path)
    assert claims_command("verify", "--evidence", str(tmp_path))[:2] == (
        0,
        "1 records are whole and current\n",
    )
    path = tmp_path / "tiny" / "smoke" / "relu-seed0.json"
    path.write_text(path.read_text().replace("0.5", "0.4"))
    (tmp_path / "note.txt").write_text("")
    status, _, err = claims_command("verify", "--evidence", str(tmp_path))
    assert status == 1
    assert "relu-seed0.json was changed after it was written" in err
    assert "note.txt is of no study of the book" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "gelu"], "claim must be one of"),
        (["show", "gelu"], "claim must be one of"),
        (["run", "relu", "--scale", "huge"], "scale of relu must be one of"),
        (["run", "relu", "--seeds", "many"], "not 'many'"),
        (["run", "relu", "--seeds", "0"], "a list of which, such as 5 or [0, 3], not 0\n"),
        (["run", "relu", "--seeds", ","], "one alone: 3,), not ','"),
        (["show", "alexnet"], "claim must be one of"),
        (["verify", "--evidence", "nowhere"], "there is no folder nowhere"),
        (["run", "relu", "--launcher", "slurm", "--again", "x"], "--again runs in processes of this machine"),
        (["run", "relu", "--out", "x", "--again", "y/../x"], "--again needs another folder"),
        (["run", "relu", "--slurm", "mem_gb=8"], "--slurm is for --launcher slurm"),
        (["run", "relu", "--launcher", "cloud"], "--launcher must be processes or slurm, not 'cloud'"),
        (["run", "relu", "--launcher", "slurm", "--slurm", "gpu"], "--slurm takes name=value, not 'gpu'"),
        (["run", "relu", "--scale", "paper", "--data-root", "nowhere"], "CIFAR-10 (train) was not found in nowhere"),
        (["run", "relu", "--scale", "paper", "--root", "nowhere"], "CIFAR-10 (train) was not found in nowhere"),
    ],
)
def test_what_a_user_can_mend_ends_in_a_message(arguments, message):
    status, _, err = claims_command(*arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_run_reports_every_record_and_where_they_lie(make_record, monkeypatch, tmp_path):
    record = make_record("relu", 3, [0.2], 0.9, top1_error=0.31)
    asked = {}

    def run_claim(claim, scale, seeds, on_record, on_change, **arguments):
        asked.update(arguments, claim=claim, scale=scale, seeds=seeds)
        on_change({("relu", 3): "running"})
        on_record(record)
        on_change({("relu", 3): "recorded"})
        return [record]

    monkeypatch.setattr(claims, "run_claim", run_claim)
    arguments = ["run", "tiny", "--seeds", "3,4", "--arms", "relu", "--out", str(tmp_path)]
    arguments += ["--threads", "3", "--parallel", "5", "--device", "cpu", "--data-root", "here", "--scale", "smoke"]
    status, out, _ = claims_command(*arguments)
    assert status == 0
    assert asked == {
        "claim": "tiny", "scale": "smoke", "seeds": [3, 4], "arms": ["relu"], "out": tmp_path, "threads": 3,
        "parallel": 5, "device": "cpu", "data_root": Path("here"),
    }  # fmt: skip
    assert claims._seeds("3,") == [3]
    assert claims._seeds("3") == 3
    assert "relu-seed3.json: train_error 0.2, epochs_to_target 0.9, top1_error 0.31 (1 epochs, 1 s)" in out
    assert f"1 records in {tmp_path / 'tiny' / 'smoke'}" in out


def test_what_is_recorded_is_run_again_only_where_nothing_is_missing(make_record, monkeypatch, tmp_path):
    old = make_record("relu", 0, [0.5], top1_error=0.25)
    new = replace(make_record("relu", 0, [0.5], top1_error=0.5), environment={"device": "slide rule", "threads": 1})
    recorded, again = tmp_path / "recorded", tmp_path / "again"

    def run_claim(claim, scale, seeds, out, on_record, **arguments):
        if not load_evidence(claim, scale, out):
            on_record(record := {recorded: old, again: new}[out])
            save(record, out)
        return load_evidence(claim, scale, out)

    monkeypatch.setattr(claims, "run_claim", run_claim)
    arguments = ["run", "tiny", "--seeds", "1", "--out", str(recorded), "--again", str(again)]
    status, out, _ = claims_command(*arguments)
    assert (status, again.exists()) == (0, False)
    assert "1 of them were missing and are new; call this again to repeat and compare" in out
    kept = {path: path.read_bytes() for path in recorded.rglob("*.json")}
    status, out, _ = claims_command(*arguments)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert status == 0
    assert "relu 0 train_error 0.5 0.5 identical" in lines
    assert "relu 0 top1_error 0.25 0.5 +0.25" in lines
    assert "already" not in out
    assert lines[-1] == "environment.device went from 'abacus' to 'slide rule'"
    assert {path: path.read_bytes() for path in recorded.rglob("*.json")} == kept
    assert "1 of them were there already and were not run again" in claims_command(*arguments)[1]


def test_a_cluster_is_handed_the_runs_with_its_options(monkeypatch, tmp_path):
    asked = {}

    class Job:
        job_id = "17_0"

    monkeypatch.setattr(claims, "submit_claim", lambda *a, **k: asked.update(k, runs=a) or [Job()])
    arguments = ["run", "tiny", "--launcher", "slurm", "--out", str(tmp_path), "--seeds", "7", "--device", "cuda"]
    for option in ("slurm_partition=gpu", "timeout_min=60", "mem_gb=7.5", "slurm_time=1:30"):
        arguments += ["--slurm", option]
    _, out, _ = claims_command(*arguments)
    assert asked["options"] == {"slurm_partition": "gpu", "timeout_min": 60, "mem_gb": 7.5, "slurm_time": "1:30"}
    assert out == f"1 tasks: 17_0; their records go to {tmp_path}\n"
    assert (asked["runs"], asked["device"], asked["out"]) == (("tiny", "smoke", 7), "cuda", tmp_path)


def test_the_time_left_is_that_of_the_runs_left_over_the_workers(make_record):
    board = claims.Board()
    states = {("relu", seed): "running" if seed < 2 else "waiting" for seed in range(5)}
    board.change(states)
    assert board.remaining() == "5 runs left"
    board.seconds = [60.0, 180.0]
    assert board.remaining() == "5 runs left, about 6 min"
    table = board.table({**states, ("tanh", 0): "recorded"})
    assert [column.header for column in table.columns] == ["arm", "seed 0", "seed 1", "seed 2", "seed 3", "seed 4"]
    assert list(table.columns[0].cells) == ["relu", "tanh"]
    assert list(table.columns[1].cells) == ["running", "recorded"]
    board.change(dict.fromkeys(states, "recorded"))
    assert board.remaining() == "0 runs left"


@pytest.mark.parametrize("kills", [int(os.environ.get("ALEXNET_REPRO_KILLS", "2"))])
def test_a_sweep_killed_again_and_again_loses_no_finished_run_and_repeats_none(kills, tmp_path):
    """Each time at another moment after it has left something new, with SIGKILL to the whole process group."""
    command = [sys.executable, "-m", "alexnet_repro", "claims", "run", "relu", "--arms", "relu"]
    command += ["--seeds", str(2 + kills), "--out", str(tmp_path)]

    def left() -> set[tuple[str, int]]:
        return {(path.name, path.stat().st_mtime_ns) for path in tmp_path.rglob("*-seed*") if path.exists()}

    chance, kept = random.Random(0), {}
    for number in range(kills + 1):
        before, last = left(), number == kills
        sweep = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        if last:
            assert sweep.wait() == 0
        else:
            while left() <= before:
                assert sweep.poll() is None
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 1))
            os.killpg(sweep.pid, signal.SIGKILL)
            sweep.wait()
        found = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
        assert kept.items() <= found.items()  # nothing that was there is gone or was written again
        kept = found
    assert len(kept) == 2 + kills
    assert problems(tmp_path) == []
