"""The examples in the docstrings of the public names."""

import doctest
import re
import sys
from pathlib import Path

import pytest

import alexnet_repro
from alexnet_repro import CLAIMS, load_evidence, verdict
from alexnet_repro.claims.records import Evidence


@pytest.mark.parametrize("name", alexnet_repro.__all__)
def test_every_public_name_has_an_example_that_holds(name):
    value = getattr(alexnet_repro, name)
    if name == "CLAIMS":  # it is no object with a docstring of its own
        value = sys.modules["alexnet_repro.claims.ledger"]
    found = [example for example in doctest.DocTestFinder(recurse=False).find(value, name) if example.examples]
    assert found
    runner = doctest.DocTestRunner()
    for example in found:
        report: list[str] = []
        runner.run(example, out=report.append)
        assert report == [], "".join(report)


ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "api_claims.md").read_text(encoding="utf-8")
CURVES, DIFFERENCES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_differences_that_the_page_of_records_plots_are_those_of_the_verdict(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(DIFFERENCES, names)
    judged = verdict(CLAIMS["lrn"], load_evidence("lrn"))
    assert names["points"].tolist()[: judged.pairs] == pytest.approx([100 * value for value in judged.values])
    assert (tmp_path / "differences.png").stat().st_size > 1000


def test_the_page_of_records_is_one_script_and_each_plot_has_axes_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(CURVES + DIFFERENCES, names)
    assert len(names["ax"].get_lines()) == 3  # the differences, their mean and the paper's
    assert len(names["ax"].get_title()) < 70


def test_what_the_page_of_records_plots_in_two_lines_is_drawn():
    names: dict = {}
    exec(CURVES.replace(".plot()", ".plot().get_figure()").replace("epochs.pivot", "figure = epochs.pivot"), names)
    (ax,) = names["figure"].axes
    assert [line.get_label() for line in ax.get_lines()] == ["with", "without"]
    assert {len(line.get_xdata()) for line in ax.get_lines()} == {160}


def test_the_code_of_the_readme_runs_and_its_summary_counts_the_network(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(code, {})
    assert "60,965,224" in capsys.readouterr().out


def test_the_frame_of_records_has_an_example_that_holds():
    (example,) = [found for found in doctest.DocTestFinder(recurse=False).find(Evidence) if found.examples]
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0
