"""Running a claim: arms x seeds, each an independent run, each a record; here or on a cluster."""

from __future__ import annotations

import dataclasses
import io
import os
import secrets
import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import redirect_stderr
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_repro.claims.claim import Claim
from alexnet_repro.claims.ledger import find, study_of
from alexnet_repro.claims.records import Evidence, load_evidence
from alexnet_repro.claims.studies import STUDIES
from alexnet_repro.claims.study import Arm, Study
from alexnet_repro.data import Dataset, load_dataset
from alexnet_repro.support.environment import clean_processes, keep_large_blocks, resolve_device
from alexnet_repro.support.values import check_choice, check_whole
from alexnet_repro.training.checkpoint import CheckpointError, Files, load_checkpoint
from alexnet_repro.training.diagnosis import TrainingError
from alexnet_repro.training.loop import train
from alexnet_repro.training.parallel import Processes
from alexnet_repro.training.record import Record, record_path
from alexnet_repro.training.run import run
from alexnet_repro.training.start import fresh

LOOK_EVERY = 5  # seconds, at how far the runs of a sweep are

States = Mapping[tuple[str, int], str]  # of every run of a sweep, by arm and seed; see ``run_claim``


def run_claim(
    claim: str | Claim | Study,
    scale: str = "smoke",
    seeds: int | Sequence[int] | None = None,
    *,
    arms: Sequence[str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    device: str = "auto",
    threads: int = 2,
    parallel: int = 1,
    out: str | os.PathLike[str] | None = None,
    on_record: Callable[[Record], None] = lambda record: None,
    on_change: Callable[[States], None] = lambda states: None,
) -> Evidence:
    """Runs every arm with every seed and returns the records, by arm and seed.

    On a CPU each run has one thread and a process of its own, ``threads`` of them at a time: two such runs use two
    cores better than one run with two threads, and a run's numbers do not depend on how many there are.

    Args:
        claim: a claim or a study, or the id of one.
        scale: "smoke", "laptop", "gpu" or "paper".
        seeds: how many, from the study's first one on (mostly 0), or which; None: as many as its protocol says.
        arms: which of the study's; None: those that the claim needs, of a study all.
        data_root: folder of the data set, as for ``load_dataset``.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", ...
        threads: runs at a time on a CPU.
        parallel: runs at a time on a GPU, each in a process of its own. Its memory must hold so many.
        out: folder of evidence; each record is written as its run ends, and runs whose record is there already are
            not run again; one that was interrupted goes on after its last whole epoch, as ``run_one`` says. None:
            nothing is written, everything is run.
        on_record: called as each run ends.
        on_change: called with the state of every run at the beginning, as each ends, and every few seconds:
            "waiting", "running", with ``out`` "7 of 60 epochs" after the first one, and "recorded".

    Raises:
        ValueError: an unknown id, scale, arm or device, a claim that has no runs, or numbers that are not whole.
        DatasetNotFoundError: before anything is run.
        ChildProcessError: a run's process was killed; with ``out`` the same call goes on from what is there.

    Example:
        >>> from alexnet_repro import run_claim
        >>> run_claim("relu", "smoke", seeds=1, arms=["relu", "gelu"])
        Traceback (most recent call last):
        ValueError: arms of relu are tanh, relu, not gelu
    """
    study, wanted = _planned(claim, scale, seeds, arms)
    check_whole("threads", threads)
    check_whole("parallel", parallel)
    device = resolve_device(device)
    done, todo = _missing(study, scale, wanted, data_root, out)
    workers = min(threads if device == "cpu" else parallel, len(todo)) or 1
    with clean_processes(workers, __name__) as pool:
        runs = [pool.submit(run_one, study, scale, arm, seed, data_root, device, out) for arm, seed in todo]
        on_change(_states(study, scale, wanted, done, workers, out))
        try:
            while runs:
                finished, runs = wait(runs, LOOK_EVERY, FIRST_COMPLETED)
                for record in (run.result() for run in finished):
                    done[record.arm, record.seed] = record
                    on_record(record)
                    on_change(_states(study, scale, wanted, done, workers, out))
                if not finished:
                    on_change(_states(study, scale, wanted, done, workers, out))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    order = list(dict.fromkeys(arm for arm, _ in wanted))
    return Evidence(done[run] for run in sorted(wanted, key=lambda run: order.index(run[0])))


def submit_claim(
    claim: str | Claim | Study,
    scale: str,
    seeds: int | Sequence[int] | None = None,
    *,
    out: str | os.PathLike[str],
    logs: str | os.PathLike[str],
    arms: Sequence[str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    device: str = "auto",
    cluster: str = "slurm",
    options: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Hands the runs that are not recorded yet to a cluster, one task each of one job array, and does not wait.

    Args:
        claim, scale, seeds, arms, data_root, device: as for ``run_claim``; folders must be visible to the tasks.
        out: folder of evidence, where every task writes its record.
        logs: folder for what the tasks print, in a folder of its own.
        cluster: submitit's name for it: "slurm", or "local" for processes of this machine.
        options: of the cluster, as submitit's executors take them: ``{"slurm_partition": "gpu", "timeout_min": 600}``.

    Returns: submitit's jobs, in the order of the runs; none where everything is recorded.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        ValueError, DatasetNotFoundError: as ``run_claim``; or the cluster refuses, with its reason.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise ModuleNotFoundError("a cluster needs submitit: pip install 'alexnet_repro[slurm]'") from None
    study, wanted = _planned(claim, scale, seeds, arms)
    _, todo = _missing(study, scale, wanted, data_root, out)
    if not todo:
        return []
    tasks = [(study, scale, arm, seed, data_root, device, out) for arm, seed in todo]
    folder = Path(logs) / f"{find(claim).id}-{secrets.token_hex(4)}"
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(name=f"alexnet-{find(claim).id}", **(options or {}))
        with redirect_stderr(io.StringIO()):  # where what the error has is printed too
            return executor.map_array(run_one, *zip(*tasks, strict=True))
    except Exception as error:  # submitit's are of all kinds
        shutil.rmtree(folder, ignore_errors=True)
        raise ValueError(f"{cluster} did not take the tasks: {' '.join(str(error).split())}") from error


def run_one(
    study: str | Study,
    scale: str,
    arm: str,
    seed: int,
    data_root: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    out: str | os.PathLike[str] | None = None,
) -> Record:
    """One run in this process, with one thread on a CPU; changes the process's thread and allocator settings.

    Args:
        study: a study, or its id.
        scale: "smoke", "laptop", "gpu" or "paper".
        arm: its name in the study's protocol.
        seed: of weights, order, crops and masks.
        data_root: folder of the data set, as for ``load_dataset``.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        out: folder of evidence. The record is written there where it was made: nothing that is finished can be lost
            with who asked. Until then a checkpoint lies in its place, after every epoch and after an interruption,
            with which the same call goes on to the same numbers. None: nothing is written.

    Raises:
        ValueError: an unknown study, scale, arm or device, or a seed that is no whole number of at least 0.

    Warns:
        UserWarning: the checkpoint is of other code, settings, data or hardware; the run begins again.
    """
    if isinstance(study, str):
        check_choice("study", study, tuple(STUDIES))
        study = STUDIES[study]
    check_whole("seed", seed, 0)
    config = study.protocol(scale).run(arm, seed)
    device = _settled(device)
    files = Files() if out is None else Files.of_record(Path(out) / record_path(study.id, scale, arm, seed))
    labels = {"study": study.id, "scale": scale, "arm": arm}
    return run(config, files, study=labels, data_root=data_root, processes=Processes(device), load=_loaded)


_loaded = lru_cache(maxsize=2)(load_dataset)
"""The same data set for several runs of a process."""


def first_losses(
    arms: Mapping[str, Arm], images: Dataset, *, seed: int = 0, device: str = "auto", threads: int = 2
) -> dict[str, list[float]]:
    """The loss of every minibatch, nats, in one pass over the images from fresh weights: arm -> losses.

    Args:
        arms: what to train; their ``epochs`` and ``target_error`` are not used.
        images: as many as the steps take; all arms see the same minibatches.
        seed: of weights and minibatches.
        device, threads: as for ``run_claim``.

    Example:
        >>> from alexnet_repro import Arm, InputConfig, NetConfig, TrainConfig, first_losses, load_dataset
        >>> once = TrainConfig(epochs=1, lr=0.001)
        >>> arm = Arm(net=NetConfig.preset("cifar-19pct"), input=InputConfig(batch_size=250), train=once)
        >>> losses = first_losses({"relu": arm}, load_dataset("photos", split="test"), device="cpu", threads=1)
        >>> [f"{loss:.1f}" for loss in losses["relu"]]
        ['2.3', '2.3']
    """
    check_whole("threads", threads)
    device = resolve_device(device)
    with clean_processes(threads if device == "cpu" else 1, __name__) as pool:
        runs = {name: pool.submit(_losses, arm, images, seed, device) for name, arm in arms.items()}
        return {name: run.result() for name, run in runs.items()}


def _losses(arm: Arm, images: Dataset, seed: int, device: str) -> list[float]:
    device = _settled(device)
    model, _, batches = fresh(arm.run(images.name, seed), images, device)
    losses: list[Tensor | float] = []
    once = dataclasses.replace(arm.train, epochs=1, target_error=None)
    try:
        train(model, batches, once, on_step=lambda training: losses.append(training.loss))
    except TrainingError as error:
        losses.append(error.loss)
    return [float(loss) for loss in losses]


def _settled(device: str) -> str:
    """The device, and on a CPU one thread, and memory that is kept: for the whole process."""
    device = resolve_device(device)
    if device == "cpu":
        torch.set_num_threads(1)
        keep_large_blocks()
    return device


def _planned(
    claim: str | Claim | Study, scale: str, seeds: int | Sequence[int] | None, arms: Sequence[str] | None
) -> tuple[Study, list[tuple[str, int]]]:
    """The study and its runs that were asked for, seed by seed, each once."""
    study, needed = study_of(claim)
    if study is None:
        name = find(claim).id
        raise ValueError(f"{name} has no runs here; `alexnet-repro claims show {name}` says what it is")
    return study, study.runs(scale, seeds, needed if arms is None else arms)


def _missing(
    study: Study,
    scale: str,
    wanted: Sequence[tuple[str, int]],
    data_root: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
) -> tuple[dict[tuple[str, int], Record], list[tuple[str, int]]]:
    """What is recorded, and what is left to run; a data set that is missing is one error here, not one a run."""
    protocol = study.protocol(scale)
    if protocol.dataset != "photos":  # they are always there, and take seconds to make
        load_dataset(protocol.dataset, data_root, size=protocol.size)
    recorded = [] if out is None else load_evidence(study, scale, out)
    done = {(record.arm, record.seed): record for record in recorded}
    return done, [run for run in wanted if run not in done]


def _states(
    study: Study,
    scale: str,
    wanted: Sequence[tuple[str, int]],
    done: Container[tuple[str, int]],
    workers: int,
    out: str | os.PathLike[str] | None,
) -> States:
    left = [run for run in wanted if run not in done]
    states = dict.fromkeys(sorted(wanted, key=lambda run: run[1]), "recorded") | dict.fromkeys(left, "waiting")
    return states | {(arm, seed): _progress(study, scale, arm, seed, out) for arm, seed in left[:workers]}


def _progress(study: Study, scale: str, arm: str, seed: int, out: str | os.PathLike[str] | None) -> str:
    """Of a run under way: after how many of its epochs it is, if its checkpoint says so."""
    if out is None:
        return "running"
    try:
        path = Files.of_record(Path(out) / record_path(study.id, scale, arm, seed)).last
        checkpoint = load_checkpoint(path, mmap=True)
    except CheckpointError:
        return "running"
    return f"{len(checkpoint['state']['training']['epochs'])} of {study.protocol(scale).arms[arm].train.epochs} epochs"
