"""Lists the package's rooms in README and CONTRIBUTING.md: ``python book/_ext/house.py``, called by ``make house``."""

from __future__ import annotations

from pathlib import Path

import grimp
from page_tables import between

from alexnet_repro.support.environment import PACKAGE
from alexnet_repro.support.files import write_atomically

ROOT = PACKAGE.parent
ROOMS = ("networks", "data", "training", "claims", "report", "cli", "support")
FIRST = {  # what to read first
    "the model": "networks/presets.py",
    "the loop": "training/loop.py",
    "what is run": "claims/studies.py",
}
TREE, IMPORTS = (
    (f"<!-- {name}: written by `make house` from the code; do not edit -->", f"<!-- {name} end -->")
    for name in ("rooms", "imports")
)


def lines(*paths: Path) -> int:
    """The total number of lines of the files."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def tree() -> str:
    """The rooms with their sizes and the first lines of their docstrings, and the three files to read first."""
    rows = [("alexnet_repro/", lines(*PACKAGE.rglob("*.py")), "the public names are in `__init__.py`")]
    for room in ROOMS:
        words = (PACKAGE / room / "__init__.py").read_text(encoding="utf-8").partition('"""')[2]
        rows.append((f"  {room}/", lines(*(PACKAGE / room).glob("*.py")), words.partition("\n")[0].strip('".')))
    rows.append(("  paper.py", lines(PACKAGE / "paper.py"), "the paper's numbers"))
    drawn = "\n".join(f"{name:16}{size:6,} lines   {words.replace('`', '')}" for name, size, words in rows)
    files = [
        f"* {what}: [alexnet_repro/{file}](alexnet_repro/{file}) ({lines(PACKAGE / file)} lines)"
        for what, file in FIRST.items()
    ]
    return f"```text\n{drawn}\n```\n\nThree files to read first:\n\n" + "\n".join(files)


def imports() -> str:
    """Which room imports from which, as a Mermaid diagram: an arrow goes from a room to what it imports from."""
    graph = grimp.build_graph("alexnet_repro")
    for room in ROOMS:
        graph.squash_module(f"alexnet_repro.{room}")
    arrows = [
        f"    {room} --> {other}"
        for room in reversed(ROOMS)
        for other in ("paper", "support", *ROOMS[:-1])
        if other != room
        and f"alexnet_repro.{other}" in graph.find_modules_directly_imported_by(f"alexnet_repro.{room}")
    ]
    return "\n".join(("```mermaid", "graph TD", *arrows, "```"))


def with_house(text: str) -> str:
    """A Markdown text with the content between its markers brought up to date."""
    for (begin, end), make in ((TREE, tree), (IMPORTS, imports)):
        if begin in text:
            text = between(text, begin, end, make())
    return text


if __name__ == "__main__":
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        write_atomically(page, with_house(page.read_text(encoding="utf-8")))
