import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from alexnet_repro.support.environment import environment, resolve_device, revision, settle_gpu


def test_it_names_versions_hardware_and_threads():
    found = environment("cpu")
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"].endswith("cores")
    assert found["revision"]


@pytest.fixture
def package(tmp_path) -> Path:
    """A package in a repository of its own."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    made = tmp_path / "package"
    made.mkdir()
    made.joinpath("__init__.py").touch()
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "package"], [*identity, "commit", "--quiet", "-m", "One"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return made


def test_the_revision_is_the_commit_and_says_whether_the_package_was_edited_since(package):
    commit = revision(package)
    assert len(commit) == 40
    (package.parent / "notes.txt").touch()
    assert revision(package) == commit
    (package / "new.py").touch()
    assert revision(package) == f"{commit}+changes"


def test_a_repository_that_the_environment_names_is_not_taken_for_the_package_s(package, monkeypatch):
    commit = revision(package)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_WORK_TREE", "/nonexistent")
    assert revision(package) == commit


def test_another_repository_around_the_package_is_not_taken_for_its_own(package, recwarn):
    vendored = package.parent / "vendored"
    shutil.copytree(package, vendored)
    assert revision(vendored) == "unknown"  # it is not among the repository's files
    (package.parent / "site-packages" / "package").mkdir(parents=True)
    assert revision(package.parent / "site-packages" / "package") == "unknown"
    assert not recwarn


@pytest.mark.parametrize("reason", ["fatal: detected dubious ownership in repository", None])
def test_a_git_that_refuses_is_told_with_its_reason(package, monkeypatch, tmp_path, reason):
    stub = tmp_path / "bin" / "git"
    stub.parent.mkdir()
    if reason is not None:
        stub.write_text(f"#!/bin/sh\necho '{reason}' >&2; exit 128\n")
        stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(stub.parent) + (":/bin:/usr/bin" if reason else ""))
    with pytest.warns(UserWarning, match=f"is unknown, and records will say so: .*{reason or 'git'}"):
        assert revision(package) == "unknown"


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"device must be auto or one of cpu.* not 'tpu'"):
        resolve_device("tpu")


def test_a_caller_who_asked_torch_for_the_same_bits_keeps_them(monkeypatch):
    monkeypatch.delenv("ALEXNET_REPRO_DETERMINISTIC", raising=False)
    torch.use_deterministic_algorithms(True)
    try:
        settle_gpu()
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("deterministic", [True, False])
def test_of_a_gpu_a_record_says_that_float32_is_float32_and_whether_bits_repeat(monkeypatch, deterministic):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setenv("ALEXNET_REPRO_DETERMINISTIC", str(int(deterministic)))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "abacus")
    try:
        settle_gpu()
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) is deterministic
        found = environment("cuda")
    finally:
        torch.use_deterministic_algorithms(False)
    assert found["device"] == "abacus"
    assert found["tf32"] is False
    assert found["deterministic"] is deterministic
    assert found["cudnn"] == torch.backends.cudnn.version()
