"""How wrong a network is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alexnet_repro.inputs import InputTransform


def top_k_error(scores: Tensor, labels: Tensor, k: int = 1) -> float:
    """The fraction of rows whose label is not among the k highest scores.

    Shape: scores (N, classes), labels (N,) int64.
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be between 1 and the {scores.shape[1]} classes, not {k}")
    hit = (scores.topk(k).indices == labels[:, None]).any(1)
    return 1.0 - hit.double().mean().item()


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, transform: InputTransform, batch_size: int = 250) -> Tensor:
    """Class probabilities, averaged over the views of each image.

    Source:  2012 code, LogregCostLayer (softmax outputs are averaged, not logits).

    Shape: images (N, 3, H, W) uint8 -> (N, classes) float32, on the model's device.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    probabilities = []
    for part in images.split(batch_size):
        views = transform.views(part.to(device))  # (views, n, 3, h, w)
        logits = torch.cat([model(inputs) for inputs in views.flatten(0, 1).split(batch_size)])
        probabilities.append(logits.unflatten(0, views.shape[:2]).softmax(-1).mean(0))
    model.train(was_training)
    return torch.cat(probabilities)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, transform: InputTransform) -> dict[str, float]:
    """``top1_error`` (fraction) and ``log_probability`` (mean, nats) of the view-averaged probabilities."""
    probabilities = predict(model, images, transform)
    labels = labels.to(probabilities.device)
    log_probability = probabilities.gather(1, labels[:, None]).double().log().mean().item()
    return {"top1_error": top_k_error(probabilities, labels), "log_probability": log_probability}
