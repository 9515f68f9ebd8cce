"""Random numbers: from one seed a generator for every purpose, none of which disturbs another."""

from __future__ import annotations

import numpy as np
import torch


def stream(seed: int, purpose: str) -> torch.Generator:
    """The generator of a seed for a purpose.

    Args:
        seed: at least 0.
        purpose: any word; two words give independent generators.
    """
    state = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def streams(generator: torch.Generator, *purposes: str) -> list[torch.Generator]:
    """One generator for each purpose, by a single draw from the given one; how many there are changes none of them.

    Args:
        generator: on the CPU.
        purposes: any words.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    return [stream(seed, purpose) for purpose in purposes]
