"""The figures to touch, without a browser: where they are and where not, and what their scripts are given."""

import json
import re
from pathlib import Path

import interactive
import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace
from torch import nn

from alexnet_repro import load_evidence, paper
from alexnet_repro.report.chapter import CHECKPOINT

ROOT = Path(__file__).resolve().parents[2]

PAGE = "# A page\n\nBefore.\n\n:::{interactive} lrn\nTouch it.\n:::\n\nAfter.\n\n```{toctree}\nplain\n```\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Builds two pages, the first with a figure; gives the folder."""

    def built(builder: str, page: str = PAGE) -> Path:
        source, out, trees = (tmp_path_factory.mktemp(name) for name in ("source", "out", "trees"))
        (source / "index.md").write_text(page, encoding="utf-8")
        (source / "plain.md").write_text("# Plain\n\nNothing to touch.\n", encoding="utf-8")
        settings = {
            "extensions": ["myst_parser", "interactive"],
            "myst_enable_extensions": ["colon_fence"],
            "html_static_path": [str(ROOT / "book" / "_static")],
            "project": "book",
            "copyright": "nobody",
            "version": "1",
        }
        with docutils_namespace():
            Sphinx(source, None, out, trees, builder, settings, status=None, warningiserror=True).build()
        return out

    return built


def test_a_page_for_a_browser_has_the_place_its_data_its_text_and_its_scripts(built):
    out = built("html")
    page = (out / "index.html").read_text(encoding="utf-8")
    assert '<div class="interactive" data-figure="lrn" hidden>' in page
    assert json.loads(re.search(r'<script type="application/json">(.*)</script>', page)[1]) == interactive.lrn()
    assert "Touch it." in page
    assert re.findall(r"_static/(interactive|lrn|relu|network)\.js", page) == ["interactive", "lrn"]
    assert "interactive" not in (out / "plain.html").read_text(encoding="utf-8")
    assert (
        (out / "_static" / interactive.WEIGHTS).read_text(encoding="utf-8").startswith("interactive.network.receive({")
    )


@pytest.mark.parametrize(("builder", "file"), [("latex", "book.tex"), ("epub", "index.xhtml"), ("text", "index.txt")])
def test_elsewhere_nothing_is_left_of_the_figure(builder, file, built):
    out = built(builder)
    text = (out / file).read_text(encoding="utf-8")
    assert "Before." in text
    assert "After." in text
    assert not re.search("Touch it|interactive|lrn", text)
    assert not (out / "_static" / interactive.WEIGHTS).exists()


def test_a_figure_that_does_not_exist_is_refused(built):
    with pytest.raises(Exception, match="no interactive figure 'lnr', only relu, lrn, network"):
        built("html", PAGE.replace("lrn", "lnr"))


def test_the_versions_are_those_of_the_chapter_and_the_line_is_the_runs_target():
    text = (ROOT / "book" / "text" / "03_relu.md").read_text(encoding="utf-8")
    for (network, protocol), claim in interactive.VERSIONS.items():
        assert f'"{protocol}{", net A" * (network == "A")}": "{claim}"' in text
        configs = [record.config for record in load_evidence(claim, "paper")]
        assert {config["net"]["name"] for config in configs} == {{"A": "cifar-13pct", "B": "cifar-19pct"}[network]}
        assert {config["train"]["target_error"] for config in configs} == {paper.RELU_TARGET_ERROR}


def test_a_layer_that_the_browser_cannot_compute_is_refused():
    with pytest.raises(ValueError, match=r"network\.js can't compute Tanh\(\)"):
        interactive.layer(nn.Tanh())


def test_the_script_of_the_weights_is_the_same_every_time():
    make = interactive.weights_script.__wrapped__
    assert make(CHECKPOINT) == make(CHECKPOINT)
