"""What a number may depend on besides its configuration: code, versions, hardware, threads."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch


def resolve_device(device: str) -> str:
    """ "auto" as "cuda" or "cpu"; another device as it is, if this machine has it, else ``ValueError``."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    known = ["cpu"] + (["cuda"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]) * torch.cuda.is_available()
    if device not in known:
        raise ValueError(f"device must be auto or one of {', '.join(known)} on this machine, not {device!r}")
    return device


def environment(device: str) -> dict[str, Any]:
    """What a number may depend on besides the configuration: code, versions, hardware, threads."""
    return {
        "revision": revision(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a plain one, that a checkpoint may hold
        "numpy": np.__version__,
        "platform": platform.system() + "-" + platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else _cpu_name(),
        "threads": torch.get_num_threads(),
    }


def revision() -> str:
    """The commit of the code, "+changes" if the package was edited since, or "unknown" outside its repository."""
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not where another repository lies around it
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
