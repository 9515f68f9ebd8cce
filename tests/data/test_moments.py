import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_repro.data.moments import Moments, PixelSums


def drawn(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 5, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def test_two_pixels_by_hand():
    images = torch.tensor([[[[0]], [[10]], [[20]]], [[[4]], [[10]], [[26]]]], dtype=torch.uint8)
    moments = Moments.of(images)
    assert moments.mean_image.flatten().tolist() == [2, 10, 23]
    assert moments.covariance.tolist() == [[4, 0, 6], [0, 0, 0], [6, 0, 9]]
    deviations, axes = moments.principal_axes()
    assert deviations.tolist() == pytest.approx([13**0.5, 0, 0], abs=1e-6)
    assert axes[:, 0].tolist() == pytest.approx([2 / 13**0.5, 0, 3 / 13**0.5])


def test_moments_are_torch_s_mean_and_covariance():
    images = drawn(40)
    moments = Moments.of(images)
    pixels = images.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(moments.mean_image, images.double().mean(0))
    torch.testing.assert_close(moments.mean, pixels.mean(1))
    torch.testing.assert_close(moments.covariance, pixels.cov(correction=0))
    assert Moments.of(moments) is moments


@given(cuts=st.lists(st.integers(0, 30), max_size=4), seed=st.integers(0, 99))
def test_sums_do_not_depend_on_the_parts_to_the_last_bit(cuts, seed):
    images = drawn(30, seed)
    bounds = [0, *sorted(cuts), 30]
    parts = []
    for start, end in itertools.pairwise(bounds):
        parts.append(PixelSums.of_none(5, 4))
        parts[-1].add(images[start:end])
    sums = [sum(getattr(part, name) for part in reversed(parts)) for name in ("count", "image", "products")]
    merged, whole = PixelSums(*sums).moments(), Moments.of(images)
    assert merged.count == whole.count == 30
    assert merged.mean_image.equal(whole.mean_image)
    assert merged.covariance.equal(whole.covariance)


def test_no_images_have_no_mean():
    for mean_of in (PixelSums.of_none(4, 4).moments, lambda: Moments.of(drawn(0))):
        with pytest.raises(ValueError, match="there are no images to take a mean of"):
            mean_of()


@pytest.mark.parametrize("images", [drawn(4).float(), drawn(4)[:, :1], drawn(4)[0]])
def test_what_are_no_images_are_refused_by_shape_and_type(images):
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\) uint8, not \("):
        Moments.of(images)
