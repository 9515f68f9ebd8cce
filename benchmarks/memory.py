"""Peak memory, each in a process of its own, and what it takes at least: the tensors that must be there."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import data
import network
import torch

from alexnet_repro import AlexNet, InputConfig
from alexnet_repro.data import prepare
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.data.parts import PART
from alexnet_repro.networks.build import Network
from alexnet_repro.training.evaluate import predict

MIB = 2**20
NUMBER = 4  # bytes of a float32
SIZE, FILES, EVALUATED = 256, 512, 64  # pixels, images, images


def numbers_of_step(model: Network, batch: int) -> int:
    return sum(3 * cost.parameters + batch * cost.activations for cost in model.costs())


def step() -> float:
    """Weights, gradients and velocities, and the outputs of all layers."""
    network.our_step()()
    return NUMBER * numbers_of_step(AlexNet(), network.BATCH)


def prepared() -> float:
    """What every thread has in hand: one part's pixels."""
    with tempfile.TemporaryDirectory() as root:
        data.make_images(Path(root, "images"), FILES)
        prepare(folder_source(Path(root, "images")), Path(root, "store"), size=SIZE, form="raw")
    return (os.cpu_count() or 1) * PART["raw"] * 3 * SIZE**2


def evaluation() -> float:
    """The images, their ten views, weights, and the two largest outputs of as many views as are worked on at a time."""
    images = torch.randint(0, 256, (EVALUATED, 3, SIZE, SIZE), dtype=torch.uint8)
    model = AlexNet()
    predict(model, images, InputTransform.fit(InputConfig(crop=224, views="ten"), images), EVALUATED)
    costs = model.costs()
    largest = max(cost.activations for cost in costs)
    numbers = sum(cost.parameters for cost in costs) + EVALUATED * (10 * 3 * 224**2 + 2 * largest)
    return images.nbytes + NUMBER * numbers


def peak(work: Callable[[], float]) -> dict[str, Any]:
    """What the work adds to a process that has imported everything, and what its formula says at least."""
    resident = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # noqa: E731
    before = resident()
    reckoned = work()
    return {"measured MiB": resident() - before, "formula MiB": reckoned / MIB, "formula": work.__doc__}


CASES = {
    f"training step of AlexNet, {network.BATCH} images": step,
    f"prepare, {FILES:,} files, raw": prepared,
    f"evaluation of AlexNet, ten views of {EVALUATED} images": evaluation,
}


def figures() -> list[dict[str, Any]]:
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return [{"what": what} | found for what, found in zip(CASES, pool.map(peak, CASES.values()), strict=True)]
