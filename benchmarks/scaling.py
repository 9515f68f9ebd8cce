"""How the time of AlexNet's training step grows with width, image size and minibatch, and what several processes cost.

Weak scaling: every process has ``SHARE`` images, so that n processes do n times the work of one. Processes slow each
other down even if they never communicate; those that train together are timed against as many that do not.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from network import one_batch, our_training_step
from racing import Work, race, started

from alexnet_repro import NetConfig, build, place
from alexnet_repro.support.environment import keep_large_blocks
from alexnet_repro.training.parallel import processes

NET = NetConfig.preset("paper")
BATCH = 32
CURVES = {  # what is varied -> its values, each with its network and minibatch
    "width": {width: (replace(NET, width=width), BATCH) for width in (0.25, 0.5, 1.0)},
    "image size": {size: (replace(NET, image_size=size), BATCH) for size in (112, 168, 224)},
    "minibatch": {batch: (NET, batch) for batch in (8, BATCH, 128)},
}
SHARE = 16  # images per process, as if eight processes shared a minibatch of 128
SHARED = {2: {"the images": 1, "the towers": 2}, 4: {"the images": 1, "both": 2}}  # processes -> shared -> per network
HALF = replace(NET, width=0.5)  # small enough for many processes
NUMBER = 4  # bytes of a float32


def step(net: NetConfig, batch: int) -> Work:
    keep_large_blocks()
    images = one_batch(torch.channels_last, net.image_size, batch)
    return our_training_step(build(net).to(memory_format=torch.channels_last), images)


def curves() -> list[dict[str, Any]]:
    """Time and multiply-adds per image, as multiples of the full network's with ``BATCH`` images."""
    cases = {case for values in CURVES.values() for case in values.values()}
    (times,) = race({str(case): partial(step, *case) for case in cases})
    seconds = {case: times[str(case)] / case[1] for case in cases}  # per image
    multiply_adds = {net: sum(cost.multiply_adds for cost in build(net).costs()) for net in {net for net, _ in cases}}
    return [
        {
            "axis": axis,
            "value": value,
            "multiply-adds": multiply_adds[case[0]] / multiply_adds[NET],
            "time": seconds[case] / seconds[NET, BATCH],
        }
        for axis, values in CURVES.items()
        for value, case in values.items()
    ]


def apart(count: int) -> Work:
    """A step of ``count`` processes that never communicate."""
    return crowd(count, 1, {})


def together(count: int, towers: int) -> Work:
    """A step of one training run in ``count`` processes, with each network split between ``towers`` of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    return crowd(count, towers, where | {"WORLD_SIZE": str(count)})


def crowd(count: int, towers: int, variables: dict[str, str]) -> Work:
    connections = []
    for rank in range(count):
        ranked = variables | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if variables else {}
        connections.append(started(member, towers, ranked, daemon=True)[1])

    def all_of_them() -> None:
        for connection in connections:
            connection.send(True)
        for connection in connections:
            connection.recv()

    return all_of_them


def member(connection: Connection, towers: int, variables: dict[str, str]) -> None:
    """One process: takes a step for every message."""
    os.environ |= variables
    torch.set_num_threads(1)
    keep_large_blocks()
    with processes("cpu", towers) as here:
        batch = SHARE * towers
        batches = SimpleNamespace(place=(here.shard * batch, here.shards * batch))
        model = here.spread(build(HALF).to(memory_format=torch.channels_last), batches)
        work = our_training_step(model, one_batch(torch.channels_last, HALF.image_size, batch))
        with suppress(EOFError):  # the parent needs this process no more
            while connection.recv():
                work()
                connection.send(True)


def weak_scaling() -> list[dict[str, Any]]:
    """Speed of processes that never communicate, against perfect scaling; and of those that do, relative to these."""
    rows = []
    for count, ways in SHARED.items():
        contestants = {"one": partial(apart, 1), "apart": partial(apart, count)}
        (times,) = race(contestants | {shared: partial(together, count, towers) for shared, towers in ways.items()})
        rows += [
            {
                "processes": count,
                "shared": shared,
                "machine": times["one"] / times["apart"],
                "together": times["apart"] / times[shared],
                "computed MB": exchanged(count, towers) / 1e6,
                "measured MB": loopback(together(count, towers)) / 1e6,
            }
            for shared, towers in ways.items()
        ]
    return rows


def exchanged(count: int, towers: int) -> int:
    """Bytes that the processes must send in a step: gradients around the ring of those that hold the same parameters,
    and between towers the activations that other towers read, the gradients of these, and the logits."""
    network, holders = build(HALF), count // towers
    numbers = 2 * (holders - 1) * sum(cost.parameters for cost in network.costs())
    if towers > 1:
        costs = network.costs()
        meetings = place(network, ["cpu"] * towers).meetings
        read = sum(before.activations for before, cost in pairwise(costs) if cost.name in meetings)
        numbers += count * SHARE * (towers - 1) * (2 * read + HALF.num_classes)
    return NUMBER * numbers


def loopback(work: Work) -> int:
    """Bytes sent through the machine's loopback interface during one call, after one that warms up; Linux only."""
    work()
    before = _sent()
    work()
    return _sent() - before


def _sent() -> int:
    (fields,) = re.findall(r"lo:(.*)", Path("/proc/net/dev").read_text())
    return int(fields.split()[8])
