"""Formats for a data set of JPEG files, read in random order: ``python benchmarks/streaming.py``.

WebDataset's tar files, by position as a store reads them and as WebDataset itself does, shuffling a window of what
streams by; and litdata's chunks, if litdata is installed. See ``racing`` for how it is measured.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from racing import Work, race

from alexnet_repro.data import Store, prepare
from alexnet_repro.data.folders import folder_source

IMAGES = 4096
WINDOW = 1000  # images


def make_store(root: Path) -> Store:
    """Images of noise with a trend, some 30 kB each."""
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).resize(
            (256, 256), Image.Resampling.BICUBIC
        )
        path = root / "images" / "ab"[i % 2] / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(path, quality=95)
    return prepare(folder_source(root / "images"), root / "store", form="jpeg")


def order() -> list[int]:
    return torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0)).tolist()


def by_position(store: Path) -> Work:
    images, rows = Store.open(store).dataset().images, order()
    return lambda: [images[row] for row in rows]


def webdataset_stream(store: Path) -> Work:
    import webdataset

    tars = sorted(str(path) for path in store.glob("*.tar"))
    samples = webdataset.WebDataset(tars, shardshuffle=len(tars)).shuffle(WINDOW)
    return lambda: [decoded(sample["jpg"]) for sample in samples]


def litdata_chunks(chunks: Path) -> Work:
    import litdata

    samples, rows = litdata.StreamingDataset(str(chunks), shuffle=False), order()
    return lambda: [decoded(samples[row]["jpg"]) for row in rows]


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def content(path: str) -> dict[str, bytes]:
    return {"jpg": Path(path).read_bytes()}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_store(root)
        contestants = {"position": (by_position, (root / "store",)), "stream": (webdataset_stream, (root / "store",))}
        try:
            os.environ["DATA_OPTIMIZER_CACHE_FOLDER"] = os.environ["DATA_OPTIMIZER_DATA_CACHE_FOLDER"] = f"{root}/cache"
            import litdata  # it empties its cache folder, which is /tmp/data by default

            files = [str(path) for path in sorted((root / "images").rglob("*.jpg"))]
            litdata.optimize(content, files, str(root / "chunks"), num_workers=1, chunk_bytes="32MB")
            contestants["litdata"] = (litdata_chunks, (root / "chunks",))
        except ImportError:
            print("litdata is not installed, and left out")
        result = race(contestants, rounds=3, threads=1)
        for name, what in (("stream", "WebDataset, shuffled within a window"), ("litdata", "litdata, random rows")):
            if name in result:
                ratio = result[name][0] / result["position"][0]
                print(f"tar files by position, any order: {ratio:.2f}x the speed of {what}")


if __name__ == "__main__":
    main()
