"""What the book's pages have beyond Jupyter Book: the extensions in book/_ext, and addresses that agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import figure_sources
import forest
import nbformat
import pages
import pytest
import yaml
from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from alexnet_repro import CLAIMS, load_evidence
from alexnet_repro.claims.records import EVIDENCE_FOLDER
from alexnet_repro.report import tables

ROOT = Path(__file__).resolve().parents[2]

PAGE = """
# Arms and seeds

The arms start from one seed, *arm* by `arm`. Of seeds and arms there are pairs.

| arm | verdict |
| --- | --- |
| a   | not run |
| b   | reproduced, larger (small scale) |

| arm | state   | next    |
| --- | ------- | ------- |
| a   | not run | `run a` |

{repo}`book/evidence`
"""
GLOSSARY = """
# Glossary

```{glossary}
arm
  A side.

seed
  A number, the same in either arm.

pair
  Two runs.
```
"""
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="  # a PNG of a pixel

COMMITS = {record.environment["revision"].partition("+")[0] for record in load_evidence("lrn-cifar")}


IN_HTML = """
# A page

<div><a href="03_relu.html">A chapter</a></div>

<div class="forest">
<span class="claim"><a href="03_relu.html">A claim</a> <svg></svg> <span>2x<br/><b>open</b></span></span>
<details><summary>variants</summary>
<span class="claim"><a href="03_relu.html">a variant</a> <svg></svg> <span><b>not run</b></span></span>
</details>
</div>

<details>
<summary>What to expect</summary>

Nothing.

</details>
"""


def test_the_drawing_of_all_claims_is_a_list_in_print():
    results = tables.judged("relu", "relu-modern", "lrn-cifar-printed", "headline-2010")
    printed = pages.listed(ElementTree.fromstring(forest.html(results)))
    texts = [paragraph.astext() for paragraph in printed.findall(nodes.paragraph)]
    names = [CLAIMS["relu"].statement, CLAIMS["relu-modern"].variant, CLAIMS["lrn-cifar-printed"].statement]
    assert [text.rpartition(": ")[0] for text in texts[:3]] == names
    assert texts[0].endswith(f": {results[0].summary()}, {results[0].words}")
    assert texts[2].endswith(": not run")
    assert [len(item) for item in printed] == [2, 1, 1]  # ReLU's variant is in a list of its own


@pytest.mark.parametrize(
    ("builder", "file", "expected"),
    [
        ("html", "index.html", ['href="03_relu.html"', 'data-theme="light"', "<summary>What to expect</summary>"]),
        ("epub", "index.xhtml", ['href="03_relu.xhtml"']),
        ("latex", "book.tex", ["What to expect.", "A claim: 2x, ", "a variant: \\sphinxstylestrong{not run}"]),
    ],
)
def test_what_a_page_has_in_html_fits_every_form_of_the_book(builder, file, expected, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "index.md").write_text(IN_HTML, encoding="utf-8")
    settings = {
        "extensions": ["myst_parser", "sphinx_book_theme", "pages"],
        "html_theme": "sphinx_book_theme",
        "html_theme_options": {"repository_url": "", "repository_branch": "main"},
        "html_context": {"default_mode": "auto"},
        "project": "book",
        "copyright": "nobody",
        "version": "1",
    }
    out = tmp_path / "out"
    with docutils_namespace():
        Sphinx(tmp_path / "source", None, out, tmp_path / "trees", builder, settings, status=None).build()
    made = (out / file).read_text(encoding="utf-8")
    assert [text for text in expected if text not in made] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Two pages built with the book's extensions."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    (source / "index.md").write_text(PAGE + "\n```{toctree}\nglossary\n```\n", encoding="utf-8")
    (source / "glossary.md").write_text(GLOSSARY, encoding="utf-8")
    settings = {
        "extensions": ["myst_parser", "sphinx_book_theme", "glossary_links", "figure_sources", "pages"],
        "html_theme": "sphinx_book_theme",
        "html_theme_options": {"repository_url": "", "repository_branch": "main"},
    }
    with docutils_namespace():  # which forgets the extensions' nodes again
        Sphinx(source, None, out, out / "doctrees", "html", settings, status=None, warningiserror=True).build()
    return out


@pytest.fixture(scope="module")
def chapter(tmp_path_factory) -> Callable[[str], BeautifulSoup]:
    """A page with a figure, built as the book is, in turn by workflows of several repositories or by none."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    figure = {"figure": {"name": "fig-line", "caption": "A line."}}
    drawn = nbformat.v4.new_output("display_data", data={"image/png": DOT})
    cells = [
        nbformat.v4.new_markdown_cell("# A chapter\n\n{repo}`book/evidence`"),
        nbformat.v4.new_code_cell('plot(load_evidence("lrn-cifar"))', outputs=[drawn], metadata={"mystnb": figure}),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (source / "book").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), source / "book" / "chapter.ipynb")
    (source / "_toc.yml").write_text("{format: jb-book, root: book/chapter}", encoding="utf-8")
    for name in ("_config.yml", "book/_ext", "book/_static", "book/references.bib"):
        (source / name).symlink_to(ROOT / name)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--path-output", out, "-W", "-n"]

    def build(repository: str) -> BeautifulSoup:
        environment = os.environ | {"GITHUB_REPOSITORY": repository}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return BeautifulSoup((out / "_build/html/book/chapter.html").read_text(encoding="utf-8"), "html.parser")

    return build


@pytest.fixture
def body(site) -> str:
    text = (site / "index.html").read_text(encoding="utf-8")
    return text[text.index("<h1>") : text.index("toctree-wrapper")]


def test_only_the_first_use_of_a_term_in_running_text_leads_to_the_glossary(body):
    links = re.findall(r'href="glossary.html#term-\w+"><span>(\w+)</span>', body)
    assert links == ["arms", "seed"]


def test_a_page_s_verdicts_are_marked_and_nothing_else_is(body):
    assert re.findall(r'<td class="([^"]*)"', body) == ["verdict not-run", "verdict reproduced"]
    assert re.findall(r'<table class="([^"]*)"', body) == ["verdicts table", "commands table"]


def elsewhere(page: BeautifulSoup) -> list[str]:
    """The addresses on a page that are not the book's own."""
    return [link["href"] for link in page.select("a[href*='//']")]


def test_a_book_that_no_workflow_builds_leads_to_no_repository(chapter):
    page = chapter("")
    assert elsewhere(page) == []
    assert "book/evidence" in [code.text for code in page.select("p code")]
    assert all(commit[:7] in page.select_one("p.source").text for commit in COMMITS)
    assert page.select_one(".dropdown-download-buttons")
    assert not page.select(".dropdown-source-buttons, .dropdown-launch-buttons")


def test_links_and_buttons_lead_to_the_repository_whose_workflow_builds_the_book(chapter):
    """In the folder of the book before, whose pages lead nowhere."""
    address = "https://github.com/some/book"
    found = elsewhere(chapter("some/book"))
    assert [link for link in found if "/commit/" not in link] == [
        "https://mybinder.org/v2/gh/some/book/main?urlpath=lab/tree/book/chapter.ipynb",
        "https://colab.research.google.com/github/some/book/blob/main/book/chapter.ipynb",
        address,
        f"{address}/edit/main/book/text/chapter.md",
        f"{address}/issues/new?title=Issue%20on%20page%20%2Fbook/chapter.html&body=Your%20issue%20content%20here.",
        f"{address}/tree/main/book/evidence",
    ]
    assert {f"{address}/commit/{commit}" for commit in COMMITS} <= set(found)


def test_the_glossary_does_not_link_itself(site):
    assert 'reference internal" href="#term-' not in (site / "glossary.html").read_text(encoding="utf-8")


def figures(chapter: str) -> dict[str, list[Path]]:
    """Name of every figure of a chapter -> the records it is said to show, relative to the book's evidence."""
    cells = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells
    before, found = [], {}
    for cell in (cell for cell in cells if cell.cell_type == "code"):
        statements = ast.parse(cell.source).body
        if "figure" in cell.metadata.get("mystnb", {}):
            read = figure_sources.records([*statements, *figure_sources.made_for(statements, before)])
            found[cell.metadata.mystnb.figure.name] = read
        before += statements
    return found


def test_a_figure_of_recorded_runs_names_these_and_a_live_one_names_none():
    read = figures("05_pooling")
    recorded = sorted(EVIDENCE_FOLDER / record.path for record in load_evidence("pooling"))
    assert read["fig-pooling-live"] == []
    assert sorted(read["fig-pooling-curves"]) == sorted(read["fig-pooling-effect"]) == recorded


def test_the_records_of_several_claims_and_of_single_runs_are_found():
    claims = ("relu", "relu-local", "relu-modern", "relu-scaled")
    recorded = sorted(EVIDENCE_FOLDER / record.path for claim in claims for record in load_evidence(claim))
    assert sorted(figures("03_relu")["fig-relu-ratio"]) == recorded
    assert [path.name for path in figures("09_imagenet")["fig-full-run"]] == ["run145-seed0.json"]
    assert [path.name for path in figures("10_features")["fig-kernels"]] == ["run145-seed0.json"]


def names(code: str) -> set[str]:
    """Study, scale and arm of the records that a chapter's code is said to read."""
    paths = [path.relative_to(EVIDENCE_FOLDER) for path in figure_sources.records(ast.parse(code).body)]
    return {f"{path.parent.as_posix()} {path.stem.rpartition('-seed')[0]}" for path in paths}


def test_of_a_call_s_records_those_of_its_scale_and_of_the_arms_drawn_are_named():
    large = {f"lrn-cifar/paper {arm}" for arm in ("with", "without")}
    assert names('plot(load_evidence("lrn-cifar"), title="relu", scale="laptop")') == large
    assert names('load_evidence("lrn-cifar", "laptop")') == names('load_evidence("lrn-cifar", scale="laptop")') == set()
    assert names('plot(load_evidence(scale="paper", claim="lrn-cifar"))') == large
    assert names('plot({s: load_evidence("full-run", s) for s in ("laptop", "paper")})') == {"full-run/laptop run145"}
    assert names('[verdict(CLAIMS[c], load_evidence(c)) for c in ("lrn-cifar", "relu")]') == large | {
        "relu/paper relu", "relu/paper tanh"
    }  # fmt: skip
    drawn = {path.stem.rpartition("-seed")[0] for path in figures("04_lrn")["fig-lrn-curves"]}
    assert {"run148", "run145"} <= drawn <= {"run148", "run145", "k-1"}


def test_what_is_made_anew_hides_what_was_made_before():
    before = ast.parse('x = load_evidence("relu")\nx = 1\ny = [z for z in x]').body
    assert figure_sources.made_for(ast.parse("plot(y)").body, before) == [before[2], before[1]]
    assert figure_sources.made_for(ast.parse("plot(z)").body, before) == []


def test_printed_columns_have_room_for_their_longest_words_and_fill_a_line():
    rows = [["claim", "verdict"], ["one network and another network, " * 3, "no effect found"]]
    claim, verdict = pages.widths(rows)
    assert verdict >= len("no effect found")
    assert pages.LINE - 2 <= claim + verdict <= pages.LINE


def test_no_text_has_an_address_of_the_repository():
    """A fork's book would lead to it, and not to the fork."""
    files = [
        *(ROOT / name for name in ("CITATION.cff", "README.md", "CONTRIBUTING.md", "pyproject.toml", "_config.yml")),
        *(ROOT / "book").glob("*.md"),
        *(ROOT / "book").glob("*.ipynb"),
        *(ROOT / "book" / "text").iterdir(),
    ]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert set(re.findall(r"github\.com/([\w-]+)/(?:alexnet_repro|NAME)", text)) == {"OWNER"}


def test_the_book_is_cited_as_citation_cff_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    page = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^  (\w+) += \{(.*)\},?$", page, re.MULTILINE))
    fields = {name: re.sub(r"[{}\\]", "", value) for name, value in fields.items()}
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert fields == {
        "author": citation["authors"][0]["name"],
        "title": citation["title"],
        "version": citation["version"],
        "year": config["copyright"],
    }


def test_binder_installs_this_package_at_the_pinned_versions():
    folder = ROOT / ".binder"
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (constraints,) = [folder / line.removeprefix("-c ") for line in lines if line.startswith("-c ")]
    assert constraints.resolve() == ROOT / "constraints.txt"
    assert "-e .[book]" in lines


@pytest.mark.parametrize(
    ("target", "tool", "package"), [("pdf", "latexmk", "texlive-xetex"), ("epub", "latex", "dvisvgm")]
)
def test_a_book_that_cannot_be_made_for_want_of_a_tool_says_which_packages_have_it(target, tool, package, tmp_path):
    for there in ("sh", "find"):
        (tmp_path / there).symlink_to(shutil.which(there))
    command = [shutil.which("make"), f"{target}-tools"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"make {target} needs {tool}:" in done.stderr
    assert package in done.stderr
