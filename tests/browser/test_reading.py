"""What a reader does: search, switch to dark, use the keyboard, take a notebook along."""

import json
from itertools import product
from pathlib import Path

import forest
import nbformat
import numpy as np
import pytest
from page import measure
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

CHAPTER, SCOREBOARD = "book/05_pooling", "book/scoreboard"


def test_search_finds_overlapping_pooling_in_its_chapter(reader, pages):
    visit = reader(pages[0])
    visit.page.keyboard.press("Control+k")
    visit.page.keyboard.type("overlapping pooling")
    visit.page.keyboard.press("Enter")
    results = visit.page.locator("#search-results ul.search li > a")
    results.nth(1).wait_for()
    found = [result.get_attribute("href") for result in results.all()]
    glossary = next(i for i, href in enumerate(found) if href.startswith("book/glossary.html"))
    assert any(href.startswith(f"{CHAPTER}.html") for href in found[:glossary]), found
    visit.page.locator(f"#search-results li > a[href^='{CHAPTER}.html']").first.click()
    visit.page.wait_for_url(f"**/{CHAPTER}.html*")
    assert not visit.troubles, "\n".join(visit.troubles)


def test_the_first_screen_of_the_front_page_has_a_figure_and_a_finding(reader, pages):
    visit = reader(pages[0])
    for first in ("main figure img", "#what-we-found li"):
        assert visit.page.locator(first).first.bounding_box()["y"] < 900, first


def test_no_text_of_the_figure_of_all_claims_is_cut_off_or_runs_into_the_next(browser):
    page = browser.new_page()
    page.goto((ROOT / "book" / "_static" / "claims.svg").as_uri())
    ends = """texts => texts.map(text => [text.getBBox().x, text.getBBox().x + text.getBBox().width])"""
    texts = page.eval_on_selector_all("text:not(.legend)", ends)
    legend = page.eval_on_selector_all(".legend", ends)
    assert legend
    assert max(end for _, end in legend) < forest.END
    starts = [x for x, _ in texts if x > forest.DRAWING + forest.WIDTH]
    assert sorted(set(starts)) == pytest.approx([forest.NUMBERS, forest.WORDS], abs=2)
    for x, end in texts:
        assert end < next(column for column in (forest.NUMBERS, forest.WORDS, forest.END) if column > x + 2)
    page.close()


@pytest.mark.parametrize("number", range(1, 12))
def test_the_first_screen_of_a_chapter_has_its_answer_and_verdict(reader, pages, number):
    (chapter,) = [name for name in pages if f"/{number:02}_" in name]
    visit = reader(chapter)
    box = visit.page.locator(".tag_in-short")
    assert box.locator("p").first.inner_text().startswith("In short.")
    places = [cell.bounding_box()["y"] for cell in box.locator("td.verdict").all()]
    assert box.bounding_box()["y"] < 400
    assert [y for y in places if y > 900] == []
    assert bool(places) == (number not in (1, 11))  # which test no claim


def theme(visit) -> str:
    return visit.page.evaluate("document.documentElement.dataset.theme")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_follows_the_system(reader, scheme):
    assert theme(reader(CHAPTER, color_scheme=scheme)) == scheme


def test_the_button_goes_through_light_and_dark_and_is_remembered(reader):
    visit = reader(CHAPTER)
    seen = []
    for _ in range(3):
        visit.page.locator(".theme-switch-button:visible").first.click()
        seen.append(theme(visit))
        assert theme(visit.open(SCOREBOARD)) == seen[-1]
    assert set(seen) == {"light", "dark"}


def test_a_dark_page_is_printed_light(reader):
    visit = reader(CHAPTER, color_scheme="dark")
    visit.page.evaluate(
        "addEventListener('beforeprint', () => { document.title = document.documentElement.dataset.theme })"
    )
    visit.page.pdf()
    assert (visit.page.title(), theme(visit)) == ("light", "dark")


def test_the_first_tab_reaches_the_skip_link_which_leads_to_the_text(reader):
    visit = reader(CHAPTER)
    assert visit.tab()["text"] == "Skip to main content"
    visit.page.keyboard.press("Enter")
    assert visit.page.url.endswith("#main-content")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_whatever_has_the_focus_shows_it(reader, scheme):
    visit = reader(CHAPTER, color_scheme=scheme)
    stops = [visit.tab() for _ in range(40)]
    assert len({stop["text"] for stop in stops}) > 25
    unseen = [stop["text"] for stop in stops if not stop["seen"]]
    assert not unseen, unseen


def test_the_menu_of_a_phone_opens_and_closes_with_the_keyboard(reader, phone):
    visit = reader(CHAPTER, viewport=phone)
    link = visit.page.locator("nav.bd-docs-nav a", has_text="Glossary")
    assert not link.is_visible()
    for _ in range(10):
        if "primary-toggle" in visit.tab()["classes"]:
            break
    visit.page.keyboard.press("Enter")
    link.wait_for(state="visible")
    visit.page.keyboard.press("Escape")
    link.wait_for(state="hidden")


def test_a_downloaded_notebook_is_valid(reader, tmp_path):
    visit = reader(CHAPTER)
    visit.page.locator(".dropdown-download-buttons button").first.click()
    with visit.page.expect_download() as download:
        visit.page.locator(".btn-download-source-button").click()
    download.value.save_as(tmp_path / "chapter.ipynb")
    assert download.value.suggested_filename == f"{Path(CHAPTER).name}.ipynb"
    nbformat.validate(json.loads((tmp_path / "chapter.ipynb").read_text(encoding="utf-8")))


def test_the_front_page_is_lighter_than_a_megabyte(browser, address, pages):
    assert measure(browser, f"{address}/{pages[0]}.html")["bytes before MathJax"] < 1e6


def test_screenshots_are_light_dark_wide_and_narrow(reader, site, pages, wide, phone):
    folder = site.parent / "screenshots"
    folder.mkdir(exist_ok=True)
    screens = {"wide": wide, "phone": phone}
    for name, (size, viewport) in product((pages[0], CHAPTER, SCOREBOARD), screens.items()):
        visit = reader(name, viewport=viewport)
        brightness = {}
        for scheme in ("light", "dark"):
            visit.page.emulate_media(color_scheme=scheme)
            path = folder / f"{Path(name).name}-{size}-{scheme}.png"
            visit.page.screenshot(path=path, full_page=True, animations="disabled")
            with Image.open(path) as image:
                assert image.width == viewport["width"]
                brightness[scheme] = np.asarray(image.convert("L")).mean()
        assert brightness["dark"] < 128 < brightness["light"]
