"""Errors and predictions of a network."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.data.moments import check_images
from alexnet_repro.networks.inspect import evaluating
from alexnet_repro.support.environment import send
from alexnet_repro.support.table import Table
from alexnet_repro.training.state import data_group, summed

TOP = 5


def top_k_error(scores: Tensor, labels: Tensor, k: int = 1) -> float:
    """The fraction of rows whose label is not among the k highest scores, or whose scores contain NaN.

    Args:
        scores: logits or probabilities.
        labels: the correct classes.
        k: number of guesses allowed.

    Shape: scores (N, classes), labels (N,) int64.

    Raises:
        ValueError: k is not between 1 and the number of classes, there are no rows, or not one label per row.

    Example:
        >>> import torch
        >>> from alexnet_repro import top_k_error
        >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
        >>> labels = torch.tensor([1, 1])
        >>> top_k_error(scores, labels), top_k_error(scores, labels, k=2)
        (0.5, 0.0)
    """
    if not len(scores):
        raise ValueError("an error needs at least one row, and there is none")
    return 1.0 - hits(scores, labels, k).double().mean().item()


def hits(scores: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Whether each row's label is among its k highest scores, (N,) bool; see ``top_k_error``."""
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        wrong = f"not {tuple(scores.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"scores have the shape (N, classes) and labels (N,), {wrong}")
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be between 1 and the {scores.shape[1]} classes, not {k}")
    return (scores.topk(k).indices == labels[:, None]).any(1) & ~scores.isnan().any(1)


@torch.no_grad()
def predict(
    model: nn.Module, images: Tensor, transform: InputTransform, *, labels: Tensor | None = None, batch_size: int = 250,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Class probabilities, averaged over the views of each image, and their logarithms for the correct classes.

    The logarithms are finite wherever the logits are.

    Source:  2012 code, LogregCostLayer (softmax outputs are averaged, not logits).

    Args:
        model: maps inputs to logits; is put into eval mode, and afterwards back into the modes that it had.
        images: stored images.
        transform: turns images into inputs; its configuration gives the views.
        labels: the correct classes; None: the second result is empty.
        batch_size: number of images, and then of views, processed at a time.
        rows: indices of the images to predict, (n,) int64; None: all.

    Shape: images (N, 3, H, W) uint8, labels (N,) int64 -> (n, classes) float32 and (n,) float64, for the n
        rows, on the model's device.

    Raises:
        ValueError: images or labels of another kind or shape, or a label that is not one of the model's outputs.
    """
    check_images(images)
    device = next(model.parameters()).device
    probabilities, logs = [], [torch.zeros(0, dtype=torch.float64, device=device)]
    rows = torch.arange(len(images), device="cpu") if rows is None else rows
    transform = transform.to(device) if hasattr(transform, "to") else transform
    with evaluating(model):
        for chosen in rows.split(batch_size):  # images on disk are read this many at a time
            views = transform.views(send(images[chosen], device))  # (views, n, 3, h, w)
            logits = torch.cat([model(inputs) for inputs in views.flatten(0, 1).split(batch_size)])
            logits = logits.unflatten(0, views.shape[:2])
            wide = torch.promote_types(logits.dtype, torch.float32)  # under autocast a CPU's softmax is in bfloat16
            probabilities.append(logits.softmax(-1, dtype=wide).mean(0))
            if labels is not None:
                _check_labels(labels, len(images), logits.shape[-1])
                right = send(labels[chosen], device)[None, :, None].expand(len(logits), -1, 1)
                logs.append(mean_log(logits.double().log_softmax(-1).gather(2, right)[..., 0]))
    return torch.cat(probabilities), torch.cat(logs)


def _check_labels(labels: Tensor, images: int, outputs: int) -> None:
    if not isinstance(labels, Tensor) or labels.shape != (images,) or labels.dtype != torch.int64:
        given = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"labels must be a tensor, ({images},) int64, one per image, not {given}")
    if wrong := labels[(labels < 0) | (labels >= outputs)].tolist():
        raise ValueError(f"labels must be from 0 to {outputs - 1}, numbers of the model's outputs, not {wrong[0]}")


def mean_log(logs: Tensor) -> Tensor:
    """The logarithm of the mean, over the first dimension, of the numbers whose logarithms are given."""
    return logs.logsumexp(0) - math.log(len(logs))


def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, transform: InputTransform, shard: int = 0, shards: int = 1,
    rows: Tensor | None = None,
) -> dict[str, float]:  # fmt: skip
    """The ``errors`` of a network, from class probabilities averaged over the views of each image.

    Args:
        model, images, transform, rows: as for ``predict``.
        labels: the correct classes of the images.
        shard, shards: this process evaluates part ``shard`` of ``shards``; the errors are those of all rows.

    Shape: images (N, 3, H, W) uint8, labels (N,) int64.

    Example:
        >>> from alexnet_repro import InputConfig, NetConfig, build, evaluate, load_dataset
        >>> from alexnet_repro.data.inputs import InputTransform
        >>> photos = load_dataset("photos", split="test")
        >>> net = build(NetConfig.preset("cifar-18pct"))  # untrained
        >>> transform = InputTransform.fit(InputConfig(), photos.images)
        >>> errors = evaluate(net, photos.images, photos.labels, transform)
        >>> sorted(errors), round(errors["top1_error"], 1)
        (['log_probability', 'top1_error', 'top5_error'], 0.9)
    """
    own = (torch.arange(len(images), device="cpu") if rows is None else rows).tensor_split(shards)[shard]
    probabilities, logs = predict(model, images, transform, labels=labels, rows=own)
    group = data_group(model) or dist.group.WORLD if shards > 1 else None
    return errors(probabilities, labels[own], logs, group)


def evenly_spaced(count: int, most: int) -> Tensor:
    """Evenly spaced indices of at most ``most`` of ``count`` images."""
    few = min(count, most)
    return torch.arange(few, device="cpu") * count // few


def errors(
    probabilities: Tensor, labels: Tensor, logs: Tensor, group: dist.ProcessGroup | None = None
) -> dict[str, float]:
    """``top1_error``, with more than five classes ``top5_error`` (fractions), and ``log_probability`` (mean, nats).

    Args:
        probabilities: of the classes, e.g. from ``predict``.
        labels: the correct classes.
        logs: logarithms of the correct classes' probabilities, e.g. from ``predict``.
        group: several processes, each of which passes its own part of the images, perhaps none, and gets the errors of
            all; None: this process has all images.

    Shape: probabilities (N, classes), labels (N,) int64, logs (N,).

    Raises:
        ValueError: there are no images in any process.
    """
    labels, n = labels.to(probabilities.device), len(labels)
    names = ["top1_error", *(["top5_error"] if probabilities.shape[1] > TOP else []), "log_probability"]
    means = [0.0] * len(names)
    if n:
        tops = [top_k_error(probabilities, labels, k) for k in (1, TOP)[: len(names) - 1]]
        means = [*tops, logs.double().mean().item()]
    *sums, images = summed(probabilities.new_tensor([*means, 1.0], dtype=torch.float64) * n, group).tolist()
    if not images:
        raise ValueError("there are no images to take errors of")
    return {name: total / images for name, total in zip(names, sums, strict=True)}


def class_table(probabilities: Tensor, labels: Tensor, classes: Sequence[str]) -> Table:
    """A table with each class's number of images, error in percent, and the class it is most often mistaken for.

    Args:
        probabilities: of the classes, e.g. from ``predict``.
        labels: the correct classes.
        classes: their names.

    Shape: probabilities (N, classes), labels (N,) int64.
    """
    guesses, rows = probabilities.argmax(1).cpu(), []
    labels = labels.cpu()
    for label, name in enumerate(classes):
        of_class = guesses[labels == label]
        wrong = of_class[of_class != label]
        error = f"{100 * len(wrong) / len(of_class):.1f}" if len(of_class) else "-"
        mistaken = classes[int(wrong.mode().values)] if len(wrong) else "-"
        rows.append([name, f"{len(of_class):,}", error, mistaken])
    return Table(["class", "images", "top-1 error, %", "most often taken for"], rows)


def predictions_csv(probabilities: Tensor, labels: Tensor, classes: Sequence[str]) -> str:
    """CSV with one line per image, in the data set's order: number, class, the five likeliest classes, probabilities.

    Probabilities that are not finite are left empty.

    Args:
        probabilities, labels, classes: as for ``class_table``.

    Shape: probabilities (N, classes), labels (N,) int64.
    """
    likeliest = probabilities.cpu().topk(min(TOP, len(classes)))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ranks = range(1, likeliest.values.shape[1] + 1)
    writer.writerow(["image", "class", *(f"guess{i}" for i in ranks), *(f"probability{i}" for i in ranks)])
    for i, (values, indices) in enumerate(zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)):
        numbers = (f"{v:.6g}" if math.isfinite(v) else "" for v in values)
        writer.writerow([i, classes[int(labels[i])], *(classes[j] for j in indices), *numbers])
    return out.getvalue()
