import pytest
import torch
import torch.nn.functional as F

from alexnet_repro.layers import LocallyConnected2d


def filled(*arguments: int) -> LocallyConnected2d:
    layer = LocallyConnected2d(*arguments).double()
    generator = torch.Generator().manual_seed(1)
    for p in layer.parameters():
        p.data.normal_(generator=generator)
    return layer


def test_every_position_is_its_own_convolution():
    layer = filled(2, 3, 4, 5, 3)
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    for position in range(20):
        row, column = divmod(position, 5)
        kernel = layer.weight[position].view(3, 2, 3, 3)
        expected = F.conv2d(x, kernel, padding=1)[:, :, row, column] + layer.bias[:, row, column]
        torch.testing.assert_close(out[:, :, row, column], expected)


def test_equal_filters_everywhere_make_it_a_convolution():
    layer = filled(2, 3, 4, 4, 3)
    layer.weight.data[:] = layer.weight.data[0]
    layer.bias.data[:] = layer.bias.data[:, :1, :1]
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = layer.weight[0].view(3, 2, 3, 3)
    torch.testing.assert_close(layer(x), F.conv2d(x, kernel, layer.bias[:, 0, 0], padding=1))


def test_parameters_are_counted_per_position():
    layer = LocallyConnected2d(64, 32, 6, 6, 3)  # local3 of the 13 % net
    assert sum(p.numel() for p in layer.parameters()) == 36 * 32 * (64 * 9 + 1)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="not 4"):
        LocallyConnected2d(1, 1, 2, 2, 4)
