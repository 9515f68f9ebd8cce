"""This machine: its devices, memory and processes, and what results may depend on besides the configuration."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import subprocess
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

PACKAGE = Path(__file__).resolve().parents[1]


def resolve_device(device: str) -> str:
    """Resolves "auto" to "cuda" or "cpu" and returns any other device; ``ValueError`` if this machine lacks it.

    A GPU is set up for the whole process by ``settle_gpu``.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    known = ["cpu"] + (["cuda"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]) * torch.cuda.is_available()
    if device not in known:
        raise ValueError(f"device must be auto or one of {', '.join(known)} on this machine, not {device!r}")
    if device != "cpu":
        settle_gpu()
    return device


def settle_gpu() -> None:
    """Makes GPUs compute float32 convolutions and matrix products in float32, never in TF32, in the whole process.

    cuDNN times its algorithms for every new shape and uses the fastest, which need not be the same one in every
    process. With the environment variable ALEXNET_REPRO_DETERMINISTIC=1, cuDNN and torch use only deterministic
    algorithms; torch warns where it has none.
    """
    deterministic = os.environ.get("ALEXNET_REPRO_DETERMINISTIC") == "1"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = not deterministic, deterministic
    if deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first matrix product is computed


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Moves a tensor to a device; from the CPU to a GPU asynchronously, through pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def environment(device: str) -> dict[str, Any]:
    """What a result may depend on besides the configuration: code, versions, hardware, threads."""
    found = {
        "revision": revision(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a plain string, which a checkpoint may hold
        "numpy": np.__version__,
        "platform": platform.system() + "-" + platform.machine(),
        "device_kind": torch.device(device).type,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else _cpu_name(),
        "threads": torch.get_num_threads(),
    }
    if device.startswith("cuda"):
        backends = torch.backends
        found |= {
            "cuda": torch.version.cuda,
            "cudnn": backends.cudnn.version(),
            "tf32": backends.cudnn.allow_tf32 or backends.cuda.matmul.allow_tf32,
            "deterministic": backends.cudnn.deterministic,
        }
    return found


def revision(package: Path = PACKAGE) -> str:
    """The commit of the code, followed by "+changes" if the package was edited since; "unknown" outside its repository.

    Args:
        package: folder of the code.

    Warns:
        UserWarning: git fails, although this is a repository; gives git's reason.
    """
    if not (package.parent / ".git").exists():
        return "unknown"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # for another repository

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=plain).stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):  # inside another repository
            return "unknown"
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        warnings.warn(f"the revision of {package} is unknown, and records will say so: {reason}", stacklevel=2)
        return "unknown"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_large_blocks() -> bool:
    """Lets the process keep the memory that a training step frees, instead of requesting it from the kernel again.

    Holds for the whole process, from now on. Linux with glibc only; elsewhere, or with the environment
    variable ALEXNET_REPRO_KEEP_MEMORY=0, it does nothing.

    Returns: whether the setting was made.
    """
    if os.environ.get("ALEXNET_REPRO_KEEP_MEMORY") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    largest = 2**31 - 1
    return bool(mallopt(_M_MMAP_THRESHOLD, 2**30) and mallopt(_M_TRIM_THRESHOLD, largest))


@contextmanager
def clean_processes(workers: int, *modules: str) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that inherit no threads, locks or random state, have one thread each, and end with this process.

    If the system allows it, they are forked from a server process that has imported the modules and done nothing else.
    The server stays alive, so that only the first worker waits for imports.

    Args:
        workers: maximum number of worker processes.
        modules: full names of the modules that workers need.

    Raises:
        ChildProcessError: a worker was killed; whatever the other workers had not finished is lost as well.
    """
    forked = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forked else "spawn")
    if forked:
        context.set_forkserver_preload(list(modules))
    with ProcessPoolExecutor(workers, context, _settle, (dict(os.environ),)) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process that worked for this one was killed, probably because memory ran out: run fewer at a time. "
                "Or a script calls this outside of `if __name__ == '__main__':`. What was saved before is kept"
            ) from error


def _settle(variables: dict[str, str]) -> None:
    """Sets up a worker: one thread, and the parent's current environment variables, not those of the fork server."""
    os.environ.clear()
    os.environ.update(variables)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker with its parent: a killed parent can't stop its workers, which would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
