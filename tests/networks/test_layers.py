import copy

import pytest
import torch
import torch.nn.functional as F

from alexnet_repro import NetConfig, build
from alexnet_repro.networks.layers import CeilAvgPool2d, Dropout, LocallyConnected2d, PaddedConv2d, TowerLinear


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


def test_padding_on_the_right_and_below_is_that_and_no_other():
    conv = PaddedConv2d(3, 4, 11, 4, padding=(0, 3), groups=1).double()
    x = torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    padded = torch.zeros(2, 3, 227, 227, dtype=torch.float64)
    padded[:, :, :224, :224] = x
    torch.testing.assert_close(conv(x), F.conv2d(padded, conv.weight, conv.bias, stride=4))
    assert conv(x).shape[-2:] == (55, 55)


@pytest.mark.parametrize("padding", [(2, 2), (1, 3), (0, 0)])
def test_paddings_of_both_kinds_add_up(padding):
    conv = PaddedConv2d(2, 4, 3, 1, padding=padding, groups=2).double()
    x = torch.randn(1, 2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(conv(x), F.conv2d(F.pad(x, padding * 2), conv.weight, conv.bias, groups=2))


def test_fully_connected_towers_see_their_own_inputs_only():
    layer = TowerLinear(8, 6, towers=2).double()
    generator = torch.Generator().manual_seed(0)
    for p in layer.parameters():
        p.data.normal_(generator=generator)
    x = torch.randn(3, 4, 1, 2, dtype=torch.float64, generator=generator)  # a tower: two channels of two positions
    whole = torch.block_diag(layer.weight[:3], layer.weight[3:])
    torch.testing.assert_close(layer(x), F.linear(x.flatten(1), whole, layer.bias))


def test_one_tower_is_an_ordinary_fully_connected_layer():
    layer = TowerLinear(8, 6)
    for p in layer.parameters():
        p.data.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    assert layer(x).equal(F.linear(x, layer.weight, layer.bias))


def test_units_that_do_not_split_into_towers_are_refused():
    with pytest.raises(ValueError, match="8 inputs and 5 outputs do not split into 2 towers"):
        TowerLinear(8, 5, towers=2)


def test_the_paper_s_dropout_does_not_rescale_in_training_and_halves_in_testing():
    x = torch.full((200, 500), 3.0)
    layer = Dropout(0.5, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    assert set(out.unique().tolist()) == {0.0, 3.0}
    assert (out == 0).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert layer.eval()(x).unique().tolist() == [1.5]


def test_rescaled_dropout_is_torchs():
    x = torch.full((200, 500), 3.0)
    layer = Dropout(0.2, rescale=True, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    assert out.unique().tolist() == pytest.approx([0.0, 3.0 / 0.8])
    assert (out == 0).double().mean().item() == pytest.approx(0.2, abs=0.01)
    assert layer.eval()(x).equal(x)


def test_masks_follow_the_generator_and_leave_torchs_own_alone():
    x = torch.ones(20, 30)
    state = torch.get_rng_state()
    masks = [Dropout(0.5, generator=torch.Generator().manual_seed(seed))(x) for seed in (1, 1, 2)]
    assert masks[0].equal(masks[1])
    assert not masks[0].equal(masks[2])
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("towers", [1, 2])
def test_a_compiler_takes_dropout_whole_and_draws_the_same_masks(towers):
    def made() -> torch.nn.Sequential:
        layers = [Dropout(0.5, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
        for layer in layers:
            layer.towers = towers
        return torch.nn.Sequential(layers[0], torch.nn.Tanh(), copy.deepcopy(layers[1]))

    graphs = []
    torch.compiler.reset()
    plain, compiled = made(), torch.compile(made(), backend=lambda graph, _: graphs.append(graph) or graph)
    for _ in range(2):
        x = torch.ones(4, 6, requires_grad=True)
        assert compiled(x).equal(plain(x))
    assert len(graphs) == 1
    operator = torch.ops.alexnet_repro.dropout_numbers, (x, id(plain[0]))
    torch.library.opcheck(*operator, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_an_impossible_probability_is_refused(p):
    with pytest.raises(ValueError, match=f"not {p}"):
        Dropout(p)


def test_a_compiled_average_pool_has_its_gradient():
    """Of windows that reach over the edge, which torch's own hasn't: here the last ones, to the right and below."""
    pool, x = CeilAvgPool2d(3, 2), torch.randn(2, 4, 8, 10, generator=torch.Generator().manual_seed(0))
    found = []
    for layer in (pool, torch.compile(pool, dynamic=False)):
        inputs = x.clone().requires_grad_()
        out = layer(inputs)
        out.square().sum().backward()
        found.append((out, inputs.grad))
    for compiled, plain in zip(*reversed(found), strict=True):
        torch.testing.assert_close(compiled, plain)


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 2), (1, 2), (2, 5)])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (8, 9), (3, 3), (10, 4)])
def test_windows_over_the_edge_are_averages_of_what_is_inside(height, width, size, stride, monkeypatch):
    pool, x = CeilAvgPool2d(size, stride), torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(0))
    plain = pool(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(pool(x), plain)


@pytest.mark.parametrize("size", [(4, 5), (3, 4), (9, 7)])
def test_feature_maps_of_another_size_than_the_filters_have_are_refused(size):
    layer = LocallyConnected2d(1, 2, height=4, width=4, kernel_size=3)
    with pytest.raises(ValueError, match=f"must have 4x4 positions, .* not {size[0]}x{size[1]}"):
        layer(torch.zeros(1, 1, *size))


def test_padding_on_two_sides_is_printed():
    net = build(NetConfig.preset("run145-small"))
    assert "extra padding (left, right, top, bottom)=(0, 3, 0, 3)" in repr(net.conv1)
