"""The book as it lies in the repository: texts, notebooks with their outputs, tables, and the files of the set-up."""

import ast
import itertools
import os
import re
import sys
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import house
import jupytext
import nbformat
import numpy as np
import page_tables
import pytest
import yaml
from nbformat import NotebookNode
from packaging.requirements import Requirement
from project import project

from alexnet_repro import CLAIMS, load_dataset, load_evidence
from alexnet_repro.claims.claim import Outcome
from alexnet_repro.claims.studies import STUDIES
from alexnet_repro.claims.sweep import run_one
from alexnet_repro.report import chapter, tables

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted((ROOT / "book" / "text").glob("*.md"))
CHAPTERS = [ROOT / "book" / text.with_suffix(".ipynb").name for text in TEXTS]

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def outputs(path: Path) -> list[tuple[NotebookNode, NotebookNode]]:
    return [(cell, output) for cell in code_cells(path) for output in cell.outputs]


def texts_of(output: NotebookNode) -> str:
    """Everything in an output that is text."""
    data = {"text": output.get("text", ""), **output.get("data", {})}
    return "\n".join(value for kind, value in data.items() if not kind.startswith("image/"))


def test_every_text_has_its_notebook_and_the_other_way_round():
    assert {path.stem for path in TEXTS} == {path.stem for path in (ROOT / "book").glob("*.ipynb")}
    assert TEXTS


@each_chapter
def test_text_and_notebook_agree(path):
    text = jupytext.read(path.parent / "text" / f"{path.stem}.md")
    notebook = nbformat.read(path, as_version=4)

    def essence(cell: NotebookNode) -> tuple:
        kept = {key: value for key, value in cell.metadata.items() if key in ("tags", "mystnb")}
        return cell.cell_type, cell.source, kept

    assert [essence(cell) for cell in text.cells] == [essence(cell) for cell in notebook.cells]


@each_chapter
def test_every_code_cell_was_executed_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_chapter
def test_a_notebook_takes_less_than_half_a_megabyte(path):
    assert path.stat().st_size < 500_000


@each_chapter
def test_no_output_is_an_error_or_a_warning(path):
    for _, output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        assert "warning" not in texts_of(output).lower()


@each_chapter
def test_no_output_holds_a_path_of_some_machine(path):
    for _, output in outputs(path):
        assert not re.search(r"(/home/|/root/|/tmp/|/work/|/Users/|[A-Z]:\\|site-packages|<ipython)", texts_of(output))
    assert str(ROOT) not in path.read_text(encoding="utf-8")


@each_chapter
def test_no_output_that_is_compared_holds_a_timing(path):
    timing = re.compile(r"\d\s?(s|ms|µs|sec|seconds|minutes|it/s|img/s)\b|\bCPU times\b", re.IGNORECASE)
    for cell, output in outputs(path):
        if "nbval-ignore-output" not in cell.metadata.get("tags", []):
            assert not timing.search(texts_of(output))


@each_chapter
def test_every_figure_has_alt_text_a_caption_and_a_name(path):
    figures = [cell for cell, output in outputs(path) if {"image/png", "image/jpeg"} & set(output.get("data", {}))]
    assert figures
    for cell in figures:
        assert len(cell.metadata.mystnb.image.alt) > 30
        assert cell.metadata.mystnb.figure.caption
        assert cell.metadata.mystnb.figure.name.startswith("fig-")


@each_chapter
def test_one_cell_holds_the_five_parameters_as_literals(path):
    (cell,) = [cell for cell in code_cells(path) if cell.metadata.get("tags") == ["parameters"]]
    assigned = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}
    assert tuple(assigned) == chapter.PARAMETERS
    assert assigned["scale"] == "smoke"
    assert assigned["data_root"] is None


def first_cell(monkeypatch, *, installed: bool = False, colab: bool = False, source: str = "") -> list[tuple]:
    """The commands of IPython that a chapter's first cell gives, with a kernel that has the package or not."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    if colab:
        monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setenv("ALEXNET_REPRO_SOURCE", source)
    commands = []
    shell = SimpleNamespace(run_line_magic=lambda *command: commands.append(command))
    exec(code_cells(CHAPTERS[0])[0].source, {"get_ipython": lambda: shell})
    return commands


def test_the_first_cell_is_the_same_in_every_chapter_and_on_no_page():
    cells = [code_cells(path)[0] for path in CHAPTERS]
    assert len({cell.source for cell in cells}) == 1
    assert all((cell.metadata.tags, cell.outputs) == (["remove-cell"], []) for cell in cells)


@pytest.mark.parametrize("colab", [False, True])
def test_the_first_cell_installs_the_package_where_it_is_missing_and_a_source_is_named(monkeypatch, colab):
    source = "git+https://github.com/some/book"
    asked = first_cell(monkeypatch, colab=colab, source=source)
    assert asked == [("pip", f"install --quiet 'alexnet_repro @ {source}' matplotlib")]
    assert first_cell(monkeypatch, installed=True, colab=colab, source=source) == []


def test_on_colab_the_first_cell_says_what_to_run_first(monkeypatch):
    with pytest.raises(ModuleNotFoundError) as error:
        first_cell(monkeypatch, colab=True)
    advice, command = str(error.value).splitlines()
    assert "OWNER and NAME from the address of this page" in advice
    assert command == "%env ALEXNET_REPRO_SOURCE=git+https://github.com/OWNER/NAME"


def test_elsewhere_the_first_cell_installs_nothing_and_names_the_python_of_the_kernel(monkeypatch):
    with pytest.raises(ModuleNotFoundError) as error:
        first_cell(monkeypatch)
    advice, command = str(error.value).splitlines()
    assert f"not installed in {sys.executable}" in advice
    assert "kernel of .venv" in advice
    assert command == f"{sys.executable} -m pip install -e '.[book]'"


@each_chapter
def test_a_chapter_answers_first_and_in_words_that_fit_its_verdicts(path):
    """The box is the first thing below the title that a page shows, and its sentences are today's."""
    text = (path.parent / "text" / f"{path.stem}.md").read_text(encoding="utf-8")
    cells = re.findall(r"^(#.*|:tags: .*)$", text.partition("\n# ")[2].partition("[parameters]")[0], re.MULTILINE)
    assert cells[:2] == [":tags: [remove-cell]", ":tags: [remove-input, in-short]"]
    (box,) = [cell for cell in code_cells(path) if "in-short" in cell.metadata.get("tags", [])]
    claims = [claim.id for claim in CLAIMS.values() if claim.chapter == path.stem]
    assert bool(claims) == bool(re.search(rf'"({"|".join(claims) or "none"})": "', box.source))
    assert "Newer runs" not in box.outputs[0].data["text/markdown"]


@each_chapter
def test_a_notebook_does_not_say_when_its_cells_ran(path):
    assert [cell for cell in code_cells(path) if "execution" in cell.metadata] == []


@each_chapter
def test_cells_are_short_and_define_nothing_long(path):
    shown = [
        cell for cell in code_cells(path) if not {"remove-cell", "remove-input"} & {*cell.metadata.get("tags", [])}
    ]
    cells = [cell.source.splitlines() for cell in shown]
    assert 5 <= len(cells) <= 12
    assert max(map(len, cells)) <= 20
    assert sorted(map(len, cells))[len(cells) // 2] <= 8
    assert max(len(line) for cell in cells for line in cell) <= 80  # the width of a page
    for node in itertools.chain.from_iterable(ast.walk(ast.parse("\n".join(cell))) for cell in cells):
        assert not isinstance(node, ast.ClassDef)
        assert not (isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 5)


@each_chapter
def test_a_chapter_has_the_book_s_sections_in_their_order(path):
    text = (path.parent / "text" / f"{path.stem}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "The paper's claim",
        "What the 2012 code did",
        "The smallest code that shows it",
        "Run it",
        "What we measured",
        "Verdict",
        "Limits",
        "Change this",
    ]
    assert re.search(r"^# .*\?$", text, re.MULTILINE)


@pytest.mark.parametrize("name", sorted({claim.chapter for claim in CLAIMS.values()}))
def test_the_stored_verdicts_are_those_of_the_records(name):
    path = ROOT / "book" / f"{name}.ipynb"
    claims = [claim.id for claim in CLAIMS.values() if claim.chapter == name]
    (stored,) = [cell for cell in code_cells(path) if "verdict_table" in cell.source]
    assert all(f'"{claim}"' in stored.source for claim in claims)
    assert stored.outputs[0].data["text/plain"] == repr(tables.verdict_table(*claims))


@pytest.mark.parametrize(
    ("page", "book"),
    [
        ("README.md", "book/"),
        ("book/intro.md", ""),
        ("book/scoreboard.md", ""),
        ("book/studies.md", ""),
        ("book/full_scale.md", ""),
        ("book/questions.md", ""),
    ],
)
def test_the_tables_of_a_page_are_those_of_the_records(page, book):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert page_tables.with_tables(text, book, tables.judged(*CLAIMS)) == text


@each_chapter
def test_a_chapter_s_words_about_its_verdicts_are_the_verdicts(path):
    """Prose that calls a claim *smaller* stands only where the records say so."""
    text = (path.parent / "text" / f"{path.stem}.md").read_text(encoding="utf-8")
    found = {result.outcome for result in tables.judged(*(c.id for c in CLAIMS.values() if c.chapter == path.stem))}
    assert {word for word in get_args(Outcome) if f"*{word}*" in text} <= found


def test_normalization_s_gain_develops_as_chapter_4_says():
    """Behind at first, ahead within ten epochs and until the end, and on the training images by even more."""
    records = [record for record in load_evidence("lrn", "laptop") if record.seed <= 5]
    validation, training = (
        [
            np.mean([r.epochs[i][name] for r in records if r.arm == "run148"])
            - np.mean([r.epochs[i][name] for r in records if r.arm == "run145"])
            for i in range(60)
        ]
        for name in ("val_error", "train_eval_error")
    )
    assert validation[0] < 0
    assert min(validation[9:]) > 0
    assert np.mean(training[-10:]) > np.mean(validation[-10:])


@pytest.mark.parametrize("page", ["README.md", *(f"book/{path.name}" for path in (ROOT / "book").glob("*.md"))])
def test_no_page_but_those_that_tell_of_it_has_the_words_of_the_earlier_rule(page):
    earlier = re.compile("not reproduced|inconclusive", re.IGNORECASE)
    known = ("book/scoreboard.md", "book/lab_log.md")
    assert bool(earlier.search((ROOT / page).read_text(encoding="utf-8"))) == (page in known)


def test_the_log_s_entries_are_dated_and_labelled_newest_first():
    titles = re.findall(r"^## (.*)$", (ROOT / "book" / "lab_log.md").read_text(encoding="utf-8"), re.MULTILINE)
    label = r"(\d{4}-\d\d-\d\d) · (Reproduced|Smaller|Negative|Open|Mistake): \w.*"
    dates = [re.fullmatch(label, title)[1] for title in titles]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize(("page", "marks"), [("README.md", house.TREE), ("CONTRIBUTING.md", house.IMPORTS)])
def test_sizes_and_imports_of_the_rooms_are_those_of_the_code(page, marks):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert all(mark in text for mark in marks)
    assert house.with_house(text) == text


def test_the_table_of_contents_names_every_page():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    named = [toc["root"], *(entry["file"] for chapter in chapters for entry in (chapter, *chapter.get("sections", [])))]
    pages = {f"book/{path.stem}" for pattern in ("*.md", "*.ipynb") for path in (ROOT / "book").glob(pattern)}
    assert sorted(named) == sorted(pages)


def test_every_guess_of_the_library_is_among_the_open_questions():
    """A line that says OURS belongs to the name at the left margin before it; a question names file and name."""
    page = (ROOT / "book" / "open_questions.md").read_text(encoding="utf-8")
    text = " ".join(page.split())
    guesses = 0
    for path in sorted((ROOT / "alexnet_repro").rglob("*.py")):
        file, name = path.relative_to(ROOT / "alexnet_repro").as_posix(), ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if begun := re.match(r"(?:def |class )?(\w+)(?=:| = |\()", line):
                name = begun[1]
            if "OURS" in line:
                preset = name.strip("_").removesuffix("_INPUT").lower().replace("_", "-")
                assert any(f"`{file}`, `{x}`" in text for x in (name, preset)), f"{file}: {name}"
                guesses += 1
    assert guesses


def test_every_open_question_says_what_was_guessed_and_what_would_settle_it():
    page = (ROOT / "book" / "open_questions.md").read_text(encoding="utf-8")
    questions = [block.replace("\n", " ") for block in page.split("\n\n") if block.startswith("**")]
    assert questions
    assert not [q for q in questions if "*Guess:*" not in q or "*It would be settled by*" not in q]


def test_conda_gets_the_same_packages_and_ranges():
    """environment.yml leaves every package to pyproject.toml, and names nothing that this one does not."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{project()['requires-python']}", "pip"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[book,test,dev]"]}
    assert {"book", "test", "dev"} <= set(project()["optional-dependencies"])


def test_every_package_is_pinned_within_its_range():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.replace("_", "-").lower().split("==") for line in lines if line and not line.startswith("#"))
    extras = itertools.chain.from_iterable(project()["optional-dependencies"].values())
    for requirement in map(Requirement, itertools.chain(project()["dependencies"], extras)):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement
    assert requires("alexnet_repro")


@pytest.mark.real_data
def test_recorded_runs_saw_the_official_pixels():
    root = os.environ["ALEXNET_REPRO_DATA"]
    official = {split: load_dataset("cifar10", root, split).sha256 for split in ("train", "test")}
    records = [r for study in STUDIES.values() for scale in study.protocols for r in load_evidence(study, scale)]
    on_cifar = [record for record in records if record.config["dataset"] == "cifar10"]
    assert len(on_cifar) > 80
    assert [r.path for r in on_cifar if {split: r.data[split]["sha256"] for split in official} != official] == []


@pytest.mark.real_data
def test_a_recorded_run_starts_again_as_it_was_recorded(monkeypatch):
    """One epoch of it; other processors add up in another order, hence not to the last digit."""
    study = STUDIES["alexnet"]
    record = next(r for r in load_evidence(study, "laptop") if (r.arm, r.seed) == ("run145", 1))
    protocol = study.protocol("laptop")
    arm = protocol.arms["run145"]
    short = replace(protocol, arms={"run145": replace(arm, train=replace(arm.train, epochs=1, lr_drops=()))})
    monkeypatch.setitem(STUDIES, "alexnet", replace(study, protocols={"laptop": short}))
    again = run_one("alexnet", "laptop", "run145", 1, Path(os.environ["ALEXNET_REPRO_DATA"]) / "imagenette-128")
    assert [again.data[split]["sha256"] for split in record.data] == [x["sha256"] for x in record.data.values()]
    assert again.epochs[0]["train_error"] == pytest.approx(record.epochs[0]["train_error"], abs=0.01)
