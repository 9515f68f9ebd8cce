"""What ``make gpu`` does where there is no GPU."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import gpu
import pytest
import torch


@pytest.fixture
def called(monkeypatch, tmp_path):
    """Calls it with options; gives its status and what it has written."""

    def call(*options: str) -> tuple[int, dict | None]:
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path), *options])
        status, file = gpu.main(), tmp_path / "gpu-trial.json"
        return status, json.loads(file.read_text()) if file.exists() else None

    return call


def test_without_a_gpu_it_says_so_in_a_line_and_measures_nothing(called, capsys):
    assert called() == (2, None)
    assert capsys.readouterr() == ("", "There is no GPU here; --device cpu tries this script on the CPU.\n")


def test_a_trial_measures_steps_and_batches_as_shares_of_the_machine_s_rates(called):
    status, found = called("--device", "cpu", "--only", "steps", "loader")
    assert status == 0
    assert list(found) == ["environment", "started", "machine", "seconds", "steps", "loader"]
    step = found["steps"]["float32 8"]
    assert 0 < step["share_of_matrix_rate"] < 1
    assert found["loader"]["images on the CPU"]["with_bfloat16_steps_images_per_s"] > 0


def test_sections_that_are_measured_alone_are_put_into_the_file_that_is_there(called, monkeypatch):
    sections = {name: lambda bench, name=name: {"of": name} for name in ("machine", "steps", "loader")}
    monkeypatch.setattr(gpu, "SECTIONS", sections)
    whole = called("--device", "cpu")[1]
    monkeypatch.setitem(sections, "loader", lambda bench: {"of": "later"})
    status, found = called("--device", "cpu", "--only", "loader")
    assert status == 0
    assert list(found) == list(whole)
    assert {name: found[name]["of"] for name in sections} == {"machine": "machine", "steps": "steps", "loader": "later"}


def test_a_test_whose_fixture_fails_counts_as_failed(monkeypatch):
    """In pytest's report it is an error, not a failure."""
    report = """<testsuites><testsuite>
        <testcase name="a" time="1"><error message="no memory"/></testcase>
        <testcase name="b" time="2"><failure message="no"/></testcase>
        <testcase name="c" time="3"><skipped/></testcase>
    </testsuite></testsuites>"""

    def run(command: list[str], **_: object) -> SimpleNamespace:
        (path,) = [Path(part.partition("=")[2]) for part in command if part.startswith("--junitxml=")]
        path.write_text(report)
        return SimpleNamespace(returncode=1, stdout="", stderr="")

    monkeypatch.setattr(gpu.subprocess, "run", run)
    found = gpu.tests(gpu.Bench(torch.device("cpu"), gpu.TINY, {}, 0.0))
    assert (found["run"], found["failed"], found["skipped"]) == (3, 2, 1)
    assert found["failures"] == {"a": "no memory", "b": "no"}


def test_a_section_that_fails_leaves_its_error_and_the_others_go_on(called, monkeypatch):
    def fail(bench: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu, "SECTIONS", {"machine": fail, "steps": lambda bench: {"late": bench.late}})
    status, found = called("--device", "cpu", "--only", "steps")
    assert status == 1
    assert "out of memory" in found["machine"]["error"]
    assert found["steps"] == {"late": False}
