"""How wrong a network is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.support.table import Table
from alexnet_repro.training.state import summed

TOP = 5


def top_k_error(scores: Tensor, labels: Tensor, k: int = 1) -> float:
    """The fraction of rows whose label is not among the k highest scores.

    Args:
        scores: logits or probabilities.
        labels: the right classes.
        k: guesses that are allowed.

    Shape: scores (N, classes), labels (N,) int64.

    Raises:
        ValueError: k is not between 1 and the number of classes.

    Example:
        >>> import torch
        >>> from alexnet_repro import top_k_error
        >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
        >>> labels = torch.tensor([1, 1])
        >>> top_k_error(scores, labels), top_k_error(scores, labels, k=2)
        (0.5, 0.0)
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be between 1 and the {scores.shape[1]} classes, not {k}")
    hit = (scores.topk(k).indices == labels[:, None]).any(1)
    return 1.0 - hit.double().mean().item()


@torch.no_grad()
def predict(
    model: nn.Module, images: Tensor, transform: InputTransform, batch_size: int = 250, rows: range | None = None
) -> Tensor:
    """Class probabilities, averaged over the views of each image.

    Source:  2012 code, LogregCostLayer (softmax outputs are averaged, not logits).

    Args:
        model: logits from inputs; in training or not, and so it stays.
        images: stored images.
        transform: of images into inputs; its configuration says which views.
        batch_size: images, and then views, that are worked on at a time.
        rows: consecutive images that are looked at; None: all.

    Shape: images (N, 3, H, W) uint8 -> (N, classes) float32, on the model's device.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    probabilities = []
    rows = range(len(images)) if rows is None else rows
    for start in rows[::batch_size] or (rows.start,):  # so many are decoded at a time, where they are JPEG files
        part = images[start : min(start + batch_size, rows.stop)]
        views = transform.views(part.to(device))  # (views, n, 3, h, w)
        logits = torch.cat([model(inputs) for inputs in views.flatten(0, 1).split(batch_size)])
        probabilities.append(logits.unflatten(0, views.shape[:2]).softmax(-1).mean(0))
    model.train(was_training)
    return torch.cat(probabilities)


def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, transform: InputTransform, shard: int = 0, shards: int = 1
) -> dict[str, float]:
    """``errors`` of the view-averaged probabilities.

    Args:
        model, images, transform: as for ``predict``.
        labels: of the images.
        shard, shards: which part of the images is this process's, of how many; the errors are those of all.

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
    first, last = (len(images) * s // shards for s in (shard, shard + 1))
    return errors(predict(model, images, transform, rows=range(first, last)), labels[first:last])


def errors(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """``top1_error``, with more than five classes ``top5_error`` (fractions), and ``log_probability`` (mean, nats).

    In several processes each gives its part, and gets what holds of all.

    Args:
        probabilities: of the classes, e.g. from ``predict``.
        labels: the right classes.

    Shape: probabilities (N, classes), labels (N,) int64.
    """
    labels, n = labels.to(probabilities.device), len(labels)
    found = {"top1_error": top_k_error(probabilities, labels)}
    if probabilities.shape[1] > TOP:
        found["top5_error"] = top_k_error(probabilities, labels, TOP)
    found["log_probability"] = probabilities.gather(1, labels[:, None]).double().log().mean().item()
    *sums, images = summed(probabilities.new_tensor([*found.values(), 1.0], dtype=torch.float64) * n).tolist()
    return {name: total / images for name, total in zip(found, sums, strict=True)}


def ensemble(probabilities: Iterable[Tensor]) -> Tensor:
    """What several networks say together: the mean of their probabilities.

    Source:  Sec. 6, "averaging the predictions"; 2012 code, avg-test.py, there with weights.

    Args:
        probabilities: of each network for the same images.

    Shape: each (N, classes) -> the same.
    """
    return torch.stack(list(probabilities)).mean(0)


def class_table(probabilities: Tensor, labels: Tensor, classes: Sequence[str]) -> Table:
    """Per class its images, the error in percent, and what it is taken for most often when it is not recognized.

    Args:
        probabilities: of the classes, e.g. from ``predict``.
        labels: the right classes.
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
    """One line per image, in the data set's order: number, class, the five likeliest classes, their probabilities.

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
        writer.writerow([i, classes[int(labels[i])], *(classes[j] for j in indices), *(f"{v:.6g}" for v in values)])
    return out.getvalue()
