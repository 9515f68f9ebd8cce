"""The GPU's kernels of response normalization, in Triton's interpreter on the CPU, against those of the CPU."""

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

from alexnet_repro.networks import lrn_kernels

CASES = {
    "as run": ((2, 12, 5, 7), 5, 0.75, 1),
    "two towers, an even window, another power": ((2, 12, 5, 7), 4, 0.6, 2),
    "more channels than a tile": ((2, 40, 9, 15), 5, 0.75, 2),
    "more channels than a wide tile": ((1, 150, 3, 3), 5, 0.75, 1),
    "vectors": ((4, 12), 3, 1.0, 1),
    "one position, and a window wider than the channels": ((2, 6, 1, 1), 15, 0.75, 1),
    "no images": ((0, 6, 2, 2), 5, 0.75, 1),
}


@pytest.fixture(scope="module")
def kernels():
    pytest.importorskip("triton", reason="no Triton here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # is looked at when a kernel is made
        name = "alexnet_repro.networks.lrn_triton"
        yield importlib.import_module(name)
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # outside the tensor, where nothing is kept
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CASES)
def test_the_kernels_are_the_layer(kernels, name, layout, dtype):
    shape, size, beta, groups = CASES[name]
    if layout == torch.channels_last and len(shape) != 4:
        pytest.skip("four dimensions have this layout")
    arguments = size, 0.1, beta, 2.0, groups
    a, grad = (
        (scale * torch.randn(shape, generator=torch.Generator().manual_seed(scale))).to(dtype).to(memory_format=layout)
        for scale in (3, 1)
    )
    tolerance = {"rtol": 2e-6, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 8e-3, "atol": 1e-6}
    out, back = kernels.forward(a, *arguments), kernels.backward(grad, a, *arguments)
    assert out.stride() == back.stride() == a.stride()
    torch.testing.assert_close(out.double(), lrn_kernels._forward(a.double(), *arguments), **tolerance)
    torch.testing.assert_close(back.double(), lrn_kernels._backward(grad.double(), a.double(), *arguments), **tolerance)


def test_float64_and_cpus_have_the_kernels_of_their_own():
    assert lrn_kernels._fused(torch.zeros(1)) is None
    on_gpu = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float64)
    assert lrn_kernels._fused(on_gpu) is None


def test_without_triton_a_gpu_has_the_kernels_of_a_cpu(monkeypatch):
    monkeypatch.setattr(lrn_kernels, "find_spec", lambda name: None)
    assert lrn_kernels._fused(SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32)) is None
