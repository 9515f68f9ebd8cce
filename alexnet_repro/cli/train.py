"""The commands for training: ``alexnet-repro train``, ``resume``, ``evaluate``, ``predict``, ``export`` and others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
import typer

from alexnet_repro.cli.data import Root
from alexnet_repro.data import Dataset, DatasetNotFoundError, evaluation_split, load_dataset, load_image, peek
from alexnet_repro.data.config import InputConfig
from alexnet_repro.networks.build import build
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.networks.spec import NetConfig
from alexnet_repro.paper import IMAGENET_TRAINING_IMAGES
from alexnet_repro.support.environment import resolve_device
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.overrides import override
from alexnet_repro.training.checkpoint import BEST, CheckpointError, Files
from alexnet_repro.training.config import RunConfig, TrainConfig
from alexnet_repro.training.evaluate import TOP, class_table, errors, mean_log, predictions_csv
from alexnet_repro.training.evaluate import predict as probabilities_of
from alexnet_repro.training.loop import Callback
from alexnet_repro.training.parallel import Processes, processes
from alexnet_repro.training.progress import progress_bar, step_speed, tensorboard
from alexnet_repro.training.run import run
from alexnet_repro.training.trained import begun, checkpoint_file, load_trained, record_similarity
from alexnet_repro.training.trained import export as write_export

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Threads = Annotated[int | None, typer.Option(min=1, help="threads of this process on a CPU; default: all cores")]
Preset = Annotated[str, typer.Option(help="network, input and training of that name")]
Settings = Annotated[
    list[str],
    typer.Option("--set", help="set a field: train.lr=0.02, net.width=0.5, net.layers.conv1.channels=48; repeatable"),
]
SaveEvery = Annotated[
    int | None, typer.Option(min=1, help="also write a checkpoint within an epoch, after every so many steps")
]
Best = Annotated[bool, typer.Option("--best", help="for a folder, the weights with the lowest validation error")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="write the numbers for TensorBoard too")]
TowerProcesses = Annotated[
    bool, typer.Option("--tower-processes", help="under torchrun: one process per tower instead of one per network")
]


NETS = {"run145-2010": "run145", "cuda-convnet2": "paper"}  # presets without a network -> the preset to take it from


def choose(
    dataset: str, root: Path | None, preset: str, size: int | None, crop: int | None, seed: int | None,
    settings: list[str], epochs: int | None = None,
) -> RunConfig:  # fmt: skip
    """The run of a preset on a data set, with the data set's classes and image size, changed by the settings.

    If ``epochs`` is given, the preset's training is shortened to it first.
    """
    options = {"epochs": ("train.epochs", epochs), "seed": ("seed", seed), "size": ("size", size)}
    for option, (field, value) in options.items():
        if value is not None and any(setting.startswith(f"{field}=") for setting in settings):
            raise ValueError(f"--{option} {value} and --set {field}=... exclude each other")
    training = TrainConfig.preset(preset)
    inputs, net = InputConfig.preset(preset), NetConfig.preset(NETS.get(preset, preset))
    crop = inputs.crop if crop is None else crop
    classes, side = peek(dataset, root, size)
    net = replace(net, num_classes=len(classes), image_size=crop or side)
    config = RunConfig(
        dataset=dataset,
        size=size,
        seed=seed or 0,
        net=net,
        input=replace(inputs, crop=crop),
        train=training if epochs is None else training.shortened(epochs),
    )
    return override(config, *settings)


def train(
    dataset: Annotated[str, typer.Argument(help="a name from `data list`, or a folder of class folders or a store")],
    out: Annotated[Path, typer.Option(help="folder of the run; one that was interrupted is resumed")],
    preset: Preset = "paper",
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="in place of the preset's; its stages or drops move in proportion, before --set is applied",
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(help="stored images, pixels; default: the data set's")] = None,
    crop: Annotated[int | None, typer.Option(help="network's input, pixels; default: the preset's")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="seed of weights, order, crops and masks", show_default="0")
    ] = None,
    settings: Settings = [],  # noqa: B006
    root: Root = None,
    device: Device = "auto",
    threads: Threads = None,
    save_every: SaveEvery = None,
    with_tensorboard: TensorBoard = False,
    tower_processes: TowerProcesses = False,
) -> None:
    """Train a network; after an interruption, call it again: it resumes, and ends with the same weights."""
    config = choose(dataset, root, preset, size, crop, seed, settings, epochs)
    _run(config, out, root, device, threads, save_every, with_tensorboard, tower_processes)


def resume(
    out: Annotated[Path, typer.Argument(help="folder of a run that was interrupted")],
    dataset: Annotated[str | None, typer.Option(help="where its data set lies now, if it was moved")] = None,
    root: Root = None,
    device: Device = "auto",
    threads: Threads = None,
    save_every: SaveEvery = None,
    with_tensorboard: TensorBoard = False,
    tower_processes: TowerProcesses = False,
) -> None:
    """Resume a run from its last checkpoint, or start it if there is none, with its saved settings."""
    config = begun(out)
    try:
        peek(dataset or config.dataset, root, config.size)
    except (ValueError, DatasetNotFoundError) as error:
        raise CheckpointError(f"{error}. If the data set was moved, give its new path: --dataset PATH") from error
    config = replace(config, dataset=dataset or config.dataset)
    _run(config, out, root, device, threads, save_every, with_tensorboard, tower_processes)


def _run(
    config: RunConfig, out: Path, root: Path | None, device: str, threads: int | None, save_every: int | None,
    with_tensorboard: bool, tower_processes: bool,
) -> None:  # fmt: skip
    _use(threads)
    with processes(resolve_device(device), config.net.towers if tower_processes else 1) as here:
        on_step, on_epoch = _reports(here, out, with_tensorboard)
        record = run(
            config,
            Files.of_folder(out),
            data_root=root,
            processes=here,
            save_every=save_every,
            on_step=on_step,
            on_epoch=on_epoch,
        )
        if here.rank == 0:
            typer.echo(f"{len(record.epochs)} epochs, ended by {record.ended}: {out}")


def _reports(here: Processes, out: Path, with_tensorboard: bool) -> tuple[Sequence[Callback], Sequence[Callback]]:
    if here.rank:
        return (), ()
    on_step, on_epoch = progress_bar(here.shards)
    return (on_step,), (on_epoch, tensorboard(out / "tensorboard")) if with_tensorboard else (on_epoch,)


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs, or checkpoints; several are an ensemble")],
    dataset: Annotated[str | None, typer.Option(help="default: that of the first run")] = None,
    split: Annotated[str | None, typer.Option(help="default: val, or test if there is none")] = None,
    best: Best = False,
    views: Annotated[str | None, typer.Option(help="centre, ten or grid; default: as the run's input says")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="a table of the classes' errors")] = False,
    csv: Annotated[Path | None, typer.Option(help="write the predictions into this file")] = None,
    root: Root = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Errors of a trained network, or of several whose probabilities are averaged."""
    _use(threads)
    device = resolve_device(device)
    trained = [load_trained(path, device, best) for path in runs]
    name = dataset or trained[0].config.dataset
    splits = [split] if split else list(dict.fromkeys((evaluation_split(name), "test")))  # as in ``run``

    @cache
    def tests(size: int | None) -> Dataset:
        for one in splits[:-1]:
            with suppress(DatasetNotFoundError):
                return load_dataset(name, root, one, size=size)
        return load_dataset(name, root, splits[-1], size=size)

    probabilities, logs = [], []
    for network in trained:
        testing = tests(network.config.size)
        order = network.order(testing.classes)
        if network.classes is None:
            typer.echo(f"{network.file} keeps no names of classes: they are taken by their numbers", err=True)
        transform = network.transform
        if views is not None:
            if transform.config.crop is None:
                raise ValueError(f"{network.file} takes whole images, without crops: leave --views out")
            transform = transform.viewed(views)  # type: ignore[arg-type]  # it says what is allowed
        with network.config.train.autocast(device):  # as when the run's record was made
            found, right = probabilities_of(network.network, testing.images, transform, labels=order[testing.labels])
        probabilities.append(found[:, order.to(found.device)])
        logs.append(right)
        chosen = (
            f", chosen by its error on {evaluation_split(network.config.dataset)}" if network.file.name == BEST else ""
        )
        _print_errors(f"{network.file}{chosen}", errors(probabilities[-1], testing.labels, right))
    together = torch.stack(probabilities).mean(0)
    if len(runs) > 1:
        _print_errors(f"all {len(runs)} together", errors(together, testing.labels, mean_log(torch.stack(logs))))
    if per_class:
        typer.echo(class_table(together, testing.labels, testing.classes))
    if csv is not None:
        write_atomically(csv, predictions_csv(together, testing.labels, testing.classes))


def _print_errors(name: str, found: dict[str, float]) -> None:
    parts = [f"{key.removesuffix('_error')} error {value:.2%}" for key, value in found.items() if "error" in key]
    typer.echo(f"{name}: {', '.join(parts)}, log-probability {found['log_probability']:.4f}")


def predict(
    run: Annotated[Path, typer.Argument(help="folder of a run, or a checkpoint")],
    files: Annotated[list[Path], typer.Argument(help="image files")],
    best: Best = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """The likeliest classes of images of your own, with their probabilities."""
    _use(threads)
    trained = load_trained(run, resolve_device(device), best)
    names = trained.classes or range(trained.config.net.num_classes)
    for file in files:
        (probabilities,) = trained.predict(load_image(file, trained.size)[None])
        likeliest = probabilities.topk(min(TOP, len(names)))
        guesses = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        typer.echo(f"{file}: " + ", ".join(f"{names[index]} {value:.1%}" for index, value in guesses))


def export(
    run: Annotated[Path, typer.Argument(help="folder of a run, or a checkpoint")],
    out: Annotated[Path, typer.Argument(help="file to write")],
    likeness: Annotated[
        bool,
        typer.Option("--likeness", help="also write the run's record, with how often nearest neighbours share a class"),
    ] = False,
    best: Best = False,
    dataset: Annotated[
        str | None, typer.Option(help="with --likeness: where its data set lies, if it was moved")
    ] = None,
    root: Root = None,
    device: Device = "auto",
) -> None:
    """Write only a trained network, in half precision, to a file that you can share and that `evaluate` accepts."""
    if best and likeness:
        raise ValueError("--likeness adds to the run's record, which is of the last weights: leave out --best")
    write_export(run, out, best)
    typer.echo(f"{out}: {checkpoint_file(run, best)} in {out.stat().st_size / 1e6:.1f} MB")
    if likeness:
        final = record_similarity(run, out, root, resolve_device(device), dataset).final
        found = {name.removeprefix("agreement_"): value for name, value in final.items() if "agreement" in name}
        typer.echo("nearest neighbour of the same class: " + ", ".join(f"{k} {v:.1%}" for k, v in found.items()))


def summary(
    preset: Annotated[str, typer.Argument(help=f"one of {', '.join(PRESETS)}")] = "paper",
    settings: Settings = [],  # noqa: B006
) -> None:
    """Layers of a network with their output, parameters and multiply-adds."""
    own = [setting.removeprefix("net.") for setting in settings]  # the prefix is what the other commands need
    typer.echo(build(override(NetConfig.preset(NETS.get(preset, preset)), *own)).summary())


def bench(
    preset: Preset = "paper",
    settings: Settings = [],  # noqa: B006
    steps: Annotated[int, typer.Option(min=1, help="number of timed steps")] = 5,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Time training steps on random images, and say what ImageNet would take."""
    _use(threads)
    net, train_config = NetConfig.preset(NETS.get(preset, preset)), TrainConfig.preset(preset)
    config = RunConfig(dataset="random", net=net, input=InputConfig.preset(preset), train=train_config)
    config = override(config, *settings)
    speed = step_speed(config, resolve_device(device), steps)
    hours = IMAGENET_TRAINING_IMAGES * config.train.epochs / speed / 3600
    typer.echo(f"{speed:.1f} images/s; {config.train.epochs} epochs of ImageNet: {hours:,.1f} hours")


def _use(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
