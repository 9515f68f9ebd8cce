"""One ``prepare`` of a folder in small parts, to be killed."""

import sys
from pathlib import Path

from alexnet_repro.data import prepare
from alexnet_repro.data.folders import folder_source


def work(folder: str, store: str, form: str) -> None:
    """In parts of three images."""
    sys.modules["alexnet_repro.data.prepare"].IMAGES_A_PART = {"raw": 3, "jpeg": 3}
    prepare(folder_source(Path(folder)), Path(store), size=12, form=form, workers=1)
