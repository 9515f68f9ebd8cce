"""Decodes images once, into a store."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL
import torch

from alexnet_repro.data.archives import check_once
from alexnet_repro.data.dataset import pixels_sha256
from alexnet_repro.data.decode import ImageError
from alexnet_repro.data.folders import ImageFile, Problem, Source
from alexnet_repro.data.parts import IMAGES_A_PART, Form, close_gaps, make_array, moments_of_parts, npy, write_part
from alexnet_repro.data.store import FORMAT, MANIFEST, SEAL, Store, file_sha256, is_store, stored_images
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.lock import locked
from alexnet_repro.support.threads import usable_cores
from alexnet_repro.support.values import check_choice, write_sealed

RAW_LIMIT = 16 * 2**30  # bytes; larger data sets become JPEG files unless ``form`` says otherwise
UNFINISHED, LOCK = ".unfinished", ".lock"


def prepare(
    source: Source,
    out: str | os.PathLike[str],
    *,
    size: int = 256,
    form: Form | None = None,
    tolerant: bool = False,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Store:
    """Decodes every image of a source, all splits, into a store in the folder ``out``.

    It can be killed at any moment and resumes when called again; however often this happens, the files are identical
    to the byte. The manifest is written last; without it, the folder is not a store. What an earlier call has made is
    kept if the names, labels and lengths of the files are still the same; their contents are not compared with it.

    Source:  Sec. 2; cuda-convnet2, make-data (256x256 pixels, JPEG of quality 95).

    Args:
        source: the image files, e.g. from ``load_source``.
        out: the folder; created if it does not exist.
        size: height and width of the images, pixels.
        form: "raw" (uncompressed pixels) or "jpeg"; None: raw if that takes at most ``RAW_LIMIT`` bytes.
        tolerant: skip files that cannot be used and list them in the manifest; otherwise they are errors.
        workers: number of threads; None: one per core.
        on_progress: called with the number of images done and the total number.

    Raises:
        ValueError: the source has a problem; an md5 is wrong; an argument is not allowed; or the folder holds, or was
            begun with, another source or other settings, or has a manifest of something else.
        BlockingIOError: another process is preparing a data set in that folder; says which.
        ImageError: a file is not a usable image.
        StoreError: the folder holds a prepared data set that is damaged.
        OSError: the disk is full; what has been done so far is kept.
    """
    out = Path(out)
    if form is not None:
        check_choice("form", form, get_args(Form))
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    workers = usable_cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1 thread, not {workers}")
    if (out / MANIFEST).exists() and not is_store(out):
        raise ValueError(f"{out} has a {MANIFEST} that is not of a prepared data set: choose another folder")
    with locked(None if is_store(out) else out / LOCK):
        return _prepared(source, out, size, form, tolerant, workers, on_progress)


def _prepared(
    source: Source, out: Path, size: int, form: Form | None, tolerant: bool, workers: int,
    on_progress: Callable[[int, int], None],
) -> Store:  # fmt: skip
    unfinished, finished = out / UNFINISHED, is_store(out)
    if not finished:
        check_once(source.archives, unfinished / "checked.json")
    counts, problems, listings = _list(source, tolerant)
    total = sum(count.total() for count in counts.values())
    form = form or ("raw" if total * 3 * size * size <= RAW_LIMIT else "jpeg")
    request = _request(source, listings, size, form)
    if finished:
        store = Store.open(out)
        for split in store.splits:
            store.check_sizes(split)
        _same({key: request[key] for key in ("source", "classes", "size", "form")}, store.manifest, out)
        if not tolerant:
            _refuse_skipped(store.manifest["splits"], problems)
        shutil.rmtree(unfinished, ignore_errors=True)  # these two may be left if the process was killed at the end
        with suppress(OSError):
            (out / LOCK).unlink(missing_ok=True)
        return store
    _begin(request, unfinished)
    if form == "raw":
        _make_arrays(counts, size, out)
    try:
        # What Pillow warns of is either refused by ``read`` or harmless.
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(workers) as pool:
            for split in source.listings:
                progress = lambda done: on_progress(done, total)  # noqa: E731
                _write_parts(pool, 2 * workers, source, split, request, tolerant, unfinished, progress)
        splits = {split: _assemble(split, request, counts[split], problems[split], out) for split in source.listings}
        if not tolerant:
            _refuse_skipped(splits, problems)
        write_sealed(unfinished / MANIFEST, request | {"splits": splits}, SEAL)
        (unfinished / MANIFEST).replace(out / MANIFEST)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno, f"there is no room left for {out}. What is finished is kept: make room and call again"
        ) from error
    shutil.rmtree(unfinished, ignore_errors=True)  # no longer needed
    return Store.open(out)


def _request(source: Source, listings: dict[str, str], size: int, form: Form) -> dict[str, Any]:
    """Everything that determines a store's bytes."""
    from alexnet_repro import __version__

    return {
        "format": FORMAT,
        "library": __version__,
        "pillow": PIL.__version__,
        "part": IMAGES_A_PART[form],
        "source": {
            "name": source.name,
            "origin": source.origin,
            "listings": listings,
            "archives": {path.name: md5 for path, md5 in source.archives.items()},
        },
        "classes": list(source.classes),
        "size": size,
        "form": form,
    }


def _list(source: Source, tolerant: bool) -> tuple[dict[str, Counter[int]], dict[str, list[Problem]], dict[str, str]]:
    """For every split: images per class, problems, and a checksum of all names, labels and lengths."""
    counts: dict[str, Counter[int]] = {}
    problems: dict[str, list[Problem]] = {}
    sums = {}
    for split in source.listings:
        counts[split], problems[split], listing = Counter(), [], hashlib.sha256()
        for entry in source.listed(split):
            if isinstance(entry, ImageFile):
                counts[split][entry.label] += 1
                line = f"{entry.name}\0{entry.label}\0{entry.length}\n"
            else:
                if entry.fatal and not tolerant:
                    raise entry.error()
                problems[split].append(entry)
                line = f"{entry.name}\0{entry.reason}\n"
            listing.update(line.encode(errors="surrogateescape"))
        sums[split] = listing.hexdigest()
        if not counts[split]:
            raise ValueError(f"{source.name} has no images for {split}")
    return counts, problems, sums


def _begin(request: dict[str, Any], unfinished: Path) -> None:
    path = unfinished / "request.json"
    if path.exists():
        _same(request, json.loads(path.read_text(encoding="utf-8")), unfinished)
    else:
        write_atomically(path, json.dumps(request))


def _same(request: dict[str, Any], before: dict[str, Any], folder: Path) -> None:
    if different := [key for key in request if request[key] != before.get(key)]:
        raise ValueError(
            f"{folder} was made from another source or with other settings (different: {', '.join(different)}). "
            f"Choose another folder, or remove this one"
        )


def _refuse_skipped(splits: dict[str, Any], problems: dict[str, list[Problem]]) -> None:
    """Raises ``ImageError`` for the first image that an earlier, tolerant call skipped."""
    for split, entry in splits.items():
        for name, reason in entry["skipped"]:
            if name not in {problem.name for problem in problems[split]}:
                raise ImageError(name, reason)


def _make_arrays(counts: dict[str, Counter[int]], size: int, out: Path) -> None:
    """Creates the missing arrays of pixels, one per split; raises ``OSError`` if the disk has no room for them."""
    needed = sum(count.total() for count in counts.values()) * 3 * size * size
    needed -= sum(path.stat().st_blocks * 512 for path in out.rglob("*-images.npy"))
    free = shutil.disk_usage(out).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{out} needs {needed / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free. Make room, or "
            f"choose another folder, a smaller size or the form jpeg",
        )
    for split, listed in counts.items():
        array = out / UNFINISHED / f"{split}-images.npy"
        if not array.exists() and not (out / array.name).exists():
            make_array(array, listed.total(), size)


def _write_parts(
    pool: ThreadPoolExecutor,
    limit: int,
    source: Source,
    split: str,
    request: dict[str, Any],
    tolerant: bool,
    unfinished: Path,
    on_progress: Callable[[int], None],
) -> None:
    """Writes all parts that are missing; at most ``limit`` of them are in the pool at a time."""
    files = (entry for entry in source.listed(split) if isinstance(entry, ImageFile))
    form, size = request["form"], request["size"]
    done = sum(json.loads(path.read_text())["listed"] for path in unfinished.glob("*-[0-9]*.json"))
    on_progress(done)
    waiting: set[Future[int]] = set()
    try:
        for number in count():
            part, first = list(islice(files, IMAGES_A_PART[form])), number * IMAGES_A_PART[form]
            stem = unfinished / f"{split}-{number:05d}"
            if part and not stem.with_suffix(".json").exists():
                waiting.add(pool.submit(write_part, part, stem, first, size, form, tolerant))
            while waiting and (not part or len(waiting) >= limit):
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                done += sum(future.result() for future in finished)
                on_progress(done)
            if not part:
                return
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _assemble(
    split: str, request: dict[str, Any], listed: Counter[int], problems: list[Problem], out: Path
) -> dict[str, Any]:
    """Makes the split's files from its parts; returns its entry in the manifest."""
    unfinished, size, form = out / UNFINISHED, request["size"], request["form"]
    stems = [unfinished / f"{split}-{number:05d}" for number in range(-(-listed.total() // IMAGES_A_PART[form]))]
    parts = [json.loads(stem.with_suffix(".json").read_text(encoding="utf-8")) for stem in stems]
    labels = np.array([label for part in parts for label in part["labels"]], dtype="<i8")
    if not len(labels):
        raise ValueError(f"none of the {sum(listed.values())} images for {split} could be used")
    files = {f"{split}-labels.npy": npy(labels)}
    moments = moments_of_parts(stems, len(labels), size)
    files[f"{split}-mean.npy"] = npy(moments.mean_image.numpy())
    if form == "raw":
        names = [f"{split}-images.npy"]
        if any(part["skipped"] for part in parts) and (unfinished / names[0]).exists():
            places = [(number * IMAGES_A_PART[form], len(part["labels"])) for number, part in enumerate(parts)]
            close_gaps(unfinished / names[0], places, out / names[0])
    else:
        index = [(tar, *place) for tar, part in enumerate(parts) for place in part["places"]]
        files[f"{split}-index.npy"] = npy(np.array(index, dtype="<i8"))
        names = [f"{stem.name}.tar" for stem in stems]
    for name in names:
        if (unfinished / name).exists():  # otherwise it was moved before an interruption
            (unfinished / name).replace(out / name)
    for name, content in files.items():
        write_atomically(unfinished / name, content)
        (unfinished / name).replace(out / name)
    images = stored_images(out, split, [*names, *files], size)
    sides = [side for part in parts for side in part["shorter_sides"]]
    counts = Counter(labels.tolist())
    return {
        "images": len(labels),
        "counts": {name: counts[label] for label, name in enumerate(request["classes"])},
        "shorter_sides": {"smallest": min(sides), "largest": max(sides), "enlarged": sum(x < size for x in sides)},
        "files": {
            name: {"bytes": (out / name).stat().st_size, "sha256": file_sha256(out / name)} for name in [*names, *files]
        },
        "pixels": pixels_sha256(images, torch.from_numpy(labels)),
        "covariance": moments.covariance.tolist(),
        "repaired": [entry for part in parts for entry in part["repaired"]],
        "skipped": [[p.name, p.reason] for p in problems] + [entry for part in parts for entry in part["skipped"]],
    }
