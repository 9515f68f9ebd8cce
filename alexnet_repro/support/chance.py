"""Random numbers: from one seed, an independent generator for every purpose."""

from __future__ import annotations

import numpy as np
import torch


def stream(seed: int, purpose: str) -> torch.Generator:
    """The generator for one purpose, derived from a seed.

    Args:
        seed: at least 0.
        purpose: any word; different words give independent generators.
    """
    state = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def streams(generator: torch.Generator, *purposes: str) -> list[torch.Generator]:
    """One generator per purpose, seeded by one draw from the given one; adding a purpose does not change the others.

    Args:
        generator: on the CPU.
        purposes: any words.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return [stream(seed, purpose) for purpose in purposes]
