"""Trained networks, loaded from the files of their runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_repro.data import KNOWN, load_dataset, size_of
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.data.moments import check_images
from alexnet_repro.data.store import file_sha256
from alexnet_repro.networks.build import Network, build
from alexnet_repro.networks.inspect import agreements
from alexnet_repro.support.environment import resolve_device
from alexnet_repro.support.values import typed
from alexnet_repro.training.checkpoint import (
    BEST,
    CHECKPOINT_SUFFIX,
    CONFIG,
    LAST,
    RESULT,
    CheckpointError,
    Saved,
    class_order,
    load_checkpoint,
    reading,
    save_checkpoint,
)
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.evaluate import predict
from alexnet_repro.training.record import Record, finite
from alexnet_repro.training.start import untrained


@dataclass(frozen=True)
class Trained:
    """A trained network with its configuration, input transform and class names."""

    file: Path  #: checkpoint of the network
    config: RunConfig  #: configuration of its run
    network: Network  #: on its device, in channels-last format, in eval mode
    transform: InputTransform  #: turns images into its inputs
    classes: tuple[str, ...] | None  #: names of the classes; None: the checkpoint has none

    @property
    def size(self) -> int:
        """Height and width of the images that the run stored, pixels; ``ValueError`` if its checkpoint doesn't say."""
        if (side := self._side()) is None:
            raise ValueError(
                f"{self.file} doesn't say how large its run's images were: load yours at that size yourself"
            )
        return side

    def _side(self) -> int | None:
        config, side = self.config, self.transform.mean.shape[-1]
        if side > 1:  # of a mean image
            return side
        if config.input.crop is None:
            return config.net.image_size
        if config.size is not None or config.dataset in KNOWN:
            return size_of(config.dataset, config.size)
        return None

    def predict(self, images: Tensor) -> Tensor:
        """The class probabilities of images, averaged over the run's evaluation views.

        Args:
            images: as large as the run's, like ``load_image(file, trained.size)[None]``.

        Shape: (N, 3, size, size) uint8 -> (N, classes) float32, on the network's device.

        Raises:
            ValueError: images of another kind or size.
        """
        check_images(images)
        side, (height, width) = self._side(), images.shape[2:]
        if side is not None and (height, width) != (side, side):
            raise ValueError(
                f"images must have {side}x{side} pixels, as in the run, not {height}x{width}: "
                f"load_image(file, {side}) makes them so"
            )
        with self.config.train.autocast(next(self.network.parameters()).device):
            probabilities, _ = predict(self.network, images, self.transform)
        return probabilities

    def order(self, classes: Sequence[str]) -> Tensor:
        """The index by which the network knows each of these classes; without names, their own indices.

        Raises:
            CheckpointError: the classes are not the network's; names those that differ.
        """
        if self.classes is not None:
            return class_order(self.file, self.classes, classes)
        if self.config.net.num_classes != len(classes):
            known = self.config.net.num_classes
            raise CheckpointError(f"{self.file} knows {known} classes, and there are {len(classes)}")
        return torch.arange(len(classes), device="cpu")


def load_trained(path: str | os.PathLike[str], device: str = "auto", best: bool = False) -> Trained:
    """Loads a trained network from a checkpoint, in eval mode, without its training set.

    Args:
        path: a checkpoint, or the folder of a run, whose last weights are loaded, as its record describes them.
        device: where the network goes; "auto": to a GPU, if there is one.
        best: from a folder, load the weights with the lowest validation error, which is then an optimistic estimate.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        ValueError: this machine has no such device.

    Example:
        >>> from alexnet_repro import load_dataset, load_trained
        >>> from alexnet_repro.claims.records import BOOK
        >>> trained = load_trained(BOOK / "checkpoints" / "run145-imagenette.pt", "cpu")
        >>> trained.config.net.name, trained.size, len(trained.classes)
        ('run145-small', 128, 10)
        >>> photos = load_dataset("photos", split="test", size=trained.size)
        >>> trained.predict(photos.images[:2]).shape
        torch.Size([2, 10])
    """
    device = resolve_device(device)
    file = checkpoint_file(Path(path), best)
    found = load_checkpoint(file)
    with reading(file):
        config, state = run_config(found["config"]), typed(Saved, found["state"])
        network = build(config.net)
        network.load_state_dict(state.training["model"])
        transform = InputTransform.from_state(config.input, state.input)
        if state.classes is not None and len(state.classes) != config.net.num_classes:
            raise ValueError(f"{len(state.classes)} names of {config.net.num_classes} classes")
    network, transform = network.to(device).to(memory_format=torch.channels_last).eval(), transform.to(device)
    return Trained(file, config, network, transform, None if state.classes is None else tuple(state.classes))


def export(path: str | os.PathLike[str], out: str | os.PathLike[str], best: bool = False) -> None:
    """Writes only what ``load_trained`` needs of a run, with the weights in half precision.

    Args:
        path, best: as for ``load_trained``.
        out: the file to write.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        ValueError: ``out`` is a checkpoint of a run, from which it could no longer resume.
    """
    path, out = Path(path), Path(out)
    folder = path if path.is_dir() else path.parent
    if out.resolve() in {(folder / name).resolve() for name in (LAST, BEST)}:
        raise ValueError(f"{out} is a checkpoint of the run itself, which could no longer resume: choose another file")
    load_trained(path, "cpu", best)  # raises if it could not be loaded
    found = load_checkpoint(checkpoint_file(path, best))
    state = found["state"]
    weights = {name: weight.half() for name, weight in state["training"]["model"].items()}
    kept = {name: state[name] for name in ("input", "classes") if name in state}
    save_checkpoint(out, found["config"], {"training": {"model": weights}} | kept)


def checkpoint_file(path: Path, best: bool = False) -> Path:
    """The path of a checkpoint itself, or of the last or best one in a run's folder."""
    if not path.is_dir():
        return path
    return path / (BEST if best else LAST)


def run_config(described: dict[str, Any]) -> RunConfig:
    """The ``RunConfig`` in a checkpoint's configuration, without data and environment; ``ValueError`` if it is none."""
    return RunConfig.from_json({k: v for k, v in described.items() if k not in ("data", "environment")})


def begun(folder: Path) -> RunConfig:
    """The configuration of a run that was begun in a folder, even if it has no checkpoint yet.

    Raises:
        CheckpointError: no run was begun there.
    """
    saved = (folder / LAST).exists() or not (folder / CONFIG).exists()
    file = folder / (LAST if saved else CONFIG)
    with reading(file):
        return run_config(load_checkpoint(file, mmap=True)["config"] if saved else json.loads(file.read_bytes()))


def record_similarity(
    folder: Path,
    exported: Path,
    data_root: str | Path | None = None,
    device: str = "cpu",
    dataset: str | None = None,
) -> Record:
    """Measures how often nearest neighbours in a network share a class, and writes the run's record with the result.

    The record gets ``agreements`` on the run's evaluation images, for pixels, the untrained network and the exported
    one; and the sha256 of the exported file, beside which it is written: ``net.json`` for ``net.pt``.

    Args:
        folder: folder of a finished run.
        exported: the file that ``export`` wrote from it.
        data_root: as for ``run``.
        device: where the networks go.
        dataset: name or path of the data set now; None: as in the run.

    Raises:
        CheckpointError: the run is not finished, a checkpoint is damaged, or the images or their classes differ.
        ValueError, OSError: the data set is at fault.
    """
    if not (folder / RESULT).is_file():
        raise CheckpointError(f"{folder} has no {RESULT}: name the folder of a finished run")
    record = Record.load(folder / RESULT)
    trained = load_trained(exported, device)
    config, name = trained.config, dataset or trained.config.dataset
    split = next((split for split in record.data if split != "train"), None)
    if split is None:
        raise CheckpointError(f"{folder} was tested on no images: {config.dataset} has neither val nor test")
    testing = load_dataset(name, data_root, split, size=config.size)
    if record.data[split]["sha256"] != testing.sha256:
        raise CheckpointError(f"{folder} was tested on other images than {name}, {split}, has now")
    trained.order(testing.classes)  # raises if they differ: neighbours' labels would say nothing
    central = trained.transform.viewed("centre")
    inputs = torch.cat([central.views(part.to(device))[0] for part in testing.images.split(250)])
    networks = {"untrained": untrained(config).to(device), "trained": trained.network}
    found = agreements(networks, inputs, testing.labels)
    final = record.final | finite({f"agreement_{space}": value for space, value in found.items()})
    record = replace(record, final=final, weights=file_sha256(exported))
    record.write(exported.with_name(exported.name.removesuffix(CHECKPOINT_SUFFIX) + ".json"))
    return record
