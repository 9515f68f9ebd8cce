import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from alexnet_repro import LocalResponseNorm


def as_printed(a: torch.Tensor, size: int, alpha: float, beta: float, k: float) -> torch.Tensor:
    """The paper's equation, one number at a time, with n/2 rounded down."""
    out = torch.empty_like(a)
    for n in range(a.shape[0]):
        for i in range(a.shape[1]):
            for y in range(a.shape[2]):
                for x in range(a.shape[3]):
                    window = range(max(0, i - size // 2), min(a.shape[1], i - size // 2 + size))
                    energy = sum(a[n, j, y, x].item() ** 2 for j in window)
                    out[n, i, y, x] = a[n, i, y, x].item() / (k + alpha * energy) ** beta
    return out


def activations(*shape: int, scale: float = 30.0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return scale * torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, 20])
def test_it_is_the_printed_equation(size):
    a = activations(2, 7, 2, 3)
    expected = as_printed(a, size, alpha=1e-2, beta=0.75, k=2.0)
    torch.testing.assert_close(LocalResponseNorm(size, alpha=1e-2)(a), expected, rtol=1e-13, atol=0)


def test_the_defaults_are_the_papers():
    layer = LocalResponseNorm()
    assert (layer.k, layer.size, layer.alpha, layer.beta, layer.average) == (2, 5, 1e-4, 0.75, False)


def test_by_hand_on_three_maps():
    a = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    b = LocalResponseNorm(size=3, alpha=1.0, beta=1.0, k=1.0)(a)
    assert b.flatten().tolist() == pytest.approx([1 / 6, 2 / 15, 3 / 14])


@pytest.mark.parametrize("size", [3, 5, 9])
def test_the_average_reading_is_torchs(size):
    a = activations(2, 8, 3, 3)
    ours = LocalResponseNorm(size, alpha=0.01, k=1.0, average=True)(a)
    torch.testing.assert_close(ours, torch.nn.LocalResponseNorm(size, 0.01, 0.75, 1.0)(a), rtol=1e-12, atol=0)


def test_it_never_mixes_positions():
    a = torch.zeros(1, 5, 3, 3)
    a[..., 1, 1] = 10.0
    assert LocalResponseNorm()(a).count_nonzero() == 5


def test_groups_keep_the_towers_apart():
    a = activations(2, 8, 2, 2)
    towers = [LocalResponseNorm(alpha=0.1)(tower) for tower in a.chunk(2, dim=1)]
    torch.testing.assert_close(LocalResponseNorm(alpha=0.1, groups=2)(a), torch.cat(towers, dim=1))
    assert not torch.equal(LocalResponseNorm(alpha=0.1, groups=2)(a), LocalResponseNorm(alpha=0.1)(a))


@settings(deadline=None, max_examples=30)
@given(
    size=st.integers(1, 6),
    maps=st.integers(1, 6),
    beta=st.sampled_from([0.5, 0.75, 1.3]),
    average=st.booleans(),
)
def test_the_gradient_is_that_of_the_equation(size, maps, beta, average):
    a = activations(1, maps, 2, 1, scale=2.0).requires_grad_()
    layer = LocalResponseNorm(size, alpha=0.3, beta=beta, k=1.0, average=average)
    assert torch.autograd.gradcheck(layer, (a,))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_formats_agree_and_are_kept(memory_format):
    a = activations(2, 6, 4, 5, dtype=torch.float32)
    b = LocalResponseNorm()(a.to(memory_format=memory_format))
    assert b.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(b, LocalResponseNorm()(a))


@pytest.mark.parametrize("beta", [0.5, 0.75])
def test_the_second_derivative_is_that_of_the_equation(beta):
    a = activations(1, 5, 2, 1, scale=2.0).requires_grad_()
    assert torch.autograd.gradgradcheck(LocalResponseNorm(3, alpha=0.3, beta=beta, k=1.0), (a,))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"size": 0}, "size=0"), ({"groups": 0}, "groups=0"), ({"k": 0.0}, "k=0.0"), ({"alpha": -1.0}, "alpha=-1.0")],
)
def test_impossible_arguments_are_refused_by_name(arguments, named):
    with pytest.raises(ValueError, match=named):
        LocalResponseNorm(**arguments)


def test_maps_that_do_not_split_into_groups_are_refused():
    with pytest.raises(ValueError, match="groups=2"):
        LocalResponseNorm(groups=2)(torch.zeros(1, 5, 1, 1))
