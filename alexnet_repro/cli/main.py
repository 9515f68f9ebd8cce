"""The command line: ``alexnet-repro``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from alexnet_repro import __version__
from alexnet_repro.cli import claims, data, train
from alexnet_repro.support.environment import revision
from alexnet_repro.training.diagnosis import TrainingError
from alexnet_repro.training.run import Interrupted

app = typer.Typer(
    help="The AlexNet paper, claim by claim.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(claims.app, name="claims")
app.add_typer(data.app, name="data")
for command in (
    train.train,
    train.resume,
    train.evaluate,
    train.predict,
    train.export,
    train.summary,
    train.bench,
):
    app.command()(command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"alexnet_repro {__version__}, revision {revision()}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="show where in the code an error arose")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="print the version and the code's commit"),
    ] = False,
) -> None:
    """The AlexNet paper, claim by claim."""  # ``main`` looks for --debug itself


def main() -> None:
    """Runs the command line; an error that the user can fix prints one line instead of a traceback.

    Exit status: 0 on success; 1 if training failed or a check found a problem; 2 if the user has to fix something; 130
    after an interruption.
    """
    try:
        app()
    except Interrupted as stop:
        typer.echo(f"alexnet-repro: {stop}. The same command, or `alexnet-repro resume`, goes on from there", err=True)
        sys.exit(130)
    except (ValueError, OSError, MemoryError, ModuleNotFoundError, TrainingError) as error:
        if "--debug" in sys.argv[1:]:
            raise
        typer.echo(f"alexnet-repro: {str(error) or type(error).__name__}", err=True)
        sys.exit(1 if isinstance(error, TrainingError) else 2)
