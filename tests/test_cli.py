import contextlib
import io
import subprocess
import sys
import traceback
from pathlib import Path
from unittest import mock

import pytest

import alexnet_repro
from alexnet_repro.cli import main
from alexnet_repro.environment import revision


def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What the command ``alexnet-repro`` does, without the start of a process; an escaped error counts as status 1."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd or Path.cwd()),
        mock.patch.object(sys, "argv", ["alexnet-repro", *arguments]),
    ):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        except Exception:
            traceback.print_exc()
            status = 1
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def test_the_command_is_installed():
    command = Path(sys.executable).with_name("alexnet-repro")
    done = subprocess.run([command, "claims", "run", "gelu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "claim must be one of" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["claims", "run", "gelu"], "claim must be one of"),
        (["data", "verify", "nowhere"], "nowhere"),
    ],
)
def test_what_a_user_can_mend_ends_in_a_message_without_a_traceback(arguments, message, tmp_path):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_comes_with_the_revision():
    assert call("--version").stdout == f"alexnet_repro {alexnet_repro.__version__}, revision {revision()}\n"
