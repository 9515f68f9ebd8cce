"""Runs claims: every arm with every seed, each an independent run with a record of its own; here or on a cluster."""

from __future__ import annotations

import dataclasses
import io
import os
import secrets
import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import redirect_stderr
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_repro.claims.claim import Claim
from alexnet_repro.claims.ledger import find, study_of
from alexnet_repro.claims.records import Evidence, load_evidence, refuse_unlike
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

LOOK_EVERY = 5  # seconds between looks at the progress of a sweep

States = Mapping[tuple[str, int], str]  # state of every run of a sweep, by arm and seed; see ``run_claim``


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

    On a CPU each run has one thread and its own process, and ``threads`` of them run at a time: two such runs use two
    cores better than one run with two threads, and a run's numbers do not depend on how many run at a time.

    Args:
        claim: a claim or a study, or its id.
        scale: "smoke", "laptop", "gpu" or "paper".
        seeds: how many, starting with the protocol's first (usually 0), or a list of them; None: as the protocol says.
        arms: names of the study's arms to run; None: those that the claim needs, or for a study all.
        data_root: folder of the data set, as for ``load_dataset``.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", ...
        threads: number of runs at a time on a CPU.
        parallel: number of runs at a time on a GPU, each in its own process; the GPU's memory must hold them all.
        out: folder of evidence. Each record is written as its run ends, and runs that are recorded there already are
            not run again; an interrupted run resumes from its last checkpoint, see ``run_one``. None: nothing is
            written, and everything is run.
        on_record: called with the new record as each run ends.
        on_change: called with the states of all runs at the start, as each run ends, and every few seconds. A state is
            "waiting", "running" (with ``out``, "7 of 60 epochs" after the first epoch) or "recorded".

    Raises:
        ValueError: an unknown id, scale, arm or device, a claim without runs, or invalid numbers of seeds or runs.
        DatasetNotFoundError: the data set is missing; nothing has been run yet.
        EvidenceError: new runs could not be compared with the study's in ``out``; nothing has been run yet.
        ChildProcessError: a run's process was killed; with ``out``, the same call resumes from records and checkpoints.

    Example:
        >>> from alexnet_repro import run_claim
        >>> run_claim("relu", "smoke", seeds=1, arms=["relu", "gelu"])
        Traceback (most recent call last):
        ValueError: arms of relu are tanh, relu, not gelu
    """
    check_whole("threads", threads)
    check_whole("parallel", parallel)
    device = resolve_device(device)
    study, wanted, done, todo = _planned(claim, scale, seeds, arms, data_root, out, device)
    workers = min(threads if device == "cpu" else parallel, len(todo)) or 1

    def look() -> None:
        on_change(_states(study, scale, wanted, done, workers, out))

    with clean_processes(workers, __name__) as pool:
        runs = {pool.submit(run_one, study, scale, arm, seed, data_root, device, out) for arm, seed in todo}
        try:
            look()
            while runs:
                finished, runs = wait(runs, LOOK_EVERY, FIRST_COMPLETED)
                for record in (run.result() for run in finished):
                    done[record.arm, record.seed] = record
                    on_record(record)
                    look()
                if not finished:
                    look()
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
    """Submits the runs that are not recorded yet to a cluster, as one job array with a task per run, without waiting.

    Args:
        claim, scale, seeds, arms, data_root, device: as for ``run_claim``; folders must be visible to the tasks.
        out: folder of evidence, where every task writes its record.
        logs: folder for the output of the tasks, which gets a new subfolder for each call.
        cluster: submitit's name for it: "slurm", or "local" for processes on this machine.
        options: parameters for submitit's executor, such as ``{"slurm_partition": "gpu", "timeout_min": 600}``.

    Returns: submitit's jobs, in the order of the runs; an empty list if everything is recorded.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        DatasetNotFoundError, EvidenceError: as for ``run_claim``, without a look at the hardware of the tasks.
        ValueError: as for ``run_claim``; or the cluster rejects the tasks, with its reason.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise ModuleNotFoundError("a cluster needs submitit: pip install 'alexnet_repro[slurm]'") from None
    study, _, _, todo = _planned(claim, scale, seeds, arms, data_root, out)
    if not todo:
        return []
    folder = Path(logs) / f"{find(claim).id}-{secrets.token_hex(4)}"
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(name=f"alexnet-{find(claim).id}", **(options or {}))
        with redirect_stderr(io.StringIO()):  # where the error's text is printed too
            tasks = [(study, scale, arm, seed, data_root, device, out) for arm, seed in todo]
            return executor.map_array(run_one, *zip(*tasks, strict=True))
    except Exception as error:  # submitit raises many kinds
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
    """Makes one run in this process, on a CPU with one thread; changes the process's thread and allocator settings.

    Args:
        study: a study, or its id.
        scale: "smoke", "laptop", "gpu" or "paper".
        arm: name of the arm in the study's protocol.
        seed: seed of weights, order, crops and masks.
        data_root: folder of the data set, as for ``load_dataset``.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        out: folder of evidence. This process itself writes the record there, so that a finished run is not lost if the
            caller has died. Until then a checkpoint, written after every epoch and on interruption, takes its place;
            the same call resumes from it and reaches the same numbers. None: nothing is written.

    Raises:
        ValueError: an unknown study, scale, arm or device, or a seed that is negative or not an integer.

    Warns:
        UserWarning: the checkpoint is from other code, settings, data or hardware, so the run starts over.
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
"""``load_dataset``, with the last two data sets kept in memory for further runs of the process."""


def first_losses(
    arms: Mapping[str, Arm], dataset: Dataset, *, device: str = "auto", threads: int = 2
) -> dict[str, list[float]]:
    """The loss of every minibatch, in nats, in one pass over the images with seed 0: arm -> losses.

    Args:
        arms: the arms to train, by name; their ``epochs`` and ``target_error`` are not used.
        dataset: training images, whose number determines that of the steps; all arms see the same minibatches.
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
        runs = {name: pool.submit(_losses, arm, dataset, device) for name, arm in arms.items()}
        return {name: run.result() for name, run in runs.items()}


def _losses(arm: Arm, dataset: Dataset, device: str) -> list[float]:
    device = _settled(device)
    model, _, batches = fresh(arm.run(dataset.name, seed=0), dataset, device)
    losses: list[Tensor | float] = []
    once = dataclasses.replace(arm.train, epochs=1, target_error=None)
    try:
        train(model, batches, once, on_step=lambda training: losses.append(training.loss))
    except TrainingError as error:
        losses.append(error.loss)
    return [float(loss) for loss in losses]


def _settled(device: str) -> str:
    """Resolves the device; for a CPU, makes the whole process use one thread and keep the memory that it frees."""
    device = resolve_device(device)
    if device == "cpu":
        torch.set_num_threads(1)
        keep_large_blocks()
    return device


def _planned(
    claim: str | Claim | Study, scale: str, seeds: int | Sequence[int] | None, arms: Sequence[str] | None,
    data_root: str | os.PathLike[str] | None, out: str | os.PathLike[str] | None, device: str | None = None,
) -> tuple[Study, list[tuple[str, int]], dict[tuple[str, int], Record], list[tuple[str, int]]]:  # fmt: skip
    """The study; the requested runs, seed by seed, without duplicates; the study's recorded runs; and what is left.

    A missing data set, or runs that could not be compared with the recorded ones, are one error here, not one per run.
    """
    study, needed = study_of(claim)
    if study is None:
        name = find(claim).id
        raise ValueError(f"{name} has no runs here; `alexnet-repro claims show {name}` says what it is")
    wanted = study.runs(scale, seeds, needed if arms is None else arms)
    protocol = study.protocol(scale)
    recorded = [] if out is None else load_evidence(study, scale, out)
    done = {(record.arm, record.seed): record for record in recorded}
    todo = [run for run in wanted if run not in done]
    load = partial(load_dataset, protocol.dataset, data_root, size=protocol.size)
    if todo and recorded:
        refuse_unlike(recorded, load, {seed for _, seed in todo}, device)
    elif protocol.dataset != "photos":  # always available, and made within seconds
        load()
    return study, wanted, done, todo


def _states(
    study: Study, scale: str, wanted: Sequence[tuple[str, int]], done: Container[tuple[str, int]], workers: int,
    out: str | os.PathLike[str] | None,
) -> States:  # fmt: skip
    left = [run for run in wanted if run not in done]
    states = dict.fromkeys(sorted(wanted, key=lambda run: run[1]), "recorded") | dict.fromkeys(left, "waiting")
    return states | {(arm, seed): _progress(study, scale, arm, seed, out) for arm, seed in left[:workers]}


def _progress(study: Study, scale: str, arm: str, seed: int, out: str | os.PathLike[str] | None) -> str:
    """The state of a run under way: how many epochs are finished if it has a checkpoint, else "running"."""
    path = None if out is None else Files.of_record(Path(out) / record_path(study.id, scale, arm, seed)).last
    if path is None:
        return "running"
    try:
        checkpoint = load_checkpoint(path, mmap=True)
    except CheckpointError:
        return "running"
    return f"{len(checkpoint['state']['training']['epochs'])} of {study.protocol(scale).arms[arm].train.epochs} epochs"
