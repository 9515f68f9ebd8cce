"""The command line without the start of a process."""

import contextlib
import io
import subprocess
import sys
import traceback
from pathlib import Path
from unittest import mock

from alexnet_repro.cli.main import main


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
