"""Images that tell where each of their pixels was, and generators that repeat themselves."""

import torch


def numbered(n: int, height: int = 4, width: int = 4) -> torch.Tensor:
    """Images whose pixels carry their own position, 0 .. H*W-1, in every channel."""
    return torch.arange(height * width).view(1, 1, height, width).repeat(n, 3, 1, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
