import os
import threading
from collections.abc import Iterator

import pytest
import torch

from alexnet_repro import LocalResponseNorm
from alexnet_repro.support.threads import share_out, usable_cores
from alexnet_repro.training.optim import KrizhevskySGD


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_every_piece_is_taken_once_and_by_threads_whose_operations_have_one():
    together, taken = threading.Barrier(3), []

    def work(pieces: Iterator[int]) -> None:
        together.wait(timeout=60)  # nobody comes here before all three are at work
        taken.extend((piece, torch.get_num_threads()) for piece in pieces)

    share_out(work, range(1000))
    assert sorted(taken) == [(piece, 1) for piece in range(1000)]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("threads", "pieces"), [(1, 5), (3, 1), (3, 0)])
def test_where_there_is_nothing_to_share_the_caller_works_alone(threads, pieces):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    workers = []
    try:
        share_out(lambda given: workers.append((threading.current_thread(), len(list(given)))), range(pieces))
    finally:
        torch.set_num_threads(before)
    assert workers == [(threading.current_thread(), pieces)]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("in_helper", [True, False])
def test_an_error_in_any_thread_is_the_caller_s_and_leaves_torch_its_threads(in_helper):
    together, caller = threading.Barrier(3), threading.current_thread()

    def work(pieces: Iterator[int]) -> None:
        together.wait(timeout=60)
        if (threading.current_thread() is caller) != in_helper:
            raise ArithmeticError("as arranged")

    with pytest.raises(ArithmeticError, match="as arranged"):
        share_out(work, range(3))
    assert torch.get_num_threads() == 3


def trained(threads: int, memory_format: torch.memory_format) -> list[torch.Tensor]:
    """A normalization's output and gradient, and weights and a velocity after a step, by so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        generator = torch.Generator().manual_seed(0)
        a, grad = (torch.randn(9, 96, 27, 27, generator=generator) for _ in range(2))
        a = (30 * a).to(memory_format=memory_format).requires_grad_()
        b = LocalResponseNorm()(a)
        b.backward(grad)
        weights = [torch.randn(1500, 700, generator=generator).requires_grad_(), torch.ones(5, requires_grad=True)]
        optimizer = KrizhevskySGD(weights, 0.1, weight_decay=5e-4)
        for w in weights:
            w.grad = torch.randn(w.shape, generator=generator)
        optimizer.step()
        with torch.inference_mode():
            assert LocalResponseNorm()(a).equal(b)
        return [b, a.grad, *weights, optimizer.velocity(weights[0])]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_number_of_threads_gives_the_same_bits(memory_format):
    alone, shared = trained(1, memory_format), trained(3, memory_format)
    assert all(one.equal(other) for one, other in zip(alone, shared, strict=True))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_only_cores_that_the_process_may_use_are_counted():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)
