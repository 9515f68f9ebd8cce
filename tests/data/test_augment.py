from collections import Counter

import pytest
import torch
from numbered import numbered, seeded
from scipy.stats import chisquare

from alexnet_repro.data.augment import PCAColor, centre_crop, grid_views, random_crop_flip, ten_crop


def test_every_crop_is_a_window_of_its_image_or_a_flipped_one():
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
    assert chisquare(list(drawn.values())).pvalue > 1e-3  # 4 offsets x flipped or not, equally likely


def test_a_crop_of_24_of_32_pixels_has_81_offsets():
    corners = random_crop_flip(numbered(5000, 32, 32), 24, seeded())[:, 0].flatten(1).min(1).values
    assert len(set(corners.tolist())) == 81


def test_crops_follow_their_generator():
    first, same, other = (random_crop_flip(numbered(50), 2, seeded(seed)) for seed in (3, 3, 4))
    assert first.equal(same)
    assert not first.equal(other)


def test_torch_s_default_device_changes_no_draw():
    images, color = numbered(50), PCAColor.imagenet()
    crops, shifts = random_crop_flip(images, 2, seeded()), color.shifts(50, seeded())
    with torch.device("meta"):
        assert random_crop_flip(images, 2, seeded()).equal(crops)
        assert PCAColor.imagenet().shifts(50, seeded()).equal(shifts)


def test_a_crop_of_the_whole_image_only_flips():
    crops = random_crop_flip(numbered(100), 4, seeded())
    assert {tuple(crop[0, 0].tolist()) for crop in crops} == {(0, 1, 2, 3), (3, 2, 1, 0)}


@pytest.mark.parametrize("size", [0, 5])
def test_a_crop_larger_than_the_image_or_empty_is_refused(size):
    with pytest.raises(ValueError, match=f"4x4 pixels, not {size}"):
        random_crop_flip(numbered(1), size, seeded())


def test_the_nine_views_lie_on_a_grid():
    views = grid_views(numbered(2, 8, 8), 4)
    assert views.shape == (9, 2, 3, 4, 4)
    assert views[:, 0, 0, 0, 0].tolist() == [8 * y + x for y in (0, 2, 4) for x in (0, 2, 4)]


def test_224_of_256_pixels_have_33_places_an_axis_or_the_paper_s_32():
    wide, tall = (torch.arange(256).to(torch.uint8).view(shape) for shape in ((1, 1, 1, 256), (1, 1, 256, 1)))
    corners = random_crop_flip(wide.expand(4000, 1, 256, 256), 224, seeded())[:, 0, 0].amin(1)
    assert sorted(set(corners.tolist())) == list(range(33))
    assert chisquare(list(Counter(corners.tolist()).values())).pvalue > 1e-3
    corners = random_crop_flip(tall.expand(4000, 1, 256, 256), 224, seeded(), offsets=32)[:, 0].amin((1, 2))
    assert sorted(set(corners.tolist())) == list(range(32))


def test_images_may_share_a_draw():
    crops = random_crop_flip(numbered(70, 8, 8), 3, seeded(), share=32)
    assert crops[:32].eq(crops[0]).all()
    assert crops[32:64].eq(crops[32]).all()
    assert crops[64:].eq(crops[64]).all()
    assert not crops[0].equal(crops[32])


@pytest.mark.parametrize("share", [1, 3])
def test_crops_are_the_same_in_every_precision(share):
    images = numbered(50, 8, 8)  # numbers below 64 are exact in bfloat16, which takes another way
    expected = random_crop_flip(images, 5, seeded(), share=share)
    for dtype in (torch.uint8, torch.float32, torch.bfloat16):
        assert random_crop_flip(images.to(dtype), 5, seeded(), share=share).equal(expected.to(dtype))


def test_more_places_than_there_are_are_refused():
    message = "a crop of 3 from 4x4 pixels has 2 places per axis, fewer than 3: set crop_offsets to at most 2"
    with pytest.raises(ValueError, match=message):
        random_crop_flip(numbered(1), 3, seeded(), offsets=3)


def test_a_single_image_is_refused():
    with pytest.raises(ValueError, match=r"must be \(N, C, H, W\), not \(3, 4, 4\); a single image is image\[None\]"):
        random_crop_flip(numbered(1)[0], 3, seeded())


def test_the_ten_views_are_corners_and_centre_and_their_flips():
    views = ten_crop(numbered(2, 6, 6), 4)
    assert views.shape == (10, 2, 3, 4, 4)
    assert views[:5, 0, 0, 0, 0].tolist() == [0, 2, 12, 14, 7]
    assert views[5:].equal(views[:5].flip(-1))


# --- colour noise ---------------------------------------------------------------------------------------------------

EASY = PCAColor(torch.tensor([4.0, 2.0, 1.0]), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))


@pytest.mark.parametrize(
    ("reading", "spread", "divisor"),
    [("run145", (4, 2, 1), 1.1), ("paper", (16, 4, 1), 1.0), ("lighting", (16 / 255, 4 / 255, 1 / 255), 1.0)],
)
def test_a_shift_by_hand_under_each_reading(reading, spread, divisor):
    z = torch.randn(1, 3, generator=seeded(5))[0]
    color = PCAColor(EASY.deviations, EASY.axes, reading)
    image = torch.full((1, 3, 2, 2), 50.0)
    shifted = color(image, seeded(5))[0]
    by_channel = [0.1 * z[1] * spread[1], 0.1 * z[0] * spread[0], 0.1 * z[2] * spread[2]]  # the first axis is green
    for channel, shift in zip(shifted, by_channel, strict=True):
        torch.testing.assert_close(channel, torch.full((2, 2), float((50 + shift) / divisor)))
    assert image.eq(50).all()


def test_shifts_have_the_covariance_of_the_axes():
    shifts = PCAColor.imagenet().shifts(200_000, seeded()).double()
    imagenet = PCAColor.imagenet()
    axes, deviations = imagenet.axes.double(), imagenet.deviations.double()
    expected = axes @ torch.diag((0.1 * deviations) ** 2) @ axes.T
    torch.testing.assert_close(shifts.T.cov(), expected, rtol=0.02, atol=0.05)
    torch.testing.assert_close(shifts.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=0.1)


def test_imagenet_s_axes_are_those_that_were_shipped():
    color = PCAColor.imagenet()
    assert color.deviations.flip(0).tolist() == pytest.approx([19.7208, 37.0939, 121.7801], abs=1e-5)
    shipped = [[0.41796, -0.71258, -0.56351], [-0.81698, -0.02354, -0.57618], [0.39731, 0.70120, -0.59200]]
    assert torch.allclose(-color.axes.flip(1), torch.tensor(shipped), atol=1e-6)  # signs do not matter
    torch.testing.assert_close(color.axes.T @ color.axes, torch.eye(3), atol=1e-4, rtol=0)
    channels = (color.axes.square() @ color.deviations.square()).sqrt()
    torch.testing.assert_close(channels, torch.tensor([74.0, 72.0, 77.0]), atol=0.1, rtol=0)
    first = PCAColor.imagenet("lighting").deviations.square() / 255**2
    torch.testing.assert_close(first, torch.tensor([0.2175, 0.0188, 0.0045]), rtol=0.4, atol=0)


def test_readings_differ_as_the_notes_on_the_code_say():
    color = PCAColor.imagenet("run145")
    torch.testing.assert_close(0.1 * color.deviations, torch.tensor([12.18, 3.71, 1.97]), atol=0.01, rtol=0)
    printed = PCAColor.imagenet("paper").shifts(1, seeded())
    assert printed.allclose(255 * PCAColor.imagenet("lighting").shifts(1, seeded()))


def test_shifts_of_the_widespread_variant_are_weaker_than_those_that_were_run():
    shifts = [PCAColor.imagenet(name).shifts(1, seeded()) @ PCAColor.imagenet().axes for name in ("run145", "lighting")]
    assert (shifts[0] / shifts[1])[0].tolist() == pytest.approx([2.1, 6.9, 12.9], abs=0.1)


def test_the_axes_of_images_are_those_of_their_covariance():
    images = torch.randint(0, 256, (300, 3, 5, 5), generator=seeded()).to(torch.uint8)
    images[:, 1] = images[:, 0] // 2 + images[:, 1] // 4
    color = PCAColor.fit(images)
    covariance = images.transpose(0, 1).flatten(1).double().cov(correction=0)
    rebuilt = color.axes.double() @ torch.diag(color.deviations.double() ** 2) @ color.axes.double().T
    torch.testing.assert_close(rebuilt, covariance, rtol=1e-5, atol=1e-3)
    assert color.deviations.tolist() == sorted(color.deviations.tolist(), reverse=True)
    assert (color.axes.gather(0, color.axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_grey_images_only_become_lighter_or_darker():
    grey = torch.randint(0, 256, (50, 1, 4, 4), generator=seeded()).to(torch.uint8).expand(50, 3, 4, 4)
    shifts = PCAColor.fit(grey).shifts(10, seeded())
    torch.testing.assert_close(shifts, shifts[:, :1].expand(10, 3), atol=1e-3, rtol=1e-4)


def test_no_images_stay_none():
    assert EASY(torch.zeros(0, 3, 4, 4), seeded()).shape == (0, 3, 4, 4)


def test_a_variant_that_there_is_not_is_refused_at_once():
    with pytest.raises(ValueError, match="variant must be one of run145, paper, lighting, not 'bogus'"):
        PCAColor.imagenet("bogus")


def test_axes_are_not_fitted_to_fractions():
    with pytest.raises(ValueError, match=r"uint8, not \(1, 3, 4, 4\) torch.float32"):
        PCAColor.fit(numbered(1).float())


@pytest.mark.parametrize(("name", "value"), [("offsets", 0), ("share", 0), ("share", 1.5)])
def test_impossible_numbers_of_places_and_images_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, not {value}"):
        random_crop_flip(numbered(1), 3, seeded(), **{name: value})


def test_height_and_width_are_not_confused():
    corners = random_crop_flip(numbered(4000, 4, 7), 3, seeded())[:, 0].flatten(1).min(1).values
    assert set(corners.tolist()) == {7 * y + x for y in range(2) for x in range(5)}
    tall = numbered(1, 10, 6)
    assert centre_crop(tall, 4)[0, 0, 0, 0] == 6 * 3 + 1
    assert grid_views(tall, 4)[:, 0, 0, 0, 0].tolist() == [6 * y + x for y in (0, 3, 6) for x in (0, 1, 2)]
    assert ten_crop(tall, 4)[:, 0, 0].flatten(1).amin(1).tolist()[:5] == [0, 2, 36, 38, 19]
