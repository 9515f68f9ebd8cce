"""The layer torch lacks: local connections without weight sharing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocallyConnected2d(nn.Module):
    """A convolution whose every position has its own filters and biases; stride 1, zero-padded to keep the size.

    Source:  cuda-convnet's layer type ``local``.

    Args:
        in_channels, out_channels: maps.
        height, width: of the maps, pixels.
        kernel_size: odd, pixels.

    Shape: (N, in_channels, height, width) -> (N, out_channels, height, width).
    """

    def __init__(self, in_channels: int, out_channels: int, height: int, width: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1 to keep the maps' size, not {kernel_size}")
        self.kernel_size, self.size = kernel_size, (height, width)
        fan_in = in_channels * kernel_size**2
        self.weight = nn.Parameter(torch.empty(height * width, out_channels, fan_in))
        self.bias = nn.Parameter(torch.empty(out_channels, height, width))

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, self.kernel_size, padding=self.kernel_size // 2)  # (N, fan_in, positions)
        out = self.weight @ patches.permute(2, 1, 0)  # (positions, out_channels, N)
        return out.permute(2, 1, 0).unflatten(2, self.size) + self.bias

    def extra_repr(self) -> str:
        _, out_channels, fan_in = self.weight.shape
        return f"{fan_in // self.kernel_size**2}, {out_channels}, size={self.size}, kernel_size={self.kernel_size}"
