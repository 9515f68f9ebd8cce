"""Layers that torch lacks: local connections, one-sided padding, fully connected towers, the paper's dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn


class PaddedConv2d(nn.Conv2d):
    """A convolution with square filters; its zero padding at left and top may differ from that at right and bottom.

    Args:
        in_channels, out_channels: number of feature maps.
        kernel_size, stride: in pixels.
        padding: zero pixels at left and top, and at right and bottom.
        groups, device: as for ``torch.nn.Conv2d``.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H', W').
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: tuple[int, int], groups: int,
        device: torch.device | str | None = None,
    ) -> None:  # fmt: skip
        before, after = padding
        super().__init__(in_channels, out_channels, kernel_size, stride, min(padding), groups=groups, device=device)
        self.extra = (before - min(padding), after - min(padding)) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.extra) if any(self.extra) else x)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, extra padding (left, right, top, bottom)={self.extra}"


class CeilAvgPool2d(nn.AvgPool2d):
    """Average pooling whose last windows may extend beyond the edge; they average only the pixels inside.

    Differs: from torch.nn.AvgPool2d when compiled: torch's gradient is then wrong for these windows (pytorch#198119).

    Args:
        kernel_size, stride: in pixels.

    Shape: (N, C, H, W) -> (N, C, H', W').
    """

    kernel_size: int
    stride: int

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__(kernel_size, stride, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().forward(x)
        size, (height, width) = self.kernel_size, x.shape[-2:]
        tops, lefts = (range(0, min(side, side - size + self.stride), self.stride) for side in (height, width))
        padding = (0, lefts[-1] + size - width, 0, tops[-1] + size - height)  # negative: pixels that no window reaches
        rows, columns = (
            x.new_tensor([(min(start + size, side) - start) / size for start in starts])  # the part that is inside
            for starts, side in ((tops, height), (lefts, width))
        )
        return F.avg_pool2d(F.pad(x, padding), size, self.stride) / (rows[:, None] * columns)


class TowerLinear(nn.Module):
    """A fully connected layer, or one per tower side by side: each tower's outputs see only that tower's inputs.

    Takes feature maps as well as vectors; a tower's channels, and hence its features, are consecutive. The parameters
    are not initialized; ``build`` does that.

    Args:
        in_features, out_features: number of features, all towers together.
        towers: 1 for an ordinary fully connected layer.

    Shape: (N, ...) with in_features values per image -> (N, out_features).

    Raises:
        ValueError: the features do not divide evenly among the towers.
    """

    def __init__(self, in_features: int, out_features: int, towers: int = 1) -> None:
        super().__init__()
        if in_features % towers or out_features % towers:
            raise ValueError(f"{in_features} inputs and {out_features} outputs do not split into {towers} towers")
        self.towers = towers
        self.weight = nn.Parameter(torch.empty(out_features, in_features // towers))
        self.bias = nn.Parameter(torch.empty(out_features))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.towers == 1:
            return F.linear(x, self.weight, self.bias)
        parts, weights = x.chunk(self.towers, 1), self.weight.chunk(self.towers)
        return torch.cat([F.linear(parts[i], weights[i]) for i in range(self.towers)], 1) + self.bias

    @property
    def in_features(self) -> int:
        return self.weight.shape[1] * self.towers

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, towers={self.towers}"


class Dropout(nn.Module):
    """Sets each unit to 0 with probability ``p`` in training, independently for every unit and image.

    With ``torch.utils.checkpoint`` the gradients would be wrong unless ``generator`` is None: only torch's default
    generators are set back for the second forward pass.

    Source:  Sec. 4.2; 2012 code, layer type ``hs``.
    Differs: from torch.nn.Dropout, which divides by ``1 - p`` in training, as here with ``rescale=True``. With
        ``False`` nothing is divided, and at test time the outputs are multiplied by ``1 - p``.

    Args:
        p: probability, at least 0 and less than 1.
        rescale: see above.
        generator: on the CPU, or None: torch's default. On another device each mask is drawn there, by a generator
            seeded with one draw from this one: masks differ from those on a CPU, and none is copied.

    Attributes:
        place: if several processes share a batch, a function that returns the index of this process's first image
            and the number of images in the whole batch. Masks are then slices of those of the whole batch.
        tower, towers: the layer holds part ``tower`` of ``towers`` equal parts of the units; masks are sliced likewise.
        numbers: if not None, the random numbers that every call uses instead of drawing new ones.

    Shape: any -> the same.
    """

    def __init__(self, p: float = 0.5, rescale: bool = False, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p is a probability of at least 0 and less than 1, not {p!r}")
        self.p, self.rescale, self.generator = p, rescale, generator
        self.place: Callable[[], tuple[int, int]] | None = None
        self.tower, self.towers = 0, 1
        self.numbers: Tensor | None = None
        _DROPOUTS[id(self)] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        _DROPOUTS[id(self)] = self  # a copy has its own id

    def forward(self, x: Tensor) -> Tensor:
        return _dropped(x, self)

    def draw(self, x: Tensor) -> Tensor:
        """Uniform random numbers in [0, 1), one per unit of ``x``; a unit is kept if its number is at least ``p``."""
        if self.numbers is not None:
            return self.numbers
        first, images = (0, len(x)) if self.place is None else self.place()
        units: tuple[int, ...] = x.shape[1:]
        generator = self.generator
        if self.towers > 1:
            units = (units[0] * self.towers, *units[1:])
        if generator is not None and x.device != generator.device:
            seed = torch.randint(2**62, (), generator=generator, device=generator.device)
            generator = torch.Generator(x.device).manual_seed(int(seed))
        whole = torch.rand(images, *units, generator=generator, device=x.device)
        mine = whole[first : first + len(x)]
        return mine.chunk(self.towers, 1)[self.tower] if self.towers > 1 else mine

    def extra_repr(self) -> str:
        return f"p={self.p}, rescale={self.rescale}"


@torch.fx.wrap  # traced as one step, like torch's own layer
def _dropped(x: Tensor, layer: Dropout) -> Tensor:
    if not layer.training:
        return x if layer.rescale else x * (1 - layer.p)
    compiling = torch.compiler.is_compiling()
    drawn = torch.ops.alexnet_repro.dropout_numbers(x.detach(), id(layer)) if compiling else layer.draw(x)
    mask = drawn >= layer.p
    return x * mask / (1 - layer.p) if layer.rescale else x * mask


# torch.compile gives up on a network with generators or calls of ``place``, but takes an operator as it is.
_DROPOUTS: WeakValueDictionary[int, Dropout] = WeakValueDictionary()
_LIBRARY = torch.library.Library("alexnet_repro", "FRAGMENT")
_LIBRARY.define(
    "dropout_numbers(Tensor x, int layer) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.nondeterministic_seeded),
)
_LIBRARY.impl("dropout_numbers", lambda x, layer: _DROPOUTS[layer].draw(x).contiguous(), "CompositeExplicitAutograd")
torch.library.register_fake(
    "alexnet_repro::dropout_numbers", lambda x, layer: torch.empty(x.shape, device=x.device), lib=_LIBRARY
)


class LocallyConnected2d(nn.Module):
    """A convolution with separate filters and biases for every position; stride 1, zero-padded to keep the size.

    The parameters are not initialized; ``build`` does that.

    Source:  cuda-convnet's layer type ``local``.

    Args:
        in_channels, out_channels: number of feature maps.
        height, width: of the feature maps, in pixels.
        kernel_size: side of the filters in pixels, odd.

    Shape: (N, in_channels, height, width) -> (N, out_channels, height, width).

    Raises:
        ValueError: feature maps of another size: each position has its own filters.
    """

    def __init__(self, in_channels: int, out_channels: int, height: int, width: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd and at least 1 to keep the feature maps' size, not {kernel_size}"
            )
        self.kernel_size, self.size = kernel_size, (height, width)
        fan_in = in_channels * kernel_size**2
        self.weight = nn.Parameter(torch.empty(height * width, out_channels, fan_in))
        self.bias = nn.Parameter(torch.empty(out_channels, height, width))

    def forward(self, x: Tensor) -> Tensor:
        k, (height, width) = self.kernel_size, self.size
        x = _sized(x, self.size)
        # Images innermost, as in cuda-convnet: patches are copied by whole rows, several times faster than F.unfold.
        x = F.pad(x.permute(2, 3, 1, 0), (0, 0, 0, 0, k // 2, k // 2, k // 2, k // 2))  # (height, width, channels, N)
        shifted = [x[top : top + height, left : left + width] for top in range(k) for left in range(k)]
        patches = torch.stack(shifted, dim=3).flatten(2, 3).flatten(0, 1)  # (positions, fan_in, N)
        out = self.weight @ patches  # (positions, out_channels, N)
        return out.permute(2, 1, 0).unflatten(2, self.size) + self.bias

    def extra_repr(self) -> str:
        _, out_channels, fan_in = self.weight.shape
        return f"{fan_in // self.kernel_size**2}, {out_channels}, size={self.size}, kernel_size={self.kernel_size}"


@torch.fx.wrap
def _sized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The same feature maps; ``ValueError`` if they have another size."""
    if x.shape[2:] != size:
        height, width = size
        raise ValueError(
            f"feature maps must have {height}x{width} positions, which have filters of their own, not "
            f"{'x'.join(map(str, x.shape[2:]))}: give the network images of its own size, such as crops"
        )
    return x
