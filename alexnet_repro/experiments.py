"""Running a claim: arms x seeds, each an independent run, each a record; here or on a cluster."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet_repro.allocator import keep_large_blocks
from alexnet_repro.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from alexnet_repro.claims import Claim, find, study_of
from alexnet_repro.data import Dataset, held_out, load_dataset
from alexnet_repro.diagnosis import TrainingError
from alexnet_repro.environment import environment, resolve_device
from alexnet_repro.evaluate import evaluate
from alexnet_repro.evidence import CHECKPOINT, Record, arm_config, epochs_to_target, load_evidence, record_path
from alexnet_repro.files import remove_leftovers
from alexnet_repro.filters import tower_color
from alexnet_repro.nets import neuron_slopes
from alexnet_repro.processes import spawned
from alexnet_repro.runs import fresh
from alexnet_repro.studies import STUDIES, Arm, Study
from alexnet_repro.train import History, train
from alexnet_repro.training import Epoch, Training
from alexnet_repro.values import digest

SLOPE_IMAGES = 500  # test pictures over which the neurons' slopes are averaged after training


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
    out: str | os.PathLike[str] | None = None,
    on_record: Callable[[Record], None] = lambda record: None,
    on_change: Callable[[States], None] = lambda states: None,
) -> list[Record]:
    """Runs every arm with every seed and returns the records, by arm and seed.

    On a CPU each run has one thread and a process of its own, ``threads`` of them at a time: two such runs use two
    cores better than one run with two threads, and a run's numbers do not depend on how many there are.

    Args:
        claim: a claim or a study, or the id of one.
        scale: "smoke", "laptop" or "paper".
        seeds: how many, from the study's first one on (mostly 0), or which; None: as many as its protocol says.
        arms: which of the study's; None: those that the claim needs, of a study all.
        data_root: folder of the data set, as for ``load_dataset``.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", ...
        threads: runs at a time on a CPU.
        out: folder of evidence; each record is written as its run ends, and runs whose record is there already are
            not run again; one that was interrupted goes on after its last whole epoch, as ``run_one`` says. None:
            nothing is written, everything is run.
        on_record: called as each run ends.
        on_change: called with the state of every run at the beginning, as each ends, and every few seconds:
            "waiting", "running", with ``out`` "7 of 60 epochs" after the first one, and "recorded".

    Raises:
        ValueError: an unknown id, scale, arm or device, a claim that has no runs, or no seeds.
        DatasetNotFoundError: before anything is run.

    Example:
        >>> from alexnet_repro import run_claim
        >>> run_claim("relu", "smoke", seeds=1, arms=["relu", "gelu"])
        Traceback (most recent call last):
        ValueError: arms of relu are tanh, relu, not gelu
    """
    study, wanted = _planned(claim, scale, seeds, arms)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    device = resolve_device(device)
    done, todo = _missing(study, scale, wanted, data_root, out)
    workers = min(threads if device == "cpu" else 1, len(todo)) or 1
    with spawned(workers) as pool:
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
    return [done[run] for run in sorted(wanted, key=lambda run: order.index(run[0]))]


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
        logs: folder for what the tasks print.
        cluster: submitit's name for it: "slurm", or "local" for processes of this machine.
        options: of the cluster, as submitit's executors take them: ``{"slurm_partition": "gpu", "timeout_min": 600}``.

    Returns: submitit's jobs, in the order of the runs; none where everything is recorded.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        ValueError, DatasetNotFoundError: as ``run_claim``.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise ModuleNotFoundError("a cluster needs submitit: pip install 'alexnet_repro[slurm]'") from None
    study, wanted = _planned(claim, scale, seeds, arms)
    _, todo = _missing(study, scale, wanted, data_root, out)
    if not todo:
        return []
    executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
    executor.update_parameters(name=f"alexnet-{find(claim).id}", **(options or {}))
    tasks = [(study, scale, arm, seed, data_root, device, out) for arm, seed in todo]
    return executor.map_array(run_one, *zip(*tasks, strict=True))


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
        scale: "smoke", "laptop" or "paper".
        arm: its name in the study's protocol.
        seed: of weights, order, crops and masks.
        data_root: folder of the data set, as for ``load_dataset``.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        out: folder of evidence. The record is written there where it was made: nothing that is finished can be lost
            with who asked. Until then a checkpoint lies in its place after every epoch, with which the same call goes
            on to the same numbers. None: nothing is written.

    Warns:
        UserWarning: the checkpoint is of other code, settings, data or hardware; the run begins again.
    """
    study = STUDIES[study] if isinstance(study, str) else study
    protocol = study.protocol(scale)
    device = resolve_device(device)
    _settle(device)
    config = arm_config(protocol, arm)
    testing = held_out(protocol.dataset)
    splits = {split: _dataset(protocol.dataset, data_root, split, protocol.size) for split in ("train", testing)}
    what = {
        "study": study.id,
        "scale": scale,
        "arm": arm,
        "seed": seed,
        "config": config,
        "config_hash": digest(config),
        "data": {split: dataset.fingerprint for split, dataset in splits.items()},
        "environment": environment(device),
    }
    unfinished = Unfinished(what, None if out is None else Path(out))
    history, final = _train_and_test(protocol.arms[arm], splits["train"], splits[testing], seed, device, unfinished)
    record = Record(
        **what,
        seconds=round(unfinished.seconds(), 1),
        ended=history.ended,
        epochs=[_finite(_recorded(epoch)) for epoch in history.epochs],
        final=_finite(final),
    )
    if out is not None:
        record.save(Path(out))
    unfinished.remove()
    return record


class Unfinished:
    """A run that has no record yet: how long it took so far, and its checkpoint if it has a folder for one.

    Args:
        what: of its record all that is known before it is run.
        folder: of evidence, or None.
    """

    def __init__(self, what: Mapping[str, Any], folder: Path | None) -> None:
        self.what, self.start, self.training = what, perf_counter(), None
        self.path = None
        if folder is None:
            return
        self.path = _checkpoint_path(folder, what["study"], what["scale"], what["arm"], what["seed"])
        for path in (self.path, self.path.with_suffix(".json")):
            remove_leftovers(path)
        if self.path.exists():
            try:
                state = load_checkpoint(self.path, what)["state"]
            except CheckpointError as error:
                warnings.warn(f"{self.path.stem} begins again: {error}", stacklevel=2)
            else:
                self.training, self.start = state["training"], self.start - state["seconds"]

    def seconds(self) -> float:
        """Spent on it, in all."""
        return perf_counter() - self.start

    def keep(self, training: Training) -> None:
        """Writes the checkpoint, after an epoch."""
        if self.path is not None:
            save_checkpoint(self.path, self.what, {"training": training.state_dict(), "seconds": self.seconds()})

    def remove(self) -> None:
        """The record is written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def first_losses(
    arms: Mapping[str, Arm], pictures: Dataset, *, seed: int = 0, device: str = "auto", threads: int = 2
) -> dict[str, list[float]]:
    """The loss of every minibatch, nats, in one pass over the pictures from fresh weights: arm -> losses.

    Args:
        arms: what to train; their ``epochs`` and ``target_error`` are not used.
        pictures: as many as the steps take; all arms see the same minibatches.
        seed: of weights and minibatches.
        device, threads: as for ``run_claim``.

    Example:
        >>> from alexnet_repro import Arm, InputConfig, NetConfig, TrainConfig, first_losses, load_dataset
        >>> arm = Arm(
        ...     net=NetConfig.preset("cifar-19pct"),
        ...     input=InputConfig(batch_size=250),
        ...     train=TrainConfig(epochs=1, lr=0.001),
        ... )
        >>> losses = first_losses({"relu": arm}, load_dataset("photos", split="test"), device="cpu", threads=1)
        >>> [f"{loss:.1f}" for loss in losses["relu"]]
        ['2.3', '2.3']
    """
    device = resolve_device(device)
    with spawned(threads if device == "cpu" else 1) as pool:
        runs = {name: pool.submit(_losses, arm, pictures, seed, device) for name, arm in arms.items()}
        return {name: run.result() for name, run in runs.items()}


def _losses(arm: Arm, pictures: Dataset, seed: int, device: str) -> list[float]:
    _settle(device)
    model, _, batches = fresh(arm, pictures, seed, device)
    losses: list[Tensor] = []
    once = dataclasses.replace(arm.train, epochs=1, target_error=None)
    try:
        train(model, batches, once, on_step=lambda training: losses.append(training.loss))
    except TrainingError as error:
        losses.append(torch.tensor(error.loss))
    return torch.stack(losses).tolist()


def _settle(device: str) -> None:
    """On a CPU one thread, and memory that is kept: for the whole process."""
    if device == "cpu":
        torch.set_num_threads(1)
        keep_large_blocks()


def _train_and_test(
    arm: Arm, training: Dataset, testing: Dataset, seed: int, device: str, unfinished: Unfinished
) -> tuple[History, dict[str, float | None]]:
    model, transform, batches = fresh(arm, training, seed, device)
    centre = transform.viewed("centre")

    def validate() -> dict[str, float]:
        return evaluate(model, testing.images, testing.labels, centre)

    try:
        history = train(
            model,
            batches,
            arm.train,
            validate=validate if testing.split == "val" else None,
            on_epoch=unfinished.keep,
            resume=unfinished.training,
        )
    except TrainingError as error:
        history = error.history
    errors = [epoch.train_error for epoch in history.epochs]
    final: dict[str, float | None] = {"train_error": errors[-1]}
    if arm.train.target_error is not None:
        chance = 1 - 1 / arm.net.num_classes
        final["epochs_to_target"] = epochs_to_target(errors, arm.train.target_error, chance)
    if history.ended != "diverged":
        final |= evaluate(model, testing.images, testing.labels, transform)
        if arm.input.crop is not None:  # else the views are one, and the last training error is of the same pictures
            final["centre_error"] = (history.epochs[-1].val or validate())["top1_error"]
            final["fitted_error"] = evaluate(model, training.images, training.labels, centre)["top1_error"]
        if arm.net.towers == 2:
            final |= tower_color(model.get_submodule("conv1").weight)
        sample = transform.views(testing.images[:SLOPE_IMAGES].to(device))[0]
        final |= {f"slope_{layer}": slope for layer, slope in neuron_slopes(model, sample).items()}
    return history, final


def _planned(
    claim: str | Claim | Study, scale: str, seeds: int | Sequence[int] | None, arms: Sequence[str] | None
) -> tuple[Study, list[tuple[str, int]]]:
    """The study and its runs that were asked for, seed by seed, each once."""
    study, needed = study_of(claim)
    if study is None:
        name = find(claim).id
        raise ValueError(f"{name} has no runs here; `alexnet-repro claims show {name}` says what it is")
    protocol = study.protocol(scale)
    chosen = tuple(arms or needed or protocol.arms)
    if unknown := set(chosen) - set(protocol.arms):
        raise ValueError(f"arms of {study.id} are {', '.join(protocol.arms)}, not {', '.join(sorted(unknown))}")
    numbers = protocol.seeds if seeds is None else seeds
    first = protocol.first_seed
    numbers = tuple(range(first, first + numbers)) if isinstance(numbers, int) else tuple(numbers)
    if not numbers or min(numbers) < 0:
        raise ValueError(f"seeds must be a number of at least 1 or a list of numbers of at least 0, not {seeds!r}")
    return study, list(dict.fromkeys((arm, seed) for seed in numbers for arm in chosen))


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
        checkpoint = load_checkpoint(_checkpoint_path(Path(out), study.id, scale, arm, seed), mmap=True)
    except CheckpointError:
        return "running"
    return f"{len(checkpoint['state']['training']['epochs'])} of {study.protocol(scale).arms[arm].train.epochs} epochs"


def _checkpoint_path(out: Path, study: str, scale: str, arm: str, seed: int) -> Path:
    return (out / record_path(study, scale, arm, seed)).with_suffix(CHECKPOINT)


@lru_cache(maxsize=2)
def _dataset(name: str, root: str | os.PathLike[str] | None, split: str, size: int | None) -> Dataset:
    return load_dataset(name, root, split, size=size)


def _recorded(epoch: Epoch) -> dict[str, float]:
    """With the validation error, where there are validation pictures, in place of all that ``validate`` gave."""
    plain = {name: value for name, value in dataclasses.asdict(epoch).items() if name != "val"}
    return plain if epoch.val is None else plain | {"val_error": epoch.val["top1_error"]}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinities; what is not finite becomes None."""
    return {key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in values.items()}
