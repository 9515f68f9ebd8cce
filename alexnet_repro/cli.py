"""The command line: ``alexnet-repro``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from alexnet_repro import __version__, cli_claims, cli_data, cli_train
from alexnet_repro.diagnosis import TrainingError
from alexnet_repro.environment import revision
from alexnet_repro.runs import Interrupted

app = typer.Typer(
    help="The AlexNet paper, claim by claim.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(cli_claims.app, name="claims")
app.add_typer(cli_data.app, name="data")
for command in (
    cli_train.train,
    cli_train.resume,
    cli_train.evaluate,
    cli_train.export,
    cli_train.summary,
    cli_train.bench,
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
):
    """The AlexNet paper, claim by claim."""  # ``main`` looks for --debug itself


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
    except (ValueError, OSError, ModuleNotFoundError, TrainingError) as error:
        if "--debug" in sys.argv[1:]:
            raise
        typer.echo(f"alexnet-repro: {error}", err=True)
        sys.exit(1 if isinstance(error, TrainingError) else 2)
