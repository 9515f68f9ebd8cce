"""Commands that pages and the README give: the command line knows them."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from alexnet_repro.cli import main

ROOT = Path(__file__).resolve().parents[2]


def commands(page: str) -> list[list[str]]:
    """The arguments of every ``alexnet-repro`` or ``-m alexnet_repro`` in a page's blocks of shell."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r"(?:^alexnet-repro|-m alexnet_repro) ([^\"#]*)", line) for line in lines]
    return [shlex.split(match[1]) for match in found if match]


def parsed(arguments: list[str]) -> None:
    """Raises what the command line would say of them; nothing is run."""
    name, command = "alexnet-repro", typer.main.get_command(main.app)
    while hasattr(command, "commands"):
        name, command, arguments = command.resolve_command(command.context_class(command), arguments)
    command.make_context(name, arguments)


@pytest.mark.parametrize("page", ["README.md", "book/full_scale.md"])
def test_the_command_line_takes_the_commands_of_the_page(page):
    assert len(commands(page)) >= 8
    for arguments in commands(page):
        parsed(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "imagenet"], "Missing parameter: out"),
        (["fly"], "No such command 'fly'"),
        (["train", "imagenet", "--out", "x", "--wide"], "No such option: --wide"),
    ],
)
def test_a_command_that_there_is_not_is_refused(arguments, message):
    with pytest.raises(Exception, match=message):
        parsed(arguments)
