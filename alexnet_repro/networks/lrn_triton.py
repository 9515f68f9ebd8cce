"""Response normalization on a GPU, with one kernel per direction: no intermediate results are written, and neighbours
that are read again are mostly in the cache. Needs Triton, which is installed with torch's CUDA builds.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_FAST, _SLOW = 128, 16  # sides of a tile: along the dimension that is contiguous in memory, and along the other


def forward(a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int) -> Tensor:
    """The layer's output; ``a`` is dense, with channels first or last."""
    out = torch.empty_like(a)
    _launch(a, a, out, size, coefficient, beta, k, groups, backward=False)
    return out


def backward(grad: Tensor, a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int) -> Tensor:
    """The gradient of the layer's input, given that of its output; both inputs are dense, in the same layout."""
    grad_a = torch.empty_like(a)
    _launch(a, grad, grad_a, size, coefficient, beta, k, groups, backward=True)
    return grad_a


def _launch(
    a: Tensor, grad: Tensor, out: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int,
    backward: bool,
) -> None:  # fmt: skip
    channels = a.shape[1] // groups
    last = not a.is_contiguous()
    if last:  # (groups, positions of all images, channels)
        outer, strides = groups, (channels, a.shape[1])
        sizes = a.numel() // a.shape[1], channels
    else:  # (images and groups, channels, positions)
        positions = a.shape[2:].numel()
        outer, strides = len(a) * groups, (channels * positions, positions)
        sizes = channels, positions
    if not a.numel():
        return
    tile = min(_SLOW, triton.next_power_of_2(sizes[0])), min(_FAST, triton.next_power_of_2(sizes[1]))
    blocks = [triton.cdiv(count, step) for count, step in zip(sizes, tile, strict=True)]
    with torch.cuda.device_of(a):  # Triton launches on the current GPU
        _kernel[(outer * blocks[0] * blocks[1],)](
            a, grad, out, *sizes, *blocks, *strides, float(coefficient), float(beta), float(k),
            size=size, below=size // 2, last=last, backward=backward, slow_tile=tile[0], fast_tile=tile[1],
        )  # fmt: skip


@triton.jit
def _kernel(
    a, grad, out, slow_count, fast_count, slow_blocks, fast_blocks, outer_stride, slow_stride, coefficient, beta, k,
    size: tl.constexpr, below: tl.constexpr, last: tl.constexpr, backward: tl.constexpr, slow_tile: tl.constexpr,
    fast_tile: tl.constexpr,
):  # fmt: skip
    """Computes a tile of the output; the channels are the fast dimension if ``last``, else the slow one."""
    program = tl.program_id(0)
    fast = (program % fast_blocks) * fast_tile + tl.arange(0, fast_tile)[None, :]
    slow = (program // fast_blocks % slow_blocks) * slow_tile + tl.arange(0, slow_tile)[:, None]
    start = (program // (fast_blocks * slow_blocks)).to(tl.int64) * outer_stride
    place = start + slow.to(tl.int64) * slow_stride + fast
    inside = (slow < slow_count) & (fast < fast_count)
    if last:
        channel, channels, stride = fast, fast_count, 1
    else:
        channel, channels, stride = slow, slow_count, slow_stride
    x = tl.load(a + place, mask=inside, other=0.0).to(tl.float32)
    d = _denominator(a, place, channel, channels, stride, inside, coefficient, k, size, below)
    result = _power(d, beta)
    if backward:
        result *= tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
        passed = tl.full(x.shape, 0.0, tl.float32)
        for i in range(size):  # the channels whose windows contain this one
            shift = i - (size - 1 - below)
            there = inside & (channel + shift >= 0) & (channel + shift < channels)
            other = place + shift * stride
            d = _denominator(a, other, channel + shift, channels, stride, there, coefficient, k, size, below)
            g = tl.load(grad + other, mask=there, other=0.0).to(tl.float32)
            passed += g * tl.load(a + other, mask=there, other=0.0).to(tl.float32) * _power(d, beta) / d
        result -= 2 * beta * coefficient * x * passed
    else:
        result *= x
    tl.store(out + place, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _denominator(
    a, place, channel, channels, stride, inside, coefficient, k, size: tl.constexpr, below: tl.constexpr
):  # fmt: skip
    energy = tl.full(place.shape, 0.0, tl.float32)
    for i in range(size):
        shift = i - below
        there = inside & (channel + shift >= 0) & (channel + shift < channels)
        neighbour = tl.load(a + (place + shift * stride), mask=there, other=0.0).to(tl.float32)
        energy += neighbour * neighbour
    return k + coefficient * energy


@triton.jit
def _power(d, beta):
    """``d ** -beta``."""
    return tl.exp2(-beta * tl.log2(d))
