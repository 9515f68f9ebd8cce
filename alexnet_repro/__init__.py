"""The reference reproduction of Krizhevsky, Sutskever and Hinton (2012)."""

from alexnet_repro.augment import PCAColor
from alexnet_repro.claims import CLAIMS
from alexnet_repro.config import InputConfig, NetConfig, TrainConfig
from alexnet_repro.data import Dataset, load_dataset
from alexnet_repro.evaluate import evaluate, top_k_error
from alexnet_repro.evidence import load_evidence, verdict
from alexnet_repro.experiments import first_losses, run_claim
from alexnet_repro.lrn import LocalResponseNorm
from alexnet_repro.nets import AlexNet, build
from alexnet_repro.studies import Arm
from alexnet_repro.towers import place
from alexnet_repro.train import History, train

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
    "place",
    "run_claim",
    "top_k_error",
    "train",
    "verdict",
]
__version__ = "0.1.0"
