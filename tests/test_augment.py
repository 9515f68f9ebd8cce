from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from alexnet_repro.augment import InputTransform, grid_views, random_crop_flip
from alexnet_repro.config import InputConfig


def numbered(n: int, height: int = 4, width: int = 4) -> torch.Tensor:
    """Pictures whose pixels carry their own position, 0 .. H*W-1, in every channel."""
    return torch.arange(height * width).view(1, 1, height, width).repeat(n, 3, 1, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_crop_is_a_window_of_its_picture_or_a_mirrored_one():
    windows = {
        tuple((4 * (y + i) + x + j) for i in range(3) for j in range(3)): (y, x, False)
        for y in range(2)
        for x in range(2)
    }
    windows |= {
        tuple((4 * (y + i) + x + 2 - j) for i in range(3) for j in range(3)): (y, x, True)
        for y in range(2)
        for x in range(2)
    }
    crops = random_crop_flip(numbered(4000), 3, seeded())
    assert crops.shape == (4000, 3, 3, 3)
    assert all(crop[0].equal(crop[1]) and crop[0].equal(crop[2]) for crop in crops)
    drawn = Counter(windows[tuple(crop[0].flatten().tolist())] for crop in crops)
    assert len(drawn) == 8
    assert chisquare(list(drawn.values())).pvalue > 1e-3  # 4 offsets x mirrored or not, equally likely


def test_a_crop_of_24_of_32_pixels_has_81_offsets():
    corners = random_crop_flip(numbered(5000, 32, 32), 24, seeded())[:, 0].flatten(1).min(1).values
    assert len(set(corners.tolist())) == 81


def test_crops_follow_their_generator():
    first, same, other = (random_crop_flip(numbered(50), 2, seeded(seed)) for seed in (3, 3, 4))
    assert first.equal(same)
    assert not first.equal(other)


def test_a_crop_of_the_whole_picture_only_mirrors():
    crops = random_crop_flip(numbered(100), 4, seeded())
    assert {tuple(crop[0, 0].tolist()) for crop in crops} == {(0, 1, 2, 3), (3, 2, 1, 0)}


@pytest.mark.parametrize("size", [0, 5])
def test_a_crop_larger_than_the_picture_or_empty_is_refused(size):
    with pytest.raises(ValueError, match=f"4x4 pixels, not {size}"):
        random_crop_flip(numbered(1), size, seeded())


def test_the_nine_views_lie_on_a_grid():
    views = grid_views(numbered(2, 8, 8), 4)
    assert views.shape == (9, 2, 3, 4, 4)
    assert views[:, 0, 0, 0, 0].tolist() == [8 * y + x for y in (0, 2, 4) for x in (0, 2, 4)]


def test_the_mean_picture_is_subtracted_and_nothing_scaled():
    images = torch.randint(0, 256, (50, 3, 4, 4), generator=seeded()).to(torch.uint8)
    transform = InputTransform.fit(InputConfig(), images)
    inputs = transform.training(images, seeded())
    torch.testing.assert_close(inputs.double(), images.double() - images.double().mean(0), atol=1e-4, rtol=0)


def test_a_crop_has_the_central_part_of_the_mean_subtracted_wherever_it_lies():
    images = numbered(3, 4, 4).to(torch.uint8)  # the mean picture is the picture
    transform = InputTransform.fit(InputConfig(crop=2), images)
    corner = transform.views(images)[0, 0, 0]
    assert corner.tolist() == [[0 - 5, 1 - 6], [4 - 9, 5 - 10]]


def test_standardized_channels_have_mean_0_and_deviation_1():
    generator = seeded()
    images = (
        torch.randint(0, 100, (2500, 3, 5, 5), generator=generator) + torch.tensor([0, 50, 150]).view(3, 1, 1)
    ).to(torch.uint8)
    inputs = InputTransform.fit(InputConfig(pixels="standardized"), images).views(images)[0].double()
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        inputs.var((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5, rtol=0
    )


def test_without_a_crop_there_is_one_view_the_picture():
    images = numbered(2).to(torch.uint8)
    assert InputTransform.fit(InputConfig(), images).views(images).shape == (1, 2, 3, 4, 4)
