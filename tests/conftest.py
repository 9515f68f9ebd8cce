"""What several test modules need: tiny images, a tiny study, and records made by hand."""

import os
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_net import TINY_NET

from alexnet_repro.claims.claim import Claim
from alexnet_repro.claims.ledger import CLAIMS
from alexnet_repro.claims.studies import STUDIES
from alexnet_repro.claims.study import Arm, Protocol, Study
from alexnet_repro.data import Dataset
from alexnet_repro.data.config import InputConfig
from alexnet_repro.support.values import as_json, digest
from alexnet_repro.training.config import TrainConfig
from alexnet_repro.training.record import Record


def pytest_configure(config: pytest.Config) -> None:
    """All tests but those marked ``gpu`` are about a CPU's numbers: ``device="auto"`` finds no GPU in them.

    Typer writes colours where one of three variables is set; a proxy can't reach the servers that tests start here.
    """
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    for name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS"):
        os.environ.pop(name, None)
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A test draws the same numbers every time, alone or among others."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def tiny_dataset() -> Dataset:
    """Thirty images in which the brightest channel is the class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 3
    images = torch.randint(0, 100, (30, 3, 8, 8), generator=generator)
    images[torch.arange(30), labels] += 100
    return Dataset("tiny", "train", images.to(torch.uint8), labels, ("red", "green", "blue"), "made up")


@pytest.fixture
def tiny_claim(monkeypatch: pytest.MonkeyPatch) -> Claim:
    """A claim whose runs take milliseconds, known to the package under the name "tiny"."""
    arm = Arm(
        net=TINY_NET,
        input=InputConfig(pixels="standardized", batch_size=10, reshuffle=True),
        train=TrainConfig(epochs=3, lr=0.05, target_error=0.25),
    )
    arms = {"tanh": replace(arm, net=replace(TINY_NET, activation="tanh")), "relu": arm}
    protocol = Protocol(dataset="photos", seeds=2, arms=arms)
    study = Study(id="tiny", protocols={"smoke": protocol})
    claim = replace(CLAIMS["relu"], id="tiny", study=study, fixed=None)
    monkeypatch.setitem(CLAIMS, "tiny", claim)
    monkeypatch.setitem(STUDIES, "tiny", study)
    return claim


@pytest.fixture
def make_record(tiny_claim: Claim) -> Callable[..., Record]:
    """Records of the tiny claim, with the errors one asks for."""

    def make(arm: str, seed: int, errors: list[float], epochs_to_target: float | None = None, **final: float) -> Record:
        config = as_json(tiny_claim.protocol("smoke").run(arm, seed))
        return Record(
            study="tiny",
            scale="smoke",
            arm=arm,
            seed=seed,
            config=config,
            config_hash=digest(config),
            data={"train": {"origin": "made up", "sha256": "0" * 64}},
            environment={"device": "abacus", "threads": 1},
            seconds=1.0,
            ended="epochs",
            epochs=[{"epoch": i, "train_error": error} for i, error in enumerate(errors, start=1)],
            final={"train_error": errors[-1], "epochs_to_target": epochs_to_target, **final},
        )

    return make
