"""One training run from its configuration to its result, in a folder, where it can be interrupted at any step."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from alexnet_repro import recipes  # noqa: F401, fills the presets
from alexnet_repro.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from alexnet_repro.config import InputConfig, NetConfig, RunConfig, TrainConfig
from alexnet_repro.data import Batches, Dataset, held_out, load_dataset
from alexnet_repro.environment import environment
from alexnet_repro.evaluate import evaluate
from alexnet_repro.files import remove_leftovers, write_atomically
from alexnet_repro.inputs import InputTransform
from alexnet_repro.nets import Network, build
from alexnet_repro.parallel import Processes
from alexnet_repro.train import Callback, History, train
from alexnet_repro.training import Epoch, Training
from alexnet_repro.values import as_json, differences, read_sealed, write_sealed

LAST, BEST, CONFIG, LOG, RESULT = "last.pt", "best.pt", "config.json", "log.jsonl", "result.json"


class Recipe(Protocol):
    """What a run is made from: a ``RunConfig``, or an arm of a claim."""

    net: NetConfig
    input: InputConfig
    train: TrainConfig


class Interrupted(Exception):  # noqa: N818, nothing is wrong
    """A run was asked to stop; its checkpoint holds the step it names."""


def generator(seed: int, purpose: str) -> torch.Generator:
    """Independent generators for one seed; runs of the same seed start alike and see the same batches.

    Args:
        seed: of the run.
        purpose: "weights", "batches", or any other word of yours.
    """
    state = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def fresh(
    recipe: Recipe, training: Dataset, seed: int, device: str, shard: int = 0, shards: int = 1
) -> tuple[Network, InputTransform, Batches]:
    """What a run starts from: the network, the transform of its pictures, and its batches.

    Args:
        recipe: anything with the fields ``net``, ``input`` and ``train``, e.g. an ``Arm``.
        training: the training set.
        seed: of weights, order, crops and masks.
        device: where the network and the batches go.
        shard, shards: which part of every batch is this process's, of how many.

    Raises:
        ValueError: the network takes pictures of another size than the input makes.
    """
    side = recipe.input.crop or training.images.shape[-1]
    if recipe.net.image_size != side:
        raise ValueError(f"net.image_size is {recipe.net.image_size}, but the input makes pictures of {side} pixels")
    model = build(recipe.net, generator(seed, "weights")).to(device, memory_format=torch.channels_last)
    transform = InputTransform.fit(recipe.input, training.moments).to(torch.device(device))
    batches = Batches(training, transform, generator(seed, "batches"), device, rank=shard, ranks=shards)
    return model, transform, batches


def run(
    config: RunConfig,
    out: Path,
    *,
    data_root: str | Path | None = None,
    processes: Processes | None = None,
    save_every: int | None = None,
    on_step: Sequence[Callback] = (),
    on_epoch: Sequence[Callback] = (),
) -> History:
    """Trains and tests as the configuration says; goes on where an earlier call in the same folder stopped.

    The folder gets ``config.json`` at once; after every epoch ``last.pt``, where there are validation pictures
    ``best.pt``, and ``log.jsonl``, a line of JSON an epoch; and at the end ``result.json``.

    Args:
        config: the run.
        out: its folder.
        data_root: folder of the data sets, as for ``load_dataset``.
        processes: this process among those of ``torchrun``; None: alone, on the CPU.
        save_every: steps after which ``last.pt`` is written within an epoch too; None: only at their ends.
        on_step, on_epoch: called with the ``Training`` after every step and every epoch.

    Raises:
        CheckpointError: the folder holds another run; says what differs.
        TrainingError: see ``train``. The last checkpoint is the last good one.
        Interrupted: by SIGINT or SIGTERM, after the step under way; a checkpoint of it was written.
        ValueError, OSError: the data set, the configuration or the folder is at fault.
    """
    here = processes or Processes("cpu")
    training_set = load_dataset(config.dataset, data_root, "train", size=config.size)
    val_set = _split(config, data_root, "val") if held_out(config.dataset) == "val" else None
    if config.net.num_classes != len(training_set.classes):
        raise ValueError(
            f"net.num_classes is {config.net.num_classes}, but {config.dataset} has {len(training_set.classes)} classes"
        )
    if val_set is None and config.train.needs_validation():
        raise ValueError(
            f"{config.dataset} has no validation pictures, at whose errors {config.train.schedule} looks: "
            "give them, or a schedule of another kind, e.g. train.schedule=null and train.lr_drops=[8]"
        )
    described = as_json(config) | {"data": training_set.fingerprint}
    network, transform, batches = fresh(config, training_set, config.seed, here.device, here.shard, here.shards)
    model = here.spread(network, batches)
    start = load_checkpoint(out / LAST, described)["state"] if (out / LAST).exists() else None
    if here.rank == 0:
        for name in (LAST, BEST, CONFIG, LOG, RESULT):
            remove_leftovers(out / name)
        write_atomically(out / CONFIG, json.dumps(described, indent=1) + "\n")  # before anything takes time
    best = [float("inf")] if start is None else [start["best"]]

    def save(training: Training, *names: str) -> None:
        state = {"training": training.state_dict(), "input": transform.state_dict(), "best": best[0]}
        if here.rank == 0:
            for name in names:
                save_checkpoint(out / name, described, state)

    def error(dataset: Dataset, views: str) -> dict[str, float]:
        viewed = transform.viewed(views)
        return evaluate(model, dataset.images, dataset.labels, viewed, here.shard, here.shards)

    def epoch_over(training: Training) -> None:
        val = training.epochs[-1].val
        if val is not None and val["top1_error"] < best[0]:
            best[0] = val["top1_error"]
            save(training, BEST, LAST)
        else:
            save(training, LAST)
        if here.rank == 0:
            _write_log(out, training.epochs)
        _all(on_epoch, training)

    with _stop_asked() as stop:

        def step_over(training: Training) -> None:
            _all(on_step, training)
            if stop and here.mesh is None:
                save(training, LAST)
                raise Interrupted(f"stopped after step {training.step:,}")
            if save_every is not None and training.step % save_every == 0:
                save(training, LAST)

        history = train(
            model,
            batches,
            config.train,
            validate=None if val_set is None else lambda: error(val_set, "centre"),
            on_step=step_over,
            on_epoch=epoch_over,
            resume=None if start is None else start["training"],
        )
    final_set = val_set or _split(config, data_root, "test")
    final = {} if final_set is None else {"split": final_set.split, **error(final_set, config.input.views)}
    if here.rank == 0:
        _write_log(out, history.epochs)  # a kill may have come between the last checkpoint and its line
        result = {"config": described, "environment": environment(here.device), "ended": history.ended, "final": final}
        result |= {"epochs": [dataclasses.asdict(epoch) for epoch in history.epochs]}
        write_sealed(out / RESULT, result)
    return history


def load_result(path: Path, config: RunConfig | None = None) -> dict[str, Any]:
    """What a finished run wrote.

    Args:
        path: a ``result.json``, under whatever name.
        config: the run it must be of; None: any.

    Raises:
        CheckpointError: it is damaged, was changed by hand, or is another run's; says what differs.
    """
    try:
        result = read_sealed(path)
    except ValueError as error:
        raise CheckpointError(f"{error}. Restore it, or run it again.") from error
    if config is not None and (changed := differences(result["config"] | {"data": None}, as_json(config))):
        raise CheckpointError(f"{path} is stale: since it was recorded, {'; '.join(changed)}. Run it again.")
    return result


def load_run(path: Path, device: str) -> tuple[RunConfig, Network, InputTransform]:
    """The network of a checkpoint, and what makes pictures its inputs; needs no training set.

    Args:
        path: a checkpoint, or the folder of a run, whose ``best.pt`` is taken, or ``last.pt`` where there is none.
        device: where the network goes.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    found = load_checkpoint(_checkpoint(path))
    config, state = run_config(found["config"]), found["state"]
    network = build(config.net)
    network.load_state_dict(state["training"]["model"])
    transform = InputTransform.from_state(config.input, state["input"]).to(torch.device(device))
    return config, network.to(device, memory_format=torch.channels_last), transform


def export(path: Path, out: Path) -> None:
    """Writes what ``load_run`` needs of a run and nothing else, its weights in half precision: for passing on.

    Args:
        path: as for ``load_run``.
        out: the file.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    found = load_checkpoint(_checkpoint(path))
    weights = {name: weight.half() for name, weight in found["state"]["training"]["model"].items()}
    save_checkpoint(out, found["config"], {"training": {"model": weights}, "input": found["state"]["input"]})


def _checkpoint(path: Path) -> Path:
    """Of a run's folder the best checkpoint, or the last where there is no best."""
    if not path.is_dir():
        return path
    return path / (BEST if (path / BEST).exists() else LAST)


def run_config(described: dict[str, Any]) -> RunConfig:
    """The configuration of a checkpoint, whose data set's fingerprint is left out."""
    return RunConfig.from_json({name: value for name, value in described.items() if name != "data"})


def _split(config: RunConfig, data_root: str | Path | None, split: str) -> Dataset | None:
    """A split of the run's data set, or None if it has no such split."""
    try:
        return load_dataset(config.dataset, data_root, split, size=config.size)
    except FileNotFoundError:
        return None


def _write_log(out: Path, epochs: Sequence[Epoch]) -> None:
    write_atomically(out / LOG, "".join(f"{json.dumps(dataclasses.asdict(epoch))}\n" for epoch in epochs))


def _all(callbacks: Sequence[Callback], training: Training) -> None:
    for callback in callbacks:
        callback(training)


@contextmanager
def _stop_asked() -> Iterator[list[int]]:
    """A list that is empty until SIGINT or SIGTERM arrives; a second one has its usual effect."""
    asked: list[int] = []
    before = {}

    def remember(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, before[number])

    before.update({number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)})
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
