import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_repro import AlexNet
from alexnet_repro.filters import color_share


def test_a_grey_filter_has_no_colour_and_one_of_opposed_colours_nothing_else():
    edge = torch.tensor([[1.0, -1.0], [2.0, -2.0]])
    grey = edge.expand(3, 2, 2)
    red_against_green = torch.stack([edge, -edge, 0 * edge])
    assert color_share(torch.stack([grey, red_against_green])).tolist() == [0, 1]


def test_a_filter_on_red_alone_by_hand():
    # its grey part is 1/3 in each channel, whose energy is 1/3 of the filter's
    assert color_share(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).item() == pytest.approx(2 / 3)


def test_grey_is_taken_position_by_position():
    # red here and green there are alike in the mean over positions, and coloured all the same
    filters = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]])[None]
    assert color_share(filters).item() == pytest.approx(2 / 3)


@settings(deadline=None)  # the first call is slow on a busy machine
@given(seed=st.integers(0, 999), scale=st.floats(1e-30, 1e30), balance=st.floats(0, 1))
def test_a_share_lies_between_0_and_1_and_does_not_depend_on_scale(seed, scale, balance):
    generator = torch.Generator().manual_seed(seed)
    filters = torch.randn(4, 3, 3, 3, generator=generator)
    filters -= balance * filters.mean(1, keepdim=True)
    shares = color_share(filters)
    assert ((shares >= 0) & (shares <= 1)).all()
    torch.testing.assert_close(color_share(-scale * filters.double()), shares, rtol=1e-9, atol=1e-9)


def test_the_order_of_the_channels_does_not_matter():
    filters = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(color_share(filters.flip(1)), color_share(filters))


def test_two_thirds_of_a_random_filter_are_colour_in_both_towers():
    first, second = color_share(AlexNet().conv1.weight).chunk(2)
    assert len(first) == len(second) == 48
    assert first.mean().item() == pytest.approx(2 / 3, abs=0.02)  # four deviations of the mean
    assert second.mean().item() == pytest.approx(2 / 3, abs=0.02)


def test_a_filter_of_zeros_has_no_share():
    assert color_share(torch.zeros(1, 3, 2, 2)).isnan().all()


@pytest.mark.parametrize("shape", [(8, 1, 5, 5), (8, 48, 5, 5), (3, 5, 5)])
def test_filters_on_other_than_rgb_are_refused_with_their_shape(shape):
    with pytest.raises(ValueError, match=rf"maps, 3, kernel, kernel\), not \({shape[0]}, "):
        color_share(torch.zeros(shape))
