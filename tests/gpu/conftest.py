"""Where these tests compute: on a GPU, or with ALEXNET_REPRO_GPU=cpu on the CPU, to try the tests themselves."""

import os
from collections.abc import Iterator

import pytest
import torch

from alexnet_repro.support.environment import resolve_device

WANTED = os.environ.get("ALEXNET_REPRO_GPU", "cuda")
MISSING = WANTED == "cuda" and not torch.cuda.is_available()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if MISSING and config.option.markexpr == "gpu":
        terminalreporter.write_line("There is no GPU here, and the tests marked gpu were skipped.")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    if MISSING:
        pytest.skip("there is no GPU here")
    monkeypatch.delenv("ALEXNET_REPRO_DETERMINISTIC", raising=False)
    yield torch.device(resolve_device(WANTED))
    torch.use_deterministic_algorithms(False)
