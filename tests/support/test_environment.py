import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alexnet_repro.support import environment as environment_module
from alexnet_repro.support.environment import environment, resolve_device


def test_it_names_versions_hardware_and_threads():
    found = environment("cpu")
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"].endswith("cores")
    assert found["revision"]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_another_repository_around_the_package_is_not_taken_for_its_own(tmp_path):
    package = tmp_path / "alexnet_repro"
    package.mkdir()
    package.joinpath("environment.py").write_bytes(Path(environment_module.__file__).read_bytes())
    for command in (
        ["git", "init", "--quiet", str(tmp_path)],
        ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "--allow-empty", "-m", "One"],
        [sys.executable, "-c", "from environment import revision; print(revision())"],
    ):
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=True)
    assert done.stdout == "unknown\n"


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"device must be auto or one of cpu.* not 'tpu'"):
        resolve_device("tpu")
