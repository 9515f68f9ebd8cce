import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_repro import AlexNet
from alexnet_repro.networks.inspect import as_images, color_share, orientation, tower_color


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
    with pytest.raises(ValueError, match=rf"channels, 3, kernel, kernel\), not \({shape[0]}, "):
        color_share(torch.zeros(shape))
    with pytest.raises(ValueError, match=rf"channels, 3, kernel, kernel\), not \({shape[0]}, "):
        orientation(torch.zeros(shape))


def test_stripes_have_a_direction_and_a_blob_has_none():
    x = torch.arange(11.0) - 5
    stripes = torch.cos(x).expand(11, 11)
    blob = torch.exp(-(x[:, None] ** 2 + x**2) / 8)
    slanted = torch.cos(x[:, None] + x)
    found = orientation(torch.stack([f.expand(3, 11, 11) for f in (stripes, stripes.T, slanted, blob)]))
    assert found[:3].tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert found[3] < 0.05


def test_a_direction_by_hand():
    # a single square of four positions has a single gradient, here (10, 8)
    filters = torch.tensor([[0.0, 1.0], [2.0, 9.0]]).expand(1, 3, 2, 2)
    assert orientation(filters).item() == pytest.approx(1)
    assert orientation(torch.ones(1, 3, 2, 2)).isnan().all()
    noise = torch.randn(50, 3, 11, 11, generator=torch.Generator().manual_seed(0))
    assert orientation(noise).mean() < 0.2
    torch.testing.assert_close(orientation(-7 * noise), orientation(noise))


def test_a_filter_s_image_has_its_zero_in_the_middle_and_its_largest_at_an_end():
    images = as_images(torch.tensor([[-2.0, 0.0], [1.0, 2.0]]).expand(2, 3, 2, 2))
    assert images[0, 0].tolist() == [[0.0, 127.5], [191.25, 255.0]]
    assert (as_images(torch.zeros(1, 3, 2, 2)) == 127.5).all()


def test_towers_of_grey_and_of_colour_differ_by_more_than_random_halves_do():
    grey = torch.randn(12, 1, 3, 3, generator=torch.Generator().manual_seed(0)).expand(12, 3, 3, 3)
    colored = grey * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)
    found = tower_color(torch.cat([grey, colored]))
    assert (found["color_tower1"], found["color_tower2"], found["color_difference"]) == pytest.approx((0, 1, 1))
    assert 0.1 < found["color_difference_chance"] < 0.25  # of 24 coins 0.16 on average
    mixed = tower_color(torch.cat([grey[:6], colored[:6], grey[6:], colored[6:]]))
    assert mixed["color_difference"] == pytest.approx(0)
    assert mixed["color_difference_chance"] == pytest.approx(found["color_difference_chance"], rel=0.1)
    assert tower_color(torch.cat([grey, colored])) == found
