from dataclasses import replace

import pytest
import torch
from numbered import numbered, seeded

from alexnet_repro.data import Dataset
from alexnet_repro.data.augment import centre_crop
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import Draws, InputTransform
from alexnet_repro.support.chance import streams


def chance(seed: int) -> list[torch.Generator]:
    return streams(seeded(seed), "crops", "colour")


def training(transform: InputTransform, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    n, _, height, width = images.shape
    return transform.apply(images, transform.draw((n, height, width), *chance(seed)))


def test_the_mean_image_is_subtracted_and_nothing_scaled():
    images = torch.randint(0, 256, (50, 3, 4, 4), generator=seeded()).to(torch.uint8)
    transform = InputTransform.fit(InputConfig(), images)
    inputs = training(transform, images)
    torch.testing.assert_close(inputs.double(), images.double() - images.double().mean(0), atol=1e-4, rtol=0)


def test_a_transform_is_fitted_to_a_data_set_and_printed_without_its_mean():
    images = torch.randint(0, 256, (5, 3, 4, 4), generator=seeded()).to(torch.uint8)
    dataset = Dataset("d", "train", images, torch.zeros(5, dtype=torch.int64), ("a",), "made up")
    fitted = InputTransform.fit(InputConfig(), dataset)
    assert fitted.mean.equal(InputTransform.fit(InputConfig(), images).mean)
    assert repr(fitted) == f"InputTransform(config={InputConfig()})"


def test_a_crop_has_the_central_part_of_the_mean_subtracted_wherever_it_lies():
    images = numbered(3, 4, 4).to(torch.uint8)  # the mean image is the image
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


@pytest.mark.parametrize(("channel", "name"), list(enumerate(["red", "green", "blue"])))
@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_channel_that_is_the_same_everywhere_is_not_standardized_but_may_have_its_mean_subtracted(
    channel, name, value
):
    images = torch.randint(0, 256, (7, 3, 5, 3), generator=seeded()).to(torch.uint8)
    images[:, channel] = value
    with pytest.raises(ValueError, match=rf'the {name} channel is {value} in every .* pixels="minus-mean-image"'):
        InputTransform.fit(InputConfig(pixels="standardized"), images)
    assert InputTransform.fit(InputConfig(), images).views(images).isfinite().all()
    images[6, channel, 4, 2] ^= 1  # one pixel by one is enough
    assert InputTransform.fit(InputConfig(pixels="standardized"), images).views(images).isfinite().all()


def test_without_a_crop_there_is_one_view_the_image():
    images = numbered(2).to(torch.uint8)
    assert InputTransform.fit(InputConfig(), images).views(images).shape == (1, 2, 3, 4, 4)


def test_the_configuration_chooses_the_views():
    images = numbered(2, 6, 6).to(torch.uint8)
    for name, count in (("grid", 9), ("ten", 10), ("centre", 1)):
        transform = InputTransform.fit(InputConfig(crop=4, views=name), images)
        assert transform.views(images).shape == (count, 2, 3, 4, 4)


def test_without_random_crops_training_sees_the_centre_as_it_is():
    images = torch.randint(0, 256, (5, 3, 6, 6), generator=seeded()).to(torch.uint8)
    transform = InputTransform.fit(InputConfig(crop=4, random_crops=False), images)
    assert training(transform, images).equal(transform.views(images)[4])
    assert centre_crop(images, 4).equal(images[..., 1:5, 1:5])


def test_a_matched_mean_is_the_part_under_the_crop():
    images = numbered(3, 4, 4).to(torch.uint8)  # the mean image is the image
    transform = InputTransform.fit(InputConfig(crop=2, mean_position="matched"), images)
    assert not transform.views(images).any()
    assert not training(transform, images).any()


def test_colour_noise_is_for_training_alone_and_comes_from_the_generator():
    images = torch.randint(0, 256, (20, 3, 4, 4), generator=seeded()).to(torch.uint8)
    noisy = InputTransform.fit(InputConfig(color="run145"), images)
    plain = InputTransform.fit(InputConfig(), images)
    assert noisy.views(images).equal(plain.views(images))
    first, again, other = (training(noisy, images, seed) for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)
    shifts = first * 1.1 - training(plain, images)
    torch.testing.assert_close(shifts, shifts[..., :1, :1].expand_as(shifts), atol=1e-3, rtol=0)


def test_draws_that_are_turned_off_change_no_other():
    def draws(color: bool, **change: object) -> list:
        config = replace(InputConfig(crop=4, color="run145"), **change)
        transform = InputTransform.fit(config, torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
        draw = chance(0)
        return [transform.draw((5, 8, 8), *draw, color) for _ in range(3)]

    for whole, no_noise, no_crops in zip(draws(True), draws(False), draws(True, random_crops=False), strict=True):
        assert whole.crops.top.equal(no_noise.crops.top)
        assert whole.crops.flipped.equal(no_noise.crops.flipped)
        assert whole.color.equal(no_crops.color)
        assert no_noise.color is no_crops.crops is None


@pytest.mark.parametrize("crop", [None, 3])
def test_views_that_there_are_not_are_refused_of_whole_images_too(crop):
    transform = InputTransform.fit(InputConfig(crop=crop), numbered(2).to(torch.uint8))
    assert transform.viewed("centre").views(numbered(2)).shape[0] == 1
    with pytest.raises(ValueError, match="views must be one of grid, ten, centre, not 'bogus'"):
        transform.viewed("bogus")


@pytest.mark.parametrize("pixels", ["minus-mean-image", "standardized"])
def test_what_was_fitted_to_images_that_are_not_square_comes_back_from_its_state(pixels):
    config, images = InputConfig(pixels=pixels), numbered(2, 4, 6).to(torch.uint8)
    transform = InputTransform.fit(config, images)
    again = InputTransform.from_state(config, transform.state_dict())
    assert again.views(images).equal(transform.views(images))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (1, 4, 4), (3, 4, 4, 4)])
def test_a_state_with_a_mean_that_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match="the input's state has the shapes"):
        InputTransform.from_state(InputConfig(), {"mean": torch.zeros(shape), "scale": torch.ones(())})


@pytest.mark.parametrize("pixels", ["minus-mean-image", "standardized"])
def test_the_state_of_another_kind_of_pixels_is_refused(pixels):
    images = numbered(2).to(torch.uint8)
    (other,) = {"minus-mean-image", "standardized"} - {pixels}
    state = InputTransform.fit(InputConfig(pixels=other), images).state_dict()
    with pytest.raises(ValueError, match="the input's state has the shapes"):
        InputTransform.from_state(InputConfig(pixels=pixels), state)


def test_values_with_tensors_are_compared_without_an_error():
    images = numbered(2).to(torch.uint8)
    dataset = Dataset("d", "train", images, torch.tensor([0, 0]), ("a",), "made up")
    transform = InputTransform.fit(InputConfig(crop=2, color="run145"), images)
    draws = transform.draw((2, 4, 4), *chance(0))
    for value in (dataset, dataset.moments, transform, transform.color, draws, draws.crops):
        assert value == value  # noqa: PLR0124
        assert value != replace(value)
        assert hash(value)
    assert draws != Draws(None, None)


def test_colour_noise_is_added_to_pixel_values_before_they_are_standardized():
    images = torch.randint(0, 256, (40, 3, 4, 4), generator=seeded()).to(torch.uint8)
    transform = InputTransform.fit(InputConfig(pixels="standardized", color="run145"), images)
    draws = transform.draw((40, 4, 4), *chance(1))
    shifts = transform.color.along_axes(draws.color)[..., None, None]
    channels = images.double().transpose(0, 1).flatten(1)
    mean, std = channels.mean(1)[:, None, None], channels.std(1, correction=0)[:, None, None]
    expected = (images.double() - mean + shifts) / 1.1 / std
    torch.testing.assert_close(transform.apply(images, draws).double(), expected, atol=1e-4, rtol=1e-4)
