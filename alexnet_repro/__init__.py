"""The reference reproduction of Krizhevsky, Sutskever and Hinton (2012)."""

from alexnet_repro.claims.ledger import CLAIMS
from alexnet_repro.claims.records import load_evidence
from alexnet_repro.claims.study import Arm
from alexnet_repro.claims.sweep import first_losses, run_claim
from alexnet_repro.claims.verdict import verdict
from alexnet_repro.data import Dataset, load_dataset, load_image
from alexnet_repro.data.augment import PCAColor
from alexnet_repro.data.config import InputConfig
from alexnet_repro.networks.build import AlexNet, build
from alexnet_repro.networks.lrn import LocalResponseNorm
from alexnet_repro.networks.spec import NetConfig
from alexnet_repro.networks.towers import place
from alexnet_repro.training.config import TrainConfig
from alexnet_repro.training.evaluate import evaluate, top_k_error
from alexnet_repro.training.loop import History, train
from alexnet_repro.training.trained import load_trained

__all__ = [
    "CLAIMS",
    "AlexNet",
    "Arm",
    "Dataset",
    "History",
    "InputConfig",
    "LocalResponseNorm",
    "NetConfig",
    "PCAColor",
    "TrainConfig",
    "build",
    "evaluate",
    "first_losses",
    "load_dataset",
    "load_evidence",
    "load_image",
    "load_trained",
    "place",
    "run_claim",
    "top_k_error",
    "train",
    "verdict",
]
__version__ = "0.1.0"
