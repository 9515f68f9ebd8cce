"""Progress reports of a run, as callbacks for ``train``; and the speed of training on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from tqdm import tqdm

from alexnet_repro.networks.build import build
from alexnet_repro.support.values import check_positive
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.loop import train
from alexnet_repro.training.state import Training

LOOK_EVERY = 20  # steps between updates of the bar on a GPU, which has to be waited for


def progress_bar(shards: int = 1) -> tuple[Callable[[Training], None], Callable[[Training], None]]:
    """Callbacks for every step and every epoch: one bar per epoch, on a terminal only, and a line at its end.

    The bar shows epoch, images/s, mean loss and training error so far, and the time left in the epoch.

    Args:
        shards: number of processes that share a batch.
    """
    bars: list[tqdm] = []
    before = 0  # images of the epoch, of all processes, that were trained on before the run was resumed

    def on_step(training: Training) -> None:
        nonlocal before
        if not bars:
            total = getattr(training.batches, "epoch_size", None)  # other batches may not know it
            number = f"epoch {len(training.epochs) + 1}/{training.config.epochs}"
            bars.append(tqdm(desc=number, total=total, unit=" images", disable=None, leave=False))
            if not bars[0].disable:  # a GPU has to be waited for
                before = int(training.tally[2]) - len(training.inputs)
                bars[0].initial = bars[0].n = bars[0].last_print_n = before
        if not bars[0].disable and (training.device.type == "cpu" or training.step % LOOK_EVERY == 0):
            wrong, loss, seen = training.tally.tolist()
            if seen:  # this process's part of a small minibatch may be empty
                bars[0].set_postfix_str(f"loss {loss / seen:.3f}, error {wrong / seen:.1%}", refresh=False)
            done = before + shards * (int(seen) - before)
            bars[0].update(min(done, bars[0].total or done) - bars[0].n)

    def on_epoch(training: Training) -> None:
        while bars:
            bars.pop().close()
        tqdm.write(describe(training))

    return on_step, on_epoch


def describe(training: Training) -> str:
    """The last epoch in one line."""
    epoch = training.epochs[-1]
    text = (
        f"epoch {epoch.epoch}/{training.config.epochs}: learning rate {epoch.lr:.2g}, loss {epoch.train_loss:.4f}, "
        f"training error {epoch.train_error:.2%}"
    )
    if epoch.val is not None and "top1_error" in epoch.val:
        text += f", validation error {epoch.val['top1_error']:.2%}"
    return f"{text}, {epoch.seconds:.0f} s"


def tensorboard(folder: Path) -> Callable[[Training], None]:
    """A callback for every epoch that writes the epoch's numbers for TensorBoard.

    Its first call writes all epochs so far, in place of what an interrupted run has written into the folder.

    Args:
        folder: the log directory for TensorBoard.

    Raises:
        ValueError: the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("--tensorboard needs its package: pip install 'alexnet_repro[tensorboard]'") from error
    writers: list[SummaryWriter] = []

    def on_epoch(training: Training) -> None:
        new = training.epochs[-1:] if writers else training.epochs
        if not writers:
            writers.append(SummaryWriter(str(folder), purge_step=1))
        for epoch in new:
            numbers = {"lr": epoch.lr, "train/error": epoch.train_error, "train/loss": epoch.train_loss}
            numbers |= {f"val/{name}": value for name, value in (epoch.val or {}).items()}
            for name, value in numbers.items():
                writers[0].add_scalar(name, value, epoch.epoch)
        writers[0].flush()

    return on_epoch


def step_speed(config: RunConfig, device: str, steps: int = 5) -> float:
    """Measures images per second over whole training steps: the median of several, after two for warming up.

    Args:
        config: the run; random images take the place of its data set.
        device: "cpu", "cuda", "cuda:1", ...
        steps: number of timed steps.

    Raises:
        ValueError: ``steps`` is not above 0.
    """
    check_positive("steps", steps)
    times: list[float] = []

    def on_step(training: Training) -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(perf_counter())

    generator = torch.Generator().manual_seed(0)
    shape = (config.input.batch_size, 3, config.net.image_size, config.net.image_size)
    inputs = 60 * torch.randn(shape, generator=generator, device="cpu")
    labels = torch.randint(config.net.num_classes, shape[:1], generator=generator, device="cpu")
    batches = [(inputs.to(device), labels.to(device))] * (steps + 2)
    model = build(config.net).to(device).to(memory_format=torch.channels_last)
    still = replace(config.train, epochs=1, lr=1e-9, schedule=None, stuck_after=None)
    train(model, batches, still, on_step=on_step)
    return config.input.batch_size / median(b - a for a, b in pairwise(times[1:]))
