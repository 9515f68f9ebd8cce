"""Local response normalization, the layer of Sec. 3.3 that torch has only under another reading."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LocalResponseNorm(nn.Module):
    """Divides each activation by a power of the energy of its neighbours in other maps, at the same position.

    ``b[i] = a[i] / (k + alpha * sum(a[j]**2)) ** beta``, j from ``max(0, i - size//2)`` up to
    ``min(C, i - size//2 + size) - 1``.

    Source:  Sec. 3.3, the equation; defaults k=2, size=5, alpha=1e-4, beta=0.75 as printed there.
    Differs: from torch.nn.LocalResponseNorm and the 2012 code, which divide alpha by ``size``: ``average=True``.

    Args:
        size: window, in maps; an even window reaches one map further down than up.
        alpha: weight of the energy (of its mean over the window with ``average=True``).
        beta: exponent.
        k: constant; keeps the quotient finite.
        average: divide alpha by ``size``, also where the window is cut off at the first and last maps.
        groups: the maps are split into this many equal parts (the towers), and no window crosses from one to the next.

    Shape: (N, C, ...) floating point; output the same.

    Raises:
        ValueError: an argument outside its range, or C not a multiple of ``groups``.
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        average: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if size < 1 or groups < 1:
            raise ValueError(f"size and groups must be at least 1, not size={size}, groups={groups}")
        if k <= 0 or alpha < 0:
            raise ValueError(f"k must be > 0 and alpha >= 0 so that the denominator stays positive, not {k=}, {alpha=}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.average, self.groups = average, groups

    def forward(self, a: Tensor) -> Tensor:
        if a.ndim < 2 or a.shape[1] % self.groups:
            raise ValueError(f"expected (N, C, ...) with C a multiple of groups={self.groups}, not {tuple(a.shape)}")
        coefficient = self.alpha / self.size if self.average else self.alpha
        return _ResponseNorm.apply(a, self.size, coefficient, self.beta, self.k, self.groups)

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, "
            f"average={self.average}, groups={self.groups}"
        )


class _ResponseNorm(torch.autograd.Function):
    """Keeps only its input for the backward pass, computes the denominators again there; differentiable twice."""

    @staticmethod
    def forward(ctx, a, size, coefficient, beta, k, groups):
        ctx.save_for_backward(a)
        ctx.arguments = size, coefficient, beta, k, groups
        energy = _window_sum(a.square(), size // 2, size, groups)
        return a * _power(energy.mul_(coefficient).add_(k), -beta)

    @staticmethod
    def backward(ctx, grad):
        (a,) = ctx.saved_tensors
        size, coefficient, beta, k, groups = ctx.arguments
        d = _window_sum(a.square(), size // 2, size, groups).mul_(coefficient).add_(k)
        grad_scaled = grad * _power(d, -beta)  # what the numerator passes on
        shared = grad_scaled * a / d  # what each window passes on to every map in it
        shared = _window_sum(shared, (size - 1) // 2, size, groups)  # windows seen from inside: mirrored
        return torch.addcmul(grad_scaled, a, shared, value=-2 * beta * coefficient), None, None, None, None, None


def _window_sum(x: Tensor, below: int, size: int, groups: int) -> Tensor:
    """out[:, i] = sum of x[:, i - below : i - below + size], within each group of maps."""
    towers = x.unflatten(1, (groups, x.shape[1] // groups))
    out = torch.zeros_like(towers)
    maps = towers.shape[2]
    for offset in range(-below, size - below):
        if abs(offset) < maps:
            to = slice(max(0, -offset), maps - max(0, offset))
            source = slice(max(0, offset), maps - max(0, -offset))
            out[:, :, to] += towers[:, :, source]
    return out.flatten(1, 2)


def _power(d: Tensor, exponent: float) -> Tensor:
    """``d ** exponent``; for -0.75 by square roots, which are several times faster than a power."""
    if exponent == -0.75:
        root = d.rsqrt()
        return root * root.sqrt()
    return d.pow(exponent)
