import subprocess
import sys
from pathlib import Path

from command import call

import alexnet_repro
from alexnet_repro.cli import main
from alexnet_repro.support.environment import revision
from alexnet_repro.training.run import Interrupted


def test_the_command_is_installed():
    command = Path(sys.executable).with_name("alexnet-repro")
    done = subprocess.run([command, "claims", "run", "gelu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "claim must be one of" in done.stderr


def test_the_version_comes_with_the_revision():
    assert call("--version").stdout == f"alexnet_repro {alexnet_repro.__version__}, revision {revision()}\n"


def test_an_interrupted_run_ends_with_a_status_of_its_own_and_says_how_to_go_on(monkeypatch):
    def interrupted():
        raise Interrupted("stopped at step 3")

    monkeypatch.setattr(main, "app", interrupted)
    done = call()
    assert (done.returncode, done.stdout) == (130, "")
    assert "stopped at step 3. The same command, or `alexnet-repro resume`, goes on from there" in done.stderr
