"""What a run tells while it goes on: plain functions for the callbacks of ``train``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from alexnet_repro.training import Training

LOOK_EVERY = 20  # steps after which a GPU is waited for to show its numbers


def progress_bar(shards: int = 1) -> tuple[Callable[[Training], None], Callable[[Training], None]]:
    """Functions for every step and every epoch: a bar an epoch, on a terminal only, and a line at its end.

    The bar shows epoch, images/s, mean loss and training error so far, and the time left in the epoch.

    Args:
        shards: processes that share a batch.
    """
    bars: list[tqdm] = []

    def on_step(training: Training) -> None:
        if not bars:
            total = round(len(training.batches.order) * training.batches.part)
            number = f"epoch {len(training.epochs) + 1}/{training.config.epochs}"
            bars.append(tqdm(desc=number, total=total, unit=" images", disable=None, leave=False))
            bars[0].initial = bars[0].n = 0
        if not bars[0].disable and (training.device.type == "cpu" or training.step % LOOK_EVERY == 0):
            wrong, loss, seen = training.tally.tolist()
            bars[0].set_postfix_str(f"loss {loss / seen:.3f}, error {wrong / seen:.1%}", refresh=False)
            bars[0].update(min(shards * seen, bars[0].total) - bars[0].n)

    def on_epoch(training: Training) -> None:
        while bars:
            bars.pop().close()
        tqdm.write(describe(training))

    return on_step, on_epoch


def describe(training: Training) -> str:
    """The last epoch in a line."""
    epoch = training.epochs[-1]
    text = (
        f"epoch {epoch.epoch}/{training.config.epochs}: rate {epoch.lr:.2g}, loss {epoch.train_loss:.4f}, "
        f"training error {epoch.train_error:.2%}"
    )
    if epoch.val is not None:
        text += f", validation error {epoch.val['top1_error']:.2%}"
    return f"{text}, {epoch.seconds:.0f} s"


def tensorboard(folder: Path) -> Callable[[Training], None]:
    """A function for every epoch that writes its numbers for TensorBoard.

    Its first call writes all epochs so far, in the place of what an interrupted run has written into the folder.

    Args:
        folder: where TensorBoard looks.

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
