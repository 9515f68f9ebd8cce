"""One run of ``run_case`` in its folder: ``run_worker.py IMAGES OUT [--towers] [--double] [--die-at N] [--stop-at N]``.

By itself, or as one process of torchrun. With ``--die-at`` the last process kills itself at that step, once; with
``--stop-at`` it is asked to stop there, and every process leaves a file that says after which step it did.
"""

import argparse
import os
import signal
from dataclasses import replace
from pathlib import Path

import torch
from run_case import CONFIG
from tiny_net import TINY_NET

from alexnet_repro import InputConfig, TrainConfig, build, evaluate, train
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.training import run, start
from alexnet_repro.training.checkpoint import Files
from alexnet_repro.training.parallel import processes


def work(
    images: str, out: str, towers: bool = False, double: bool = False, die_at: int | None = None,
    stop_at: int | None = None, accumulate: int = 1,
) -> None:  # fmt: skip
    """The run, with one thread; in parts of minibatches it is without dropout, whose masks would be others."""
    torch.set_num_threads(1)
    if double:
        build = start.build
        start.build = lambda *arguments: build(*arguments).double()
        apply = start.InputTransform.apply
        start.InputTransform.apply = lambda *arguments: apply(*arguments).double()
        views = start.InputTransform.views
        start.InputTransform.views = lambda *arguments: views(*arguments).double()

    def die(training: object) -> None:
        mark = Path(out, "died")
        last = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
        if last and training.step == die_at and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if last and training.step == stop_at:
            for _ in range(3 if "RANK" in os.environ else 1):  # torchrun passes on what the terminal has sent already
                os.kill(os.getpid(), signal.SIGINT)

    with processes("cpu", CONFIG.net.towers if towers else 1) as here:
        config = replace(CONFIG, dataset=images, train=replace(CONFIG.train, accumulate=accumulate))
        if accumulate > 1:
            layers = tuple(layer for layer in config.net.layers if layer.name != "drop6")
            config = replace(config, net=replace(config.net, layers=layers))
        try:
            run.run(config, Files.of_folder(Path(out)), processes=here, save_every=2, on_step=[die])
        except run.Interrupted as stopped:
            Path(out, f"{here.rank} stopped").write_text(str(stopped))


def apart() -> None:
    """Trains and evaluates a network of this process alone: after it has met other processes as before."""

    def trained() -> tuple[object, ...]:
        generator = torch.Generator().manual_seed(int(os.environ["RANK"]))
        images = torch.randint(0, 256, (7, 3, 8, 8), generator=generator).to(torch.uint8)
        labels, transform = torch.arange(7) % 3, InputTransform.fit(InputConfig(), images)
        network, tallies = build(TINY_NET, generator), []
        history = train(
            network, list(zip(transform.views(images)[0].split(4), labels.split(4), strict=True)),
            TrainConfig(epochs=2, lr=1e-3, stuck_after=50, accumulate=2),
            on_step=lambda training: tallies.append(training.state_dict()["tally"].tolist()),
        )  # fmt: skip
        losses = [epoch.train_loss for epoch in history.epochs]
        return tallies, losses, network.conv1.weight.tolist(), evaluate(network, images, labels, transform)

    alone = trained()
    with processes("cpu"):
        assert trained() == alone


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("out")
    parser.add_argument("--towers", action="store_true")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--stop-at", type=int)
    work(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
