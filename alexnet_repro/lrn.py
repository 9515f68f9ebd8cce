"""Local response normalization, the layer of Sec. 3.3 that torch has only under another reading."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocalResponseNorm(nn.Module):
    r"""Divides each activation by a power of the energy of its neighbours in other maps, at the same position.

    .. math:: b_i = a_i \Big/ \Big(k + \alpha \sum_j a_j^2\Big)^\beta

    with j from ``max(0, i - size//2)`` up to ``min(C, i - size//2 + size) - 1``.

    Source:  Sec. 3.3, the equation; defaults k=2, size=5, alpha=1e-4, beta=0.75 as printed there.
    Differs: from torch.nn.LocalResponseNorm and the 2012 code, which divide alpha by ``size``: ``average=True``.

    Args:
        size: window, in maps; an even window reaches one map further down than up.
        alpha: weight of the energy (of its mean over the window with ``average=True``).
        beta: exponent.
        k: constant; keeps the quotient finite.
        average: divide alpha by ``size``, also where the window is cut off at the first and last maps.
        groups: the maps are split into this many equal parts (the towers), and no window crosses from one to the next.

    Shape: (N, C, ...) floating point; output the same. Half precisions are computed in float32.

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
        if k <= 0 or alpha < 0:
            raise ValueError(f"k must be > 0 and alpha >= 0 so that the denominator stays positive, not {k=}, {alpha=}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.average, self.groups = average, groups

    def forward(self, a: Tensor) -> Tensor:
        if a.ndim < 2 or a.shape[1] % self.groups:
            raise ValueError(f"expected (N, C, ...) with C a multiple of groups={self.groups}, not {tuple(a.shape)}")
        coefficient = self.alpha / self.size if self.average else self.alpha
        arguments = self.size, coefficient, self.beta, self.k, self.groups
        if torch.compiler.is_compiling() and a.device.type != "cpu":  # there a compiler fuses the equation well
            return _equation(a, *arguments)
        return _response_norm(_dense(a), *arguments)

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, "
            f"average={self.average}, groups={self.groups}"
        )


class SameMapNorm(nn.Module):
    r"""Divides each activation by a power of the energy around it in its own map.

    .. math:: b = a \Big/ \Big(1 + \frac{\text{scale}}{\text{size}^2} \sum a^2\Big)^\beta

    with the sum over a window of size x size pixels, of which those outside the map count as 0.

    Source:  2012 code, layer type ``rnorm``, in run 145 after norm2; not in the paper. OURS: the constant 1.

    Args:
        size: side of the window, odd, pixels.
        scale: weight of the window's mean energy.
        beta: exponent.

    Shape: (N, C, H, W) floating point; output the same. Half precisions are computed in float32.

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
        x = a.to(_working_dtype(a))
        mean_energy = F.avg_pool2d(x.square(), self.size, stride=1, padding=self.size // 2)
        return (x * _inverse_power(1 + self.scale * mean_energy, self.beta)).to(a.dtype)

    def extra_repr(self) -> str:
        return f"size={self.size}, scale={self.scale}, beta={self.beta}"


def _equation(a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int) -> Tensor:
    """The layer in operations that torch differentiates, twice too, and compiles."""
    x = a.to(_working_dtype(a)).unflatten(1, (groups, a.shape[1] // groups))
    squares = F.pad(x.square(), (0, 0) * (x.ndim - 3) + (size // 2, (size - 1) // 2))
    energy = sum(squares.narrow(2, i, x.shape[2]) for i in range(size))
    return (x * _inverse_power(k + coefficient * energy, beta)).flatten(1, 2).to(a.dtype)


# The same equation as two operators that a compiler takes as they are. They keep nothing but the input, and compute the
# denominators again on the way back. On a CPU they work through the input in chunks, with a few buffers that stay in
# the cache: the equation as it stands, compiled or not, moves several times as much memory.


@torch.library.custom_op("alexnet_repro::response_norm", mutates_args=())
def _response_norm(a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int) -> Tensor:
    out = torch.empty_like(a)
    for x, b, d, p in _chunks(groups, (a, out), buffers=2):
        _denominators(x, size, coefficient, k, out=d)
        b.copy_(_inverse_power(d, beta, out=p).mul_(x))
    return out


@torch.library.custom_op("alexnet_repro::response_norm_backward", mutates_args=())
def _response_norm_backward(
    grad: Tensor, a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int
) -> Tensor:
    grad_a = torch.empty_like(a)
    for x, g, out, d, p, s in _chunks(groups, (a, _dense(grad, like=a), grad_a), buffers=3):
        _denominators(x, size, coefficient, k, out=d)
        _inverse_power(d, beta, out=p).mul_(g)  # what the numerator passes on
        torch.mul(p, x, out=s).div_(d)  # what each window passes on to every map in it
        for maps, windows in _shifts(x.shape[2], (size - 1) // 2, size):  # windows seen from inside: mirrored
            p[:, :, maps].addcmul_(x[:, :, maps], s[:, :, windows], value=-2 * beta * coefficient)
        out.copy_(p)
    return grad_a


def _keep(ctx, inputs, output):
    *tensors, _, _, _, _, _ = inputs
    ctx.save_for_backward(*tensors)
    ctx.arguments = inputs[len(tensors) :]


def _first_derivative(ctx, grad):
    return _response_norm_backward(grad, *ctx.saved_tensors, *ctx.arguments), *[None] * 5


def _second_derivative(ctx, grad):
    """By way of the equation, so that higher ones exist too."""
    first, a = ctx.saved_tensors
    with torch.enable_grad():
        x, g = (t if t.requires_grad else t.detach().requires_grad_() for t in (a, first))
        (passed,) = torch.autograd.grad(_equation(x, *ctx.arguments), x, g, create_graph=True)
    return *torch.autograd.grad(passed, (g, x), grad, create_graph=torch.is_grad_enabled()), *[None] * 5


_response_norm.register_fake(lambda a, *arguments: torch.empty_like(a))
_response_norm.register_autograd(_first_derivative, setup_context=_keep)
_response_norm_backward.register_fake(lambda grad, a, *arguments: torch.empty_like(a))
_response_norm_backward.register_autograd(_second_derivative, setup_context=_keep)


CHUNK = 2**18  # elements of a buffer on a CPU


def _chunks(groups: int, tensors: tuple[Tensor, ...], buffers: int) -> Iterator[list[Tensor]]:
    """Matching pieces of dense tensors of one shape, (n, groups, maps of a group, positions), and buffers as large.

    Pieces that are to be read come in the working precision; the last tensor is the one that is to be written.
    """
    *sources, target = tensors
    dtype = _working_dtype(target)
    views = [_by_maps(tensor, groups) for tensor in tensors]
    row = views[0].shape[1:].numel()
    step = max(1, CHUNK // max(1, row)) if target.device.type == "cpu" else max(1, len(views[0]))
    kept = [torch.empty_like(views[0][:step], dtype=dtype) for _ in range(buffers)]
    for pieces in zip(*(view.split(step) for view in views), strict=True):
        read = [piece.to(dtype) for piece in pieces[: len(sources)]]
        yield [*read, pieces[-1], *(buffer[: len(pieces[0])] for buffer in kept)]


def _by_maps(tensor: Tensor, groups: int) -> Tensor:
    """A dense tensor (N, C, ...) as (N, groups, C / groups, positions), or with channels last as (N H W, ..., 1)."""
    maps = tensor.shape[1] // groups
    if tensor.is_contiguous():
        return tensor.view(tensor.shape[0], groups, maps, tensor.shape[2:].numel())
    return tensor.permute(0, 2, 3, 1).view(-1, groups, maps, 1)


def _dense(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """The tensor in one of the two layouts that ``_by_maps`` takes: its own, or that of ``like``."""
    model = tensor if like is None else like
    last = model.ndim == 4 and not model.is_contiguous() and model.is_contiguous(memory_format=torch.channels_last)
    return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _denominators(x: Tensor, size: int, coefficient: float, k: float, out: Tensor) -> None:
    """out[:, :, i] = k + coefficient * the sum of x**2 over the window around map i."""
    out.fill_(k)
    for maps, neighbours in _shifts(x.shape[2], size // 2, size):
        out[:, :, maps].addcmul_(x[:, :, neighbours], x[:, :, neighbours], value=coefficient)


def _shifts(maps: int, below: int, size: int) -> Iterator[tuple[slice, slice]]:
    """For every distance within a window, the maps that have a neighbour at that distance, and those neighbours."""
    for distance in range(-below, size - below):
        if abs(distance) < maps:
            to, source = max(0, -distance), max(0, distance)
            yield slice(to, maps - source), slice(source, maps - to)


def _inverse_power(d: Tensor, exponent: float, out: Tensor | None = None) -> Tensor:
    """``d ** -exponent``; for 0.75 by square roots, which are several times faster than a power."""
    if exponent != 0.75:
        return torch.pow(d, -exponent, out=out)
    root = torch.sqrt(d, out=out)
    return (root * d).rsqrt() if out is None else root.mul_(d).rsqrt_()


def _working_dtype(a: Tensor) -> torch.dtype:
    return torch.promote_types(a.dtype, torch.float32)
