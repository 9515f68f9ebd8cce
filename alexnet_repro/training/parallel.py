"""One training run in several processes, started by ``torchrun``: images are shared out, and towers on request.

Gradients, errors and dropout masks are those of a single process with the same batches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from alexnet_repro.data import Batches
from alexnet_repro.networks.build import Network
from alexnet_repro.networks.layers import Dropout
from alexnet_repro.networks.towers import TowerProcess


@dataclass(frozen=True)
class Processes:
    """The place of this process among those of a run.

    Attributes:
        device: device of this process.
        rank: rank among all processes; only rank 0 writes and prints.
        shard, shards: this process gets part ``shard`` of ``shards`` of every batch.
        mesh: device mesh, ``data`` x ``tower``; None: no launcher, a single process.
    """

    device: str
    rank: int = 0
    shard: int = 0
    shards: int = 1
    mesh: dist.device_mesh.DeviceMesh | None = None

    def extremes(self, value: int) -> tuple[int, int]:
        """The lowest and the highest value over all processes, which wait for each other."""
        if self.mesh is None:
            return value, value
        found = torch.tensor([-value, value], device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        lowest, highest = found.tolist()
        return -lowest, highest

    def spread(self, network: Network, batches: Batches) -> nn.Module:
        """The module that this process trains: the network, or its tower of it, wrapped for data parallelism."""
        if self.mesh is None:
            return network
        apart = self.mesh["tower"].size() > 1
        module = TowerProcess(network, self.mesh["tower"].get_group()) if apart else network
        module = module.to(self.device)
        for layer in module.modules():
            if isinstance(layer, Dropout):
                layer.place = lambda: batches.place
        return DistributedDataParallel(module, process_group=self.mesh["data"].get_group())


@contextmanager
def processes(device: str, towers: int = 1) -> Iterator[Processes]:
    """Joins the other processes if ``torchrun`` or a similar launcher started this one, and leaves them at the end.

    Args:
        device: "cpu" or "cuda"; each process takes the GPU of its local rank. If the launcher sets no local rank, it
            is assumed to start one process per GPU on every machine.
        towers: number of processes that hold one network together, one tower each.

    Raises:
        ValueError: the number of processes is not a multiple of ``towers``, or the launcher sets RANK and nothing else.
    """
    if "RANK" not in os.environ:
        if towers > 1:
            raise ValueError(f"{towers} towers in processes of their own need torchrun: --nproc-per-node {towers}")
        yield Processes(device)
        return
    if missing := [name for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        rank = os.environ["RANK"]
        raise ValueError(
            f"RANK is {rank}, but {', '.join(missing)} not set: use torchrun, or unset RANK for one process"
        )
    if device.startswith("cuda"):
        local = os.environ.get("LOCAL_RANK") or int(os.environ["RANK"]) % torch.cuda.device_count()
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    world = int(os.environ["WORLD_SIZE"])
    if world % towers:
        raise ValueError(f"{world} processes can't be divided into networks of {towers} towers")
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", **_meeting_place(world))
    try:
        mesh = dist.init_device_mesh(device.split(":")[0], (world // towers, towers), mesh_dim_names=("data", "tower"))
        yield Processes(device, dist.get_rank(), mesh["data"].get_local_rank(), world // towers, mesh)
    finally:
        dist.destroy_process_group()


def _meeting_place(world: int) -> dict[str, Any]:
    """The store through which the processes of one machine find each other, with a new prefix after every restart.

    torchrun keeps its store across restarts, with the addresses of processes that have ended. On several machines, each
    agent counts its own restarts; there, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, set for torchrun, gives a new store.
    """
    environment = os.environ
    torchrun = "TORCHELASTIC_RESTART_COUNT" in environment  # another launcher may set only what torch requires
    if not torchrun or environment["LOCAL_WORLD_SIZE"] != environment["WORLD_SIZE"]:
        return {}
    served = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    rank, port = int(environment["RANK"]), int(environment["MASTER_PORT"])
    store = dist.TCPStore(environment["MASTER_ADDR"], port, world, is_master=rank == 0 and not served)
    place = dist.PrefixStore(f"attempt {environment['TORCHELASTIC_RESTART_COUNT']}", store)
    return {"store": place, "rank": rank, "world_size": world}
