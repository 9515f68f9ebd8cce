import subprocess
import sys
from pathlib import Path

from command import call

import alexnet_repro
from alexnet_repro.support.environment import revision


def test_the_command_is_installed():
    command = Path(sys.executable).with_name("alexnet-repro")
    done = subprocess.run([command, "claims", "run", "gelu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "claim must be one of" in done.stderr


def test_the_version_comes_with_the_revision():
    assert call("--version").stdout == f"alexnet_repro {alexnet_repro.__version__}, revision {revision()}\n"
