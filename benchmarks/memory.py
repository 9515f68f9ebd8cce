"""Peak memory, each measured in a process of its own, and simple estimates of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import data
import network
import torch
import training

from alexnet_repro import AlexNet, InputConfig
from alexnet_repro.data import prepare
from alexnet_repro.data.folders import folder_source
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.data.parts import IMAGES_A_PART
from alexnet_repro.networks.build import Network
from alexnet_repro.support.threads import usable_cores
from alexnet_repro.training.evaluate import predict

MIB = 2**20
NUMBER = 4  # bytes of a float32
SIZE, FILES, EVALUATED = 256, 512, 64  # pixels, images, images
SMALL = 10_000  # images of 32 pixels


def numbers_of_step(model: Network, batch: int) -> int:
    return sum(3 * cost.parameters + batch * cost.activations for cost in model.costs())


def step() -> float:
    """Weights, gradients and velocities, and the outputs of all layers."""
    network.our_step()()
    return NUMBER * numbers_of_step(AlexNet(), network.BATCH)


def prepared(folder: Path) -> float:
    """A part's pixels for every thread, and all pixels, mapped for their checksum; not the memory for decoding."""
    with tempfile.TemporaryDirectory() as store:
        prepare(folder_source(folder), Path(store, "store"), size=SIZE, form="raw")
    return 3 * SIZE**2 * (usable_cores() * IMAGES_A_PART["raw"] + FILES)


def run() -> float:
    """The images, and the same as for a step, in every run of a sweep; not the layers' temporary memory."""
    training.our_epoch(SMALL)()
    return SMALL * 3 * 32**2 + NUMBER * numbers_of_step(training.network(), training.BATCH)


def evaluation() -> float:
    """The images, their views, weights, and the two largest outputs; not the workspace of convolutions."""
    images = torch.randint(0, 256, (EVALUATED, 3, SIZE, SIZE), dtype=torch.uint8)
    model = AlexNet()
    predict(model, images, InputTransform.fit(InputConfig(crop=224, views="ten"), images), batch_size=EVALUATED)
    costs = model.costs()
    largest = max(cost.activations for cost in costs)
    numbers = sum(cost.parameters for cost in costs) + EVALUATED * (10 * 3 * 224**2 + 2 * largest)
    return images.nbytes + NUMBER * numbers


def peak(work: Callable[..., float], *arguments: object) -> dict[str, Any]:
    """Peak memory of the work beyond that of a process with all imports, and its formula's estimate; Linux only."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    reckoned = work(*arguments)
    return {"measured MiB": resident("VmHWM") - before, "formula MiB": reckoned / MIB, "formula": work.__doc__}


def resident(line: str) -> float:
    """Memory of this process, MiB: VmRSS now, VmHWM at its peak."""
    (kilobytes,) = re.findall(rf"{line}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) / 1024


def figures() -> list[dict[str, Any]]:
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool,
        tempfile.TemporaryDirectory() as folder,
    ):
        data.make_images(Path(folder), FILES)
        cases = {
            f"training step of AlexNet, {network.BATCH} images": (step,),
            f"a run on {SMALL:,} images of 32 pixels, {training.NET}": (run,),
            f"prepare, {FILES:,} files, raw": (prepared, Path(folder)),
            f"evaluation of AlexNet, ten views of {EVALUATED} images": (evaluation,),
        }
        return [{"what": what} | pool.submit(peak, *case).result() for what, case in cases.items()]
