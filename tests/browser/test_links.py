"""What holds for the built files, without a browser: links, images, captions, downloads, the way through the book."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag
from PIL import Image

ATTRIBUTES = {"a": "href", "link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def parsed(site) -> dict[Path, BeautifulSoup]:
    """Every page of the site, and its tree."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}


@pytest.fixture(scope="module")
def figures(parsed) -> list[tuple[Path, Tag]]:
    """Every image that is a page's own, and not the theme's."""
    return [(path, image) for path, tree in parsed.items() for image in tree.select("article img")]


def test_no_page_is_larger_than_half_a_megabyte(parsed):
    assert [path.name for path in parsed if path.stat().st_size > 500_000] == []


def test_every_link_anchor_script_style_and_image_of_the_site_is_there(parsed):
    anchors = {path: {tag["id"] for tag in tree.select("[id]")} for path, tree in parsed.items()}
    broken, checked = [], 0
    for path, tree in parsed.items():
        for tag in tree.find_all(ATTRIBUTES):
            url = urlsplit(tag.get(ATTRIBUTES[tag.name], "#"))
            if url.scheme in ("http", "https", "mailto", "data") or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            there = target.is_file() and (not url.fragment or unquote(url.fragment) in anchors[target])
            checked += 1
            if not there:
                broken.append(f"{path.name}: {url.geturl()}")
    assert checked > 1000
    assert not broken, "\n".join(broken)


def test_every_link_to_the_book_s_repository_leads_to_that_of_the_workflow_and_elsewhere_there_is_none(parsed):
    kinds = re.compile(r"/commit/|/(tree|edit)/main/|/issues/new|mybinder|colab\.")
    found = [a["href"] for tree in parsed.values() for a in tree.select("a[href]") if kinds.search(a["href"])]
    repository = os.environ.get("GITHUB_REPOSITORY")
    assert bool(found) == bool(repository)
    assert [href for href in found if f"/{repository}/" not in href] == []


def test_previous_and_next_lead_through_every_page_in_the_order_of_the_contents(parsed, site, pages):
    for direction, names in (("right-next", pages), ("left-prev", pages[::-1])):
        path, way = site / f"{names[0]}.html", []
        while path:
            way.append(path.relative_to(site).with_suffix("").as_posix())
            link = parsed[path].find("a", class_=direction)
            path = link and (path.parent / link["href"]).resolve()
        assert way == names


def test_every_figure_says_in_words_what_it_shows(figures):
    assert figures
    for path, image in figures:
        alt = image.get("alt", "")
        assert len(alt.split()) >= 4, (path.name, image)
        assert ".png" not in alt, (path.name, image)


def test_every_figure_has_a_number_and_a_caption(figures):
    numbers = []
    for path, image in figures:
        caption = image.find_parent("figure") and image.find_parent("figure").figcaption
        assert caption, (path.name, image)
        numbers.append(caption.find(class_="caption-number").text.strip())
        assert len(caption.find(class_="caption-text").text.split()) >= 3, (path.name, image)
    assert len(set(numbers)) == len(numbers)


def test_every_figure_has_an_opaque_ground(figures):
    for path, image in figures:
        with Image.open(path.parent / unquote(image["src"])) as opened:
            assert np.asarray(opened.convert("RGBA"))[..., 3].min() == 255, (path.name, image)


def test_every_chapter_offers_a_valid_notebook(parsed):
    offered = [
        path.parent / link["href"]
        for path, tree in parsed.items()
        for link in tree.select("a.btn-download-source-button[href$='.ipynb']")
    ]
    assert len(offered) >= 11
    for path in offered:
        nbformat.validate(json.loads(path.read_text(encoding="utf-8")))
