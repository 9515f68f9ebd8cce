"""The command line: ``alexnet-repro``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from alexnet_repro import cli_data, cli_train
from alexnet_repro.claims import CLAIMS, STUDIES
from alexnet_repro.diagnosis import TrainingError
from alexnet_repro.evidence import EVIDENCE_FOLDER, Record, load_evidence, verdict
from alexnet_repro.experiments import run_claim
from alexnet_repro.files import write_atomically
from alexnet_repro.runs import Interrupted
from alexnet_repro.tables import with_claims

app = typer.Typer(
    help="The AlexNet paper, claim by claim.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(cli_data.app, name="data")
for command in (cli_train.train, cli_train.resume, cli_train.evaluate, cli_train.summary, cli_train.bench):
    app.command()(command)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="show where in the code an error arose")] = False):
    """The AlexNet paper, claim by claim."""  # ``main`` looks for --debug itself


@app.command()
def claims(
    scale: Annotated[
        str | None, typer.Option(help="smoke, laptop or paper; default: the largest that has records")
    ] = None,
    update: Annotated[
        list[Path], typer.Option(help="write the table of claims into this Markdown page, between its markers")
    ] = [],  # noqa: B006
) -> None:
    """List the claims with what the recorded evidence says of each."""
    for page in update:
        book = os.path.relpath(EVIDENCE_FOLDER.parent, page.resolve().parent)
        write_atomically(page, with_claims(page.read_text(encoding="utf-8"), "" if book == "." else f"{book}/"))
    for claim in CLAIMS.values():
        result = verdict(claim, load_evidence(claim.id, scale))
        typer.echo(f"{claim.id}: {claim.statement} (Sec. {claim.section})")
        typer.echo(f"  paper {claim.paper_summary()}, ours {result.summary()}: {result.outcome}, seeds: {result.pairs}")


@app.command()
def run(
    claim: Annotated[str, typer.Argument(help=f"one of {', '.join(STUDIES)}")],
    scale: Annotated[str, typer.Option(help="smoke, laptop or paper")] = "smoke",
    seeds: Annotated[str | None, typer.Option(help="how many (5), or which (0,3,4); default: the claim's own")] = None,
    arms: Annotated[str | None, typer.Option(help="which, separated by commas; default: all")] = None,
    data_root: Annotated[Path | None, typer.Option(help="folder of the data set")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    threads: Annotated[int, typer.Option(help="runs at a time on a CPU, one thread each")] = 2,
    out: Annotated[
        Path, typer.Option(help="folder of evidence; runs recorded there are not run again")
    ] = EVIDENCE_FOLDER,
) -> None:
    """Run a claim's arms and record each run as it ends; after an interruption, call again to go on."""
    records = run_claim(
        claim,
        scale,
        _seeds(seeds),
        arms=arms.split(",") if arms else None,
        data_root=data_root,
        device=device,
        threads=threads,
        out=out,
        on_record=_report,
    )
    typer.echo(f"{len(records)} records in {out / claim / scale}")


def main() -> None:
    """Runs the command line; what a user can mend ends in one line, not in a traceback.

    Exit status: 0; 1 where a training failed or a check found something; 2 where the user is asked to mend something;
    130 after an interruption.
    """
    try:
        app()
    except Interrupted as stop:
        typer.echo(f"alexnet-repro: {stop}. The same command, or `alexnet-repro resume`, goes on from there", err=True)
        sys.exit(130)
    except (ValueError, OSError, TrainingError) as error:
        if "--debug" in sys.argv[1:]:
            raise
        typer.echo(f"alexnet-repro: {error}", err=True)
        sys.exit(1 if isinstance(error, TrainingError) else 2)


def _seeds(text: str | None) -> int | list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")] if "," in text else int(text)
    except ValueError:
        raise ValueError(f"--seeds takes a number (5) or a list of numbers (0,3,4), not {text!r}") from None


def _report(record: Record) -> None:
    final = ", ".join(
        f"{name} {'-' if value is None else format(value, '.4g')}" for name, value in record.final.items()
    )
    typer.echo(f"{record.path}: {final} ({len(record.epochs)} epochs, {record.seconds:.0f} s)")
