"""The book's page on experiments of one's own: its code runs, and prints what the page says."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from alexnet_repro.report import tables

PAGE = Path(__file__).resolve().parents[2] / "book" / "own_experiment.md"
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
DECIMAL = re.compile(r"\d+\.\d+")


def alike(printed: str, expected: str) -> bool:
    """The same text and whole numbers; decimals, which differ between processors, to about a tenth."""
    numbers = [[float(x) for x in DECIMAL.findall(text)] for text in (printed, expected)]
    same_text = DECIMAL.sub("#", printed) == DECIMAL.sub("#", expected)
    return same_text and numbers[0] == pytest.approx(numbers[1], rel=0.1, abs=0.1)


def test_the_page_s_program_prints_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "own_experiment"}
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) > 5
    for code, expected in blocks:
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, PAGE.name, "exec"), names)
        assert alike(printed.getvalue(), expected), printed.getvalue()
    claim = names["claim"]
    pairs = tables.pair_table(claim, folder="evidence").rows
    assert [row[:2] for row in pairs] == [[claim.id, seed] for seed in (*"01234", "detectable")]
    assert [row[:2] for row in tables.arm_table(claim, folder="evidence").rows] == [["2012", "5"], ["torch", "5"]]
    ((statement, *_, verdict),) = tables.verdict_table(claim, folder="evidence").rows
    assert (statement, verdict) == (claim.statement, names["result"].words)


@pytest.mark.parametrize(
    ("printed", "expected"), [("0.50 of 3", "0.75 of 3"), ("0.50 of 3", "0.50 of 4"), ("1 a", "1 b"), ("0.50", "")]
)
def test_outputs_that_differ_are_told_apart(printed, expected):
    assert not alike(printed, expected)
    assert alike("0.50 of 3", "0.53 of 3")
