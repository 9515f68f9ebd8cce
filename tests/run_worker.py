"""One run of ``run_case`` in its folder: ``run_worker.py PICTURES OUT [--towers] [--double] [--die-at STEP]``.

By itself, or as one process of torchrun. With ``--die-at`` the last process kills itself at that step, once.
"""

import argparse
import os
import signal
from dataclasses import replace
from pathlib import Path

import torch
from run_case import CONFIG

from alexnet_repro import runs
from alexnet_repro.parallel import processes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures")
    parser.add_argument("out", type=Path)
    parser.add_argument("--towers", action="store_true")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--die-at", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.double:
        build = runs.build
        runs.build = lambda *arguments: build(*arguments).double()
        apply = runs.InputTransform.apply
        runs.InputTransform.apply = lambda *arguments: apply(*arguments).double()
        views = runs.InputTransform.views
        runs.InputTransform.views = lambda *arguments: views(*arguments).double()

    def die(training: object) -> None:
        mark = options.out / "died"
        last = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
        if last and training.step == options.die_at and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    with processes("cpu", CONFIG.net.towers if options.towers else 1) as here:
        config = replace(CONFIG, dataset=options.pictures)
        runs.run(config, options.out, processes=here, save_every=2, on_step=[die])


if __name__ == "__main__":
    main()
