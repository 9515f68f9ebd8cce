"""The command line for claims: ``alexnet-repro claims``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from alexnet_repro.claims.ledger import CLAIMS
from alexnet_repro.claims.records import EVIDENCE_FOLDER, problems
from alexnet_repro.claims.sweep import States, run_claim, submit_claim
from alexnet_repro.cli.train import Device
from alexnet_repro.report.tables import counted, judged, pair_table, repeat_table, scoreboard
from alexnet_repro.support.environment import PACKAGE
from alexnet_repro.support.overrides import read
from alexnet_repro.support.table import Table
from alexnet_repro.support.values import chosen, differences
from alexnet_repro.training.record import EvidenceError, Record

app = typer.Typer(help="The paper's claims: list, show, run, status, verify.", no_args_is_help=True)
LOGS = Path("runs/cluster")  # output of a cluster's tasks

Name = Annotated[str, typer.Argument(help="id of a claim, as `claims list` gives it, or of a study")]


@app.command("list")
def list_claims() -> None:
    """List the claims: id, section, the paper's statement and number, and what survives from 2012."""
    rows = [
        [claim.id, claim.section, claim.statement, claim.paper_summary(), claim.original_run]
        for claim in CLAIMS.values()
    ]
    typer.echo(Table(["claim", "section", "statement", "paper", "2012 run"], rows))


@app.command()
def show(claim: Annotated[str, typer.Argument(help="id of a claim, as `claims list` gives it")]) -> None:
    """Show everything about one claim: its arms, its protocol at every scale, its records seed by seed, its verdict."""
    found = chosen("claim", claim, CLAIMS)
    (result,) = judged(claim)
    typer.echo(f"{found.statement} (Sec. {found.section}; chapter {found.chapter})")
    typer.echo(f"paper: {found.paper_summary()}; 2012 run: {found.original_run}, {found.number(found.original_value)}")
    typer.echo(f"compared: {found.baseline.metric} of {found.baseline.arm}, {found.treatment.metric} of")
    targets = ", ".join(f"{target:g} at {scale}" for scale, target in found.target.items())
    typer.echo(f"  {found.treatment.arm}: {found.effect}" + f", target {targets}" * bool(targets))
    for scale in () if found.study is None else found.study.protocols:
        protocol = found.protocol(scale)
        epochs = ", ".join(f"{arm} up to {value.train.epochs} epochs" for arm, value in protocol.arms.items())
        typer.echo(f"{scale}: {protocol.dataset}, {counted(protocol.seeds, 'seed')}; {epochs}")
    if result.pairs:
        typer.echo(pair_table(claim))
    typer.echo(f"ours: {result.summary()}; {result.words}, {counted(result.pairs, 'seed')}")
    further = "-" if result.outcome == "exploratory" else found.command(result.scale, result.pairs)
    typer.echo(f"further runs: {further}")


@app.command()
def status() -> None:
    """Print every claim with the paper's number, the 2012 run's, ours, seeds and verdict."""
    typer.echo(scoreboard(judged(*CLAIMS), list(CLAIMS)))


@app.command()
def verify(
    evidence: Annotated[Path, typer.Option(help="folder of evidence", show_default="book/evidence")] = EVIDENCE_FOLDER,
) -> None:
    """Check that every record is whole, unedited, up to date and in its place, and that nothing else is there."""
    if not evidence.is_dir():
        raise EvidenceError(f"there is no folder {evidence}")
    for problem in (found := problems(evidence)):
        typer.echo(problem, err=True)
    if found:
        raise typer.Exit(1)
    typer.echo(f"{len(list(evidence.rglob('*.json')))} records are whole and current")


@app.command()
def run(
    claim: Name,
    scale: Annotated[str, typer.Option(help="smoke, laptop, gpu or paper")] = "smoke",
    seeds: Annotated[
        str | None,
        typer.Option(help="a number of seeds (5) or a list (0,3,4; one alone: 3,); default: the study's"),
    ] = None,
    arms: Annotated[str | None, typer.Option(help="which, separated by commas; default: those of the claim")] = None,
    data_root: Annotated[Path | None, typer.Option("--data-root", "--root", help="folder of the data set")] = None,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(help="runs at a time on a CPU, one thread each")] = 2,
    parallel: Annotated[int, typer.Option(help="runs at a time on a GPU, which they share")] = 1,
    out: Annotated[
        Path,
        typer.Option(help="folder of evidence; runs recorded there are not run again", show_default="book/evidence"),
    ] = EVIDENCE_FOLDER,
    again: Annotated[
        Path | None,
        typer.Option(help="if nothing is missing, repeat all runs, write them to this folder, and compare"),
    ] = None,
    launcher: Annotated[str, typer.Option(help="processes: here; slurm: a job array, one task per run")] = "processes",
    slurm: Annotated[
        list[str], typer.Option(help="of the job array, e.g. slurm_partition=gpu, timeout_min=600; repeatable")
    ] = [],  # noqa: B006
) -> None:
    """Run what is missing for a claim, and write a record as each run ends; call it again to resume."""
    if out == EVIDENCE_FOLDER and out.is_relative_to(PACKAGE):
        raise ValueError("the records of an installed package are not added to: name a folder with --out")
    if again is not None and launcher != "processes":
        raise ValueError(f"--again runs in processes of this machine, not with --launcher {launcher}")
    if again is not None and again.resolve() == out.resolve():
        raise ValueError(f"--again needs another folder than that of the records, {out}")
    if slurm and launcher != "slurm":
        raise ValueError("--slurm is for --launcher slurm")
    how: dict[str, Any] = {"arms": arms.split(",") if arms else None, "data_root": data_root, "device": device}
    if launcher == "slurm":
        jobs = submit_claim(claim, scale, _seeds(seeds), out=out, logs=LOGS, options=_options(slurm), **how)
        typer.echo(f"{len(jobs)} tasks: {', '.join(job.job_id for job in jobs)}; their records go to {out}")
        return
    if launcher != "processes":
        raise ValueError(f"--launcher must be processes or slurm, not {launcher!r}")

    def records_in(folder: Path) -> tuple[list[Record], int]:
        """All records that are asked for, and how many of them were run just now."""
        board = Board()
        with board.live or nullcontext():
            records = run_claim(
                claim, scale, _seeds(seeds), threads=threads, parallel=parallel, out=folder,
                on_record=board.record, on_change=board.change, **how,
            )  # fmt: skip
        typer.echo(f"{len(records)} records in {folder / records[0].study / scale}")
        return records, len(board.seconds)

    recorded, new = records_in(out)
    if again is not None and new:
        typer.echo(f"{new} of them were missing and are new; call this again to repeat and compare all of them")
    elif again is not None:
        repeated, new = records_in(again)
        if new < len(repeated):
            typer.echo(f"{len(repeated) - new} of them were there already and were not run again")
        typer.echo(_compared(recorded, repeated))


class Board:
    """Shows a sweep: on a terminal a table of arms and seeds with the time left, elsewhere a line per record."""

    def __init__(self) -> None:
        from rich.live import Live

        self.running, self.left = 1, 0
        self.seconds: list[float] = []
        self.live = Live(auto_refresh=False) if sys.stdout.isatty() else None

    def record(self, record: Record) -> None:
        """Takes the record of a run that has ended."""
        self.seconds.append(record.seconds)
        if self.live is None:
            final = ", ".join(f"{k} {'-' if v is None else format(v, '.4g')}" for k, v in record.final.items())
            typer.echo(f"{record.path}: {final} ({len(record.epochs)} epochs, {record.seconds:.0f} s)")

    def change(self, states: States) -> None:
        """Takes the states of all runs, some of which may be new."""
        self.left = sum(state != "recorded" for state in states.values())
        self.running = sum(state not in ("recorded", "waiting") for state in states.values()) or 1
        if self.live is not None:
            self.live.update(self.table(states), refresh=True)

    def table(self, states: States) -> Any:
        """The states as a ``rich`` table."""
        from rich.table import Table as RichTable

        seeds = list(dict.fromkeys(seed for _, seed in states))
        table = RichTable("arm", *(f"seed {seed}" for seed in seeds), caption=self.remaining(), min_width=40)
        for arm in dict.fromkeys(arm for arm, _ in states):
            table.add_row(arm, *(states.get((arm, seed), "") for seed in seeds))
        return table

    def remaining(self) -> str:
        """How many runs are left and, once one has ended, about how long they will take."""
        left = f"{counted(self.left, 'run')} left"
        if not self.seconds or not self.left:
            return left
        each = sum(self.seconds) / len(self.seconds)
        minutes = -(-self.left // self.running) * each / 60
        return f"{left}, about {minutes:.0f} min"


def _compared(recorded: list[Record], repeated: list[Record]) -> str:
    """The numbers side by side, then the conditions that changed and may explain differences, each once."""
    conditions = [
        [{"data": record.data, "environment": record.environment} for record in pair]
        for pair in zip(recorded, repeated, strict=True)
    ]
    changes = dict.fromkeys(change for old, new in conditions for change in differences(old, new))
    return "\n".join([repr(repeat_table(recorded, repeated)), *changes])


def _seeds(text: str | None) -> int | list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.removesuffix(",").split(",")] if "," in text else int(text)
    except ValueError:
        raise ValueError(
            f"--seeds takes a number of seeds (5) or a list (0,3,4; one alone: 3,), not {text!r}"
        ) from None


def _options(pairs: list[str]) -> dict[str, Any]:
    """The values of ``name=value`` by name, as the JSON that they are, or as text."""
    split = [pair.partition("=") for pair in pairs]
    if wrong := [name for name, sign, _ in split if not sign]:
        raise ValueError(f"--slurm takes name=value, not {wrong[0]!r}")
    return {name: read(value, f"--slurm {name}") for name, _, value in split}
