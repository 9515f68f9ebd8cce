"""Fast response normalization: an autograd function for any device, and operators that are opaque to torch.compile.

Only the input is saved; the backward pass recomputes the denominators. On a CPU, each thread works on chunks of the
input, with a few buffers that stay in its cache; the plain equation, compiled or not, moves several times as much
memory. Arguments throughout: ``size`` of the window, ``coefficient`` of the energy, ``beta``, ``k``, ``groups``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from alexnet_repro.support.threads import CACHED, share_out


class ResponseNorm(torch.autograd.Function):
    """The kernels as a differentiable function: ``apply(a, *arguments)`` for (N, C, ...) floating point.

    Raises:
        RuntimeError: from torch, if ``transformed(a)``.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, *arguments: Any) -> Tensor:
        _keep(ctx, (a, *arguments))
        return torch.ops.alexnet_repro.response_norm(a, *arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        derivative = _plain_backward if transformed(grad) else torch.ops.alexnet_repro.response_norm_backward
        return derivative(grad, *ctx.saved_tensors, *ctx.arguments), *[None] * 5


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor | None = None) -> None:
    """Saves only the input tensors; the backward pass recomputes the denominators."""
    ctx.save_for_backward(*inputs[:-5])
    ctx.arguments = inputs[-5:]


def transformed(tensor: Tensor) -> bool:
    """Whether a function transform is active or the tensor carries a tangent, so that only plain operations will do.

    A ``jvp`` of ``ResponseNorm`` would not help: torch computes tangents of tangents wrongly through any such function.
    """
    # torch has no public name for the first check; torch.autograd.Function makes it in this way
    return torch._C._are_functorch_transforms_active() or forward_ad.unpack_dual(tensor).tangent is not None


def _forward(a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int) -> Tensor:
    """The layer's output."""
    a = _dense(a)
    if fused := _fused(a):
        return fused.forward(a, size, coefficient, beta, k, groups)
    out = torch.empty_like(a)

    def quotients(x: Tensor, b: Tensor, d: Tensor, p: Tensor) -> None:
        _denominators(x, size, coefficient, k, out=d)
        torch.mul(inverse_power(d, beta, out=p), x, out=b)

    _by_chunks(quotients, groups, (a, out), buffers=2)
    return out


def _backward(grad: Tensor, a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int) -> Tensor:
    """The gradient of the layer's input, given that of its output."""
    a = _dense(a)
    if fused := _fused(a):
        return fused.backward(_dense(grad, like=a), a, size, coefficient, beta, k, groups)
    grad_a = torch.empty_like(a)

    def derivatives(x: Tensor, g: Tensor, out: Tensor, d: Tensor, p: Tensor, s: Tensor) -> None:
        _denominators(x, size, coefficient, k, out=d)
        inverse_power(d, beta, out=p).mul_(g)  # through the numerator
        torch.mul(p, x, out=s).div_(d)  # through each window, to every channel in it
        for channels, windows in _shifts(x.shape[2], (size - 1) // 2, size):  # mirrored: windows that contain a channel
            p[:, :, channels].addcmul_(x[:, :, channels], s[:, :, windows], value=-2 * beta * coefficient)
        out.copy_(p)

    _by_chunks(derivatives, groups, (a, _dense(grad, like=a), grad_a), buffers=3)
    return grad_a


def _fused(a: Tensor) -> ModuleType | None:
    """The module with one Triton kernel per direction, or None without Triton, off a GPU or for float64."""
    if a.device.type != "cuda" or a.dtype == torch.float64 or find_spec("triton") is None:
        return None
    from alexnet_repro.networks import lrn_triton

    return lrn_triton


def _plain_backward(
    grad: Tensor, a: Tensor, size: int, coefficient: float, beta: float, k: float, groups: int
) -> Tensor:
    """``_backward`` in operations that torch can differentiate."""
    x, g = (part.to(working_dtype(a)).unflatten(1, (groups, a.shape[1] // groups)) for part in (a, grad))
    d = k + coefficient * window_sum(x.square(), size // 2, size)
    passed = inverse_power(d, beta) * g
    windows = window_sum(passed * x / d, (size - 1) // 2, size)
    return (passed - 2 * beta * coefficient * x * windows).flatten(1, 2).to(a.dtype)


def window_sum(x: Tensor, below: int, size: int) -> Tensor:
    """The sum over each window along dim 2, which starts ``below`` channels lower; channels outside count as 0."""
    padded = F.pad(x, (0, 0) * (x.ndim - 3) + (below, size - 1 - below))
    total = padded.narrow(2, 0, x.shape[2])
    for offset in range(1, size):
        total = total + padded.narrow(2, offset, x.shape[2])
    return total


def inverse_power(d: Tensor, exponent: float, out: Tensor | None = None) -> Tensor:
    """``d ** -exponent``; 0.75 is computed by square roots, several times faster than by a power."""
    if exponent != 0.75:
        return torch.pow(d, -exponent, out=out)
    root = torch.sqrt(d, out=out)
    return (root * d).rsqrt() if out is None else root.mul_(d).rsqrt_()


def working_dtype(a: Tensor) -> torch.dtype:
    """The precision to compute in: at least float32."""
    return torch.promote_types(a.dtype, torch.float32)


def _dense(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """The tensor in a layout that the kernels accept, contiguous or channels last: its own, or that of ``like``."""
    model = tensor if like is None else like
    last = model.ndim == 4 and not model.is_contiguous() and model.is_contiguous(memory_format=torch.channels_last)
    return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _by_chunks(kernel: Callable[..., None], groups: int, tensors: tuple[Tensor, ...], buffers: int) -> None:
    """Calls the kernel on matching chunks of dense tensors of equal shape, with buffers as large as a chunk.

    Chunks are (n, groups, channels per group, positions), and those to be read are in the working precision; the last
    tensor is the one to be written.
    """
    dtype = working_dtype(tensors[-1])
    views = [_by_channels(tensor, groups) for tensor in tensors]
    row = views[0].shape[1:].numel()
    step = max(1, CACHED // max(1, row)) if views[0].device.type == "cpu" else max(1, len(views[0]))

    def work(chunks: Iterator[tuple[Tensor, ...]]) -> None:
        kept = [torch.empty_like(views[0][:step], dtype=dtype) for _ in range(buffers)]
        for *read, written in chunks:
            kernel(*(part.to(dtype) for part in read), written, *(buffer[: len(written)] for buffer in kept))

    share_out(work, zip(*(view.split(step) for view in views), strict=True))


def _by_channels(tensor: Tensor, groups: int) -> Tensor:
    """A dense tensor (N, C, ...) as (N, groups, C / groups, positions), or with channels last as (N H W, ..., 1)."""
    channels = tensor.shape[1] // groups
    if tensor.is_contiguous():
        return tensor.view(tensor.shape[0], groups, channels, tensor.shape[2:].numel())
    return tensor.permute(0, 2, 3, 1).view(-1, groups, channels, 1)


def _denominators(x: Tensor, size: int, coefficient: float, k: float, out: Tensor) -> None:
    """out[:, :, i] = k + coefficient * the sum of x**2 over the window around channel i."""
    out.fill_(k)
    for channels, neighbours in _shifts(x.shape[2], size // 2, size):
        out[:, :, channels].addcmul_(x[:, :, neighbours], x[:, :, neighbours], value=coefficient)


def _shifts(channels: int, below: int, size: int) -> Iterator[tuple[slice, slice]]:
    """For every offset within a window, the channels that have a neighbour at that offset, and those neighbours."""
    for distance in range(-below, size - below):
        if abs(distance) < channels:
            to, source = max(0, -distance), max(0, distance)
            yield slice(to, channels - source), slice(source, channels - to)


# --- the kernels as operators -----------------------------------------------------------------------------------------
# torch.compile does not trace an operator, autograd does not record its many small steps, and torch runs the backward
# operator on each gradient of a batch separately. They are not registered by ``torch.library.custom_op``, because its
# first call imports the compiler.

_LIBRARY = torch.library.Library("alexnet_repro", "FRAGMENT")
_ARGUMENTS = "Tensor a, int size, float coefficient, float beta, float k, int groups"


def _second_derivative(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    pull_back = torch.func.vjp(lambda *tensors: _plain_backward(*tensors, *ctx.arguments), *ctx.saved_tensors)[1]
    return *pull_back(grad), *[None] * 5


for _name, _inputs, _kernel, _derivative in (
    ("response_norm", _ARGUMENTS, _forward, ResponseNorm.backward),
    ("response_norm_backward", f"Tensor grad, {_ARGUMENTS}", _backward, _second_derivative),
):
    _LIBRARY.define(f"{_name}({_inputs}) -> Tensor", tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(
        f"alexnet_repro::{_name}", lambda *inputs: torch.empty_like(_dense(inputs[-6])), lib=_LIBRARY
    )
    torch.library.register_autograd(f"alexnet_repro::{_name}", _derivative, setup_context=_keep, lib=_LIBRARY)
