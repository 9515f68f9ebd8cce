"""Local response normalization, the layer of Sec. 3.3. The fast implementation is in ``lrn_kernels``."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_repro.networks.lrn_kernels import ResponseNorm, inverse_power, transformed, window_sum, working_dtype

torch.fx.wrap("working_dtype")
is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)  # torch 2.7 and newer


class LocalResponseNorm(nn.Module):
    r"""Divides each activation by a power of the energy in a window of channels around its own, at the same position.

    .. math:: b_i = a_i \Big/ \Big(k + \alpha \sum_j a_j^2\Big)^\beta

    with j from ``max(0, i - size//2)`` up to ``min(C, i - size//2 + size) - 1``.

    Source:  Sec. 3.3, the equation; defaults k=2, size=5, alpha=1e-4, beta=0.75 as printed there.
    Differs: from torch.nn.LocalResponseNorm and the 2012 code, which divide alpha by ``size``: ``average=True``.

    Args:
        size: window, in channels; an even window reaches one channel further down than up.
        alpha: weight of the energy (of its mean over the window with ``average=True``).
        beta: exponent.
        k: constant; keeps the quotient finite.
        average: divide alpha by ``size``, even where the window is cut off at the first and last channels.
        groups: number of equal parts (the towers) of the channels; no window crosses from one to the next.

    Shape: (N, C, ...) floating point; output the same. Half-precision inputs are computed in float32.

    Raises:
        ValueError: an argument outside its range, or C not a multiple of ``groups``.

    Example:
        >>> import torch
        >>> from alexnet_repro import LocalResponseNorm
        >>> norm = LocalResponseNorm(size=3, alpha=1.0, beta=1.0, k=2.0)
        >>> norm(torch.tensor([[1.0, 2.0, 0.0]]))  # 1 / (2 + 1 + 4), 2 / (2 + 1 + 4), 0
        tensor([[0.1429, 0.2857, 0.0000]])
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
        if not (0 < k < math.inf and 0 <= alpha < math.inf and math.isfinite(beta)):
            raise ValueError(
                f"k must be > 0 and alpha >= 0 so that the denominator stays positive, and all finite, not {k=}, "
                f"{alpha=}, {beta=}"
            )
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.average, self.groups = average, groups

    def forward(self, a: Tensor) -> Tensor:
        coefficient = self.alpha / self.size if self.average else self.alpha
        return _normalized(a, self.size, coefficient, self.beta, self.k, self.groups)

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, "
            f"average={self.average}, groups={self.groups}"
        )


class WithinChannelResponseNorm(nn.Module):
    r"""Divides each activation by a power of the energy around it in its own channel.

    .. math:: b = a \Big/ \Big(1 + \frac{\text{scale}}{\text{size}^2} \sum a^2\Big)^\beta

    with the sum over a window of size x size pixels; those outside the feature map count as 0.

    Source:  2012 code, layer type ``rnorm``, in run 145 after norm2; not in the paper. OURS: the constant 1.

    Args:
        size: side of the window in pixels, odd.
        scale: weight of the window's mean energy.
        beta: exponent.

    Shape: (N, C, H, W) floating point; output the same. Half-precision inputs are computed in float32.

    Raises:
        ValueError: an even or non-positive size, or a negative scale.
    """

    def __init__(self, size: int, scale: float, beta: float = 0.75) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be odd and at least 1 so that the window has a centre, not {size}")
        if scale < 0:
            raise ValueError(f"scale must be at least 0 so that the denominator stays positive, not {scale}")
        self.size, self.scale, self.beta = size, scale, beta

    def forward(self, a: Tensor) -> Tensor:
        x = a.to(working_dtype(a))
        around = F.pad(x.square(), (self.size // 2,) * 4)  # padding=... has a wrong gradient on GPUs: pytorch#188344
        mean_energy = F.avg_pool2d(around, self.size, stride=1)
        return (x * inverse_power(1 + self.scale * mean_energy, self.beta)).to(a.dtype)

    def extra_repr(self) -> str:
        return f"size={self.size}, scale={self.scale}, beta={self.beta}"


@torch.fx.wrap  # traced as one step, like torch's own layer
def _normalized(a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int) -> Tensor:
    if a.ndim < 2 or a.shape[1] % groups:
        raise ValueError(f"expected (N, C, ...) with C a multiple of groups={groups}, not {tuple(a.shape)}")
    arguments = size, coefficient, beta, k, groups
    compiling = torch.compiler.is_compiling()
    plain = transformed(a) or torch.jit.is_tracing() or is_exporting()  # exported, it must not need this package
    if plain or (compiling and a.device.type != "cpu"):  # except on a CPU, compilers fuse the equation well
        return equation(a, *arguments)
    return (torch.ops.alexnet_repro.response_norm if compiling else ResponseNorm.apply)(a, *arguments)


def equation(a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int) -> Tensor:
    """The paper's equation, in operations that torch can differentiate, transform and compile."""
    x = a.to(working_dtype(a)).unflatten(1, (groups, a.shape[1] // groups))
    energy = window_sum(x.square(), size // 2, size)
    return (x * inverse_power(k + coefficient * energy, beta)).flatten(1, 2).to(a.dtype)
