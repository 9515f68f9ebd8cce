import os
import sys
from pathlib import Path

import nbformat
import pair
import pytest

ROOT = Path(__file__).resolve().parents[2]

TEXT = """---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A question?

Some prose.

```{code-cell} ipython3
:tags: [parameters]

x = 1
```

```{code-cell} ipython3
x + 1
```
"""


@pytest.fixture
def chapter(tmp_path) -> tuple[Path, Path]:
    """A text and its notebook in step, the last cell with an output."""
    text, notebook = tmp_path / "text" / "a.md", tmp_path / "a.ipynb"
    text.parent.mkdir()
    text.write_text(TEXT)
    assert pair.step(text, notebook) == "text"
    change(notebook, lambda cells: cells[-1].outputs.append(nbformat.v4.new_output("stream", text="2")))
    return text, notebook


def change(notebook: Path, edit: object) -> None:
    content = nbformat.read(notebook, as_version=4)
    edit(content.cells)
    nbformat.write(content, notebook)


def edit_prose(cells: list) -> None:
    cells[0].source = cells[0].source.replace("Some", "Other")


def older(path: Path) -> None:
    os.utime(path, (1, 1))


def test_what_was_not_edited_is_left_as_it_is(chapter):
    text, notebook = chapter
    before = text.read_bytes(), notebook.read_bytes()
    assert pair.step(text, notebook) == "neither"
    assert (text.read_bytes(), notebook.read_bytes()) == before


@pytest.mark.parametrize("old", [0, 1])
def test_an_edited_text_reaches_the_notebook_which_keeps_its_outputs_whichever_is_older(chapter, old):
    text, notebook = chapter
    text.write_text(TEXT.replace("Some", "Other"))
    older(chapter[old])
    assert pair.step(text, notebook) == "text"
    cells = nbformat.read(notebook, as_version=4).cells
    assert "Other prose." in cells[0].source
    assert cells[-1].outputs[0].text == "2"
    assert pair.step(text, notebook) == "neither"


@pytest.mark.parametrize("old", [0, 1])
def test_an_edited_notebook_reaches_the_text_whichever_is_older(chapter, old):
    text, notebook = chapter
    change(notebook, edit_prose)
    older(chapter[old])
    assert pair.step(text, notebook) == "notebook"
    assert text.read_text().partition("---\n\n")[2] == TEXT.partition("---\n\n")[2].replace("Some", "Other")
    assert pair.step(text, notebook) == "neither"


def test_where_both_were_edited_nothing_is_lost_and_the_cells_are_named(chapter):
    text, notebook = chapter
    text.write_text(TEXT.replace("x + 1", "x + 2"))
    change(notebook, edit_prose)
    before = text.read_bytes(), notebook.read_bytes()
    with pytest.raises(ValueError, match=r"a\.md and .*a\.ipynb were both edited: cells 1, 3 differ.*--keep"):
        pair.step(text, notebook)
    assert (text.read_bytes(), notebook.read_bytes()) == before
    assert pair.step(text, notebook, keep="text") == "text"
    assert nbformat.read(notebook, as_version=4).cells[-1].source == "x + 2"


def test_the_same_edit_on_both_sides_is_no_conflict(chapter):
    text, notebook = chapter
    text.write_text(TEXT.replace("Some", "Other"))
    change(notebook, edit_prose)
    assert pair.step(text, notebook) == "neither"
    change(notebook, lambda cells: cells.pop())
    assert pair.step(text, notebook) == "notebook"  # the step before was remembered


def test_a_notebook_that_remembers_nothing_and_differs_is_a_conflict(chapter):
    text, notebook = chapter
    content = nbformat.read(notebook, as_version=4)
    del content.metadata[pair.MEMORY]
    nbformat.write(content, notebook)
    text.write_text(TEXT.replace("Some", "Other"))
    with pytest.raises(ValueError, match="both edited"):
        pair.step(text, notebook)


def test_conflicts_of_some_chapters_stop_no_other_and_end_with_an_error(chapter, tmp_path, monkeypatch, capsys):
    text, notebook = chapter
    text.write_text(TEXT.replace("Some", "Other"))
    change(notebook, lambda cells: cells.pop())
    other = text.with_name("b.md")
    other.write_text(TEXT)
    monkeypatch.setattr(sys, "argv", ["pair.py", str(text), str(other)])
    with pytest.raises(SystemExit, match="both edited"):
        pair.main()
    assert capsys.readouterr().out == "b: text was edited\n"
    assert (tmp_path / "b.ipynb").exists()
