"""The command line for data sets: ``alexnet-repro data``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image
from tqdm import tqdm

from alexnet_repro.data import (
    Dataset,
    Store,
    data_root,
    load_dataset,
    load_source,
    prepare,
    size_of,
    store_folder,
    store_name,
)
from alexnet_repro.data.known import KNOWN, NAMES
from alexnet_repro.data.prepare import UNFINISHED
from alexnet_repro.data.store import is_store
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.table import Table
from alexnet_repro.support.values import check_choice

app = typer.Typer(help="Find, fetch, prepare and check data sets.", no_args_is_help=True)

Root = Annotated[Path | None, typer.Option(help="folder of the data sets; default: $ALEXNET_REPRO_DATA, else data")]
Size = Annotated[
    int | None, typer.Option(help="height and width of the images, pixels; default: 64 for Tiny ImageNet, else 256")
]


@app.command("list")
def list_(root: Root = None, size: Size = None) -> None:
    """The data sets that are known by name, where they come from, and which of them are here."""
    rows = []
    for name, known in KNOWN.items():
        prepared = is_store(store_folder(name, root, size))
        here = "prepared" if prepared else "yes" if known.is_in(data_root(root)) else "no"
        rows.append([name, known.words, here, known.whence])
    typer.echo(f"in {data_root(root)}; any folder of class folders is a data set too\n")
    typer.echo(Table(["name", "what", "here", "from"], rows))


@app.command()
def get(name: Annotated[str, typer.Argument(help=f"one of {', '.join(NAMES)}")], root: Root = None) -> None:
    """Fetch a data set, check its md5 and unpack it; an interrupted download resumes where it stopped."""
    check_choice("data set", name, NAMES)
    if KNOWN[name].source is None:
        dataset = load_dataset(name, root, download=True)
        typer.echo(f"{name}: {len(dataset):,} images for training, {dataset.origin}")
    else:
        source = load_source(name, root, download=True)
        typer.echo(f"{name}: {', '.join(source.listings)}, {source.origin}")


@app.command("prepare")
def prepare_(
    name: Annotated[str, typer.Argument(help="a name from `data list`, or a folder of class folders")],
    root: Root = None,
    out: Annotated[Path | None, typer.Option(help="where to; default: <root>/<name>-<size>")] = None,
    size: Size = None,
    form: Annotated[str | None, typer.Option(help="raw or jpeg; default: raw where that takes at most 16 GiB")] = None,
    tolerant: Annotated[bool, typer.Option(help="skip what can't be used, and list it in the manifest")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="threads; default: one per core")] = None,
) -> None:
    """Decode every image once: shorter side to SIZE, central square. After an interruption, call it again to resume."""
    own = None if name in NAMES else Path(name).expanduser().resolve().name
    if own in NAMES and out is None:
        raise ValueError(f"{name} would be prepared as {own}, which is another data set: say where to with --out")
    source, size = load_source(name, root), size_of(name, size)
    out = data_root(root) / store_name(own or name, size) if out is None else out
    if own is not None and out.resolve().is_relative_to(Path(name).expanduser().resolve()):
        raise ValueError(f"{out} lies in {name}, where it would be taken for images: say where else to with --out")
    before = "prepared" if is_store(out) else "begun" if (out / UNFINISHED).exists() else None
    with tqdm(desc=source.name, unit=" images", unit_scale=True, disable=None) as bar:

        def show(done: int, total: int) -> None:
            if bar.total is None:
                bar.reset(total)
                bar.initial = bar.n = bar.last_print_n = done  # so that the speed shown is that of this call
            bar.update(done - bar.n)

        store = prepare(
            source,
            out,
            size=size,
            form=form,  # type: ignore[arg-type]  # prepare says what is allowed
            tolerant=tolerant,
            workers=workers,
            on_progress=show,
        )
    _describe(store)
    if before is not None:
        typer.echo(
            f"{out} was {before} before, and what was made then is kept: names and sizes of the files agree, their "
            "contents were not compared. To prepare them anew, remove that folder, or name another with --out"
        )


@app.command()
def verify(store: Annotated[Path, typer.Argument(help="folder of a prepared data set")]) -> None:
    """Read every file of a prepared data set and compare it with what was written; exit status 1 if one differs."""
    problems = list(Store.open(store).verify())
    for problem in problems:
        typer.echo(f"{store}: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{store}: every file is as it was written")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="a name, or the folder of a prepared data set or of class folders")],
    root: Root = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "train",
    size: Annotated[int | None, typer.Option(help="size of the images in pixels")] = None,
    sheet: Annotated[Path | None, typer.Option(help="write this PNG with images of every class")] = None,
) -> None:
    """Counts, mean and colour axes of a data set, what was skipped or repaired, and with --sheet its images."""
    if is_store(folder := store_folder(name, root, size)):
        _describe(Store.open(folder))
    dataset = load_dataset(name, root, split, size=size)
    stds, axes = dataset.moments.principal_axes()
    counts = dataset.labels.bincount(minlength=len(dataset.classes)).tolist()
    typer.echo(f"{dataset.name}, {split}: {len(dataset):,} images, {tuple(dataset.images.shape[1:])}, {dataset.origin}")
    typer.echo(f"sha256 {dataset.sha256}")
    typer.echo(f"images a class: {min(counts):,} to {max(counts):,} in {len(counts):,} classes")
    typer.echo("mean of R, G, B: " + ", ".join(f"{value:.1f}" for value in dataset.moments.mean.tolist()))
    for std, axis in zip(stds.tolist(), axes.T.tolist(), strict=True):
        typer.echo(f"axis ({', '.join(f'{value:+.3f}' for value in axis)}): standard deviation {std:.1f}")
    if sheet is not None:
        write_atomically(sheet, partial(_sheet(dataset).save, format="PNG"))
        typer.echo(f"{sheet}: one row a class")


def _describe(store: Store) -> None:
    """Prints the splits, the sizes, and every image that was skipped."""
    for split, entry in store.manifest["splits"].items():
        sides, size = entry["shorter_sides"], store.manifest["size"]
        gigabytes = sum(file["bytes"] for file in entry["files"].values()) / 1e9
        count = sum(entry["counts"].values())
        typer.echo(
            f"{store.folder}, {split}: {count:,} images of {size} pixels, {gigabytes:.2f} GB; shorter "
            f"sides were {sides['smallest']} to {sides['largest']}, {sides['enlarged']:,} enlarged; "
            f"{len(entry['repaired']):,} repaired, {len(entry['skipped']):,} skipped"
        )
        for name, reason in entry["skipped"]:
            typer.echo(f"  skipped {name}: it {reason}")


def _sheet(dataset: Dataset, columns: int = 10, classes: int = 50) -> Image.Image:
    """The first images of the first classes, one row a class, on white."""
    rows = min(classes, len(dataset.classes))
    sheet = torch.full((rows, columns, *dataset.images.shape[1:]), 255, dtype=torch.uint8)
    for label in range(rows):
        chosen = (dataset.labels == label).nonzero()[:columns, 0]
        sheet[label, : len(chosen)] = dataset.images.index_select(0, chosen)
    return Image.fromarray(sheet.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).numpy())
