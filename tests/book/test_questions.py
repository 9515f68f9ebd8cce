"""The page of questions: every answer has its sources, and tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_, *QUESTIONS = (ROOT / "book" / "questions.md").read_text(encoding="utf-8").split("\n## ")

each_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda text: text.splitlines()[0])


def test_there_are_ten_questions():
    assert len(QUESTIONS) == 10


@each_question
def test_an_answer_names_threads_sources_and_a_chapter(question):
    title, answer, *_ = question.split("\n\n")
    assert title.endswith("?")
    assert len(answer) > 100
    notes = dict(re.findall(r"^\* \*([\w ]+?):?\* (.*)$", question, re.MULTILINE))
    assert set(notes) == {"Asked in", "Sources", "Tests", "More in"}
    assert re.search(r"\[[\w./-]+#\d+\]\(https://github\.com/", notes["Asked in"])
    assert "Sec. " in notes["Sources"] or "Tables" in notes["Sources"]


@each_question
def test_the_tests_that_an_answer_names_exist(question):
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", question)
    assert named
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert test in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)], f"{file}::{test}"


def test_lines_of_the_code_of_2012_are_those_that_their_links_lead_to_in_one_revision():
    address = r"https://github\.com/computerhistory/AlexNet-Source-Code/blob/([0-9a-f]{40})/([\w/.-]+)"
    links = re.findall(rf"\[([^\]]+)\]\({address}#L(\d+)(?:-L(\d+))?\)", "".join(QUESTIONS))
    assert len(links) == "".join(QUESTIONS).count("github.com/computerhistory")
    assert len({revision for _, revision, *_ in links}) == 1
    for text, _, path, first, last in links:
        *file, lines = re.split(", lines? ", text)
        assert lines == (f"{first} to {last}" if last else first)
        assert not file or file == [f"`{Path(path).name}`"]
