"""Run by torchrun: trains a small network with its towers in processes of their own, and saves what came out.

``torchrun --nproc-per-node N tower_worker.py FOLDER``; N is 2 towers times as many shards of the batch.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from tower_case import BATCH, STEPS, case, optimizer

from alexnet_repro.networks.build import build
from alexnet_repro.networks.layers import Dropout
from alexnet_repro.networks.towers import TowerProcess


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    shards = dist.get_world_size() // 2
    mesh = dist.init_device_mesh("cpu", (shards, 2), mesh_dim_names=("data", "tower"))
    config, images, labels, generator = case()
    shard = mesh["data"].get_local_rank()
    mine = slice(shard * BATCH // shards, (shard + 1) * BATCH // shards)
    towers = TowerProcess(build(config, generator).double(), mesh["tower"].get_group())
    for layer in towers.modules():
        if isinstance(layer, Dropout):
            layer.place = lambda: (mine.start, BATCH)
    model = DistributedDataParallel(towers, process_group=mesh["data"].get_group())
    sgd = optimizer(model)
    losses, logits = [], []
    for _ in range(STEPS):
        out = model(images[mine])
        loss = F.cross_entropy(out, labels[mine])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.detach())
        logits.append(out.detach())
    state = towers.state_dict()
    towers.load_state_dict(state)
    again = towers.state_dict()
    assert all(again[name].equal(state[name]) for name in state)
    assert list(model.state_dict()) == [f"module.{name}" for name in state]
    if mesh["tower"].get_local_rank() == 1:  # the second tower has the same logits as the first
        traffic = dict(towers.traffic)
        torch.save(
            {"losses": losses, "logits": logits, "state": state, "traffic": traffic}, folder / f"shard{shard}.pt"
        )
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
