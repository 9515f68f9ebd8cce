"""A trained network, from the files that its run left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from alexnet_repro.data import load_dataset
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.data.store import file_sha256
from alexnet_repro.networks.build import Network, build
from alexnet_repro.networks.inspect import agreements
from alexnet_repro.training.checkpoint import BEST, LAST, RESULT, CheckpointError, load_checkpoint, save_checkpoint
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.record import Record
from alexnet_repro.training.start import untrained


def load_run(path: Path, device: str) -> tuple[RunConfig, Network, InputTransform]:
    """The network of a checkpoint, and what makes images its inputs; needs no training set.

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
    """The configuration of a checkpoint, without what else it follows from."""
    return RunConfig.from_json({k: v for k, v in described.items() if k not in ("data", "environment")})


def record_similarity(folder: Path, exported: Path, data_root: str | Path | None = None, device: str = "cpu") -> Record:
    """Measures whether what lies close together in a network is of one class, and writes the run's record with it.

    The record gets ``agreements`` in pixels, in the network before its first step and in the exported one, on the
    images that the run was tested on; and the sha256 of the exported file, beside which it is written (``.json``).

    Args:
        folder: of a finished run.
        exported: what ``export`` made of it.
        data_root, device: as for ``run``.

    Raises:
        CheckpointError: the run is not finished, a checkpoint is damaged, or the images are others.
        ValueError, OSError: the data set is at fault.
    """
    if not (folder / RESULT).is_file():
        raise CheckpointError(f"{folder} has no {RESULT}: name the folder of a finished run")
    record = Record.load(folder / RESULT)
    config, network, transform = load_run(exported, device)
    split = next((split for split in record.data if split != "train"), None)
    if split is None:
        raise CheckpointError(f"{folder} was tested on no images: {config.dataset} has neither val nor test")
    testing = load_dataset(config.dataset, data_root, split, size=config.size)
    if record.data[split] != testing.fingerprint:
        raise CheckpointError(f"{folder} saw other images than {config.dataset}, {split}, has now")
    central = transform.viewed("centre")
    inputs = torch.cat([central.views(part.to(device))[0] for part in testing.images.split(250)])
    networks = {"untrained": untrained(config).to(device), "trained": network}
    found = agreements(networks, inputs, testing.labels)
    final = record.final | {f"agreement_{space}": value for space, value in found.items()}
    record = replace(record, final=final, weights=file_sha256(exported))
    record.write(exported.with_suffix(".json"))
    return record
