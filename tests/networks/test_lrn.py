import math
import subprocess
import sys
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.autograd import forward_ad

from alexnet_repro import LocalResponseNorm
from alexnet_repro.networks import lrn, lrn_kernels
from alexnet_repro.networks.lrn import WithinChannelResponseNorm


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
    torch.testing.assert_close(lrn.equation(a, size, 1e-2, 0.75, 2.0, 1), expected, rtol=1e-13, atol=0)


def test_the_defaults_are_the_papers():
    layer = LocalResponseNorm()
    assert (layer.k, layer.size, layer.alpha, layer.beta, layer.average) == (2, 5, 1e-4, 0.75, False)


def test_by_hand_on_three_channels():
    a = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    b = LocalResponseNorm(size=3, alpha=1.0, beta=1.0, k=1.0)(a)
    assert b.flatten().tolist() == pytest.approx([1 / 6, 2 / 15, 3 / 14])


@pytest.mark.parametrize("size", [3, 5, 9])
def test_the_average_reading_is_torchs(size):
    a = activations(2, 8, 3, 3)
    ours = LocalResponseNorm(size, alpha=0.01, k=1.0, average=True)(a)
    torch.testing.assert_close(ours, torch.nn.LocalResponseNorm(size, 0.01, 0.75, 1.0)(a), rtol=1e-12, atol=0)


def test_either_convention_of_alpha_makes_the_layer_as_printed_and_as_run():
    a = activations(2, 8, 3, 3)
    for divided, undivided in ((5e-4, 1e-4), (1e-4, 2e-5)):  # as printed, as run
        expected = as_printed(a, 5, alpha=undivided, beta=0.75, k=2.0)
        torch.testing.assert_close(LocalResponseNorm(alpha=undivided)(a), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(LocalResponseNorm(alpha=divided, average=True)(a), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(torch.nn.LocalResponseNorm(5, divided, 0.75, 2.0)(a), expected, rtol=1e-12, atol=0)


def test_it_never_mixes_positions():
    a = activations(1, 5, 3, 3)
    before, a[..., 1, 1] = LocalResponseNorm()(a), 100.0
    differing = (LocalResponseNorm()(a) != before).any(1)[0]
    assert differing.nonzero().tolist() == [[1, 1]]


def test_groups_keep_the_towers_apart():
    a = activations(2, 8, 2, 2)
    towers = [LocalResponseNorm(alpha=0.1)(tower) for tower in a.chunk(2, dim=1)]
    torch.testing.assert_close(LocalResponseNorm(alpha=0.1, groups=2)(a), torch.cat(towers, dim=1))
    assert not torch.equal(LocalResponseNorm(alpha=0.1, groups=2)(a), LocalResponseNorm(alpha=0.1)(a))


@settings(deadline=None, max_examples=30)
@given(
    size=st.integers(1, 6),
    channels=st.integers(1, 6),
    beta=st.sampled_from([0.5, 0.75, 1.3]),
    average=st.booleans(),
)
def test_the_gradient_is_that_of_the_equation(size, channels, beta, average):
    a = activations(1, channels, 2, 1, scale=2.0).requires_grad_()
    layer = LocalResponseNorm(size, alpha=0.3, beta=beta, k=1.0, average=average)
    assert torch.autograd.gradcheck(layer, (a,))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_formats_agree_and_are_kept(memory_format):
    a = activations(2, 6, 4, 5, dtype=torch.float32)
    x = a.clone().to(memory_format=memory_format).requires_grad_()
    b = LocalResponseNorm(groups=2)(x)
    assert b.is_contiguous(memory_format=memory_format)
    expected = LocalResponseNorm(groups=2)(a.requires_grad_())
    torch.testing.assert_close(b, expected)
    weights = activations(2, 6, 4, 5, scale=1.0, dtype=torch.float32)
    (b * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, a.grad)


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 5), (3, 6, 4, 5), (2, 6, 2, 3, 4), (0, 6, 4, 5), (3, 6, 1, 1)])
def test_any_number_of_positions_will_do(shape):
    a = activations(*shape).requires_grad_()
    b = LocalResponseNorm(alpha=0.1)(a)
    flat = a.detach().reshape(*shape[:2], a.shape[2:].numel(), 1)
    torch.testing.assert_close(b.detach(), LocalResponseNorm(alpha=0.1)(flat).reshape(shape))
    b.sum().backward()
    assert a.grad.shape == a.shape


def test_a_view_with_strides_of_its_own_is_read_correctly():
    a = activations(3, 4, 6, 5)
    view = a.transpose(1, 3)[:, 1:, ::2]
    torch.testing.assert_close(LocalResponseNorm()(view), LocalResponseNorm()(view.clone().contiguous()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pieces_of_any_size_give_the_same_numbers(monkeypatch, memory_format):
    a = activations(5, 6, 3, 4).to(memory_format=memory_format).requires_grad_()
    whole = LocalResponseNorm(groups=2, alpha=0.1)(a)
    (grad,) = torch.autograd.grad(whole.square().sum(), a)
    for chunk in (1, 100, 6 * 3 * 4 * 2):
        monkeypatch.setattr(lrn_kernels, "CACHED", chunk)
        pieces = LocalResponseNorm(groups=2, alpha=0.1)(a)
        assert pieces.equal(whole)
        assert torch.autograd.grad(pieces.square().sum(), a)[0].equal(grad)


def test_float32_is_within_two_millionths():
    a = activations(4, 96, 6, 6)
    for average in (False, True):
        layer = LocalResponseNorm(average=average)
        error = (layer(a.float()).double() / layer(a) - 1).abs().max()
        assert error < 2e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_computed_in_float32(dtype):
    a = activations(2, 8, 3, 3).to(dtype).requires_grad_()
    x = a.detach().float().requires_grad_()
    b, y = LocalResponseNorm(alpha=0.1)(a), LocalResponseNorm(alpha=0.1)(x)
    assert b.dtype == dtype
    assert b.equal(y.to(dtype))
    b.sum().backward()
    y.sum().backward()
    assert a.grad.equal(x.grad.to(dtype))


def test_under_autocast_it_keeps_what_it_gets():
    a = activations(2, 8, 3, 3).bfloat16()
    expected = LocalResponseNorm(beta=0.6)(a)
    with torch.autocast("cpu", torch.bfloat16):
        assert LocalResponseNorm(beta=0.6)(a).equal(expected)
        assert LocalResponseNorm()(a).dtype == torch.bfloat16


def test_the_exponent_of_the_within_channel_norm_is_one():
    a = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    half, whole = (WithinChannelResponseNorm(3, 0.5, beta)(a) / a for beta in (0.75, 1.5))
    torch.testing.assert_close(whole, half.square())


def test_compiled_it_is_the_same_layer():
    a = activations(2, 8, 3, 3)
    compiled = torch.compile(LocalResponseNorm(groups=2), backend="aot_eager", fullgraph=True)
    x, y = a.clone().requires_grad_(), a.clone().requires_grad_()
    b, expected = compiled(x), LocalResponseNorm(groups=2)(y)
    torch.testing.assert_close(b, expected)
    b.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # from the check itself
def test_its_operators_keep_torch_s_rules(memory_format):
    a, grad = (torch.rand(2, 6, 3, 3).to(memory_format=memory_format).requires_grad_() for _ in range(2))
    torch.library.opcheck(torch.ops.alexnet_repro.response_norm.default, (a, 5, 1e-4, 0.75, 2.0, 2))
    torch.library.opcheck(torch.ops.alexnet_repro.response_norm_backward.default, (grad, a, 5, 1e-4, 0.75, 2.0, 2))


def test_a_compiler_takes_the_operators_as_they_are():
    graphs = []
    torch.compile(LocalResponseNorm(), backend=lambda graph, _: graphs.append(graph) or graph)(activations(2, 8, 3, 3))
    assert torch.ops.alexnet_repro.response_norm in {node.target for node in graphs[0].graph.nodes}


def test_in_eager_mode_no_compiler_is_imported():
    code = (
        "import sys, torch; before = set(sys.modules); from alexnet_repro import LocalResponseNorm;"
        "LocalResponseNorm()(torch.rand(2, 6, 3, 3, requires_grad=True)).sum().backward();"
        "print(sorted({'sympy', 'torch._dynamo', 'torch._inductor'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


torch_s_own = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # within its forward mode
PLAIN = (3, 0.3, 0.75, 1.0, 2)  # size, coefficient, beta, k, groups


def layer_and_equation() -> tuple[Callable, Callable]:
    return LocalResponseNorm(3, alpha=0.3, beta=0.75, k=1.0, groups=2), lambda a: lrn.equation(a, *PLAIN)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return activations(2, 6, 2, scale=2.0), activations(2, 6, 2, scale=1.0).flip(1)


def cubes(f: Callable, weights: torch.Tensor) -> Callable:
    """A number whose second derivative by the layer's output isn't constant."""
    return lambda x: (f(x).pow(3) * weights).sum()


def jvp(f: Callable, t: torch.Tensor) -> Callable:
    return lambda a: torch.func.jvp(f, (a,), (t,))[1]


def tangent(f: Callable, a: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(a, t))).tangent


def gradient(f: Callable, a: torch.Tensor, grad: torch.Tensor, **options: bool) -> torch.Tensor:
    x = a.clone().requires_grad_()
    return torch.autograd.grad(f(x), x, grad, **options)[0]


def third_derivative(f: Callable, a: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    x = a.clone().requires_grad_()
    found = cubes(f, t)(x)
    for _ in range(3):
        (found,) = torch.autograd.grad((found * t).sum(), x, create_graph=True)
    return found


TRANSFORMS = {
    "jvp": lambda f, a, t: jvp(f, t)(a),
    "jacfwd": lambda f, a, t: torch.func.jacfwd(f)(a),
    "jacrev": lambda f, a, t: torch.func.jacrev(f)(a),
    "grad": lambda f, a, t: torch.func.grad(cubes(f, t))(a),
    "hessian": lambda f, a, t: torch.func.hessian(cubes(f, t))(a),
    "jvp of jvp": lambda f, a, t: jvp(jvp(f, t), t)(a),
    "jacfwd of jacfwd": lambda f, a, t: torch.func.jacfwd(torch.func.jacfwd(cubes(f, t)))(a),
    "jacrev of jacfwd": lambda f, a, t: torch.func.jacrev(torch.func.jacfwd(cubes(f, t)))(a),
    "jvp of grad": lambda f, a, t: jvp(torch.func.grad(cubes(f, t)), t)(a),
    "vmap": lambda f, a, t: torch.func.vmap(lambda x: f(x[None])[0], in_dims=2, out_dims=1)(a),
    "vmap of grad": lambda f, a, t: torch.func.vmap(torch.func.grad(lambda x: f(x[None]).square().sum()))(a),
    "vmap of jvp": lambda f, a, t: torch.func.vmap(lambda each: jvp(f, each)(a))(torch.stack([t, a])),
    "vmap of hessian": lambda f, a, t: torch.func.vmap(torch.func.hessian(lambda x: f(x[None]).square().sum()))(a),
    "functionalize": lambda f, a, t: torch.func.functionalize(f)(a),
    "dual input": tangent,
    "dual gradient": lambda f, a, t: tangent(lambda g: gradient(f, a, g), t, a),
    "dual gradient to go on from": lambda f, a, t: tangent(lambda g: gradient(f, a, g, create_graph=True), t, a),
    "batch of gradients": lambda f, a, t: gradient(f, a, torch.stack([t, a]), is_grads_batched=True),
    "vectorized hessian": lambda f, a, t: torch.autograd.functional.hessian(cubes(f, t), a, vectorize=True),
    "third derivative": third_derivative,
}


@torch_s_own
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_every_transform_of_the_layer_is_that_of_the_equation(transform):
    found, expected = (transform(function, *inputs()) for function in layer_and_equation())
    assert expected.count_nonzero()
    torch.testing.assert_close(found, expected)


@torch_s_own
@pytest.mark.parametrize("named", ["jvp", "jvp of jvp", "grad", "jvp of grad", "vmap of grad"])
def test_a_compiled_transform_of_the_layer_is_that_of_the_equation(named):
    transform, (layer, plain) = TRANSFORMS[named], layer_and_equation()
    found = torch.compile(lambda a, t: transform(layer, a, t), backend="aot_eager")(*inputs())
    torch.testing.assert_close(found, transform(plain, *inputs()))


def test_the_operator_has_the_third_derivative_of_the_equation():
    _, plain = layer_and_equation()
    found = third_derivative(lambda a: torch.ops.alexnet_repro.response_norm(a, *PLAIN), *inputs())
    torch.testing.assert_close(found, third_derivative(plain, *inputs()))


@torch_s_own
@pytest.mark.parametrize("named", ["jvp", "grad", "vmap", "dual input"])
def test_the_kernels_by_themselves_refuse_a_transform(named):
    with pytest.raises(RuntimeError, match=r"setup_context|jvp"):
        TRANSFORMS[named](lambda a: lrn_kernels.ResponseNorm.apply(a, *PLAIN), *inputs())


@torch_s_own
@pytest.mark.parametrize("beta", [0.75, 1.3])
def test_tangents_and_batches_of_gradients_are_the_numerical_ones(beta):
    a = activations(1, 5, 2, 1, scale=2.0).requires_grad_()
    layer = LocalResponseNorm(3, alpha=0.3, beta=beta, k=1.0)
    forward_mode = {"check_forward_ad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(layer, (a,), check_batched_grad=True, **forward_mode)
    assert torch.autograd.gradgradcheck(layer, (a,), check_batched_grad=True, check_fwd_over_rev=True)


@pytest.mark.parametrize("beta", [0.5, 0.75])
def test_the_second_derivative_is_that_of_the_equation(beta):
    a = activations(1, 5, 2, 1, scale=2.0).requires_grad_()
    assert torch.autograd.gradgradcheck(LocalResponseNorm(3, alpha=0.3, beta=beta, k=1.0), (a,))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 0}, "size=0"),
        ({"groups": 0}, "groups=0"),
        ({"k": 0.0}, "k=0.0"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"alpha": math.nan}, "alpha=nan"),
        ({"k": math.inf}, "k=inf"),
        ({"beta": math.nan}, "beta=nan"),
    ],
)
def test_impossible_arguments_are_refused_by_name(arguments, named):
    with pytest.raises(ValueError, match=named):
        LocalResponseNorm(**arguments)


def test_channels_that_do_not_split_into_groups_are_refused():
    with pytest.raises(ValueError, match="groups=2"):
        LocalResponseNorm(groups=2)(torch.zeros(1, 5, 1, 1))


def within_channel(a: torch.Tensor, size: int, scale: float, beta: float) -> torch.Tensor:
    """The 2012 code's rnorm, one number at a time."""
    out = torch.empty_like(a)
    reach = size // 2
    for y in range(a.shape[2]):
        for x in range(a.shape[3]):
            window = a[:, :, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            out[:, :, y, x] = a[:, :, y, x] / (1 + scale / size**2 * window.square().sum((2, 3))) ** beta
    return out


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_within_channel_norm_is_the_2012_code_s(size):
    a = activations(2, 3, 6, 4)
    torch.testing.assert_close(
        WithinChannelResponseNorm(size, 1e-3)(a), within_channel(a, size, 1e-3, 0.75), rtol=1e-12, atol=0
    )


def test_the_within_channel_norm_has_the_gradient_of_its_equation():
    a = activations(1, 2, 3, 4, scale=2.0).requires_grad_()
    assert torch.autograd.gradcheck(WithinChannelResponseNorm(3, 0.5), (a,))


def test_the_within_channel_norm_never_mixes_channels():
    a = activations(1, 3, 5, 5)
    before = WithinChannelResponseNorm(5, 1e-3)(a)
    a[:, 1] += 100.0
    differing = WithinChannelResponseNorm(5, 1e-3)(a) != before
    assert differing.flatten(2).any(2).tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ("arguments", "named"), [({"size": 4, "scale": 1.0}, "not 4"), ({"size": 3, "scale": -1.0}, "not -1.0")]
)
def test_impossible_arguments_of_the_within_channel_norm_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        WithinChannelResponseNorm(**arguments)


def test_exported_it_is_the_same_layer_without_operators_of_ours():
    a, norm = torch.randn(2, 8, 3, 3), LocalResponseNorm(groups=2, average=True)
    program = torch.export.export(norm, (a,))
    assert "alexnet_repro" not in str(program.graph)
    torch.testing.assert_close(program.module()(a), norm(a))


@pytest.mark.filterwarnings("ignore")  # of the tracer, which torch.compile has replaced
def test_traced_it_is_the_same_layer_without_operators_of_ours(tmp_path):
    a = activations(2, 8, 3, 3)
    traced = torch.jit.trace(LocalResponseNorm(alpha=0.1, groups=2), a)
    torch.testing.assert_close(traced(a), LocalResponseNorm(alpha=0.1, groups=2)(a))
    assert not [name for name in ("alexnet_repro::", "PythonOp") if name in str(traced.graph)]
