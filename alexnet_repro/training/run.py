"""One run, from its configuration to its record; it can be interrupted at any step and resumes bit for bit."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

from alexnet_repro.data import Dataset, evaluation_split, load_dataset
from alexnet_repro.support.environment import environment
from alexnet_repro.support.files import remove_leftovers, write_atomically
from alexnet_repro.support.lock import locked
from alexnet_repro.support.values import as_json, check_positive, differences, digest
from alexnet_repro.training.checkpoint import CheckpointError, Files, Saved, identity, load_saved, save_checkpoint
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.diagnosis import TrainingError
from alexnet_repro.training.loop import Callback, History, check_callbacks, train
from alexnet_repro.training.measures import Measures
from alexnet_repro.training.parallel import Processes
from alexnet_repro.training.record import Record, finite, plain_epoch
from alexnet_repro.training.start import fresh
from alexnet_repro.training.state import Epoch, Training
from alexnet_repro.training.stop import stop_asked

AGREE_EVERY = 10  # steps between asking whether a process was told to stop, for which a GPU has to be waited for
LONGER = (
    ": a finished run gets no more epochs, for its schedule was made for those it had. In Python, "
    "train(..., resume=load_checkpoint('last.pt')['state']['training']) goes on from its weights with another one"
)


class Interrupted(Exception):  # noqa: N818, nothing is wrong
    """A run was asked to stop; its checkpoint is that of the step that the message names."""


def run(
    config: RunConfig,
    files: Files | str | os.PathLike[str] | None = None,
    *,
    study: Mapping[str, str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    processes: Processes | None = None,
    save_every: int | None = None,
    on_step: Sequence[Callback] = (),
    on_epoch: Sequence[Callback] = (),
    load: Callable[..., Dataset] = load_dataset,
) -> Record:
    """Trains and tests as the configuration says; resumes where an earlier call with the same files stopped.

    Args:
        config: the run.
        files: where its checkpoints and its record go, or the folder for all of them; None: nothing is written.
        study: for a run of a study, the fields ``study``, ``scale`` and ``arm`` of its record. Such a run never resumes
            with other code or on other hardware, but starts again; a loss that diverges is a result; and the
            checkpoint is removed once the record is written.
        data_root: folder of the data sets, as for ``load_dataset``.
        processes: this process among those of ``torchrun``; None: a single one, on the CPU.
        save_every: number of steps between checkpoints within an epoch; None: only at its end, around the validation.
        on_step, on_epoch: called with the ``Training`` after every step and every epoch.
        load: function that loads the data sets, called like ``load_dataset``.

    Raises:
        CheckpointError: the files are damaged or belong to another run; says what differs.
        BlockingIOError: another process is working on the run; says which.
        TrainingError: see ``train``. The last checkpoint is from before the error.
        Interrupted: by SIGINT or SIGTERM, at the end of a step, whose checkpoint was written.
        ValueError, OSError: the data set, the configuration or the files are at fault.

    Warns:
        UserWarning: the checkpoint of a study's run is of other code, settings, data or hardware; the run starts again.
    """
    if save_every is not None:
        check_positive("save_every", save_every)
    check_callbacks(True, on_step=on_step, on_epoch=on_epoch)
    training = load(config.dataset, data_root, "train", size=config.size)
    testing = _testing(config, data_root, load)
    going = _Run(config, Files.at(files), study, training, testing, processes or Processes("cpu"))
    with locked(going.lock):
        if (finished := going.finished()) is not None:
            return finished
        going.begin()
        record = going.record(going.train(save_every, on_step, on_epoch))
        if going.files.result is not None and going.here.rank == 0:
            record.write(going.files.result)
            if study is not None and going.files.last is not None:
                going.files.last.unlink(missing_ok=True)
    return record


class _Run:
    """A run under way: its data sets, network, files and state. See ``run``."""

    def __init__(
        self, config: RunConfig, files: Files, study: Mapping[str, str] | None, training: Dataset,
        testing: Dataset | None, here: Processes,
    ) -> None:  # fmt: skip
        self.config, self.files, self.study, self.here = config, files, study, here
        self.training, self.testing = training, testing
        self.start, self.started = perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
        self.validated = testing is not None and testing.split == "val"
        self.best = float("inf")
        _check(config, self.training, self.validated)

    @cached_property
    def what(self) -> dict[str, Any]:
        """Everything that determines the run's numbers; for a study's run, the code and the hardware too."""
        splits = [self.training] if self.testing is None else [self.training, self.testing]
        what = as_json(self.config) | {"data": {dataset.split: dataset.fingerprint for dataset in splits}}
        return what if self.study is None else what | {"environment": self.environment}

    @cached_property
    def environment(self) -> dict[str, Any]:
        return environment(self.here.device)

    @property
    def lock(self) -> Path | None:
        """The file that the first process locks, unless nothing is left to do."""
        done = self.files.result is not None and self.files.result.exists()
        return None if done or self.here.rank else self.files.lock

    def finished(self) -> Record | None:
        """The record, if the run is finished already; refuses the record of another run."""
        path = self.files.result
        there = path is not None and path.exists()
        self.agree("records", path, int(there), "that of a finished run" if there else "none")
        if path is None or not there:
            return None
        record = Record.load(path)
        what = {name: value for name, value in self.what.items() if name != "environment"}
        if changed := differences(identity(record.config | {"data": record.data}), identity(what)):
            longer = LONGER if any(change.startswith("train.epochs ") for change in changed) else ""
            raise CheckpointError(f"{path} is of another run: {'; '.join(changed)}. Choose another folder{longer}")
        return record

    def begin(self) -> None:
        """Makes the network and its batches, and reads the checkpoint, if there is one."""
        here = self.here
        self.network, self.transform, self.batches = fresh(
            self.config, self.training, here.device, here.shard, here.shards
        )
        self.model = here.spread(self.network, self.batches)
        self.measures = Measures(
            self.config, self.network, self.model, self.transform, self.training, self.testing, here
        )
        self.resumed = self._checkpoint()
        step = -1 if self.resumed is None else self.resumed.training["counts"]["step"]
        self.agree("checkpoints", self.files.last, step, "none" if step < 0 else f"that of step {step:,}")
        if self.resumed is not None:
            self.best, self.start = self.resumed.best, self.start - self.resumed.seconds
            self.started = self.resumed.started
        if here.rank == 0:
            for path in self.files.kept:
                remove_leftovers(path)
            if self.files.config is not None:
                write_atomically(self.files.config, json.dumps(self.what, indent=1) + "\n")

    def agree(self, what: str, path: Path | None, number: int, found: str) -> None:
        """Raises ``CheckpointError`` unless all processes have the same number for what they have found in a file."""
        if len(set(self.here.extremes(number))) > 1:
            raise CheckpointError(
                f"processes found different {what} in {path}, this one {found}: all must see one folder"
            )

    def _checkpoint(self) -> Saved | None:
        path = self.files.last
        if path is None or not path.exists():
            return None
        try:
            return load_saved(path, self.what, self.training.classes)
        except CheckpointError as error:
            if self.study is None:
                raise
            warnings.warn(f"{path.stem} begins again: {error}", stacklevel=4)
            return None

    def train(self, save_every: int | None, on_step: Sequence[Callback], on_epoch: Sequence[Callback]) -> History:
        """Trains to the end, or until a signal asks it to stop."""
        with stop_asked(once=self.here.mesh is None) as stop:

            def step_over(training: Training) -> None:
                self.forget()
                for callback in on_step:
                    callback(training)
                if self.all_stop(training, bool(stop)):
                    self.save(training, self.files.last)
                    self.here.extremes(0)  # waits: if a process ended now, torchrun would kill the one that writes
                    raise Interrupted(f"stopped after step {training.step:,}")
                over = self.validated and self.batches.state_dict()["given"] == len(self.batches)
                if over or (save_every is not None and training.step % save_every == 0):
                    self.save(training, self.files.last)  # a scheduler may not wait for the end of the validation

            def epoch_over(training: Training) -> None:
                self.save_epoch(training)
                for callback in on_epoch:
                    callback(training)

            try:
                history = train(
                    self.model,
                    self.batches,
                    self.config.train,
                    validate=self.measures.validate if self.validated else None,
                    on_step=step_over,
                    on_epoch=epoch_over,
                    resume=None if self.resumed is None else self.resumed.training,
                )
            except CheckpointError as error:
                raise CheckpointError(f"{self.files.last}: {error}") from error
            except TrainingError as error:
                if self.study is None or error.history is None:
                    raise
                history = error.history
            else:
                if self.here.extremes(int(bool(stop)))[1]:
                    raise Interrupted("stopped after the last epoch, before the evaluation")
        self.log(history.epochs)  # it may have been killed between the last checkpoint and its line
        return history

    def forget(self) -> None:
        """Empties the checkpoint that the run resumed from, so that no reference to it keeps its tensors in memory."""
        if self.resumed is not None:
            self.resumed.training.clear()
            self.resumed = None

    def all_stop(self, training: Training, asked: bool) -> bool:
        """Whether any process was asked to stop; then all stop, after the same step."""
        every = 1 if training.device.type == "cpu" or self.here.mesh is None else AGREE_EVERY
        return bool(training.step % every == 0 and self.here.extremes(int(asked))[1])

    def save(self, training: Training, *paths: Path | None) -> None:
        """Writes checkpoints, each whole or not at all; all processes must call it together."""
        if not any(paths):
            return
        state = {"training": training.state_dict(), "input": self.transform.state_dict(), "best": self.best}
        state |= {"seconds": perf_counter() - self.start, "started": self.started}
        state["classes"] = list(self.training.classes)
        for path in paths:
            if path is not None and self.here.rank == 0:
                save_checkpoint(path, self.what, state)

    def save_epoch(self, training: Training) -> None:
        """Writes the checkpoints and the log after an epoch."""
        val = training.epochs[-1].val
        error = math.inf if val is None else val["top1_error"]
        better, self.best = error < self.best, min(self.best, error)
        self.save(training, *([self.files.best] if better else []), self.files.last)
        self.log(training.epochs)

    def log(self, epochs: Sequence[Epoch]) -> None:
        """Writes the log, one line per epoch."""
        if self.files.log is not None and self.here.rank == 0:
            write_atomically(self.files.log, "".join(f"{json.dumps(plain_epoch(epoch))}\n" for epoch in epochs))

    def record(self, history: History) -> Record:
        """Evaluates the network and makes the record of the run."""
        config = as_json(self.config)
        final = finite(self.measures.final(history))
        return Record(
            **(self.study or {}),
            seed=self.config.seed,
            config=config,
            config_hash=digest(config),
            data=self.what["data"],
            environment=self.environment,
            started=self.started,
            seconds=round(perf_counter() - self.start, 1),
            ended=history.ended,
            epochs=[plain_epoch(epoch) for epoch in history.epochs],
            final=final,
            mistakes=self.measures.mistakes,
        )


def _testing(config: RunConfig, data_root: object, load: Callable[..., Dataset]) -> Dataset | None:
    """The evaluation images: the validation split, or else the test split; None if there is neither."""
    for split in dict.fromkeys((evaluation_split(config.dataset), "test")):
        try:
            return load(config.dataset, data_root, split, size=config.size)
        except FileNotFoundError:
            continue
    return None


def _check(config: RunConfig, training: Dataset, validated: bool) -> None:
    """Raises ``ValueError`` if the configuration does not fit the data."""
    classes = len(training.classes)
    if config.net.num_classes != classes:
        raise ValueError(f"net.num_classes is {config.net.num_classes}, but {config.dataset} has {classes} classes")
    if not validated and config.train.needs_validation():
        raise ValueError(
            f"{config.dataset} has no validation images, at whose errors {config.train.schedule} looks: "
            "give them, or a schedule of another kind, e.g. train.schedule=null and train.lr_drops=[8]"
        )
