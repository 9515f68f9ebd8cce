"""One training run in several processes, as ``torchrun`` starts them: images shared out, towers apart if asked for.

The numbers are those of one process with the same batches: gradients, errors and dropout's masks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
    """This process among those of a run.

    Attributes:
        device: this process's.
        rank: of all processes; 0 is the one that writes and prints.
        shard, shards: which part of every batch is this process's, of how many.
        mesh: ``data`` x ``tower``, where there are several processes.
    """

    device: str
    rank: int = 0
    shard: int = 0
    shards: int = 1
    mesh: dist.device_mesh.DeviceMesh | None = None

    def extremes(self, value: int) -> tuple[int, int]:
        """The lowest and the highest of the processes' values; all wait for each other."""
        if self.mesh is None:
            return value, value
        found = torch.tensor([-value, value], device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        lowest, highest = found.tolist()
        return -lowest, highest

    def spread(self, network: Network, batches: Batches) -> nn.Module:
        """The network as this process trains it: with its images, and if the towers are apart with its tower."""
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
    """Meets the other processes of ``torchrun``, or of a launcher like it, if it started this one; parts with them.

    Args:
        device: "cpu" or "cuda"; of several GPUs each process takes the one of its local rank. A launcher that gives
            none is taken to start as many on every machine as that has GPUs.
        towers: processes that hold one network together, a tower each.

    Raises:
        ValueError: the number of processes is no multiple of ``towers``.
    """
    if "RANK" not in os.environ:
        if towers > 1:
            raise ValueError(f"{towers} towers in processes of their own need torchrun: --nproc-per-node {towers}")
        yield Processes(device)
        return
    if device.startswith("cuda"):
        local = os.environ.get("LOCAL_RANK") or int(os.environ["RANK"]) % torch.cuda.device_count()
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    world = int(os.environ["WORLD_SIZE"])
    if world % towers:
        raise ValueError(f"{world} processes can't be shared out to networks of {towers} towers")
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", **_meeting_place(world))
    try:
        mesh = dist.init_device_mesh(device.split(":")[0], (world // towers, towers), mesh_dim_names=("data", "tower"))
        yield Processes(device, dist.get_rank(), mesh["data"].get_local_rank(), world // towers, mesh)
    finally:
        dist.destroy_process_group()


def _meeting_place(world: int) -> dict[str, object]:
    """Where the processes of one machine find each other: after a restart in a place of its own.

    torchrun keeps its store over restarts, with the addresses of processes that are gone. Between machines its agents
    count restarts each for itself; there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, set for torchrun, gives a new store.
    """
    environment = os.environ
    torchrun = "TORCHELASTIC_RESTART_COUNT" in environment  # another launcher may set nothing but what torch asks for
    if not torchrun or environment["LOCAL_WORLD_SIZE"] != environment["WORLD_SIZE"]:
        return {}
    served = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    rank, port = int(environment["RANK"]), int(environment["MASTER_PORT"])
    store = dist.TCPStore(environment["MASTER_ADDR"], port, world, is_master=rank == 0 and not served)
    place = dist.PrefixStore(f"attempt {environment['TORCHELASTIC_RESTART_COUNT']}", store)
    return {"store": place, "rank": rank, "world_size": world}
