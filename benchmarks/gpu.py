"""Tests and speed on a GPU, in one file of JSON: ``make gpu``, at most six minutes.

Shares are relative to what this GPU reached in the same minutes: the bandwidth of a copy, or the rate of operations in
a product of large matrices. The file is rewritten after every section; a section that fails leaves its error there.
``--device cpu`` tries everything on a CPU, with tiny sizes; its numbers are meaningless.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any
from unittest.mock import patch

import torch
from data import random_dataset
from network import DECAY, torch_norm
from torch import nn

from alexnet_repro import Dataset, InputConfig, LocalResponseNorm, NetConfig, PCAColor, TrainConfig, build, train
from alexnet_repro.claims.studies import STUDIES
from alexnet_repro.data import Batches
from alexnet_repro.data import batches as batching
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.support.environment import clean_processes, environment, resolve_device
from alexnet_repro.support.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
MINUTES = 5.0  # after which no further measurement begins
TESTS = 200  # seconds that the tests may take
PRECISIONS = ("bfloat16", "float32")
LATE = {"left out": "for lack of time"}
SMALL = (("lrn-cifar", "paper", "with", 32), ("alexnet", "laptop", "run145", 128))  # study, scale, arm, pixels


@dataclass(frozen=True)
class Sizes:
    """The sizes and numbers of everything that is measured."""

    net: NetConfig
    small: NetConfig  # of the runs that share the GPU
    batches: tuple[int, ...] = (128, 1024)
    norms: tuple[tuple[int, ...], ...] = ((128, 96, 55, 55), (128, 256, 27, 27))  # inputs of run 145's LRN layers
    copied: int = 2**28  # float32 numbers
    matrix: int = 8192
    images: int = 4096
    stored: int = 256  # pixels
    steps: int = 15  # timed
    small_stored: int = 64
    runs: tuple[int, ...] = (1, 4, 8)  # at once
    seconds: float = 5.0  # for which they are timed


FULL = Sizes(NetConfig.preset("run145"), STUDIES["alexnet"].protocol("gpu").arms["run145"].net)
_SMALL = replace(FULL.net, width=1 / 16, image_size=67, num_classes=10)
TINY = Sizes(_SMALL, _SMALL, (8, 16), ((2, 12, 5, 5),), 2**16, 64, 64, 80, 3, 80, (1, 2), 0.5)


@dataclass(frozen=True)
class Bench:
    """The device, the sizes, and the results so far, by section."""

    device: torch.device
    sizes: Sizes
    measured: dict[str, Any]
    start: float  # perf_counter

    @property
    def late(self) -> bool:
        return perf_counter() - self.start > 60 * MINUTES

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], rounds: int = 5, calls: int = 4) -> float:
        """Seconds per call: the median over rounds, after a warm-up round."""
        times = []
        for _ in range(rounds + 1):
            self.wait()
            start = perf_counter()
            for _ in range(calls):
                work()
            self.wait()
            times.append((perf_counter() - start) / calls)
        return median(times[1:])

    def peak(self, work: Callable[[], Any]) -> tuple[Any, int | None]:
        """The result of a call, and its peak GPU memory in bytes, beyond what was allocated before; None on a CPU."""
        if self.device.type != "cuda":
            return work(), None
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        return work(), torch.cuda.max_memory_allocated(self.device) - before


# --- sections: each returns its measurements ------------------------------------------------------------------------


def machine(bench: Bench) -> dict[str, Any]:
    """The rates that the GPU can reach: bytes read and written by a copy, and operations of matrix products."""
    a, b = torch.rand(2, bench.sizes.copied, device=bench.device)
    rates = {"copy_bytes_per_s": 2 * a.nbytes / bench.seconds(lambda: b.copy_(a))}
    n = bench.sizes.matrix
    for precision in PRECISIONS:
        x, y = torch.randn(2, n, n, device=bench.device, dtype=getattr(torch, precision))
        rates[f"matrix_{precision}_flop_per_s"] = 2 * n**3 / bench.seconds(partial(torch.mm, x, y))
    return rates


def tests(bench: Bench) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", f"--junitxml={report}", "tests/gpu"]
        variables = os.environ | {"ALEXNET_REPRO_GPU": str(bench.device)}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=variables, timeout=TESTS, capture_output=True, text=True, check=False
            )
        except subprocess.TimeoutExpired as error:
            return {"failed": f"they took more than {TESTS} s", "output": (error.stdout or b"").decode()[-3000:]}
        print(done.stdout[-6000:], done.stderr[-1000:], sep="\n")
        cases = list(ET.parse(report).iter("testcase"))
    failed = {  # an error is one of a fixture, or of a module
        case.get("name"): part.get("message", "")[:1500]
        for case in cases
        for part in case
        if part.tag in ("failure", "error")
    }
    counts = {"run": len(cases), "failed": len(failed), "skipped": sum(c.find("skipped") is not None for c in cases)}
    slowest = sorted(cases, key=lambda case: -float(case.get("time")))[:5]
    return {
        "status": done.returncode,
        **counts,
        "failures": failed,
        "slowest_s": {case.get("name"): float(case.get("time")) for case in slowest},
    }


def norms(bench: Bench) -> dict[str, Any]:
    """Times forward and backward; the least memory traffic is the input twice, both gradients and the output."""
    made = {"torch": torch_norm, "ours": LocalResponseNorm}
    found: dict[str, Any] = {}
    for shape in bench.sizes.norms:
        for precision in PRECISIONS:
            for layout in ("contiguous_format", "channels_last"):
                a, grad = torch.randn(2, *shape, device=bench.device, dtype=getattr(torch, precision))
                a, grad = (x.to(memory_format=getattr(torch, layout)) for x in (30 * a, grad))
                a.requires_grad_()
                for name, make in made.items():
                    key = f"{name} {'x'.join(map(str, shape))} {precision} {layout}"
                    if bench.late:
                        found[key] = LATE
                        continue
                    work = partial(forward_and_backward, make(), a, grad)
                    try:
                        seconds = bench.seconds(work)
                    except NotImplementedError as error:  # torch's, in bfloat16 on a CPU
                        found[key] = {"error": str(error)}
                        continue
                    share = 5 * a.nbytes / seconds / bench.measured["machine"]["copy_bytes_per_s"]
                    found[key] = {"ms": 1e3 * seconds, "share_of_bandwidth": share, "peak_bytes": bench.peak(work)[1]}
    return found


def forward_and_backward(layer: nn.Module, a: torch.Tensor, grad: torch.Tensor) -> None:
    torch.autograd.grad(layer(a), a, grad)


def steps(bench: Bench) -> dict[str, Any]:
    """Whole training steps on one minibatch in the GPU's memory."""
    net = bench.sizes.net
    work = 6 * sum(cost.multiply_adds for cost in build(net).costs())  # operations per image; backward is twice forward
    found = {}
    for precision in PRECISIONS:
        for batch in bench.sizes.batches:
            if bench.late:
                found[f"{precision} {batch}"] = LATE
                continue
            inputs = 60 * torch.randn(batch, 3, net.image_size, net.image_size, device=bench.device)
            minibatch = inputs, torch.arange(batch, device=bench.device) % net.num_classes
            several = [minibatch] * (bench.sizes.steps + 5)
            speed, peak = bench.peak(partial(timed, bench, net, several, recipe(precision)))
            rate = bench.measured["machine"][f"matrix_{precision}_flop_per_s"]
            found[f"{precision} {batch}"] = {
                "images_per_s": speed, "share_of_matrix_rate": work * speed / rate, "peak_bytes": peak,
            }  # fmt: skip
    return found


def recipe(precision: str) -> TrainConfig:
    return TrainConfig(epochs=1, lr=1e-9, weight_decay=DECAY, precision=precision)


def timed(bench: Bench, net: NetConfig, batches: Any, config: TrainConfig) -> float:
    """Trains on every batch once; returns the images per second after the fifth step."""
    marks, seen, last = [], [0], len(batches)

    def on_step(training: Any) -> None:
        seen[0] += len(training.inputs)
        if training.step in (5, last):
            bench.wait()
            marks.append((seen[0], perf_counter()))

    train(build(net).to(bench.device, memory_format=torch.channels_last), batches, config, on_step=on_step)
    (images, start), (more, end) = marks
    return (more - images) / (end - start)


def small_steps(bench: Bench) -> dict[str, Any]:
    """Training steps of two studies' networks in float32, launched kernel by kernel and as one CUDA graph."""
    found = {}
    for study, scale, arm, side in SMALL:
        run = STUDIES[study].protocol(scale).arms[arm]
        dataset, transform = stored(run.net, bench.sizes.images, side)
        batches = Batches(dataset, transform, torch.Generator().manual_seed(0), bench.device)
        for name, graphs in (("kernel by kernel", "0"), ("as a graph", "1")):
            with patch.dict(os.environ, ALEXNET_REPRO_GRAPHS=graphs):
                speed = timed(bench, run.net, batches, replace(run.train, epochs=1, lr=1e-9, lr_drops=()))
            found[f"{study} {scale} {arm} {name}"] = {"images_per_s": speed}
    return found


def loader(bench: Bench) -> dict[str, Any]:
    """Crops, flips and colour noise of stored images, alone and together with the steps that use them."""
    sizes, found = bench.sizes, {}
    dataset, transform = stored(sizes.net, sizes.images, sizes.stored)
    for where, resident in (("images on the device", dataset.images.nbytes), ("images on the CPU", 0)):
        with patch.object(batching, "RESIDENT", resident):
            batches = Batches(dataset, transform, torch.Generator().manual_seed(0), bench.device)
        seconds = bench.seconds(lambda batches=batches: sum(len(labels) for _, labels in batches), 3, 1)
        found[where] = {"images_per_s": sizes.images / seconds}
        for precision in PRECISIONS:
            found[where][f"with_{precision}_steps_images_per_s"] = timed(bench, sizes.net, batches, recipe(precision))
    return found


def stored(net: NetConfig, count: int, side: int) -> tuple[Dataset, InputTransform]:
    """Random images, and the transform that makes run 145's inputs of them."""
    config = replace(InputConfig.preset("run145"), crop=net.image_size, batch_size=min(128, count // 8))
    transform = InputTransform(config, torch.full((3, side, side), 120.0), torch.ones(()), PCAColor.imagenet("run145"))
    return random_dataset(count, side, net.num_classes), transform


def sharing(bench: Bench) -> dict[str, Any]:
    """Simultaneous runs of study alexnet at scale gpu, a process each, in float32: images per second in total."""
    found = {}
    for count in bench.sizes.runs:
        with tempfile.TemporaryDirectory() as folder, clean_processes(count, "alexnet_repro.claims.sweep") as pool:
            runs = [pool.submit(one_of_several, str(bench.device), folder, count) for _ in range(count)]
            found[f"{count} runs"] = {"images_per_s": sum(run.result() for run in runs)}
    return found


class EnoughError(Exception):
    """The run was timed for long enough."""


def one_of_several(device: str, folder: str, count: int) -> float:
    """Images per second of one run while all of them train."""
    bench = Bench(torch.device(resolve_device(device)), TINY if device == "cpu" else FULL, {}, perf_counter())
    dataset, transform = stored(bench.sizes.small, 16 * bench.sizes.images, bench.sizes.small_stored)
    batches = Batches(dataset, transform, torch.Generator().manual_seed(0), bench.device)
    net = build(bench.sizes.small).to(bench.device, memory_format=torch.channels_last)
    begun: list[tuple[int, float]] = []

    def on_step(training: Any) -> None:
        if training.step == 5:
            bench.wait()
            Path(folder, str(os.getpid())).touch()
            while len(list(Path(folder).iterdir())) < count:  # until all have begun
                if perf_counter() - bench.start > 60:
                    raise TimeoutError("the other runs did not begin")
                sleep(0.01)
            begun.append((training.step, perf_counter()))
        if begun and training.step % 5 == 0 and perf_counter() - begun[0][1] > bench.sizes.seconds:
            bench.wait()
            begun.append((training.step, perf_counter()))
            raise EnoughError

    try:
        train(net, batches, replace(recipe("float32"), epochs=1000), on_step=on_step)
    except EnoughError:
        (first, start), (last, end) = begun
        return transform.config.batch_size * (last - first) / (end - start)


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "machine": machine,
    "tests": tests,
    "normalization": norms,
    "steps": steps,
    "small networks' steps": small_steps,
    "loader": loader,
    "runs at once": sharing,
}


def lines(values: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """``a: b: 3`` for every number in nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from lines(value, f"{before}{name}: ")
        else:
            yield f"{before}{name}: {value:,.4g}" if isinstance(value, float) else f"{before}{name}: {value}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...; cpu tries the script, with tiny sizes")
    parser.add_argument("--out", type=Path, help="folder of the file; default: benchmarks/results, of a trial runs")
    only = "sections after machine, measured anew in the file that there is"
    parser.add_argument("--only", nargs="*", choices=SECTIONS, help=only)
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        print("There is no GPU here; --device cpu tries this script on the CPU.", file=sys.stderr)
        return 2
    start, tried = perf_counter(), options.device == "cpu"
    device = torch.device(resolve_device(options.device))
    here = {"environment": environment(str(device)), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    name = "trial" if tried else re.sub(r"\W+", "-", here["environment"]["device"]).strip("-")
    file = (options.out or ROOT / ("runs" if tried else "benchmarks/results")) / f"gpu-{name}.json"
    kept = json.loads(file.read_text()) if options.only is not None and file.exists() else {}
    found: dict[str, Any] = kept | here
    bench, failed = Bench(device, TINY if tried else FULL, found, start), []
    for section, measure in SECTIONS.items():
        if section not in {"machine", *(SECTIONS if options.only is None else options.only)}:
            continue
        begun = perf_counter()
        try:
            found[section] = LATE if bench.late else measure(bench)
            failed += [section] * bool(found[section].get("failed"))
        except Exception as error:
            found[section] = {"error": "".join(traceback.format_exception(error))[-4000:]}
            failed.append(section)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # for simultaneous runs, in other processes
        print(*lines({section: found[section]}), f"{section}: {perf_counter() - begun:.0f} s\n", sep="\n", flush=True)
        found["seconds"] = round(perf_counter() - start, 1)
        write_atomically(file, json.dumps(found, indent=1) + "\n")
    print(f"{file}: {found['seconds']:.0f} s" + f", failed: {', '.join(failed)}" * bool(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
